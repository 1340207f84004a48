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

constexpr int MAX_MIXED_TEAM = 16;  // threads that work on one call

struct MixedSet {
  const char* name;
  long (*operand_halves)(const Recurrence&);
  long (*record_floats)(const Recurrence&);
  long (*forward_floats)(const Mixed&, int team_size);   // size of the scratch memory
  long (*backward_floats)(const Mixed&, int team_size);  // size of the scratch memory
  void (*forward)(const Mixed&, float* scratch, int member, Team&);
  void (*backward)(const Mixed&, float* scratch, int member, Team&);
};

}  // namespace unrolled
