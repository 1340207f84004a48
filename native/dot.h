// Products with weights that are read as they are in memory, for few rows: nothing needs to be packed.
//
// A block of accumulators is MR rows × NR columns, each a vector of partial sums over k.
#pragma once

#include "gemm.h"

namespace UNROLLED_ISA {

typedef float Quad __attribute__((vector_size(16)));

// The four sums of the lanes of a, b, c and d.
ALWAYS_INLINE Quad lane_sums(Vec a, Vec b, Vec c, Vec d) {
#if defined(__clang__)
  Quad sums = {};
  for (int i = 0; i < W; i++) sums += Quad{a[i], b[i], c[i], d[i]};
  return sums;
#else  // in registers: pairs of lanes of two vectors, then of four, then the parts of four lanes
  IntVec low, high, left, right;
#pragma GCC unroll 16
  for (int i = 0; i < W; i++) {
    const int base = i & ~3, at = i & 3;
    low[i] = base + at / 2 + (at % 2) * W;
    high[i] = low[i] + 2;
    left[i] = base + at % 2 + (at / 2) * W;
    right[i] = left[i] + 2;
  }
  // ab: a0+a2 b0+b2 a1+a3 b1+b3
  const Vec ab = __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
  const Vec cd = __builtin_shuffle(c, d, low) + __builtin_shuffle(c, d, high);
  const Vec all = __builtin_shuffle(ab, cd, left) + __builtin_shuffle(ab, cd, right);
  Quad parts[W / 4], sums;
  memcpy(parts, &all, sizeof(all));
  sums = parts[0];
  for (int i = 1; i < W / 4; i++) sums += parts[i];
  return sums;
#endif
}

// out[m][n] = Σ_k x[m][k] · w[n][k] + bias[n]
template <int MR, int NR>
__attribute__((noinline)) static void dot_block(const float* const* x, const float* w, long K, const float* bias,
                                                float* out, long stride) {
  Vec acc[MR][NR] = {};
  const auto add = [&](long k, auto part) __attribute__((always_inline)) {
    Vec a[MR];
#pragma GCC unroll 8
    for (int m = 0; m < MR; m++) a[m] = part(x[m] + k);
#pragma GCC unroll 8
    for (int n = 0; n < NR; n++) {
      const Vec b = part(w + n * K + k);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) acc[m][n] += a[m] * b;
    }
  };
  long k = 0;
  for (; k + W <= K; k += W) add(k, [](const float* p) __attribute__((always_inline)) { return load(p); });
  if (k < K) add(k, [&](const float* p) __attribute__((always_inline)) { return load_n(p, K - k); });
  for (int m = 0; m < MR; m++) {
    float* to = out + m * stride;
    if constexpr (NR % 4 == 0) {
      for (int n = 0; n < NR; n += 4) {
        Quad sums = lane_sums(acc[m][n], acc[m][n + 1], acc[m][n + 2], acc[m][n + 3]);
        if (bias) {
          Quad added;
          memcpy(&added, bias + n, sizeof(added));
          sums += added;
        }
        memcpy(to + n, &sums, sizeof(sums));
      }
    } else {
      for (int n = 0; n < NR; n++) {
        float sum = bias ? bias[n] : 0;
        for (int i = 0; i < W; i++) sum += acc[m][n][i];
        to[n] = sum;
      }
    }
  }
}

// Eight columns, in one or two blocks.
template <int MR>
ALWAYS_INLINE void dot_columns(const float* const* x, const float* w, long K, const float* bias, float* out,
                               long stride) {
  constexpr int NR = MR * 8 <= (N_REGISTERS == 32 ? 24 : 8) ? 8 : 4;
#pragma GCC unroll 2
  for (int n = 0; n < 8; n += NR)
    dot_block<MR, NR>(x, w + n * K, K, bias ? bias + n : nullptr, out + n, stride);
}

constexpr int DOT_ROWS = N_REGISTERS == 32 ? 6 : 3;

// y = W x + b for rows of x; each weight is read from memory once.
ALWAYS_INLINE void dot_rows(const float* const* x, long n_rows, const float* w, const float* bias, long N, long K,
                            float* out, long stride) {
  const long whole = N / 8 * 8;
  for (long n = 0; n < whole; n += 8)
    tile_over<DOT_ROWS>(n_rows, [&](long i, long n_tile) {
      const float* own_bias = bias ? bias + n : nullptr;
      float* to = out + i * stride + n;
      switch (n_tile) {
        case 1: dot_columns<1>(x + i, w + n * K, K, own_bias, to, stride); break;
        case 2: dot_columns<2>(x + i, w + n * K, K, own_bias, to, stride); break;
        case 3: dot_columns<3>(x + i, w + n * K, K, own_bias, to, stride); break;
        case 4: if constexpr (DOT_ROWS >= 4) dot_columns<4>(x + i, w + n * K, K, own_bias, to, stride); break;
        case 5: if constexpr (DOT_ROWS >= 5) dot_columns<5>(x + i, w + n * K, K, own_bias, to, stride); break;
        case 6: if constexpr (DOT_ROWS >= 6) dot_columns<6>(x + i, w + n * K, K, own_bias, to, stride); break;
      }
    });
  for (long n = whole; n < N; n++)
    for (long i = 0; i < n_rows; i++)
      dot_block<1, 1>(x + i, w + n * K, K, bias ? bias + n : nullptr, out + i * stride + n, stride);
}

}  // namespace UNROLLED_ISA
