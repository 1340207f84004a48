// The backward pass in mixed precision. As in float32, gate gradients are computed from the last step to the first, a
// chunk of steps at a time; then those of inputs and weights. Gate gradients are rounded where they enter a product.
#pragma once

#include "mixed_forward.h"

namespace UNROLLED_ISA {

constexpr long MIXED_CHUNK = 1024;  // cells
constexpr long CACHED_ROWS = 256;   // of a left-hand side that stays in the cache for all columns

// Blocks of gate gradients: RNN d; LSTM i f g o; GRU the input part of n, r, z, the hidden part of n, in which the
// products with W use the first three and those with U the last three.
constexpr int gradient_gate(int cell, int block) {  // the gate of a block in the weights
  return cell != GRU ? block : block == 0 || block == 3 ? 2 : block - 1;
}
constexpr int first_block(int cell, bool of_state) { return cell == GRU && of_state ? 1 : 0; }

// The gate gradients d of W units from dh, the total gradient of the hidden state, and from dc, the part of the cell
// state's gradient that comes from the next step; `state_before` is the cell state of an LSTM, or the state of a GRU.
template <int CELL>
ALWAYS_INLINE void state_gradient(Vec* d, Vec dh, Vec dc, const float* record, Vec state_before, float* carry) {
  const auto kept = [&](int part) { return load(record + part * BLOCK); };
  if constexpr (CELL == RNN_TANH) {
    const Vec y = kept(0);
    d[0] = dh * (splat(1.f) - y * y);
  } else if constexpr (CELL == RNN_RELU) {
    d[0] = kept(0) <= Vec{} ? Vec{} : dh;
  } else if constexpr (CELL == GRU) {
    const GruGradient g = gru_gradient(dh, kept(0), kept(1), kept(2), kept(3), state_before);
    d[0] = g.n, d[1] = g.r, d[2] = g.z, d[3] = g.n_state;
    store(carry, g.carry);
  } else {
    const LstmGradient g = lstm_gradient(dh, dc, kept(0), kept(1), kept(2), kept(3), kept(4), state_before);
    d[0] = g.i, d[1] = g.f, d[2] = g.g, d[3] = g.o;
    store(carry, g.carry);
  }
}

// Packs n_gates · H rows of `w`, `stride` apart, as right-hand side of products of gate gradients, in the order of their
// blocks: the columns of 32 units in each of these panels.
template <int CELL>
ALWAYS_INLINE void pack_gates(const float* w, long stride, long N, long H, bool of_state, Half* out, Range panels) {
  constexpr int N_GATES = n_gates(CELL);
  const long units = round_up(H, BLOCK);
  for (long panel = panels.from; panel < panels.to; panel++) {
    const long column = panel * BLOCK, n = N - column;
    for (int i = 0; i < N_GATES; i++) {
      const float* from = w + gradient_gate(CELL, first_block(CELL, of_state) + i) * H * stride + column;
      pack_pairs([&](long k) { return rounded(from + k * stride, n); }, H, out + (panel * N_GATES + i) * units * BLOCK);
    }
  }
}

template <int CELL>
struct MixedBackwardScratch {
  Half *w_ih, *w_hh, *turned;
  Half *gates[2], *operands[2];  // for two chunks, because a member may be one chunk ahead of another
  float *carry, *sums, *products;
  double* bias;
  long stride, cells, product_stride, total;
  MixedBackwardScratch(const Mixed& m, int member, int team_size, float* base) {
    const Recurrence& r = m.layer;
    const MixedLayout<CELL> layout(r);
    Scratch scratch{base};
    const long blocks = n_gradient_blocks(CELL) * layout.units;
    cells = round_up(larger(MIXED_CHUNK, r.B), BLOCK);
    stride = half_stride(blocks);
    product_stride = stride_of(layout.inputs + layout.units);
    w_ih = scratch.take_array<Half>(n_gates(CELL) * layout.units * layout.inputs);
    w_hh = scratch.take_array<Half>(n_gates(CELL) * layout.units * layout.units);
    turned = scratch.take_array<Half>(blocks * half_stride(cells));
    for (int i = 0; i < 2; i++) {
      gates[i] = scratch.take_array<Half>((cells + SPARE_ROWS) * stride);
      operands[i] = scratch.take_array<Half>(cells * (layout.inputs + layout.units));
    }
    carry = scratch.take(r.B * layout.units);
    products = scratch.take(blocks * product_stride);
    bias = scratch.take_array<double>(team_size * blocks);
    for (int i = 0; i < team_size; i++) {
      float* own = scratch.take(larger(round_up(r.B, TILE_ROWS), BLOCK) * BLOCK);
      if (i == member) sums = own;
    }
    total = scratch.used;
  }
};

template <int CELL>
struct MixedBackward {
  static constexpr int N_BLOCKS = n_gradient_blocks(CELL), N_GATES = n_gates(CELL);
  const Mixed& m;
  const Recurrence& r;
  const int member;
  Team& team;
  const MixedBackwardScratch<CELL> s;
  const MixedLayout<CELL> layout;
  const Share share;
  const Place place;
  const long H, units;
  const Range mine;  // panels of hidden units

  MixedBackward(const Mixed& m, float* base, int member, Team& team)
      : m(m), r(m.layer), member(member), team(team), s(m, member, team.size, base), layout(r),
        share(r, member, team.size), place{r}, H(r.H), units(layout.units),
        mine(layout.n_panels, share.by_columns ? member : 0, share.by_columns ? team.size : 1) {}

  void run() const {
    pack_weights();
    for (long i = 0; i < N_BLOCKS * units; i++) own_bias()[i] = 0;
    team.wait();
    const Half* later = nullptr;
    int side = 0;
    for (long s1 = r.plan.n_steps, s0; s1 > 0; s1 = s0, side ^= 1) {
      for (s0 = s1 - 1; s0 > 0 && r.plan.first[s1] - r.plan.first[s0 - 1] <= MIXED_CHUNK; s0--) {}
      chunk(s0, s1, side, later, s1 == r.plan.n_steps);
      later = s.gates[side];
    }
    initial_gradients(later);
    team.wait();
    if (r.plan.n_cells) write_weight_gradients();
    if (member == 0) write_bias_gradients();
    if (m.dx.data && !r.plan.is_full) clear_inputs();
  }

 private:
  double* own_bias() const { return s.bias + member * N_BLOCKS * units; }
  Left gates_of(const Half* rows) const { return {rows + share.place(0) * s.stride, s.stride * share.stride}; }

  void pack_weights() const {
    pack_gates<CELL>(r.w_hh, H, H, H, true, s.w_hh, Range(layout.n_panels, member, team.size));
    if (m.dx.data) pack_gates<CELL>(r.w_ih, r.D, r.D, H, false, s.w_ih, Range(layout.inputs / BLOCK, member, team.size));
  }

  // The products of gate gradients with the panel of U that computes these 32 hidden units.
  void multiply_state(long n, Left gates, long panel) const {
    multiply_mixed(n, N_GATES * units, {gates.data + first_block(CELL, true) * units, gates.stride},
                   s.w_hh + panel * N_GATES * units * BLOCK, s.sums, BLOCK);
  }

  // Computes the gate gradients of one step and writes them to `now`; `later` has those of the following step.
  void step(long step, const Half* later, Half* now) const {
    const long n = share.count(step), n_going_on = share.count(step + 1);
    for (long panel = mine.from; panel < mine.to; panel++) {
      if (n_going_on) multiply_state(n_going_on, gates_of(later), panel);
      for (long unit = panel * BLOCK; unit < (panel + 1) * BLOCK; unit += W) {
        Vec bias[N_BLOCKS] = {};
        for (long i = 0; i < n; i++) {
          Half* gates = now + share.place(i) * s.stride + unit;
          if (unit >= H) {  // padding enters products
            for (int k = 0; k < N_BLOCKS; k++) store_half(gates + k * units, Vec{}, W);
            continue;
          }
          Vec d[N_BLOCKS];
          finish(d, step, i, unit, i >= n_going_on);
          for (int k = 0; k < N_BLOCKS; k++) {
            bias[k] += d[k];
            store_half(gates + k * units, d[k], W);
          }
        }
        for (int k = 0; k < N_BLOCKS; k++)
          for (int lane = 0; lane < W; lane++) own_bias()[k * units + unit + lane] += bias[k][lane];
      }
    }
    if (share.by_columns) team.wait();
  }

  // The gate gradients of W units of one row.
  __attribute__((always_inline)) void finish(Vec* d, long step, long i, long unit, bool is_last) const {
    const long j = share.place(i), b = place.row(j), n = H - unit;
    Vec dh = is_last ? Vec{} : load(s.sums + i * BLOCK + unit % BLOCK);
    if (m.dy.data) dh += load_half(m.dy.at(place.time(step, b), b) + unit, n);
    if (is_last && r.dh_end) dh += load_n(r.dh_end + b * H + unit, n);
    const float* record = m.record + place.number(step, j) * layout.kept + layout.place(unit, 0);
    const float* before = m.record + (step ? place.number(step - 1, j) : 0) * layout.kept + layout.place(unit, 4);
    float* carry = s.carry + j * units + unit;
    const float* state0 = (CELL == LSTM ? r.c0 : r.h0) + b * H + unit;
    const Vec state_before = !is_gated(CELL) ? Vec{} : step ? load(before) : load_n(state0, n);
    const Vec dc = CELL != LSTM ? Vec{} : !is_last ? load(carry) : r.dc_end ? load_n(r.dc_end + b * H + unit, n) : Vec{};
    if (CELL == GRU && !is_last) dh += load(carry);
    state_gradient<CELL>(d, dh, dc, record, state_before, carry);
    for (int k = 0; k < N_BLOCKS; k++) d[k] = below(d[k], n);
  }

  void chunk(long s0, long s1, int side, const Half* later, bool is_first) const {
    const long first = r.plan.first[s0], n_cells = r.plan.first[s1] - first;
    Half* gates = s.gates[side];
    const bool wants_weights = r.dw_ih || r.dw_hh;
    if (wants_weights) pack_operands(first, n_cells, s.operands[side]);
    for (long now = s1 - 1; now >= s0; now--) {
      Half* rows = gates + (r.plan.first[now] - first) * s.stride;
      step(now, later, rows);
      later = rows;
    }
    team.wait();
    if (m.dx.data) input_gradients(s0, s1, gates);
    if (wants_weights) weight_gradients(gates, n_cells, s.operands[side], is_first);
  }

  void pack_operands(long first, long n_cells, Half* out) const {
    const Range own((layout.inputs + units) / BLOCK, member, team.size);
    const Half* rows = m.operands + first * layout.operand;
    for (long panel = own.from; panel < own.to; panel++)
      pack_pairs([&](long k) { return _mm512_loadu_si512(rows + k * layout.operand + panel * BLOCK); }, n_cells,
                 out + panel * BLOCK * round_up(n_cells, BLOCK));
  }

  void input_gradients(long s0, long s1, const Half* gates) const {
    const long first = r.plan.first[s0];
    const Range cells(r.plan.first[s1] - first, member, team.size);
    long first_step = s0;
    for (long start = cells.from; start < cells.to; start += CACHED_ROWS) {
      while (r.plan.first[first_step + 1] - first <= start) first_step++;
      for (long panel = 0; panel < layout.inputs / BLOCK; panel++) {
        long step = first_step;
        for (long cell = start; cell < smaller(cells.to, start + CACHED_ROWS); cell += BLOCK) {
          const long n = smaller(BLOCK, cells.to - cell), column = panel * BLOCK;
          multiply_mixed(n, N_GATES * units, {gates + cell * s.stride, s.stride},
                         s.w_ih + panel * N_GATES * units * BLOCK, s.sums, BLOCK);
          for (long i = 0; i < n; i++) {
            while (r.plan.first[step + 1] - first <= cell + i) step++;
            const long b = place.row(cell + i + first - r.plan.first[step]);
            Half* to = m.dx.at(place.time(step, b), b) + column;
            for (long v = 0; v < BLOCK && column + v < r.D; v += W)
              store_half(to + v, load(s.sums + i * BLOCK + v), r.D - column - v);
          }
        }
      }
    }
  }

  // products[gate][column] += Σ over cells gates[cell][gate] · operands[cell][column], for this member's gates.
  void weight_gradients(const Half* gates, long n_cells, const Half* operands, bool is_first) const {
    const long depth = round_up(n_cells, BLOCK), turned_stride = half_stride(s.cells), n_inputs = layout.inputs / BLOCK;
    const Range own(N_BLOCKS * units / BLOCK, member, team.size);
    for (long row = own.from * BLOCK; row < own.to * BLOCK; row += BLOCK)
      turn_rows([&](long k) { return _mm512_loadu_si512(gates + row + k * s.stride); }, n_cells, s.turned + row * turned_stride, turned_stride);
    for (long start = own.from * BLOCK; start < own.to * BLOCK; start += CACHED_ROWS)
      for (long panel = 0; panel < n_inputs + layout.n_panels; panel++) {
        const bool of_state = panel >= n_inputs;
        if (!(of_state ? r.dw_hh : r.dw_ih)) continue;
        const long from = larger(start, first_block(CELL, of_state) * units);
        const long end = smaller(own.to * BLOCK, start + CACHED_ROWS);
        const long to = smaller(end, (first_block(CELL, of_state) + N_GATES) * units);
        if (from < to)
          multiply_mixed(to - from, depth, {s.turned + from * turned_stride, turned_stride},
                         operands + panel * BLOCK * depth, s.products + from * s.product_stride + panel * BLOCK,
                         s.product_stride, !is_first);
      }
  }

  void write_weight_gradients() const {
    const Range own(N_BLOCKS * units, member, team.size);
    for (long row = own.from; row < own.to; row++) {
      const long block = row / units, unit = row % units, at = gradient_gate(CELL, (int)block) * H + unit;
      const float* from = s.products + row * s.product_stride;
      if (unit >= H) continue;
      if (r.dw_ih && block < N_GATES) copy_row(r.dw_ih + at * r.D, from, r.D);
      if (r.dw_hh && block >= first_block(CELL, true)) copy_row(r.dw_hh + at * H, from + layout.inputs, H);
    }
  }

  // One more product, for the gradient of the initial states.
  void initial_gradients(const Half* gates) const {
    const long n = share.count(0);
    if (r.dh0 && n)
      for (long panel = mine.from; panel < mine.to; panel++) {
        multiply_state(n, gates_of(gates), panel);
        for (long i = 0; i < n; i++)
          for (long unit = panel * BLOCK; unit < smaller(H, (panel + 1) * BLOCK); unit += W) {
            const long j = share.place(i);
            Vec dh = load(s.sums + i * BLOCK + unit % BLOCK);
            if (CELL == GRU) dh += load(s.carry + j * units + unit);
            store_n(r.dh0 + place.row(j) * H + unit, dh, H - unit);
          }
      }
    team.wait();
    const Range rows(r.B, member, team.size);
    for (long j = rows.from; j < rows.to; j++) {
      const long b = place.row(j);
      const bool is_empty = !r.plan.lengths[b];
      if (is_empty && r.dh0) copy_row(r.dh0 + b * H, r.dh_end ? r.dh_end + b * H : nullptr, H);
      if (!r.dc0) continue;
      if (is_empty) copy_row(r.dc0 + b * H, r.dc_end ? r.dc_end + b * H : nullptr, H);
      else copy_row(r.dc0 + b * H, s.carry + j * units, H);
    }
  }

  void write_bias_gradients() const {
    for (int block = 0; block < N_BLOCKS; block++)
      for (long i = 0; i < H; i++) {
        double total = 0;
        for (int other = 0; other < team.size; other++) total += s.bias[(other * N_BLOCKS + block) * units + i];
        const long at = gradient_gate(CELL, block) * H + i;
        if (r.db_ih && block < N_GATES) r.db_ih[at] = (float)total;
        if (r.db_hh && block >= first_block(CELL, true)) r.db_hh[at] = (float)total;
      }
  }

  void clear_inputs() const {
    const Range own(r.B, member, team.size);
    for (long b = own.from; b < own.to; b++)
      for (long t = r.plan.lengths[b]; t < r.T; t++) memset(m.dx.at(t, b), 0, (size_t)r.D * sizeof(Half));
  }
};

template <int CELL>
void mixed_backward_cell(const Mixed& m, float* base, int member, Team& team) {
  const Tiles tiles;
  MixedBackward<CELL>(m, base, member, team).run();
}

}  // namespace UNROLLED_ISA
