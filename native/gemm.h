// The matrix product on which all other kernels are based: a tile of accumulators in registers.
//
// A tile is MR rows × NV vectors. Rows are accessed through pointers, so they may be anywhere: a time step of a batch,
// the rows that have not ended, a column of another layout. The right-hand matrix is packed beforehand into panels
// [K][NV · W].
#pragma once

#include "simd.h"

namespace UNROLLED_ISA {

// A number as a type, to select a template instantiation by an argument.
template <int N>
struct Number {
  static constexpr int value = N;
};

// Number of rows of the largest tile that leaves one or two registers for the operands.
constexpr int tile_rows(int n_vectors) {
  return N_REGISTERS == 32 ? (n_vectors <= 3 ? 8 : 6)
                           : n_vectors == 1 ? 8 : n_vectors == 2 ? 6 : n_vectors == 3 ? 4 : 3;
}

// acc[m][v] += Σ_k a[m][k · a_step] · panel[k][v] for K numbers, each sum in one register.
//
// If the tile is too small to hide the latency of a multiply-add, several k have separate accumulators. The smaller of
// the two sides is loaded first and the other one element by element: twelve accumulators, the smaller side and one
// more register fit into sixteen registers, but not with the larger side.
template <int MR, int NV>
ALWAYS_INLINE void multiply_block(Vec (&acc)[MR][NV], const float* const (&a)[MR], long a_step,
                                  const float* panel, long K) {
  constexpr int AT_ONCE = MR * NV >= 8 ? 1 : (8 + MR * NV - 1) / (MR * NV);
  if constexpr (AT_ONCE > 1) {
    Vec part[AT_ONCE][MR][NV] = {};
    long k = 0;
    for (; k + AT_ONCE <= K; k += AT_ONCE)
#pragma GCC unroll 8
      for (int u = 0; u < AT_ONCE; u++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) {
          const Vec b = load(panel + (k + u) * (NV * W) + v * W);
#pragma GCC unroll 8
          for (int m = 0; m < MR; m++) part[u][m][v] += splat(a[m][(k + u) * a_step]) * b;
        }
    for (; k < K; k++)
      for (int v = 0; v < NV; v++)
        for (int m = 0; m < MR; m++)
          part[0][m][v] += splat(a[m][k * a_step]) * load(panel + k * (NV * W) + v * W);
    for (int m = 0; m < MR; m++)
      for (int v = 0; v < NV; v++) {
        Vec sum = part[0][m][v];
        for (int u = 1; u < AT_ONCE; u++) sum += part[u][m][v];
        acc[m][v] += sum;
      }
  } else if constexpr (NV <= MR) {
#pragma GCC unroll 2
    for (long k = 0; k < K; k++) {
      Vec b[NV];
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) b[v] = load(panel + k * (NV * W) + v * W);
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) {
        const Vec scalar = splat(a[m][k * a_step]);
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) acc[m][v] += scalar * b[v];
      }
    }
  } else {
#pragma GCC unroll 2
    for (long k = 0; k < K; k++) {
      Vec scalar[MR];
#pragma GCC unroll 8
      for (int m = 0; m < MR; m++) scalar[m] = splat(a[m][k * a_step]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; v++) {
        const Vec b = load(panel + k * (NV * W) + v * W);
#pragma GCC unroll 8
        for (int m = 0; m < MR; m++) acc[m][v] += scalar[m] * b;
      }
    }
  }
}

// The same for any K. Sums of SUM_BLOCK products are computed separately and then added, so that the rounding error
// grows with the square roots of K / SUM_BLOCK and SUM_BLOCK, not of K. This is not inlined: all uses share it, and
// passing a tile through memory takes little time compared with its K products.
constexpr long SUM_BLOCK = 128;

template <int MR, int NV>
__attribute__((noinline)) static void multiply_rows(Vec (*acc)[NV], const float* const* rows, long offset, long a_step,
                                                    const float* panel, long K) {
  const float* a[MR];
  for (int m = 0; m < MR; m++) a[m] = rows[m] + offset;
  const long n_blocks = ceil_div(K, SUM_BLOCK);
  for (long block = 0; block < n_blocks; block++) {
    const long k = K * block / n_blocks, end = K * (block + 1) / n_blocks;
    Vec part[MR][NV] = {};
    multiply_block(part, a, a_step, panel + k * (NV * W), end - k);
    for (int m = 0; m < MR; m++) {
      a[m] += (end - k) * a_step;
      for (int v = 0; v < NV; v++) acc[m][v] += part[m][v];
    }
  }
}

// A tile of accumulators; only its first n_rows rows are used.
template <int NV>
struct Tile {
  Vec sum[tile_rows(NV)][NV];
  Vec* operator[](long m) { return sum[m]; }
  const Vec* operator[](long m) const { return sum[m]; }
};

template <int NV>
ALWAYS_INLINE void multiply(Tile<NV>& acc, long n_rows, const float* const* rows, long offset, long a_step,
                            const float* panel, long K) {
  switch (n_rows) {
    case 1: return multiply_rows<1, NV>(acc.sum, rows, offset, a_step, panel, K);
    case 2: return multiply_rows<2, NV>(acc.sum, rows, offset, a_step, panel, K);
    case 3: return multiply_rows<3, NV>(acc.sum, rows, offset, a_step, panel, K);
    case 4: if constexpr (tile_rows(NV) >= 4) return multiply_rows<4, NV>(acc.sum, rows, offset, a_step, panel, K); break;
    case 5: if constexpr (tile_rows(NV) >= 5) return multiply_rows<5, NV>(acc.sum, rows, offset, a_step, panel, K); break;
    case 6: if constexpr (tile_rows(NV) >= 6) return multiply_rows<6, NV>(acc.sum, rows, offset, a_step, panel, K); break;
    case 7: if constexpr (tile_rows(NV) >= 7) return multiply_rows<7, NV>(acc.sum, rows, offset, a_step, panel, K); break;
    case 8: if constexpr (tile_rows(NV) >= 8) return multiply_rows<8, NV>(acc.sum, rows, offset, a_step, panel, K); break;
  }
}

// Calls f(first, n_rows) for rows [0, n) in tiles of nearly equal size.
template <int LARGEST, class F>
ALWAYS_INLINE void tile_over(long n, F f) {
  const long n_tiles = ceil_div(n, LARGEST);
  for (long tile = 0; tile < n_tiles; tile++) {
    const long i = n * tile / n_tiles;
    f(i, n * (tile + 1) / n_tiles - i);
  }
}

// Divides N columns into panels of one to three vectors; their number is a multiple of the team size if possible.
struct Panels {
  long n_vectors, n_panels;
  Panels(long N, int team_size) {
    n_vectors = ceil_div(N, W);
    n_panels = smaller(n_vectors, round_up(ceil_div(n_vectors, 3), team_size));
  }
  long begin(long panel) const { return n_vectors * panel / n_panels; }  // in vectors
  long width(long panel) const { return begin(panel + 1) - begin(panel); }
};

template <class F>
ALWAYS_INLINE void with_width(long n_vectors, F f) {
  switch (n_vectors) {
    case 1: f(Number<1>()); break;
    case 2: f(Number<2>()); break;
    case 3: f(Number<3>()); break;
  }
}

// Packs rows k = 0 … K - 1 of N numbers, accessed by row_at(k), into panels
// [panel][K][width · W] at out + begin(panel) · W · K.
template <class RowAt>
ALWAYS_INLINE void pack_rows(RowAt row_at, long K, long N, const Panels& panels, long from, long to, float* out) {
  for (long panel = from; panel < to; panel++) {
    const long first = panels.begin(panel), width = panels.width(panel);
    float* to_panel = out + first * W * K;
    for (long k = 0; k < K; k++) {
      const float* row = row_at(k);
      for (long v = 0; v < width; v++)
        store(to_panel + (k * width + v) * W, load_n(row + (first + v) * W, N - (first + v) * W));
    }
  }
}

// out[i · out_stride + j] = from[j · stride + i] for i below W and n_columns; zeros where j is not below n_rows.
NEVER_INLINE void transpose_block(const float* from, long stride, long n_rows, long n_columns, float* out,
                                  long out_stride) {
  Vec block[W];
  for (long j = 0; j < W; j++) block[j] = j < n_rows ? load_n(from + j * stride, n_columns) : Vec{};
  transpose(block);
  for (long i = 0; i < W && i < n_columns; i++) store(out + i * out_stride, block[i]);
}

// Packs the transpose of blocks of W rows of w [·, K]: out[k][v · W + j] = w[row_of(v) + j][k], or zero if j is not
// below n_of(v). row_stride is the distance between rows of w.
template <class RowOf, class CountOf>
ALWAYS_INLINE void pack_transposed(const float* w, long K, long width, RowOf row_of, CountOf n_of, float* out,
                                   long row_stride) {
  for (long v = 0; v < width; v++) {
    const float* from = w + row_of(v) * row_stride;
    for (long k = 0; k < K; k += W)
      transpose_block(from + k, row_stride, n_of(v), K - k, out + (k * width + v) * W, width * W);
  }
}

ALWAYS_INLINE float dot(const float* a, const float* b, long n) {
  Vec sum = {};
  for (long i = 0; i < n; i += W) sum += load_n(a + i, n - i) * load_n(b + i, n - i);
  float total = 0;
  for (int lane = 0; lane < W; lane++) total += sum[lane];
  return total;
}

// to += factor · from
ALWAYS_INLINE void add_scaled(float* to, float factor, const float* from, long n) {
  const Vec scale = splat(factor);
  for (long i = 0; i < n; i += W) store_n(to + i, load_n(to + i, n - i) + scale * load_n(from + i, n - i), n - i);
}

// out[i] = product of row a[i] with a packed matrix of N columns; rows of `out` are `stride` apart.
NEVER_INLINE void product_rows(const float* const* a, long n, long K, const float* packed, const Panels& panels,
                               float* out, long stride, long N) {
  for (long panel = 0; panel < panels.n_panels; panel++)
    with_width(panels.width(panel), [&](auto width) {
      constexpr int NV = decltype(width)::value;
      const long column = panels.begin(panel) * W;
      tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
        Tile<NV> acc = {};
        multiply<NV>(acc, n_rows, a + i, 0, 1, packed + column * K, K);
        for (int m = 0; m < n_rows; m++)
          for (int v = 0; v < NV; v++) store_n(out + (i + m) * stride + column + v * W, acc[m][v], N - column - v * W);
      });
    });
}

}  // namespace UNROLLED_ISA
