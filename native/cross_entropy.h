// Cross-entropy of a softmax over a linear layer, with all gradients, computed in blocks of rows and words.
//
//   l_mw = W_w · h_m + b_w        nats_m = log Σ_w exp l_mw − l_m,target
//   d_mw = exp(l_mw) / Σ_w exp l_mw − [w is the target]       dW = dᵀ h,  dh = d W,  db = Σ_m d_m
//
// With logits as [words, rows], the products of both gradients can use them as left-hand side. Nothing is computed
// twice: each logit is stored as its exponential, relative to the maximum of its chunk of words.
#pragma once

#include "softmax_block.h"

namespace UNROLLED_ISA {

constexpr long CHUNK = 128;                // words at a time, so that their logits stay in the L1 cache
constexpr long KEPT_FLOATS = 1L << 24;     // exponentials of a block of rows, 64 MB
constexpr long HIDDEN_FLOATS = 1L << 17;   // hidden vectors of a block of rows, 512 kB

// Number of rows in a block: enough to make up for reading all weights again, few enough for the caches.
static long rows_in_block(const CrossEntropy& e) {
  const long kept = e.d_hidden ? KEPT_FLOATS / larger(1, e.V) : HIDDEN_FLOATS;
  return equal_rows(e.M, smaller(kept, HIDDEN_FLOATS / larger(1, e.H)));
}

struct CrossEntropyScratch {
  Scratch scratch;
  const long R;
  const SoftmaxRows softmax;
  const long row_stride;
  long n_chunks, hidden_width, total;
  float *columns, *rows, *exps, *largest;  // shared
  float *dh, *weights, *scale;             // per member
  CrossEntropyScratch(const CrossEntropy& e, int member, int team_size, float* base)
      : scratch{base}, R(rows_in_block(e)), softmax(scratch, R, team_size), row_stride(softmax.stride) {
    n_chunks = team_size * (ceil_div(ceil_div(e.V, team_size), CHUNK) + 1);
    hidden_width = round_up(e.H, W);
    const bool has_gradients = e.d_hidden;
    columns = scratch.take(round_up(R, W) * e.H);
    rows = has_gradients ? scratch.take(R * hidden_width) : nullptr;
    exps = scratch.take(row_stride * (has_gradients ? e.V : CHUNK * team_size));
    largest = scratch.take(row_stride * n_chunks);
    dh = has_gradients ? scratch.take(R * hidden_width * team_size) : nullptr;
    float* const all_weights = has_gradients ? scratch.take(CHUNK * hidden_width * team_size) : nullptr;
    weights = all_weights + (has_gradients ? CHUNK * hidden_width * member : 0);
    scale = scratch.take(row_stride * team_size) + row_stride * member;
    total = scratch.used;
  }
};

// The part of one member in a block of rows.
struct CrossEntropyBlock : SoftmaxBlock {
  const CrossEntropyScratch& s;
  CrossEntropyBlock(const CrossEntropy& e, const CrossEntropyScratch& s, int member, int team_size, long first)
      : SoftmaxBlock(e, s.softmax, member, team_size, first, smaller(s.R, e.M - first)), s(s) {}

  long chunk_of(long word) const {  // a unique index for each chunk of each member
    return member * (s.n_chunks / team_size) + (word - first_word) / CHUNK;
  }
  // Without gradients, every chunk overwrites the previous one.
  float* exps_of(long word) const {
    return s.exps + s.row_stride * (e.d_hidden ? word : CHUNK * member + (word - first_word) % CHUNK);
  }

  // Packs the hidden vectors as the right-hand side of both products.
  void pack() const {
    const float* const h = e.hidden + first * e.H;
    const Panels by_rows(n_rows, team_size), by_columns(e.H, team_size);
    for (long panel = by_rows.n_panels * member / team_size; panel < by_rows.n_panels * (member + 1) / team_size; panel++) {
      const long begin = by_rows.begin(panel) * W;
      pack_transposed(h + begin * e.H, e.H, by_rows.width(panel), [&](long v) { return v * W; },
                      [&](long v) { return n_rows - begin - v * W; }, s.columns + begin * e.H, e.H);
    }
    if (e.d_hidden)
      pack_rows([&](long k) { return h + k * e.H; }, n_rows, e.H, by_columns, by_columns.n_panels * member / team_size,
                by_columns.n_panels * (member + 1) / team_size, s.rows);
  }

  void logits(long word, long n_words) const {
    float* const to = exps_of(word);
    const Panels panels(n_rows, team_size);
    for (long panel = 0; panel < panels.n_panels; panel++)
      with_width(panels.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const float* const columns = s.columns + panels.begin(panel) * W * e.H;
        tile_over<tile_rows(NV)>(n_words, [&](long i, long n) {
          const float* rows[tile_rows(NV)];
          Tile<NV> acc;
          for (long m = 0; m < tile_rows(NV); m++) {
            rows[m] = e.weight + (word + smaller(i + m, n_words - 1)) * e.H;
            const Vec bias = splat(e.bias && m < n ? e.bias[word + i + m] : 0.f);
            for (int v = 0; v < NV; v++) acc[m][v] = bias;
          }
          multiply(acc, n, rows, 0, 1, columns, e.H);
          for (long m = 0; m < n; m++)
            for (int v = 0; v < NV; v++) store(to + (i + m) * s.row_stride + (panels.begin(panel) + v) * W, acc[m][v]);
        });
      });
  }

  // Replaces exponentials by the gradients of the logits, d above.
  void differentiate(long word, long n_words) const {
    float* const chunk = exps_of(word);
    const float* const largest = s.largest + chunk_of(word) * s.row_stride;
    for (long m = 0; m < n_rows; m += W)
      store(s.scale + m, exp_below(load(largest + m) - load(softmax.row_largest + m)) / load(softmax.row_sum + m));
    const Vec even = splat(e.smoothing / (float)e.V);
    for (long i = 0; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W) {
        float* const at = chunk + i * s.row_stride + m;
        store(at, load(at) * load(s.scale + m) - even);
      }
    for (long m = 0; m < n_rows; m++) {
      const int64_t target = e.targets[first + m];
      if (target >= word && target < word + n_words) chunk[(target - word) * s.row_stride + m] -= 1.f - e.smoothing;
    }
    if (!e.d_bias) return;
    for (long i = 0; i < n_words; i++) {
      Vec sum = {};
      for (long m = 0; m < n_rows; m += W) sum += load_n(chunk + i * s.row_stride + m, n_rows - m);
      write_bias(word + i, sum);
    }
  }

  void weight_gradient(long word, long n_words) const {
    const float* const chunk = exps_of(word);
    const Panels panels(e.H, team_size);
    for (long panel = 0; panel < panels.n_panels; panel++)
      with_width(panels.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long column = panels.begin(panel) * W;
        tile_over<tile_rows(NV)>(n_words, [&](long i, long n) {
          const float* rows[tile_rows(NV)];
          for (long m = 0; m < tile_rows(NV); m++) rows[m] = chunk + (i + smaller(m, n - 1)) * s.row_stride;
          Tile<NV> acc = {};
          multiply(acc, n, rows, 0, 1, s.rows + column * n_rows, n_rows);
          for (long m = 0; m < n; m++)
            for (int v = 0; v < NV; v++) {
              const long at = column + v * W;
              float* const to = e.d_weight + (word + i + m) * e.H + at;
              store_n(to, first ? load_n(to, e.H - at) + acc[m][v] : acc[m][v], e.H - at);
            }
        });
      });
  }

  void hidden_gradient(long word, long n_words) const {
    const float* const chunk = exps_of(word);
    const Panels panels(e.H, team_size);
    pack_rows([&](long k) { return e.weight + (word + k) * e.H; }, n_words, e.H, panels, 0, panels.n_panels, s.weights);
    float* const dh = s.dh + member * s.R * s.hidden_width;
    for (long panel = 0; panel < panels.n_panels; panel++)
      with_width(panels.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long column = panels.begin(panel) * W;
        tile_over<tile_rows(NV)>(n_rows, [&](long i, long n) {
          const float* rows[tile_rows(NV)];
          for (long m = 0; m < tile_rows(NV); m++) rows[m] = chunk + i + smaller(m, n - 1);
          Tile<NV> acc = {};
          float* const to = dh + i * s.hidden_width + column;
          if (word != first_word)
            for (long m = 0; m < n; m++)
              for (int v = 0; v < NV; v++) acc[m][v] = load(to + m * s.hidden_width + v * W);
          multiply(acc, n, rows, 0, s.row_stride, s.weights + column * n_words, n_words);
          for (long m = 0; m < n; m++)
            for (int v = 0; v < NV; v++) store(to + m * s.hidden_width + v * W, acc[m][v]);
        });
      });
  }
};

static void cross_entropy(const CrossEntropy& e, float* scratch, int member, Team& team) {
  const CrossEntropyScratch s(e, member, team.size, scratch);
  for (long first = 0; first < e.M; first += s.R) {
    const CrossEntropyBlock block(e, s, member, team.size, first);
    block.pack();
    block.start();
    team.wait();
    block.over_chunks(CHUNK, [&](long word, long n_words) {
      block.logits(word, n_words);
      block.accumulate(block.exps_of(word), word, n_words, s.largest + block.chunk_of(word) * s.row_stride, s.scale);
    });
    team.wait();
    if (member == 0) block.combine();
    team.wait();
    if (!e.d_hidden) continue;
    block.over_chunks(CHUNK, [&](long word, long n_words) {
      block.differentiate(word, n_words);
      block.weight_gradient(word, n_words);
      block.hidden_gradient(word, n_words);
    });
    team.wait();
    block.reduce(s.dh, s.R, s.hidden_width);
    // The packed arrays of this block are no longer read by any member; the sums belong to each member.
  }
}

static long cross_entropy_floats(const CrossEntropy& e, int team_size) {
  return CrossEntropyScratch(e, 0, team_size, nullptr).total;
}

}  // namespace UNROLLED_ISA
