// The softmax of one block of rows, whose logits are computed in chunks of words: maxima, sums and losses.
//
// Logits are stored as [words, rows], so that the sums of a row are in one lane. Each member of the team has a range of
// words.
#pragma once

#include <float.h>
#include <math.h>

#include "cells.h"

namespace UNROLLED_ISA {

using unrolled::CrossEntropy;

constexpr long LEAST_ROWS = 32;

// The number of rows in each of nearly equal blocks of at most this many.
ALWAYS_INLINE long equal_rows(long M, long at_most) {
  const long n_blocks = larger(1, ceil_div(M, larger(LEAST_ROWS, at_most)));
  return larger(1, ceil_div(M, n_blocks));
}

// The numbers of each row.
struct SoftmaxRows {
  long stride;                             // floats from one word, or one member, to the next
  float *right;                            // logits of the targets; shared
  float *row_largest, *row_sum, *logit_sum;  // per member
  SoftmaxRows(Scratch& scratch, long n_rows, int team_size) {
    stride = stride_of(n_rows);
    right = scratch.take(stride);
    float* const sums = scratch.take(3 * stride * team_size);
    row_largest = sums, row_sum = sums + stride * team_size, logit_sum = row_sum + stride * team_size;
  }
};

// The part of one member in a block of rows.
struct SoftmaxBlock {
  const CrossEntropy& e;
  const SoftmaxRows& softmax;
  const int member, team_size;
  const long first, n_rows;         // rows of the call
  const long first_word, end_word;  // of this member

  SoftmaxBlock(const CrossEntropy& e, const SoftmaxRows& softmax, int member, int team_size, long first, long n_rows)
      : e(e), softmax(softmax), member(member), team_size(team_size), first(first), n_rows(n_rows),
        first_word(e.V * member / team_size), end_word(e.V * (member + 1) / team_size) {}

  void start() const {
    for (long m = 0; m < softmax.stride; m += W) {
      const long mine = member * softmax.stride + m;
      store(softmax.row_largest + mine, splat(-FLT_MAX));
      store(softmax.row_sum + mine, Vec{});
      store(softmax.logit_sum + mine, Vec{});
    }
  }

  // Replaces logits by exponentials relative to the maximum of the chunk, and updates the maximum and sums of the row.
  // `most` is the chunk's maximum of each row, and `sum` is memory for its sums.
  void accumulate(float* chunk, long word, long n_words, float* most, float* sum) const {
    for (long m = 0; m < n_rows; m++) {
      const int64_t target = e.targets[first + m];
      if (target >= word && target < word + n_words) softmax.right[m] = chunk[(target - word) * softmax.stride + m];
    }
    // One word after another, as in memory; the sums of a row stay in one lane.
    float* const all = softmax.logit_sum + member * softmax.stride;
    for (long m = 0; m < n_rows; m += W) {
      // Impossible words have a logit of −∞, and all words of a chunk may be impossible.
      store(most + m, at_least(splat(-FLT_MAX), load(chunk + m)));
      store(sum + m, Vec{});
    }
    for (long i = 1; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W)
        store(most + m, at_least(load(most + m), load(chunk + i * softmax.stride + m)));
    for (long i = 0; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W) {
        float* const at = chunk + i * softmax.stride + m;
        const Vec logit = load(at), exp = exp_below(logit - load(most + m));
        if (e.smoothing != 0.f) store(all + m, load(all + m) + logit);
        store(sum + m, load(sum + m) + exp);
        store(at, exp);
      }
    for (long m = 0; m < n_rows; m += W) {
      const long mine = member * softmax.stride + m;
      float *const row_largest = softmax.row_largest + mine, *const row_sum = softmax.row_sum + mine;
      const Vec before = load(row_largest), now = at_least(before, load(most + m));
      store(row_largest, now);
      store(row_sum, load(row_sum) * exp_below(before - now) + load(sum + m) * exp_below(load(most + m) - now));
    }
  }

  // Combines the maxima and sums of all members; the results for a row are stored with member 0.
  void combine() const {
    for (long m = 0; m < n_rows; m += W) {
      Vec most = load(softmax.row_largest + m), sum = {}, all = {};
      for (int other = 1; other < team_size; other++) most = at_least(most, load(softmax.row_largest + other * softmax.stride + m));
      for (int other = 0; other < team_size; other++) {
        const long its = other * softmax.stride + m;
        sum += load(softmax.row_sum + its) * exp_below(load(softmax.row_largest + its) - most);
        all += load(softmax.logit_sum + its);
      }
      store(softmax.row_largest + m, most);
      store(softmax.row_sum + m, sum);
      store(softmax.logit_sum + m, all);
    }
    for (long m = 0; m < n_rows; m++) {
      const float nats = (softmax.row_largest[m] - softmax.right[m]) + logf(softmax.row_sum[m]);
      const float even = softmax.right[m] - softmax.logit_sum[m] / (float)e.V;
      e.nats[first + m] = e.smoothing != 0.f ? nats + e.smoothing * even : nats;
    }
  }

  // Writes the gradient of a word's bias, the sum of those of its logits.
  void write_bias(long word, Vec sum) const {
    float total = 0.f;
    for (int lane = 0; lane < W; lane++) total += sum[lane];
    e.d_bias[word] = first ? e.d_bias[word] + total : total;
  }

  // Adds the parts of all members, each [part_rows, width], to the gradients of some rows.
  void reduce(const float* parts, long part_rows, long width) const {
    for (long m = n_rows * member / team_size; m < n_rows * (member + 1) / team_size; m++)
      for (long h = 0; h < e.H; h += W) {
        Vec sum = {};
        for (int other = 0; other < team_size; other++) {
          if (e.V * other / team_size == e.V * (other + 1) / team_size) continue;  // it has no words
          sum += load(parts + (other * part_rows + m) * width + h);
        }
        store_n(e.d_hidden + (first + m) * e.H + h, sum, e.H - h);
      }
  }

  // Calls f(word, n_words) for each chunk of this member.
  template <class F>
  void over_chunks(long size, F f) const {
    for (long word = first_word; word < end_word; word += size) f(word, smaller(size, end_word - word));
  }
};

}  // namespace UNROLLED_ISA
