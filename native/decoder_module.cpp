// The part of the Python module for decoding. Arguments are memory addresses, as in the rest of the module.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "engine.h"
#include "language.h"
#include "search.h"
#include "workspace.h"

namespace nb = nanobind;
using namespace unrolled;

namespace {

template <class T = float>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Memory in which weights are packed.
class Packs {
 public:
  explicit Packs(const DecoderKernels& kernels) : kernels_(kernels) {}

  void pack(Linear& map) {
    if (map.packed) return;
    packed_.push_back(std::make_unique<Workspace>((size_t)kernels_.packed_bytes(map)));
    kernels_.pack(map, packed_.back()->data());
    map.packed = packed_.back()->data();
  }

  // Adds the two maps of a recurrent layer; weights below float32 are packed.
  void add_layer(std::vector<Linear>& layers, int cell, long input_size, long hidden_size, uintptr_t w_ih,
                 uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh, int type) {
    const long n = (cell == GRU ? 3 : cell == LSTM ? 4 : 1) * hidden_size;
    layers.push_back({at(w_ih), at(b_ih), n, input_size, type, nullptr});
    layers.push_back({at(w_hh), at(b_hh), n, hidden_size, type, nullptr});
    if (type == FLOAT32) return;
    pack(layers[layers.size() - 2]);
    pack(layers.back());
  }

 private:
  const DecoderKernels& kernels_;
  std::vector<std::unique_ptr<Workspace>> packed_;
};

// A decoder and its packed weights.
class BoundDecoder {
 public:
  BoundDecoder(const BoundDecoder&) = delete;
  BoundDecoder(int cell, int score, bool feeds, long E, long H, long O, long M, long A, long V) {
    d_.cell = cell, d_.score = score, d_.feeds = feeds;
    d_.E = E, d_.H = H, d_.O = O, d_.M = M, d_.A = A, d_.V = V;
  }

  void embed(uintptr_t table, float scale) { d_.embedding = at(table), d_.embedding_scale = scale; }

  void add_layer(long input_size, uintptr_t w_ih, uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh, int type) {
    packs_.add_layer(layers_, d_.cell, input_size, d_.H, w_ih, w_hh, b_ih, b_hh, type);
    d_.n_layers++;
  }

  void attend(uintptr_t w_query, uintptr_t energy) {
    d_.query = {at(w_query), nullptr, d_.A, d_.H, FLOAT32, nullptr};
    d_.energy = at(energy);
  }

  void combine(uintptr_t weight) { d_.combine = {at(weight), nullptr, d_.O, d_.H + d_.M, FLOAT32, nullptr}; }

  void head(uintptr_t weight, uintptr_t bias) { d_.head = {at(weight), at(bias), d_.V, d_.O, FLOAT32, nullptr}; }

  // Packs all weights, which is worthwhile for many rows.
  void pack_all() {
    for (Linear& map : layers_) packs_.pack(map);
    for (Linear* map : {&d_.query, &d_.combine, &d_.head})
      if (map->weight) packs_.pack(*map);
  }

  // Returns for each sentence its hypotheses (words, log-probability, score, is finished, attention as bytes of floats).
  nb::list run(long B, long S, uintptr_t lengths, uintptr_t keys, uintptr_t values, const std::vector<uintptr_t>& states,
               std::vector<long> limits, double alpha, long beam_size, long n_best, int32_t begin, int32_t end,
               std::vector<int32_t> barred, bool with_attention, int n_threads) {
    Search call;
    call.B = B, call.memory.S = S;
    call.memory.lengths = at<int64_t>(lengths), call.memory.keys = at(keys), call.memory.values = at(values);
    for (uintptr_t state : states) call.states.push_back(at(state));
    call.limits = std::move(limits), call.alpha = alpha, call.beam_size = beam_size, call.n_best = n_best;
    call.begin = begin, call.end = end, call.barred = std::move(barred), call.with_attention = with_attention;
    std::vector<Answers> found;
    d_.layers = layers_.data();
    {
      nb::gil_scoped_release release;
      found = search(d_, call, kernels_, n_threads);
    }
    nb::list sentences;
    for (const Answers& answers : found) {
      nb::list hypotheses;
      for (const Found& each : answers) {
        nb::list words;
        for (int32_t word : each.words) words.append(word);
        const nb::bytes attention(each.attention.data(), sizeof(float) * each.attention.size());
        hypotheses.append(nb::make_tuple(words, (double)each.log_prob, each.score, each.is_finished, attention));
      }
      sentences.append(hypotheses);
    }
    return sentences;
  }

 private:
  const DecoderKernels& kernels_ = decoder_kernels();
  Packs packs_{kernels_};
  Decoder d_;
  std::vector<Linear> layers_;
};

// A language model and its packed weights.
class BoundLanguageModel {
 public:
  BoundLanguageModel(const BoundLanguageModel&) = delete;
  // `embedding` is 0 for one-hot vectors.
  BoundLanguageModel(int cell, long V, long E, uintptr_t embedding, float scale) {
    m_.cell = cell, m_.V = V, m_.E = E, m_.embedding = at(embedding), m_.embedding_scale = scale;
  }

  void add_layer(long input_size, long hidden_size, uintptr_t w_ih, uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh,
                 int type) {
    packs_.add_layer(m_.layers, m_.cell, input_size, hidden_size, w_ih, w_hh, b_ih, b_hh, type);
  }

  void head(uintptr_t weight, uintptr_t bias, long hidden_size) {
    m_.head = {at(weight), at(bias), m_.V, hidden_size, FLOAT32, nullptr};
  }

  void read(const std::vector<int32_t>& words, uintptr_t before, uintptr_t after, int n_threads) {
    nb::gil_scoped_release release;
    read_words(m_, kernels_, (long)words.size(), words.data(), at(before), at(after), n_threads);
  }

  void score(long n_rows, uintptr_t hidden, uintptr_t scores, int n_threads) {
    nb::gil_scoped_release release;
    score_words(m_, kernels_, n_rows, at(hidden), at(scores), n_threads);
  }

  // Returns the words and an Outcome; `state` is changed.
  nb::tuple generate(long n, uintptr_t state, uintptr_t uniforms, double temperature, long top_k, double top_p,
                     std::vector<int32_t> barred, int32_t end, bool stops, bool restarts, int n_threads) {
    Choosing choosing;
    choosing.uniforms = at<double>(uniforms);
    choosing.temperature = temperature, choosing.top_k = top_k, choosing.top_p = top_p;
    choosing.barred = std::move(barred), choosing.end = end, choosing.stops = stops, choosing.restarts = restarts;
    Generated made;
    {
      nb::gil_scoped_release release;
      made = unrolled::generate(m_, kernels_, choosing, n, at(state), n_threads);
    }
    nb::list words;
    for (int32_t word : made.words) words.append(word);
    return nb::make_tuple(words, (int)made.outcome);
  }

 private:
  const DecoderKernels& kernels_ = decoder_kernels();
  Packs packs_{kernels_};
  LanguageModel m_;
};

}  // namespace

void bind_decoder(nb::module_& m) {
  nb::class_<BoundDecoder>(m, "Decoder")
      .def(nb::init<int, int, bool, long, long, long, long, long, long>())
      .def("embed", &BoundDecoder::embed)
      .def("add_layer", &BoundDecoder::add_layer)
      .def("attend", &BoundDecoder::attend)
      .def("combine", &BoundDecoder::combine)
      .def("head", &BoundDecoder::head)
      .def("pack", &BoundDecoder::pack_all)
      .def("search", &BoundDecoder::run);
  nb::class_<BoundLanguageModel>(m, "LanguageModel")
      .def(nb::init<int, long, long, uintptr_t, float>())
      .def("add_layer", &BoundLanguageModel::add_layer)
      .def("head", &BoundLanguageModel::head)
      .def("read", &BoundLanguageModel::read)
      .def("score", &BoundLanguageModel::score)
      .def("generate", &BoundLanguageModel::generate);
}
