// Products of matrices in bfloat16 with sums in float32: C[M, 32] (+)= A[M, K] · B[K, 32].
//
// A has rows of numbers in bfloat16 with a constant stride; K is a multiple of 32. B is packed in blocks of 32 k, each
// with two tiles [16 pairs of k][16 columns][2]: what one instruction multiplies, `vdpbf16ps` as well as `tdpbf16ps` of
// AMX. AMX computes whole tiles of 16 rows, so up to 15 rows after the last one are read, and the same of C is written.
#pragma once

#include "cells.h"
#include "mixed.h"

namespace UNROLLED_ISA {

typedef uint16_t Half;
constexpr long BLOCK = 32;                       // k, and columns, of one block
constexpr long BLOCK_HALVES = BLOCK * BLOCK;     // of packed B
constexpr long TILE_HALVES = BLOCK_HALVES / 2;
constexpr long TILE_ROWS = 16;

struct Left {
  const Half* data;
  long stride;  // halves from one row to the next
};

constexpr long half_stride(long width) { return round_up(width, BLOCK) + BLOCK; }  // never a power of two

// The first n lanes of v; the others are zero. n may exceed W.
ALWAYS_INLINE Vec below(Vec v, long n) {
  return n >= W ? v : (Vec)_mm512_maskz_mov_ps((__mmask16)((1u << n) - 1), (__m512)v);
}
ALWAYS_INLINE Vec load_half(const Half* p, long n) {
  const __mmask16 mask = n >= W ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
  return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p)), 16);
}
// The first n of 32 numbers; the others are zero, and their memory is not read. n may exceed 32.
ALWAYS_INLINE __m512i load_halves(const Half* p, long n) {
  return n >= BLOCK ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p);
}
ALWAYS_INLINE void store_half(Half* p, Vec v, long n) {
  const __mmask16 mask = n >= W ? (__mmask16)0xffff : (__mmask16)((1u << n) - 1);
  _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh((__m512)v));
}

#if defined(__AMX_BF16__)

struct TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t n_rows[16];
};

// The intrinsics of GCC 12 do not say which memory they read and write, so this stands before and after them.
ALWAYS_INLINE void settle_memory(const void* known) { __asm__ volatile("" : : "r"(known) : "memory"); }

// Configures the tiles of this thread, and restores on destruction what others had configured.
class Tiles {
 public:
  __attribute__((always_inline)) Tiles() {
    _tile_storeconfig(&before_);
    settle_memory(&before_);
    TileConfig config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int tile = 0; tile < 8; tile++) config.row_bytes[tile] = 64, config.n_rows[tile] = TILE_ROWS;
    settle_memory(&config);
    _tile_loadconfig(&config);
  }
  __attribute__((always_inline)) ~Tiles() {
    settle_memory(&before_);
    if (before_.palette) _tile_loadconfig(&before_);
    else _tile_release();
  }

 private:
  TileConfig before_;
};

template <bool TWO_ROWS>
ALWAYS_INLINE void multiply_tiles(long K, const Half* a, long a_stride, const Half* b, float* c, long c_stride, bool add) {
  const long a_bytes = a_stride * 2, c_bytes = c_stride * 4;
  settle_memory(c);
  if (add) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + W, c_bytes);
    if (TWO_ROWS) _tile_loadd(2, c + TILE_ROWS * c_stride, c_bytes);
    if (TWO_ROWS) _tile_loadd(3, c + TILE_ROWS * c_stride + W, c_bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if (TWO_ROWS) _tile_zero(2);
    if (TWO_ROWS) _tile_zero(3);
  }
  for (long k = 0; k < K; k += BLOCK, b += BLOCK_HALVES) {
    _tile_loadd(4, a + k, a_bytes);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + TILE_HALVES, 64);
    if (TWO_ROWS) _tile_loadd(5, a + TILE_ROWS * a_stride + k, a_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (TWO_ROWS) _tile_dpbf16ps(2, 5, 6);
    if (TWO_ROWS) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + W, c_bytes);
  if (TWO_ROWS) _tile_stored(2, c + TILE_ROWS * c_stride, c_bytes);
  if (TWO_ROWS) _tile_stored(3, c + TILE_ROWS * c_stride + W, c_bytes);
  settle_memory(c);
}

// Not inlined: with all uses of the tiles in one place, the kernels compile in half of the time.
NEVER_INLINE void multiply_mixed(long M, long K, Left a, const Half* b, float* c, long c_stride, bool add = false) {
  for (long m = 0; m < M; m += 2 * TILE_ROWS)
    if (M - m > TILE_ROWS) multiply_tiles<true>(K, a.data + m * a.stride, a.stride, b, c + m * c_stride, c_stride, add);
    else multiply_tiles<false>(K, a.data + m * a.stride, a.stride, b, c + m * c_stride, c_stride, add);
}

#else

struct Tiles {
  __attribute__((always_inline)) ~Tiles() {}
};

ALWAYS_INLINE __m512bh pair_of(const Half* p) {
  int pair;
  memcpy(&pair, p, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

template <int MR>
__attribute__((noinline)) static void multiply_pairs(long K, Left a, const Half* b, float* c, long c_stride, bool add) {
  __m512 sum[MR][2];
  for (int m = 0; m < MR; m++)
    for (int v = 0; v < 2; v++) sum[m][v] = add ? (__m512)load(c + m * c_stride + v * W) : _mm512_setzero_ps();
  for (long k = 0; k < K; k += BLOCK, b += BLOCK_HALVES)
#pragma GCC unroll 2
    for (long pair = 0; pair < BLOCK / 2; pair++) {
      const __m512bh first = (__m512bh)_mm512_loadu_si512(b + pair * 2 * W);
      const __m512bh second = (__m512bh)_mm512_loadu_si512(b + TILE_HALVES + pair * 2 * W);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) {
        const __m512bh left = pair_of(a.data + m * a.stride + k + 2 * pair);
        sum[m][0] = _mm512_dpbf16_ps(sum[m][0], left, first);
        sum[m][1] = _mm512_dpbf16_ps(sum[m][1], left, second);
      }
    }
  for (int m = 0; m < MR; m++)
    for (int v = 0; v < 2; v++) store(c + m * c_stride + v * W, (Vec)sum[m][v]);
}

NEVER_INLINE void multiply_mixed(long M, long K, Left a, const Half* b, float* c, long c_stride, bool add = false) {
  tile_over<8>(M, [&](long m, long n_rows) {
    const Left rows{a.data + m * a.stride, a.stride};
    float* to = c + m * c_stride;
    switch (n_rows) {
      case 1: return multiply_pairs<1>(K, rows, b, to, c_stride, add);
      case 2: return multiply_pairs<2>(K, rows, b, to, c_stride, add);
      case 3: return multiply_pairs<3>(K, rows, b, to, c_stride, add);
      case 4: return multiply_pairs<4>(K, rows, b, to, c_stride, add);
      case 5: return multiply_pairs<5>(K, rows, b, to, c_stride, add);
      case 6: return multiply_pairs<6>(K, rows, b, to, c_stride, add);
      case 7: return multiply_pairs<7>(K, rows, b, to, c_stride, add);
      default: return multiply_pairs<8>(K, rows, b, to, c_stride, add);
    }
  });
}

#endif

ALWAYS_INLINE __m512i rounded_pair(Vec first, Vec second) {
  return (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

// 32 numbers as the instruction rounds them; only the first n exist.
ALWAYS_INLINE __m512i rounded(const float* p, long n) {
  return rounded_pair(load_n(p, n), n > W ? load_n(p + W, n - W) : Vec{});
}

// Packs n_rows ≤ 32 rows of K numbers as B[k][n]; at(n, k) has the 32 numbers of row n from k on, zeros after K.
template <class At>
ALWAYS_INLINE void pack_turned(At at, long n_rows, long K, Half* out) {
  for (long k = 0; k < K; k += BLOCK)
    for (long tile = 0; tile < 2; tile++, out += TILE_HALVES) {
      Vec lines[W];
      for (long n = 0; n < W; n++) lines[n] = tile * W + n < n_rows ? (Vec)at(tile * W + n, k) : Vec{};
      transpose(lines);
      for (long pair = 0; pair < W; pair++) store((float*)(out + pair * 2 * W), lines[pair]);
    }
}

// Packs w[n][k] as B[k][n]: 32 rows `stride` apart, of which n_rows exist, of K numbers.
__attribute__((noinline)) static void pack_columns(const float* w, long stride, long n_rows, long K, Half* out) {
  pack_turned([&](long n, long k) { return rounded(w + n * stride + k, K - k); }, n_rows, K, out);
}

// a[0] b[0] a[1] b[1] … of the columns of one tile.
ALWAYS_INLINE Vec interleaved(__m512i a, __m512i b, long tile) {
  const __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b);
  // Within each lane of 128 bits, `low` has columns 0–3 and `high` 4–7; lanes 2·tile and 2·tile + 1 make the tile.
  const __m512i lanes = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  return (Vec)_mm512_permutex2var_epi64(low, _mm512_add_epi64(lanes, _mm512_set1_epi64(4 * tile)), high);
}

// Packs rows k = 0 … K − 1 of 32 numbers, given by row_at(k) in bfloat16, as B[k][n]; K is rounded up with zeros.
template <class RowAt>
ALWAYS_INLINE void pack_pairs(RowAt row_at, long K, Half* out) {
  for (long k = 0; k < K; k += BLOCK, out += BLOCK_HALVES)
    for (long pair = 0; pair < W; pair++) {
      const __m512i a = k + 2 * pair < K ? row_at(k + 2 * pair) : _mm512_setzero_si512();
      const __m512i b = k + 2 * pair + 1 < K ? row_at(k + 2 * pair + 1) : _mm512_setzero_si512();
      for (long tile = 0; tile < 2; tile++)
        store((float*)(out + tile * TILE_HALVES + pair * 2 * W), interleaved(a, b, tile));
    }
}

// Writes the transpose of rows k = 0 … K − 1 of 32 numbers, given by row_at(k) in bfloat16: out[n][k]; K is rounded up
// with zeros.
template <class RowAt>
ALWAYS_INLINE void turn_rows(RowAt row_at, long K, Half* out, long out_stride) {
  for (long k = 0; k < K; k += BLOCK)
    for (long tile = 0; tile < 2; tile++) {
      Vec lines[W];
      for (long pair = 0; pair < W; pair++) {
        const __m512i a = k + 2 * pair < K ? row_at(k + 2 * pair) : _mm512_setzero_si512();
        const __m512i b = k + 2 * pair + 1 < K ? row_at(k + 2 * pair + 1) : _mm512_setzero_si512();
        lines[pair] = interleaved(a, b, tile);
      }
      transpose(lines);
      for (long n = 0; n < W; n++) store((float*)(out + (tile * W + n) * out_stride + k), lines[n]);
    }
}

// Writes n rows of up to 32 sums to a matrix, or adds them to it.
ALWAYS_INLINE void add_sums(const float* sums, long n_rows, long n_columns, float* to, long stride, bool add) {
  for (long i = 0; i < n_rows; i++)
    for (long v = 0; v < smaller(n_columns, BLOCK); v += W) {
      float* const at = to + i * stride + v;
      const Vec sum = load(sums + i * BLOCK + v);
      store_n(at, add ? load_n(at, n_columns - v) + sum : sum, n_columns - v);
    }
}

}  // namespace UNROLLED_ISA
