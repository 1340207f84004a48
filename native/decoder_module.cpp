// The part of the Python module for decoding. Arguments are memory addresses, as in the rest of the module.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "engine.h"
#include "search.h"
#include "workspace.h"

namespace nb = nanobind;
using namespace unrolled;

namespace {

template <class T = float>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// A decoder and the memory in which its weights are packed, if they are.
class BoundDecoder {
 public:
  BoundDecoder(const BoundDecoder&) = delete;
  BoundDecoder(int cell, int score, bool feeds, long E, long H, long O, long M, long A, long V) {
    d_.cell = cell, d_.score = score, d_.feeds = feeds;
    d_.E = E, d_.H = H, d_.O = O, d_.M = M, d_.A = A, d_.V = V;
  }

  void embed(uintptr_t table, float scale) { d_.embedding = at(table), d_.embedding_scale = scale; }

  // Adds a recurrent layer; weights below float32 are packed.
  void add_layer(long input_size, uintptr_t w_ih, uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh, int type) {
    const long n = (d_.cell == GRU ? 3 : d_.cell == LSTM ? 4 : 1) * d_.H;
    layers_.push_back({at(w_ih), at(b_ih), n, input_size, type, nullptr});
    layers_.push_back({at(w_hh), at(b_hh), n, d_.H, type, nullptr});
    d_.n_layers++;
    if (type == FLOAT32) return;
    pack(layers_[layers_.size() - 2]);
    pack(layers_.back());
  }

  void attend(uintptr_t w_query, uintptr_t energy) {
    d_.query = {at(w_query), nullptr, d_.A, d_.H, FLOAT32, nullptr};
    d_.energy = at(energy);
  }

  void combine(uintptr_t weight) { d_.combine = {at(weight), nullptr, d_.O, d_.H + d_.M, FLOAT32, nullptr}; }

  void head(uintptr_t weight, uintptr_t bias) { d_.head = {at(weight), at(bias), d_.V, d_.O, FLOAT32, nullptr}; }

  // Packs all weights, which is worthwhile for many rows.
  void pack_all() {
    for (Linear& map : layers_) pack(map);
    for (Linear* map : {&d_.query, &d_.combine, &d_.head})
      if (map->weight) pack(*map);
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
  void pack(Linear& map) {
    if (map.packed) return;
    packed_.push_back(std::make_unique<Workspace>((size_t)kernels_.packed_bytes(map)));
    kernels_.pack(map, packed_.back()->data());
    map.packed = packed_.back()->data();
  }

  const DecoderKernels& kernels_ = decoder_kernels();
  Decoder d_;
  std::vector<Linear> layers_;
  std::vector<std::unique_ptr<Workspace>> packed_;
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
}
