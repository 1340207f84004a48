// Common parts and differences of the four cells: sizes, orders of gates, and the division of work.
#pragma once

#include "gemm.h"
#include "recurrence.h"

namespace UNROLLED_ISA {

using unrolled::GRU;
using unrolled::LSTM;
using unrolled::Plan;
using unrolled::Recurrence;
using unrolled::RNN_RELU;
using unrolled::RNN_TANH;
using unrolled::Rows;
using unrolled::Team;

constexpr bool is_gated(int cell) { return cell == GRU || cell == LSTM; }
constexpr int n_gates(int cell) { return cell == GRU ? 3 : cell == LSTM ? 4 : 1; }

// The record of a cell for W hidden units: GRU r z n (U h + b')_n; LSTM i f g o c. The backward pass of the plain RNN
// only needs its outputs.
constexpr int n_recorded(int cell) { return cell == GRU ? 4 : cell == LSTM ? 5 : 0; }

// Gate gradients of a cell, in blocks of H (padded to vectors): RNN d; LSTM i f g o; GRU r z n and the hidden part of
// n, which is multiplied by the reset gate. The input product uses the first blocks, the state product of a GRU uses
// r, z and the last.
constexpr int n_gradient_blocks(int cell) { return cell == GRU ? 4 : n_gates(cell); }
constexpr long gradient_width(long H) { return round_up(H, W < 8 ? 8 : W); }  // also whole tiles of rows
constexpr int state_block(int cell, int gate) { return cell == GRU && gate == 2 ? 3 : gate; }

// Strides between rows are never powers of two, for which rows would compete for the same cache lines.
constexpr long stride_of(long width) { return round_up(width, W) + 16; }

// Allocates parts of the scratch memory one after another; with a null base it only computes the size.
struct Scratch {
  float* base;
  long used = 0;
  float* take(long n_floats) {
    float* piece = base ? base + used : nullptr;
    used += round_up(n_floats, 16) + 16;
    return piece;
  }
  template <class T>
  T* take_array(long n) {
    return (T*)take(ceil_div(n * (long)sizeof(T), 4));
  }
};

// The part of a call that one member of the team computes: some rows with all columns, or, if there are few rows,
// all rows with some columns and a synchronization after every step.
struct Share {
  const Recurrence& r;
  bool by_columns;
  long start, stride, total;  // rows in the plan's order: start + i · stride, i < total
  Share(const Recurrence& r, int member, int team_size) : r(r) {
    by_columns = team_size > 1 && splits_columns(r, team_size);
    start = 0, stride = 1, total = r.B;
    if (by_columns) return;
    if (r.plan.is_full) {
      start = r.B * member / team_size;
      total = r.B * (member + 1) / team_size - start;
    } else {  // every member gets both long and short rows
      start = member, stride = team_size;
      total = larger(0, ceil_div(r.B - member, team_size));
    }
  }
  static bool splits_columns(const Recurrence& r, int team_size) { return r.B < 4 * team_size; }
  long place(long i) const { return start + i * stride; }
  // Number of this member's rows that have a step s; they are its first ones.
  long count(long s) const {
    const long active = s < r.plan.n_steps ? r.plan.active[s] : 0;
    return smaller(total, larger(0, ceil_div(active - start, stride)));
  }
};

struct Range {
  long from, to;
  Range(long n, int member, int team_size) : from(n * member / team_size), to(n * (member + 1) / team_size) {}
};

// Converts (step, plan row) to the position of a cell in the [T, B] rectangle.
struct Place {
  const Recurrence& r;
  long row(long j) const { return r.plan.order[j]; }
  long time(long s, long row) const { return r.reverse ? r.plan.lengths[row] - 1 - s : s; }
  long number(long s, long j) const { return r.plan.first[s] + j; }
  const float* x(long s, long j) const { return r.x.at(time(s, row(j)), row(j)); }
  float* y(long s, long j) const { return r.y.at(time(s, row(j)), row(j)); }
  const float* h_before(long s, long j) const {
    const long b = row(j);
    return s ? r.y.at(time(s - 1, b), b) : r.h0 + b * r.H;
  }
};

// Writes zeros after the end of each row.
ALWAYS_INLINE void clear_padding(const Recurrence& r, const Rows& rows, long width, int member, int team_size) {
  if (r.plan.is_full || !rows.data) return;
  const Range mine(r.B, member, team_size);
  for (long b = mine.from; b < mine.to; b++)
    for (long t = r.plan.lengths[b]; t < r.T; t++) memset(rows.at(t, b), 0, width * sizeof(float));
}

ALWAYS_INLINE void copy_row(float* to, const float* from, long n) {
  if (from) memcpy(to, from, n * sizeof(float));
  else memset(to, 0, n * sizeof(float));
}

}  // namespace UNROLLED_ISA
