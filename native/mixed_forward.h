// The forward pass in mixed precision. The operand of each cell is a row [x_t, h_{t−1}], so one product with [W, U]
// computes the gates of a step; only the new gate of a GRU needs its two parts apart.
#pragma once

#include "equations.h"
#include "mixed_product.h"

namespace UNROLLED_ISA {

using unrolled::HalfRows;
using unrolled::MAX_MIXED_TEAM;
using unrolled::Mixed;

constexpr long SPARE_ROWS = TILE_ROWS * MAX_MIXED_TEAM;  // after the last cell, for whole tiles

// Blocks of sums of a step: RNN a; GRU r z, the two parts of n; LSTM i f g o.
constexpr int n_sums(int cell) { return cell == GRU ? 4 : n_gates(cell); }
// The record of a cell: RNN h; GRU r z n (U h + b')_n h; LSTM i f g o c.
constexpr int n_kept(int cell) { return is_gated(cell) ? 5 : 1; }

// The layout of operands, records and packed weights. A panel is 32 hidden units with all their sums.
template <int CELL>
struct MixedLayout {
  long inputs, units, operand, kept, n_panels;
  explicit MixedLayout(const Recurrence& r)
      : inputs(round_up(r.D, BLOCK)), units(round_up(r.H, BLOCK)), operand(half_stride(inputs + units)),
        kept(stride_of(n_kept(CELL) * units)), n_panels(units / BLOCK) {}
  // Numbers of k of a block of sums, and the first of them in the operand.
  long depth(int sum) const { return CELL != GRU || sum < 2 ? inputs + units : sum == 2 ? inputs : units; }
  long start(int sum) const { return CELL == GRU && sum == 3 ? inputs : 0; }
  // Position of the first packed weight of a sum of a panel.
  long packed(long panel, int sum) const {
    long before = panel * n_gates(CELL) * (inputs + units);
    for (int i = 0; i < sum; i++) before += depth(i);
    return before * BLOCK;
  }
  long place(long unit, int part) const { return unit / BLOCK * BLOCK * n_kept(CELL) + part * BLOCK + unit % BLOCK; }
};

// The new hidden state of W units, of which n exist, from their sums and the state before; replaces the cell state. Writes to the record unless it is null.
template <int CELL>
ALWAYS_INLINE Vec new_state(const Vec* sum, const float* h_before, float* c, long n, float* record) {
  const auto keep = [&](int part, Vec v) {
    if (record) store(record + part * BLOCK, v);
  };
  Vec h;
  if constexpr (CELL == RNN_TANH || CELL == RNN_RELU) {
    h = CELL == RNN_TANH ? fast_tanh(sum[0]) : relu(sum[0]);
    keep(0, h);
  } else if constexpr (CELL == GRU) {
    const Vec reset = fast_sigmoid(sum[0]), z = fast_sigmoid(sum[1]), new_h = fast_tanh(sum[2] + reset * sum[3]);
    h = gru_state(z, new_h, load_n(h_before, n));
    keep(0, reset), keep(1, z), keep(2, new_h), keep(3, sum[3]), keep(4, h);
  } else {
    const LstmState now = lstm_state(sum, load_n(c, n));
    store_n(c, now.c, n);
    h = now.h;
    keep(0, now.i), keep(1, now.f), keep(2, now.g), keep(3, now.o), keep(4, now.c);
  }
  return h;
}

template <int CELL>
struct MixedForwardScratch {
  Half *weights, *operands;
  float *bias, *sums;
  long sum_stride, total;
  MixedForwardScratch(const Mixed& m, int member, int team_size, float* base) {
    const Recurrence& r = m.layer;
    const MixedLayout<CELL> layout(r);
    Scratch scratch{base};
    sum_stride = stride_of(n_sums(CELL) * BLOCK);
    weights = scratch.take_array<Half>(layout.packed(layout.n_panels, 0));
    bias = scratch.take(n_sums(CELL) * layout.units);
    operands = m.operands ? m.operands : scratch.take_array<Half>((2 * r.B + SPARE_ROWS) * layout.operand);
    for (int i = 0; i < team_size; i++) {
      float* own = scratch.take(round_up(r.B, TILE_ROWS) * sum_stride);
      if (i == member) sums = own;
    }
    total = scratch.used;
  }
};

template <int CELL>
struct MixedForward {
  const Mixed& m;
  const Recurrence& r;
  const int member;
  Team& team;
  const MixedForwardScratch<CELL> s;
  const MixedLayout<CELL> layout;
  const Share share;
  const Place place;
  const Range mine;  // panels

  MixedForward(const Mixed& m, float* base, int member, Team& team)
      : m(m), r(m.layer), member(member), team(team), s(m, member, team.size, base), layout(r),
        share(r, member, team.size), place{r},
        mine(layout.n_panels, share.by_columns ? member : 0, share.by_columns ? team.size : 1) {}

  Half* operand(long step, long j) const {
    return s.operands + (m.operands ? place.number(step, j) : (step & 1) * r.B + j) * layout.operand;
  }

  void run() const {
    pack();
    start_rows();
    team.wait();
    for (long step = 0; step < r.plan.n_steps; step++) {
      const long n = share.count(step);
      for (long panel = mine.from; panel < mine.to && n; panel++) {
        const Left rows{operand(step, share.place(0)), layout.operand * share.stride};
        for (int sum = 0; sum < n_sums(CELL); sum++)
          multiply_mixed(n, layout.depth(sum), {rows.data + layout.start(sum), rows.stride},
                         s.weights + layout.packed(panel, sum), s.sums + sum * BLOCK, s.sum_stride);
        for (long i = 0; i < n; i++)
          for (long unit = panel * BLOCK; unit < smaller(r.H, (panel + 1) * BLOCK); unit += W)
            finish(step, i, unit);
      }
      if (step + 1 < r.plan.n_steps) take_inputs(step + 1);
      if (share.by_columns) team.wait();
    }
    clear_half_padding(m.y, r.H);
  }

  // Writes zeros after the end of each row.
  void clear_half_padding(const HalfRows& rows, long width) const {
    if (r.plan.is_full) return;
    const Range own(r.B, member, team.size);
    for (long b = own.from; b < own.to; b++)
      for (long t = r.plan.lengths[b]; t < r.T; t++) memset(rows.at(t, b), 0, (size_t)width * sizeof(Half));
  }

 private:
  void pack() const {
    const Range own(layout.n_panels, member, team.size);
    const long H = r.H;
    for (long panel = own.from; panel < own.to; panel++)
      for (int sum = 0; sum < n_sums(CELL); sum++) {
        const long unit = panel * BLOCK, row = (CELL == GRU && sum == 3 ? 2 : sum) * H + unit;
        const long n_real = smaller(BLOCK, H - unit);
        const bool of_x = !(CELL == GRU && sum == 3), of_h = !(CELL == GRU && sum == 2);
        Half* out = s.weights + layout.packed(panel, sum);
        if (of_x) pack_columns(r.w_ih + row * r.D, r.D, n_real, r.D, out);
        if (of_h) pack_columns(r.w_hh + row * H, H, n_real, H, out + (of_x ? layout.inputs * BLOCK : 0));
        for (long v = 0; v < BLOCK; v += W) {
          Vec bias = {};
          if (v < n_real && of_x && r.b_ih) bias += load_n(r.b_ih + row + v, n_real - v);
          if (v < n_real && of_h && r.b_hh) bias += load_n(r.b_hh + row + v, n_real - v);
          store(s.bias + (panel * n_sums(CELL) + sum) * BLOCK + v, bias);
        }
      }
  }

  // The final states are updated at every step, so that they are also the states before a step.
  void start_rows() const {
    const Range own(r.B, member, team.size);
    for (long j = own.from; j < own.to; j++) {
      const long b = place.row(j);
      copy_row(r.h_end + b * r.H, r.h0 + b * r.H, r.H);
      if (CELL == LSTM) copy_row(r.c_end + b * r.H, r.c0 + b * r.H, r.H);
      if (!r.plan.n_steps || j >= r.plan.active[0]) continue;
      Half* h = operand(0, j) + layout.inputs;
      for (long unit = 0; unit < layout.units; unit += W)
        store_half(h + unit, unit < r.H ? load_n(r.h0 + b * r.H + unit, r.H - unit) : Vec{}, W);
      take_input(0, j);
    }
  }

  void take_input(long step, long j) const {
    const long b = place.row(j);
    Half* to = operand(step, j);
    memcpy(to, m.x.at(place.time(step, b), b), (size_t)r.D * sizeof(Half));
    memset(to + r.D, 0, (size_t)(layout.inputs - r.D) * sizeof(Half));
    const long padding = layout.inputs + smaller(layout.units, round_up(r.H, W));
    memset(to + padding, 0, (size_t)(layout.inputs + layout.units - padding) * sizeof(Half));
  }

  void take_inputs(long step) const {
    if (share.by_columns) {
      const Range own(r.plan.active[step], member, team.size);
      for (long j = own.from; j < own.to; j++) take_input(step, j);
    } else {
      for (long i = 0, n = share.count(step); i < n; i++) take_input(step, share.place(i));
    }
  }

  // Computes the new states of W units of one row from their sums.
  __attribute__((always_inline)) void finish(long step, long i, long unit) const {
    const long j = share.place(i), b = place.row(j), n = r.H - unit, at = unit % BLOCK;
    const float* from = s.sums + i * s.sum_stride + at;
    const float* bias = s.bias + unit / BLOCK * n_sums(CELL) * BLOCK + at;
    Vec sum[n_sums(CELL)];
    for (int k = 0; k < n_sums(CELL); k++) sum[k] = load(from + k * BLOCK) + load(bias + k * BLOCK);
    float* h_now = r.h_end + b * r.H + unit;
    float* record = m.record ? m.record + place.number(step, j) * layout.kept + layout.place(unit, 0) : nullptr;
    const Vec h = new_state<CELL>(sum, h_now, CELL == LSTM ? r.c_end + b * r.H + unit : nullptr, n, record);
    store_n(h_now, h, n);
    store_half(m.y.at(place.time(step, b), b) + unit, h, n);
    if (j < r.plan.active[step + 1]) store_half(operand(step + 1, j) + layout.inputs + unit, below(h, n), W);
  }
};

template <int CELL>
void mixed_forward_cell(const Mixed& m, float* base, int member, Team& team) {
  const Tiles tiles;
  MixedForward<CELL>(m, base, member, team).run();
}

}  // namespace UNROLLED_ISA
