// Products of matrices in mixed precision: bfloat16 operands, float32 sums and results. Members divide the columns, or
// the rows of a weight's gradient, and each packs what it needs, so that they never wait for each other.
#pragma once

#include "mixed_product.h"

namespace UNROLLED_ISA {

using unrolled::MixedProduct;

constexpr long LINEAR_ROWS = 1024;  // rows at a time
constexpr long SUM_ROWS = 256;      // rows of 32 sums that stay in the L1 cache

struct MixedProductScratch {
  long stride, total;
  Half *left, *right;  // per member: rows of the left-hand side, and 32 columns of the right-hand side
  float* sums;         // per member
  MixedProductScratch(const MixedProduct& p, int member, int team_size, float* base) {
    Scratch scratch{base};
    const long rows = round_up(smaller(p.M, LINEAR_ROWS), BLOCK);
    const long n_left = p.kind == MixedProduct::OF_ROWS ? round_up(p.N, BLOCK) : rows;
    const long depth = p.kind == MixedProduct::OF_ROWS ? rows : round_up(p.K, BLOCK);
    stride = half_stride(depth);
    for (int i = 0; i < team_size; i++) {
      Half* const own_left = scratch.take_array<Half>(n_left * stride);
      Half* const own_right = scratch.take_array<Half>(depth * BLOCK);
      float* const own_sums = scratch.take(SUM_ROWS * BLOCK);
      if (i == member) left = own_left, right = own_right, sums = own_sums;
    }
    total = scratch.used;
  }
};

// Writes or adds the product of all left-hand rows with 32 packed columns.
ALWAYS_INLINE void multiply_columns(const MixedProductScratch& s, long n_rows, long depth, long n_columns, float* to,
                                    long to_stride, bool add) {
  for (long i = 0; i < n_rows; i += SUM_ROWS) {
    const long n = smaller(SUM_ROWS, n_rows - i);
    multiply_mixed(n, depth, {s.left + i * s.stride, s.stride}, s.right, s.sums, BLOCK);
    add_sums(s.sums, n, n_columns, to + i * to_stride, to_stride, add);
  }
}

// out[M, N] = x[M, K] · w[N, K]ᵀ, or x[M, K] · w[K, N].
static void product_with_weight(const MixedProduct& p, const MixedProductScratch& s, int member, int team_size) {
  const Range own(ceil_div(p.N, BLOCK), member, team_size);
  const long depth = round_up(p.K, BLOCK);
  for (long first = 0; first < p.M && own.from < own.to; first += LINEAR_ROWS) {
    const long n = smaller(LINEAR_ROWS, p.M - first);
    for (long i = 0; i < n; i++)
      for (long k = 0; k < depth; k += BLOCK)
        _mm512_storeu_si512(s.left + i * s.stride + k, load_halves(p.x + (first + i) * p.x_row + k, p.K - k));
    for (long column = own.from * BLOCK; column < smaller(p.N, own.to * BLOCK); column += BLOCK) {
      if (p.kind == MixedProduct::TRANSPOSED) pack_columns(p.w + column * p.w_row, p.w_row, p.N - column, p.K, s.right);
      else pack_pairs([&](long k) { return rounded(p.w + k * p.w_row + column, p.N - column); }, p.K, s.right);
      multiply_columns(s, n, depth, p.N - column, p.out + first * p.out_row + column, p.out_row, false);
    }
  }
}

// out[N, K] = y[M, N]ᵀ · x[M, K].
static void product_of_rows(const MixedProduct& p, const MixedProductScratch& s, int member, int team_size) {
  const Range own(ceil_div(p.N, BLOCK), member, team_size);
  const long from = own.from * BLOCK, n_rows = smaller(p.N, own.to * BLOCK) - from;
  if (n_rows <= 0) return;
  for (long first = 0; first < p.M; first += LINEAR_ROWS) {
    const long n = smaller(LINEAR_ROWS, p.M - first);
    for (long row = 0; row < n_rows; row += BLOCK) {
      const Half* const y = p.y + first * p.y_row + from + row;
      turn_rows([&](long k) { return load_halves(y + k * p.y_row, n_rows - row); }, n, s.left + row * s.stride, s.stride);
    }
    for (long column = 0; column < p.K; column += BLOCK) {
      const Half* const x = p.x + first * p.x_row + column;
      pack_pairs([&](long k) { return load_halves(x + k * p.x_row, p.K - column); }, n, s.right);
      multiply_columns(s, n_rows, round_up(n, BLOCK), p.K - column, p.out + from * p.out_row + column, p.out_row, first);
    }
  }
}

static void mixed_product(const MixedProduct& p, float* scratch, int member, Team& team) {
  const Tiles tiles;
  const MixedProductScratch s(p, member, team.size, scratch);
  if (p.kind == MixedProduct::OF_ROWS) product_of_rows(p, s, member, team.size);
  else product_with_weight(p, s, member, team.size);
}

static long mixed_product_floats(const MixedProduct& p, int team_size) {
  return MixedProductScratch(p, 0, team_size, nullptr).total;
}

}  // namespace UNROLLED_ISA
