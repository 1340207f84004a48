// Products of a tile with packed weights in float32, bfloat16 or int8, and the rounding of weights. Sums are float32.
#pragma once

#include "gemm.h"
#include "recurrence.h"

namespace UNROLLED_ISA {

using unrolled::BFLOAT16;
using unrolled::FLOAT32;
using unrolled::INT8;

typedef uint32_t UIntVec __attribute__((vector_size(4 * UNROLLED_LANES)));
typedef uint32_t UnalignedUIntVec __attribute__((vector_size(4 * UNROLLED_LANES), aligned(4), may_alias));
typedef int8_t ByteVec __attribute__((vector_size(UNROLLED_LANES)));

// Converts W signed bytes to floats. GCC 12 compiles the general form to scalar code.
ALWAYS_INLINE Vec from_bytes(const int8_t* p) {
#if UNROLLED_LANES == 16
  return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif UNROLLED_LANES == 8 && defined(__AVX2__)
  return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#else
  ByteVec bytes;
  memcpy(&bytes, p, W);
  return __builtin_convertvector(__builtin_convertvector(bytes, IntVec), Vec);
#endif
}

constexpr long packed_bytes(int type, long K, long n_vectors) {
  return (type == FLOAT32 ? 4 * K : type == BFLOAT16 ? 4 * ceil_div(K, 2) : K) * n_vectors * W;
}

// The product of a tile with packed weights of any type. bfloat16 is the upper half of a float32; k and k + 1 share 32
// bits, with k in the lower half. int8 sums are multiplied by the scale of their column at the end.
template <int TYPE, int MR, int NV>
__attribute__((noinline)) static void multiply_rounded(Vec (*acc)[NV], const float* const* rows, const char* weights,
                                                       const float* scales, long K) {
  constexpr int AT_ONCE = MR * NV >= 8 ? 1 : TYPE == BFLOAT16 ? 2 : 4;
  Vec part[AT_ONCE][MR][NV] = {};
  const auto pair = [&](int u, long k, bool both) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      const UIntVec bits = *(const UnalignedUIntVec*)(weights + (k / 2 * NV + v) * W * 4);
      const Vec low = (Vec)(bits << 16), high = (Vec)(bits & 0xffff0000u);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) {
        part[u][m][v] += splat(rows[m][k]) * low;
        if (both) part[u][m][v] += splat(rows[m][k + 1]) * high;
      }
    }
  };
  const auto one = [&](int u, long k) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) {
      const Vec b = from_bytes((const int8_t*)weights + (k * NV + v) * W);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) part[u][m][v] += splat(rows[m][k]) * b;
    }
  };
  long k = 0;
  if constexpr (TYPE == BFLOAT16) {
    for (; k + 2 * AT_ONCE <= K; k += 2 * AT_ONCE)
#pragma GCC unroll 4
      for (int u = 0; u < AT_ONCE; u++) pair(u, k + 2 * u, true);
    for (; k + 2 <= K; k += 2) pair(0, k, true);
    if (k < K) pair(0, k, false);
  } else {
    for (; k + AT_ONCE <= K; k += AT_ONCE)
#pragma GCC unroll 4
      for (int u = 0; u < AT_ONCE; u++) one(u, k + u);
    for (; k < K; k++) one(0, k);
  }
  for (int m = 0; m < MR; m++)
    for (int v = 0; v < NV; v++) {
      Vec sum = part[0][m][v];
      for (int u = 1; u < AT_ONCE; u++) sum += part[u][m][v];
      acc[m][v] += TYPE == INT8 ? sum * load(scales + v * W) : sum;
    }
}

template <int TYPE, int NV>
ALWAYS_INLINE void multiply_packed(Tile<NV>& acc, long n_rows, const float* const* rows, const char* weights,
                                   const float* scales, long K) {
  if constexpr (TYPE == FLOAT32) return multiply<NV>(acc, n_rows, rows, 0, 1, (const float*)weights, K);
  switch (n_rows) {
    case 1: return multiply_rounded<TYPE, 1, NV>(acc.sum, rows, weights, scales, K);
    case 2: return multiply_rounded<TYPE, 2, NV>(acc.sum, rows, weights, scales, K);
    case 3: return multiply_rounded<TYPE, 3, NV>(acc.sum, rows, weights, scales, K);
    case 4: return multiply_rounded<TYPE, 4, NV>(acc.sum, rows, weights, scales, K);
    case 5: return multiply_rounded<TYPE, 5, NV>(acc.sum, rows, weights, scales, K);
    case 6: return multiply_rounded<TYPE, 6, NV>(acc.sum, rows, weights, scales, K);
  }
}

// Rounds one row of a weight and writes it to its lane of the packed block; returns the scale for int8.
ALWAYS_INLINE float pack_lane(int type, const float* row, long K, long n_vectors, long lane, char* to) {
  float largest = 0;
  for (long k = 0; k < K; k++) largest = __builtin_fmaxf(largest, __builtin_fabsf(row[k]));
  const float inverse = largest > 0 ? 127.f / largest : 0;
  for (long k = 0; k < K; k++) {
    if (type == INT8) {
      ((int8_t*)to)[k * n_vectors * W + lane] = (int8_t)__builtin_lrintf(row[k] * inverse);
      continue;
    }
    uint32_t bits;
    memcpy(&bits, row + k, 4);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // round to nearest, ties to even
    ((uint16_t*)to)[(k / 2 * n_vectors * W + lane) * 2 + (k & 1)] = (uint16_t)bits;
  }
  return largest / 127.f;
}

}  // namespace UNROLLED_ISA
