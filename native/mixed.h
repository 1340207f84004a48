// The arguments of the kernels in mixed precision, and the table of their functions.
#pragma once

#include "recurrence.h"

namespace unrolled {

// [T, B, width] numbers in bfloat16: rows of contiguous numbers with arbitrary strides.
struct HalfRows {
  uint16_t* data = nullptr;
  long step = 0, row = 0;
  __attribute__((always_inline)) uint16_t* at(long t, long b) const { return data + t * step + b * row; }
};

// One layer in one direction with products in bfloat16 and everything else in float32. The arguments of `layer` are as
// in float32, but its x, y, dy, dx and record are unused.
struct Mixed {
  Recurrence layer;
  HalfRows x, y, dy, dx;
  uint16_t* operands = nullptr;  // [x_t, h_{t−1}] of each cell for backward; null for inference
  float* record = nullptr;       // gates and states of each cell for backward; null for inference
};

// A product of matrices with operands in bfloat16 and sums in float32. Rows are contiguous numbers, `…_row` apart; w is
// rounded, x and y are bfloat16.
struct MixedProduct {
  enum Kind : int {
    TRANSPOSED,  // out[M, N] = x[M, K] · w[N, K]ᵀ
    PLAIN,       // out[M, N] = x[M, K] · w[K, N]
    OF_ROWS,     // out[N, K] = y[M, N]ᵀ · x[M, K]
  };
  int kind = TRANSPOSED;
  long M = 0, N = 0, K = 0;
  const uint16_t *x = nullptr, *y = nullptr;
  const float* w = nullptr;
  float* out = nullptr;
  long x_row = 0, y_row = 0, w_row = 0, out_row = 0;
};

constexpr int MAX_MIXED_TEAM = 16;  // threads that work on one call

// The memory of a decoder in mixed precision. Operands: [T + 1, B] rows with o_{t−1} and, from `state` on, h_{t−1}; joined:
// [T, B] rows with h_t and, from `context` on, the context; both with some spare rows.
struct AttentiveLayout {
  long record_floats, operand_stride, state, joined_stride, context, spare_rows;
};

struct MixedOutput {
  long (*cross_entropy_floats)(const CrossEntropy&, int team_size);  // size of the scratch memory
  void (*cross_entropy)(const CrossEntropy&, float* scratch, int member, Team&);
  long (*product_floats)(const MixedProduct&, int team_size);  // size of the scratch memory
  void (*product)(const MixedProduct&, float* scratch, int member, Team&);
};

struct MixedSet {
  const char* name;
  long (*operand_halves)(const Recurrence&);
  long (*record_floats)(const Recurrence&);
  long (*forward_floats)(const Mixed&, int team_size);   // size of the scratch memory
  long (*backward_floats)(const Mixed&, int team_size);  // size of the scratch memory
  void (*forward)(const Mixed&, float* scratch, int member, Team&);
  void (*backward)(const Mixed&, float* scratch, int member, Team&);
  AttentiveLayout (*attentive_layout)(const Attentive&);
  long (*attentive_forward_floats)(const Attentive&, int team_size);
  long (*attentive_backward_floats)(const Attentive&, int team_size);
  void (*attentive_forward)(const Attentive&, float* scratch, int member, Team&);
  void (*attentive_backward)(const Attentive&, float* scratch, int member, Team&);
  const MixedOutput* output;
};

}  // namespace unrolled
