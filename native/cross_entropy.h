// Cross-entropy of a softmax over a linear layer, with all gradients, computed in blocks of rows and words.
//
//   l_mw = W_w · h_m + b_w        nats_m = log Σ_w exp l_mw − l_m,target
//   d_mw = exp(l_mw) / Σ_w exp l_mw − [w is the target]       dW = dᵀ h,  dh = d W,  db = Σ_m d_m
//
// Each member of the team has a range of words. Logits are stored as [words, rows], so that the sums of a row are in
// one lane, and that the products of both gradients can use them as left-hand side. Nothing is computed twice: each
// logit is stored as its exponential, relative to the maximum of its chunk of words.
#pragma once

#include <float.h>
#include <math.h>

#include "cells.h"

namespace UNROLLED_ISA {

using unrolled::CrossEntropy;

constexpr long CHUNK = 128;                // words at a time, so that their logits stay in the L1 cache
constexpr long KEPT_FLOATS = 1L << 24;     // exponentials of a block of rows, 64 MB
constexpr long HIDDEN_FLOATS = 1L << 17;   // hidden vectors of a block of rows, 512 kB
constexpr long LEAST_ROWS = 32;

// Number of rows in a block: enough to make up for reading all weights again, few enough for the caches.
static long rows_in_block(const CrossEntropy& e) {
  const long kept = e.d_hidden ? KEPT_FLOATS / larger(1, e.V) : HIDDEN_FLOATS;
  const long rows = larger(LEAST_ROWS, smaller(kept, HIDDEN_FLOATS / larger(1, e.H)));
  const long n_blocks = larger(1, ceil_div(e.M, rows));
  return larger(1, ceil_div(e.M, n_blocks));
}

struct CrossEntropyScratch {
  long R, n_chunks, row_stride, hidden_width, total;
  float *columns, *rows, *exps, *largest, *right;      // shared
  float *row_largest, *row_sum, *logit_sum, *dh, *weights, *scale;  // per member
  CrossEntropyScratch(const CrossEntropy& e, int member, int team_size, float* base) {
    Scratch scratch{base};
    R = rows_in_block(e);
    n_chunks = team_size * (ceil_div(ceil_div(e.V, team_size), CHUNK) + 1);
    row_stride = stride_of(R);
    hidden_width = round_up(e.H, W);
    const bool has_gradients = e.d_hidden;
    columns = scratch.take(round_up(R, W) * e.H);
    rows = has_gradients ? scratch.take(R * hidden_width) : nullptr;
    exps = scratch.take(row_stride * (has_gradients ? e.V : CHUNK * team_size));
    largest = scratch.take(row_stride * n_chunks);
    right = scratch.take(row_stride);
    float* const row_sums = scratch.take(3 * row_stride * team_size);
    row_largest = row_sums, row_sum = row_sums + row_stride * team_size;
    logit_sum = row_sum + row_stride * team_size;
    dh = has_gradients ? scratch.take(R * hidden_width * team_size) : nullptr;
    float* const all_weights = has_gradients ? scratch.take(CHUNK * hidden_width * team_size) : nullptr;
    weights = all_weights + (has_gradients ? CHUNK * hidden_width * member : 0);
    scale = scratch.take(row_stride * team_size) + row_stride * member;
    total = scratch.used;
  }
};

// The part of one member in a block of rows.
struct CrossEntropyBlock {
  const CrossEntropy& e;
  const CrossEntropyScratch& s;
  const int member, team_size;
  const long first, n_rows;        // rows of the call
  const long first_word, end_word;  // of this member

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

  // Replaces logits by exponentials relative to the maximum of the chunk, and updates the maximum and sums of the row.
  void accumulate(long word, long n_words) const {
    float* const chunk = exps_of(word);
    for (long m = 0; m < n_rows; m++) {
      const int64_t target = e.targets[first + m];
      if (target >= word && target < word + n_words) s.right[m] = chunk[(target - word) * s.row_stride + m];
    }
    // One word after another, as in memory; the sums of a row stay in one lane.
    float *const most = s.largest + chunk_of(word) * s.row_stride, *const sum = s.scale;
    float* const all = s.logit_sum + member * s.row_stride;
    for (long m = 0; m < n_rows; m += W) {
      // Impossible words have a logit of −∞, and all words of a chunk may be impossible.
      store(most + m, at_least(splat(-FLT_MAX), load(chunk + m)));
      store(sum + m, Vec{});
    }
    for (long i = 1; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W)
        store(most + m, at_least(load(most + m), load(chunk + i * s.row_stride + m)));
    for (long i = 0; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W) {
        float* const at = chunk + i * s.row_stride + m;
        const Vec logit = load(at), exp = exp_below(logit - load(most + m));
        if (e.smoothing != 0.f) store(all + m, load(all + m) + logit);
        store(sum + m, load(sum + m) + exp);
        store(at, exp);
      }
    for (long m = 0; m < n_rows; m += W) {
      float *const row_largest = s.row_largest + member * s.row_stride + m, *const row_sum = s.row_sum + member * s.row_stride + m;
      const Vec before = load(row_largest), now = at_least(before, load(most + m));
      store(row_largest, now);
      store(row_sum, load(row_sum) * exp_below(before - now) + load(sum + m) * exp_below(load(most + m) - now));
    }
  }

  // Combines the maxima and sums of all members; the results for a row are stored with member 0.
  void combine() const {
    for (long m = 0; m < n_rows; m += W) {
      Vec most = load(s.row_largest + m), sum = {}, all = {};
      for (int other = 1; other < team_size; other++) most = at_least(most, load(s.row_largest + other * s.row_stride + m));
      for (int other = 0; other < team_size; other++) {
        const long its = other * s.row_stride + m;
        sum += load(s.row_sum + its) * exp_below(load(s.row_largest + its) - most);
        all += load(s.logit_sum + its);
      }
      store(s.row_largest + m, most);
      store(s.row_sum + m, sum);
      store(s.logit_sum + m, all);
    }
    for (long m = 0; m < n_rows; m++) {
      const float nats = (s.row_largest[m] - s.right[m]) + logf(s.row_sum[m]);
      const float even = s.right[m] - s.logit_sum[m] / (float)e.V;
      e.nats[first + m] = e.smoothing != 0.f ? nats + e.smoothing * even : nats;
    }
  }

  // Replaces exponentials by the gradients of the logits, d above.
  void differentiate(long word, long n_words) const {
    float* const chunk = exps_of(word);
    const float* const largest = s.largest + chunk_of(word) * s.row_stride;
    for (long m = 0; m < n_rows; m += W)
      store(s.scale + m, exp_below(load(largest + m) - load(s.row_largest + m)) / load(s.row_sum + m));
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
      float total = 0.f;
      for (int lane = 0; lane < W; lane++) total += sum[lane];
      e.d_bias[word + i] = first ? e.d_bias[word + i] + total : total;
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

  // Adds the parts of all members to the gradients of some rows.
  void reduce() const {
    for (long m = n_rows * member / team_size; m < n_rows * (member + 1) / team_size; m++)
      for (long h = 0; h < e.H; h += W) {
        Vec sum = {};
        for (int other = 0; other < team_size; other++) {
          if (e.V * other / team_size == e.V * (other + 1) / team_size) continue;  // it has no words
          sum += load(s.dh + (other * s.R + m) * s.hidden_width + h);
        }
        store_n(e.d_hidden + (first + m) * e.H + h, sum, e.H - h);
      }
  }

  template <class F>
  void over_chunks(F f) const {
    for (long word = first_word; word < end_word; word += CHUNK) f(word, smaller(CHUNK, end_word - word));
  }
};

static void cross_entropy(const CrossEntropy& e, float* scratch, int member, Team& team) {
  const CrossEntropyScratch s(e, member, team.size, scratch);
  for (long first = 0; first < e.M; first += s.R) {
    const CrossEntropyBlock block{e, s, member, team.size, first, smaller(s.R, e.M - first),
                                  e.V * member / team.size, e.V * (member + 1) / team.size};
    block.pack();
    for (long m = 0; m < s.row_stride; m += W) {
      const long mine = member * s.row_stride + m;
      store(s.row_largest + mine, splat(-FLT_MAX));
      store(s.row_sum + mine, Vec{});
      store(s.logit_sum + mine, Vec{});
    }
    team.wait();
    block.over_chunks([&](long word, long n_words) {
      block.logits(word, n_words);
      block.accumulate(word, n_words);
    });
    team.wait();
    if (member == 0) block.combine();
    team.wait();
    if (!e.d_hidden) continue;
    block.over_chunks([&](long word, long n_words) {
      block.differentiate(word, n_words);
      block.weight_gradient(word, n_words);
      block.hidden_gradient(word, n_words);
    });
    team.wait();
    block.reduce();
    // The packed arrays of this block are no longer read by any member; the sums belong to each member.
  }
}

static long cross_entropy_floats(const CrossEntropy& e, int team_size) {
  return CrossEntropyScratch(e, 0, team_size, nullptr).total;
}

}  // namespace UNROLLED_ISA
