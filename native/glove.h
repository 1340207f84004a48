// GloVe's update for one block of pairs: the vector of a row stays in registers or the cache for all its columns.
//
// For a pair (i, j) with X_ij, as in the reference implementation of Pennington et al. (2014):
//   diff = w_i · w̃_j + b_i + b̃_j − log X_ij;   loss = f(X_ij) diff² / 2
//   g = clip(f(X_ij) diff · w̃_j) · rate;        w_i −= g / √s;  s += g²      (and with i and j exchanged)
//   b_i −= f diff / √s;  s += (f diff)²
#pragma once

#include "simd.h"
#include "vectors.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace UNROLLED_ISA {

using unrolled::GloVe;
using unrolled::Pair;
using unrolled::PairBlock;

// 1/√x for finite x ≥ 1: the estimate of the processor, refined to float precision by a Newton step.
ALWAYS_INLINE Vec inverse_root(Vec x) {
  const Vec half = splat(-0.5f) * x, three_halves = splat(1.5f);
#if defined(__aarch64__)
  Vec y = (Vec)vrsqrteq_f32((float32x4_t)x);
  y = y * (half * y * y + three_halves);  // the estimate has only 8 bits, on x86 at least 11
#elif UNROLLED_LANES == 16
  Vec y = (Vec)_mm512_rsqrt14_ps((__m512)x);
#elif UNROLLED_LANES == 8
  Vec y = (Vec)_mm256_rsqrt_ps((__m256)x);
#else
  Vec y = (Vec)_mm_rsqrt_ps((__m128)x);
#endif
  return y * (half * y * y + three_halves);
}

// Computed in registers, because each update of a row waits for this sum.
ALWAYS_INLINE float sum_of(Vec v) {
#if defined(__aarch64__)
  return vaddvq_f32((float32x4_t)v);
#else
#if UNROLLED_LANES == 16
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#elif UNROLLED_LANES == 8
  const __m256 eight = (__m256)v;
#endif
#if UNROLLED_LANES >= 8
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#else
  const __m128 four = (__m128)v;
#endif
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
#endif
}

// Number of machine vectors of w, and of its sums, that fit into registers beside those of a step.
constexpr long MOST_HELD = N_REGISTERS == 32 ? 8 : 2;

// Number of machine vectors in the vector of a word; the rest of the stride is not used.
static long vectors_of(const GloVe& g) { return (g.size + W - 1) / W; }

// For N machine vectors per word; N = 0 is for any number, and the row then stays in the L1 cache.
template <int N>
static void train_block_of(const GloVe& g, PairBlock& block) {
  const long n = N ? N : vectors_of(g), stride = g.stride;
  const long first_row = block.row_group * g.n_in_group, first_column = block.column_group * g.n_in_group;
  const Vec most = splat(g.clip * g.rate), least = -most;
  const Pair* pair = block.pairs;
  const Pair* const end = pair + block.n;
  double loss = 0;
  while (pair < end) {
    const uint16_t i = pair->row;
    float* const w_at = g.vectors[0] + (first_row + i) * stride;
    float* const sums_at = g.vector_sums[0] + (first_row + i) * stride;
    float bias = g.biases[0][first_row + i], bias_sum = g.bias_sums[0][first_row + i];
    Vec w[N ? N : 1], sums[N ? N : 1];
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) {
      w[v] = load(w_at + v * W);
      sums[v] = load(sums_at + v * W);
    }
    for (; pair < end && pair->row == i; pair++) {
      const long j = first_column + pair->column;
      float* const c_at = g.vectors[1] + j * stride;
      float* const c_sums_at = g.vector_sums[1] + j * stride;
      if (pair + 4 < end) {
        const long later = (first_column + pair[4].column) * stride;
        for (long v = 0; v < stride; v += 16) {
          __builtin_prefetch(g.vectors[1] + later + v);
          __builtin_prefetch(g.vector_sums[1] + later + v);
        }
      }
      Vec dot[4] = {};
      if constexpr (N != 0) {
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) dot[v & 3] += w[v] * load(c_at + v * W);
      } else {
        for (long v = 0; v < n; v += 4)
          for (long k = 0; k < 4 && v + k < n; k++) dot[k] += load(w_at + (v + k) * W) * load(c_at + (v + k) * W);
      }
      float& c_bias = g.biases[1][j];
      float& c_bias_sum = g.bias_sums[1][j];
      const float diff = sum_of((dot[0] + dot[1]) + (dot[2] + dot[3])) + bias + c_bias - pair->log_count;
      const float weighted = pair->weight * diff;
      if (__builtin_expect(!(__builtin_fabsf(weighted) <= 3.4e38f), 0)) {
        block.refused = pair - block.pairs;
        break;
      }
      loss += 0.5 * (double)weighted * (double)diff;
      const Vec step = splat(weighted * g.rate);
      const auto update = [&](Vec& own, Vec& own_sum, long v) __attribute__((always_inline)) {
        const Vec c = load(c_at + v * W), c_sum = load(c_sums_at + v * W);
        const Vec to_w = at_most(most, at_least(least, step * c));
        const Vec to_c = at_most(most, at_least(least, step * own));
        own = own - to_w * inverse_root(own_sum);
        own_sum = own_sum + to_w * to_w;
        store(c_at + v * W, c - to_c * inverse_root(c_sum));
        store(c_sums_at + v * W, c_sum + to_c * to_c);
      };
      if constexpr (N != 0) {
#pragma GCC unroll 8
        for (int v = 0; v < N; v++) update(w[v], sums[v], v);
      } else {
        for (long v = 0; v < n; v++) {
          Vec own = load(w_at + v * W), own_sum = load(sums_at + v * W);
          update(own, own_sum, v);
          store(w_at + v * W, own);
          store(sums_at + v * W, own_sum);
        }
      }
      const float square = weighted * weighted;
      bias -= weighted / __builtin_sqrtf(bias_sum);
      bias_sum += square;
      c_bias -= weighted / __builtin_sqrtf(c_bias_sum);
      c_bias_sum += square;
    }
#pragma GCC unroll 8
    for (int v = 0; v < N; v++) {
      store(w_at + v * W, w[v]);
      store(sums_at + v * W, sums[v]);
    }
    g.biases[0][first_row + i] = bias;
    g.bias_sums[0][first_row + i] = bias_sum;
    if (block.refused >= 0) break;
  }
  block.loss = loss;
}

static void train_block(const GloVe& g, PairBlock& block) {
  const long n = vectors_of(g);
  if (n > MOST_HELD) return train_block_of<0>(g, block);
  switch (n) {
    case 1: return train_block_of<1>(g, block);
    case 2: return train_block_of<2>(g, block);
#if UNROLLED_LANES == 16
    case 3: return train_block_of<3>(g, block);
    case 5: return train_block_of<5>(g, block);
    case 6: return train_block_of<6>(g, block);
    case 7: return train_block_of<7>(g, block);
    case 8: return train_block_of<8>(g, block);
#endif
    case 4: if (MOST_HELD >= 4) return train_block_of<4>(g, block);
  }
  return train_block_of<0>(g, block);
}

}  // namespace UNROLLED_ISA
