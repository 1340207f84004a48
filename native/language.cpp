#include "language.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "recurrence.h"
#include "threads.h"

namespace unrolled {
namespace {

constexpr float NONE = -std::numeric_limits<float>::infinity();
constexpr size_t VECTOR = 16;             // floats of the widest vector
constexpr long LEAST_SHARED = 1L << 18;   // multiply-adds from which a second thread is worth waking
constexpr long LISTED = 256;              // words that a sorted list holds; beyond, all words are sorted

size_t padded(long n) { return ((size_t)n + VECTOR - 1) / VECTOR * VECTOR; }

long parts(const LanguageModel& m) { return m.cell == LSTM ? 2 : 1; }

// Several products at once, on as many threads as they are worth.
struct Product {
  const Linear& map;
  const float* const* x;
  float* out;
  long stride;
};

void multiply(const DecoderKernels& kernels, const std::vector<Product>& products, long R, int n_threads) {
  long work = 0;
  for (const Product& each : products) work += R * each.map.N * each.map.K;
  in_parallel(work < LEAST_SHARED ? 1 : n_threads, [&](int member, int n_members) {
    for (const Product& each : products) kernels.apply(each.map, each.x, R, each.out, each.stride, member, n_members);
  });
}

// Scratch memory of steps of up to R rows.
class Steps {
 public:
  Steps(const LanguageModel& model, const DecoderKernels& kernels, long R, int n_threads)
      : m_(model), kernels_(kernels), n_threads_(n_threads), width_(state_width(model)), input_((size_t)(R * model.E)),
        x_((size_t)R), h_((size_t)R) {
    long most = 0;
    for (const Linear& map : model.layers) most = std::max(most, map.N);
    stride_ = (long)(padded(most) + VECTOR);  // a gate's last vector may reach beyond the row
    from_x_.resize((size_t)(R * stride_)), from_h_.resize((size_t)(R * stride_));
  }

  void read(long R, const int32_t* words, const float* before, float* after) {
    embed(R, words);
    long part = 0;
    for (size_t layer = 0; layer < m_.layers.size(); layer += 2) {
      const Linear &of_x = m_.layers[layer], &of_h = m_.layers[layer + 1];
      for (long row = 0; row < R; row++) h_[(size_t)row] = before + row * width_ + part;
      std::vector<Product> products{{of_h, h_.data(), from_h_.data(), stride_}};
      if (layer || !is_column()) products.push_back({of_x, x_.data(), from_x_.data(), stride_});
      else take_columns(R, words);
      multiply(kernels_, products, R, n_threads_);
      for (long row = 0; row < R; row++) {
        float* to = after + row * width_ + part;
        const float *from_x = from_x_.data() + row * stride_, *from_h = from_h_.data() + row * stride_;
        kernels_.finish_cell(m_.cell, from_x, from_h, h_[(size_t)row], to, of_h.K);
        x_[(size_t)row] = to;
      }
      part += parts(m_) * of_h.K;
    }
  }

 private:
  // Whether the product with a one-hot vector is a column of the weights as they are.
  bool is_column() const { return !m_.embedding && !m_.layers[0].packed; }

  void take_columns(long R, const int32_t* words) {
    const Linear& map = m_.layers[0];
    for (long row = 0; row < R; row++)
      for (long n = 0; n < map.N; n++)
        from_x_[(size_t)(row * stride_ + n)] = map.weight[n * map.K + words[row]] + (map.bias ? map.bias[n] : 0);
  }

  void embed(long R, const int32_t* words) {
    if (is_column()) return;
    for (long row = 0; row < R; row++) {
      float* x = input_.data() + row * m_.E;
      x_[(size_t)row] = x;
      if (m_.embedding) {
        const float* word = m_.embedding + words[row] * m_.E;
        for (long i = 0; i < m_.E; i++) x[i] = word[i] * m_.embedding_scale;
      } else {
        std::memset(x, 0, sizeof(float) * (size_t)m_.E);
        x[words[row]] = 1;
      }
    }
  }

  const LanguageModel& m_;
  const DecoderKernels& kernels_;
  const int n_threads_;
  const long width_;
  long stride_ = 0;
  std::vector<float> input_, from_x_, from_h_;
  std::vector<const float*> x_, h_;
};

// Chooses a word from the scores of all.
class Chooser {
 public:
  Chooser(const Choosing& choosing, const DecoderKernels& kernels, long V)
      : q_(choosing), kernels_(kernels), V_(V), powers_(padded(V)),
        sums_((size_t)((V + WEIGHTS_AT_ONCE - 1) / WEIGHTS_AT_ONCE)), values_((size_t)std::min(V, LISTED)),
        words_(values_.size()) {
    for (long word = 0; word < V; word++)
      if (!std::count(q_.barred.begin(), q_.barred.end(), word)) candidates_.push_back((int32_t)word);
  }

  // The word, or −1 if a score is not a finite number. `scores` have memory for whole vectors and are changed.
  int32_t choose(float* scores, const double* uniform) {
    for (int32_t word : q_.barred) scores[word] = NONE;
    kernels_.weigh(scores, V_, uniform ? (float)(1 / q_.temperature) : 1.f, powers_.data(), sums_.data());
    double total = 0;
    for (float sum : sums_) total += sum;
    if (!std::isfinite(total)) return -1;
    if (!uniform) {
      kernels_.list_words(scores, V_, values_.data(), words_.data(), 1);
      return words_[0];
    }
    for (int32_t word : q_.barred) powers_[(size_t)word] = 0;
    const long n = (long)candidates_.size();
    const bool is_cut = 0 < q_.top_k && q_.top_k < n;
    if (is_cut || q_.top_p < 1) return among_best(scores, *uniform, is_cut ? q_.top_k : n, total);
    return among_all(*uniform * total);
  }

 private:
  // The first word up to which the weights add up to more than `at`.
  int32_t among_all(double at) const {
    double sum = 0;
    for (long first = 0; first < V_; first += WEIGHTS_AT_ONCE) {
      const double of_block = sums_[(size_t)(first / WEIGHTS_AT_ONCE)];
      if (sum + of_block <= at) {
        sum += of_block;
        continue;
      }
      for (long word = first; word < std::min(first + WEIGHTS_AT_ONCE, V_); word++)
        if ((sum += powers_[(size_t)word]) > at) return (int32_t)word;
    }
    return candidates_.back();
  }

  // Draws from the n most probable words, or the smallest set of these that holds the share top_p of their weight.
  int32_t among_best(float* scores, double uniform, long n, double total) {
    long n_sorted = std::min(n, (long)values_.size());
    kernels_.list_words(scores, V_, values_.data(), words_.data(), n_sorted);
    n_sorted = std::count_if(values_.begin(), values_.begin() + n_sorted, [](float value) { return value > NONE; });
    const int32_t* best = words_.data();
    for (;; n_sorted = sort_more(scores, n, n_sorted), best = candidates_.data()) {
      const bool is_whole = n_sorted == n || n_sorted < (long)std::min((size_t)n, values_.size());
      if (n_sorted && (is_whole || n == (long)candidates_.size())) {
        const double share = n == (long)candidates_.size() ? total : weight_of(best, n_sorted);
        const int32_t found = drawn(best, n_sorted, q_.top_p < 1 ? q_.top_p * share : share, uniform, is_whole);
        if (found >= 0) return found;
      }
    }
  }

  double weight_of(const int32_t* words, long n) const {
    double sum = 0;
    for (long i = 0; i < n; i++) sum += powers_[(size_t)words[i]];
    return sum;
  }

  // Draws from the first words before which there is less than this weight; −1 if more words have to be sorted.
  int32_t drawn(const int32_t* words, long n, double weight, double uniform, bool is_whole) const {
    long n_kept = 0;
    double mass = 0;
    for (; n_kept < n && (mass < weight || !n_kept); n_kept++) mass += powers_[(size_t)words[n_kept]];
    if (n_kept == n && mass < weight && !is_whole) return -1;
    double sum = 0;
    for (long i = 0; i + 1 < n_kept; i++)
      if ((sum += powers_[(size_t)words[i]]) > uniform * mass) return words[i];
    return words[n_kept - 1];
  }

  // Sorts eight times as many of the candidates; returns how many.
  long sort_more(const float* scores, long n, long n_sorted) {
    n_sorted = std::min(n, 8 * std::max(n_sorted, LISTED));
    const auto is_before = [&](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; };
    const auto begin = candidates_.begin(), end = begin + n_sorted;
    if (end != candidates_.end()) std::nth_element(begin, end, candidates_.end(), is_before);
    std::sort(begin, end, is_before);
    return n_sorted;
  }

  const Choosing& q_;
  const DecoderKernels& kernels_;
  const long V_;
  std::vector<float> powers_, sums_, values_;
  std::vector<int32_t> words_, candidates_;
};

}  // namespace

long state_width(const LanguageModel& model) {
  long width = 0;
  for (size_t layer = 1; layer < model.layers.size(); layer += 2) width += parts(model) * model.layers[layer].K;
  return width;
}

void read_words(const LanguageModel& model, const DecoderKernels& kernels, long R, const int32_t* words,
                const float* before, float* after, int n_threads) {
  Steps(model, kernels, R, n_threads).read(R, words, before, after);
}

void score_words(const LanguageModel& model, const DecoderKernels& kernels, long R, const float* hidden, float* scores,
                 int n_threads) {
  const long V = model.head.N, stride = (long)padded(V);
  std::vector<float> rows((size_t)(R * stride));
  std::vector<const float*> x((size_t)R);
  for (long row = 0; row < R; row++) x[(size_t)row] = hidden + row * model.head.K;
  multiply(kernels, {{model.head, x.data(), rows.data(), stride}}, R, n_threads);
  for (long row = 0; row < R; row++)
    std::memcpy(scores + row * V, rows.data() + row * stride, sizeof(float) * (size_t)V);
}

Generated generate(const LanguageModel& model, const DecoderKernels& kernels, const Choosing& choosing, long n,
                   float* state, int n_threads) {
  Steps steps(model, kernels, 1, n_threads);
  Chooser chooser(choosing, kernels, model.V);
  std::vector<float> scores(padded(model.V));
  const long width = state_width(model);
  const float* hidden = state + width - parts(model) * model.head.K;
  Generated made;
  for (long i = 0; i < n; i++) {
    multiply(kernels, {{model.head, &hidden, scores.data(), (long)scores.size()}}, 1, n_threads);
    const int32_t word = chooser.choose(scores.data(), choosing.uniforms ? choosing.uniforms + i : nullptr);
    if (word < 0 || (word == choosing.end && choosing.stops)) {
      made.outcome = word < 0 ? UNDECIDED : ENDED;
      break;
    }
    made.words.push_back(word);
    if (word == choosing.end && choosing.restarts) std::memset(state, 0, sizeof(float) * (size_t)width);
    steps.read(1, &word, state, state);
  }
  return made;
}

}  // namespace unrolled
