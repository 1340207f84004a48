// Vectors of W floats with the vector extensions of GCC and Clang, and the two non-linearities of the cells.
//
// Every file that includes this is compiled once per instruction set, with
//   UNROLLED_ISA    the namespace, e.g. avx2
//   UNROLLED_LANES  W
// Everything here is in that namespace, and neither this file nor the kernels instantiate templates of the standard
// library: an inline function in two objects would be linked from only one of them, perhaps with instructions that the
// processor does not support.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline, unused))

namespace UNROLLED_ISA {

constexpr int W = UNROLLED_LANES;
// The number of registers limits the size of a tile of accumulators.
#if UNROLLED_LANES == 16 || defined(__aarch64__)
constexpr int N_REGISTERS = 32;
#else
constexpr int N_REGISTERS = 16;
#endif

typedef float Vec __attribute__((vector_size(4 * UNROLLED_LANES)));
typedef float UnalignedVec __attribute__((vector_size(4 * UNROLLED_LANES), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(4 * UNROLLED_LANES)));

constexpr long round_up(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }
constexpr long ceil_div(long a, long b) { return (a + b - 1) / b; }
constexpr long smaller(long a, long b) { return a < b ? a : b; }
constexpr long larger(long a, long b) { return a < b ? b : a; }

ALWAYS_INLINE Vec load(const float* p) { return *(const UnalignedVec*)p; }
ALWAYS_INLINE void store(float* p, Vec v) { *(UnalignedVec*)p = v; }
ALWAYS_INLINE Vec splat(float x) { return x - Vec{}; }

// Asks for n floats that are needed soon. Reading beyond the end of an array is harmless here.
ALWAYS_INLINE void prefetch(const float* p, long n) {
  for (long i = 0; i < n; i += 16) __builtin_prefetch(p + i);
}
// The same for numbers that are needed a little later: into the second cache.
ALWAYS_INLINE void prefetch_later(const float* p, long n) {
  for (long i = 0; i < n; i += 16) __builtin_prefetch(p + i, 0, 2);
}

// The first n lanes, 0 ≤ n < W; the others are zero, and their memory is not accessed.
#if UNROLLED_LANES == 16
ALWAYS_INLINE Vec load_part(const float* p, long n) {
  return (Vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
ALWAYS_INLINE void store_part(float* p, Vec v, long n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif UNROLLED_LANES == 8 && defined(__AVX2__)
ALWAYS_INLINE __m256i first_lanes(long n) {
  return (__m256i)(IntVec{0, 1, 2, 3, 4, 5, 6, 7} < (IntVec)_mm256_set1_epi32((int)n));
}
ALWAYS_INLINE Vec load_part(const float* p, long n) { return (Vec)_mm256_maskload_ps(p, first_lanes(n)); }
ALWAYS_INLINE void store_part(float* p, Vec v, long n) { _mm256_maskstore_ps(p, first_lanes(n), (__m256)v); }
#else  // loops, which are not inlined at each of hundreds of places
NEVER_INLINE Vec load_part(const float* p, long n) {
  float lanes[W] = {};
  for (long i = 0; i < n; i++) lanes[i] = p[i];
  return load(lanes);
}
NEVER_INLINE void store_part(float* p, Vec v, long n) {
  float lanes[W];
  store(lanes, v);
  for (long i = 0; i < n; i++) p[i] = lanes[i];
}
#endif

// The same for any n.
ALWAYS_INLINE Vec load_n(const float* p, long n) { return __builtin_expect(n >= W, 1) ? load(p) : load_part(p, n); }
ALWAYS_INLINE void store_n(float* p, Vec v, long n) {
  if (__builtin_expect(n >= W, 1)) store(p, v);
  else store_part(p, v, n);
}

// Bounds of x that propagate a NaN in x (x86 returns the second operand).
ALWAYS_INLINE Vec at_most(Vec bound, Vec x) {
#if UNROLLED_LANES == 16
  return (Vec)_mm512_min_ps((__m512)bound, (__m512)x);
#elif UNROLLED_LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_min_ps((__m256)bound, (__m256)x);
#else
  return bound < x ? bound : x;
#endif
}
ALWAYS_INLINE Vec at_least(Vec bound, Vec x) {
#if UNROLLED_LANES == 16
  return (Vec)_mm512_max_ps((__m512)bound, (__m512)x);
#elif UNROLLED_LANES == 8 && defined(__AVX__)
  return (Vec)_mm256_max_ps((__m256)bound, (__m256)x);
#else
  return bound > x ? bound : x;
#endif
}

// exp(x) = 2^n · (1 + p) with x = n·ln 2 + r, p = expm1(r); |x| < 88. The polynomial is Cephes' expf.
ALWAYS_INLINE void exp_parts(Vec x, Vec& p, Vec& power) {
  const Vec magic = splat(12582912.f);  // 1.5 · 2^23; adding it rounds to an integer in the low bits
  const Vec shifted = x * splat(1.44269504088896341f) + magic;
  const Vec n = shifted - magic;
  Vec r = x - n * splat(0.693359375f);
  r = r - n * splat(-2.12194440e-4f);
  Vec q = splat(1.9875691500e-4f) * r + splat(1.3981999507e-3f);
  q = q * r + splat(8.3334519073e-3f);
  q = q * r + splat(4.1665795894e-2f);
  q = q * r + splat(1.6666665459e-1f);
  q = q * r + splat(5.0000001201e-1f);
  p = q * (r * r) + r;
  power = (Vec)(((IntVec)shifted << 23) + 0x3f800000);
}

// exp(x) for x ≤ 0; below −87 it is the smallest positive number. NaN is propagated.
ALWAYS_INLINE Vec exp_below(Vec x) {
  Vec p, power;
  exp_parts(at_least(splat(-87.f), x), p, power);
  return p * power + power;
}

ALWAYS_INLINE Vec sigmoid(Vec x) {
  Vec p, power;
  exp_parts(-at_most(splat(87.f), at_least(splat(-87.f), x)), p, power);
  return splat(1.f) / (p * power + (power + splat(1.f)));
}

// |x| < 0.625: x + x³ · P(x²), Cephes' tanhf; otherwise ±(1 − 2 / (exp(2|x|) + 1)), with only the rounding error of the
// small second term.
ALWAYS_INLINE Vec tanh_of(Vec x) {
  const IntVec sign = (IntVec)x & (int32_t)0x80000000;
  const Vec size = (Vec)((IntVec)x ^ sign), square = x * x;
  Vec near = splat(-5.70498872745e-3f) * square + splat(2.06390887954e-2f);
  near = near * square + splat(-5.37397155531e-2f);
  near = near * square + splat(1.33314422036e-1f);
  near = near * square + splat(-3.33332819422e-1f);
  near = near * square * x + x;
  const Vec bounded = at_most(splat(9.2f), size);
  Vec p, power;
  exp_parts(bounded + bounded, p, power);
  const Vec far = splat(1.f) - splat(2.f) / (p * power + (power + splat(1.f)));
  return size < splat(0.625f) ? near : (Vec)((IntVec)far | sign);
}

// max(0, x) that propagates NaN, as in torch.
ALWAYS_INLINE Vec relu(Vec x) { return at_least(Vec{}, x); }

// Transposes a W × W matrix.
ALWAYS_INLINE void transpose(Vec* rows) {
#if defined(__clang__)
  float from[W][W], to[W];
  for (int i = 0; i < W; i++) store(from[i], rows[i]);
  for (int j = 0; j < W; j++) {
    for (int i = 0; i < W; i++) to[i] = from[i][j];
    rows[j] = load(to);
  }
#else  // in registers
#pragma GCC unroll 4
  for (int s = 1; s < W; s *= 2) {
    IntVec even, odd;
    for (int lane = 0; lane < W; lane++) {
      even[lane] = (lane & s) ? W + lane - s : lane;
      odd[lane] = (lane & s) ? W + lane : lane + s;
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++)
      if (!(i & s)) {
        const Vec a = rows[i], b = rows[i + s];
        rows[i] = __builtin_shuffle(a, b, even);
        rows[i + s] = __builtin_shuffle(a, b, odd);
      }
  }
#endif
}

}  // namespace UNROLLED_ISA
