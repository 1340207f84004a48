// The steps of a decoder with attention and input feeding in mixed precision: the equations of attentive.h with products
// in bfloat16; gates, states, attention and all sums are float32. Each member computes all steps of some rows.
//
// The operand of a cell is a row [o_{t−1}, h_{t−1}], as in a layer whose input is the output before; a second row
// [h_t, context_t] is the operand of the output and, its first part, of the query.
#pragma once

#include "attend.h"
#include "mixed_backward.h"

namespace UNROLLED_ISA {

// The decoder's recurrent layer, whose input is the last output.
ALWAYS_INLINE Recurrence layer_of(const Attentive& d) {
  Recurrence r;
  r.cell = d.cell, r.T = d.T, r.B = d.B, r.D = d.O, r.H = d.H;
  return r;
}

struct JoinedLayout {
  long units, values, stride;  // numbers of h and of the context, and of a row in halves
  explicit JoinedLayout(const Attentive& d)
      : units(round_up(d.H, BLOCK)), values(round_up(d.M, BLOCK)), stride(half_stride(units + values)) {}
};

// Packs n columns of N ones, K numbers each, as panels of `depth` k each.
ALWAYS_INLINE void pack_panels(const float* w, long stride, long N, long K, long depth, Range panels, Half* out) {
  for (long panel = panels.from; panel < panels.to; panel++)
    pack_columns(w + panel * BLOCK * stride, stride, N - panel * BLOCK, K, out + panel * BLOCK * depth);
}

// Rounds a row of n numbers, with zeros up to a whole block.
ALWAYS_INLINE void round_row(const float* from, long n, Half* to) {
  for (long k = 0; k < n; k += BLOCK) _mm512_storeu_si512(to + k, rounded(from + k, n - k));
}

template <int CELL>
struct MixedAttentiveScratch {
  Half *weights, *query, *combine_h, *combine_context;
  float *sums, *c;
  long sum_stride, total;
  MixedAttentiveScratch(const Attentive& d, int member, int team_size, float* base) {
    const MixedLayout<CELL> layout(layer_of(d));
    const JoinedLayout joined(d);
    Scratch scratch{base};
    sum_stride = stride_of(n_sums(CELL) * BLOCK);
    weights = scratch.take_array<Half>(layout.packed(layout.n_panels, 0));
    query = scratch.take_array<Half>(round_up(d.A, BLOCK) * layout.units);
    combine_h = scratch.take_array<Half>(layout.inputs * joined.units);
    combine_context = scratch.take_array<Half>(layout.inputs * joined.values);
    c = CELL == LSTM ? scratch.take(d.B * layout.units) : nullptr;
    for (int i = 0; i < team_size; i++) {
      float* own = scratch.take(round_up(d.B, TILE_ROWS) * sum_stride);
      if (i == member) sums = own;
    }
    total = scratch.used;
  }
};

template <int CELL>
struct MixedAttentive {
  const Attentive& d;
  const int member;
  Team& team;
  const MixedAttentiveScratch<CELL> s;
  const MixedLayout<CELL> layout;
  const JoinedLayout joined;
  const Range mine;  // rows
  const long n;

  MixedAttentive(const Attentive& d, float* base, int member, Team& team)
      : d(d), member(member), team(team), s(d, member, team.size, base), layout(layer_of(d)), joined(d),
        mine(d.B, member, team.size), n(mine.to - mine.from) {}

  void run() const {
    pack();
    for (long row = mine.from; row < mine.to; row++) {
      round_row(d.feed0 + row * d.O, d.O, operand(0, row));
      round_row(d.h0 + row * d.H, d.H, operand(0, row) + layout.inputs);
      if (CELL == LSTM) copy_row(s.c + row * layout.units, d.c0 + row * d.H, d.H);
    }
    team.wait();
    for (long t = 0; t < d.T && n; t++) {
      for (long panel = 0; panel < layout.n_panels; panel++) step(t, panel);
      attend_all(t);
      combine(t);
    }
    for (long row = mine.from; row < mine.to && CELL == LSTM; row++)
      copy_row(d.c_end + row * d.H, s.c + row * layout.units, d.H);
  }

 private:
  Half* operand(long t, long row) const { return d.operands + (t * d.B + row) * layout.operand; }
  Half* join(long t, long row) const { return d.joined + (t * d.B + row) * joined.stride; }

  void pack() const {
    for (long panel = member; panel < layout.n_panels; panel += team.size)
      for (int sum = 0; sum < n_sums(CELL); sum++) {
        const long unit = panel * BLOCK, row = (CELL == GRU && sum == 3 ? 2 : sum) * d.H + unit;
        const bool of_x = !(CELL == GRU && sum == 3), of_h = !(CELL == GRU && sum == 2);
        Half* out = s.weights + layout.packed(panel, sum);
        if (of_x) pack_columns(d.w_feed + row * d.w_feed_row, d.w_feed_row, d.H - unit, d.O, out);
        if (of_h) pack_columns(d.w_hh + row * d.H, d.H, d.H - unit, d.H, out + (of_x ? layout.inputs * BLOCK : 0));
      }
    const Range queries(ceil_div(d.A, BLOCK), member, team.size), outputs(ceil_div(d.O, BLOCK), member, team.size);
    const long J = d.H + d.M;
    if (d.is_additive) pack_panels(d.w_query, d.H, d.A, d.H, layout.units, queries, s.query);
    pack_panels(d.w_combine, J, d.O, d.H, joined.units, outputs, s.combine_h);
    pack_panels(d.w_combine + d.H, J, d.O, d.M, joined.values, outputs, s.combine_context);
  }

  // Computes the new states of 32 units.
  void step(long t, long panel) const {
    for (int sum = 0; sum < n_sums(CELL); sum++)
      multiply_mixed(n, layout.depth(sum), {operand(t, mine.from) + layout.start(sum), layout.operand},
                     s.weights + layout.packed(panel, sum), s.sums + sum * BLOCK, s.sum_stride);
    for (long i = 0; i < n; i++)
      for (long unit = panel * BLOCK; unit < (panel + 1) * BLOCK; unit += W) {
        const Vec h = unit < d.H ? finish(t, i, unit) : Vec{};
        store_half(operand(t + 1, mine.from + i) + layout.inputs + unit, h, W);
        store_half(join(t, mine.from + i) + unit, h, W);
      }
  }

  // The new states of W units of one row.
  __attribute__((always_inline)) Vec finish(long t, long i, long unit) const {
    const long row = mine.from + i, cell = t * d.B + row, left = d.H - unit;
    Vec sum[n_sums(CELL)];
    for (int k = 0; k < n_sums(CELL); k++) {
      const long at = (CELL == GRU && k == 3 ? 2 : k) * d.H + unit;
      sum[k] = load(s.sums + i * s.sum_stride + k * BLOCK + unit % BLOCK);
      if (!(CELL == GRU && k == 3)) sum[k] += load_n(d.known + cell * n_gates(CELL) * d.H + at, left);
      if (d.b_hh && !(CELL == GRU && k == 2)) sum[k] += load_n(d.b_hh + at, left);
    }
    const float* before = t ? d.h + (cell - d.B) * d.H + unit : d.h0 + row * d.H + unit;
    float* c = CELL == LSTM ? s.c + row * layout.units + unit : nullptr;
    float* record = d.record ? d.record + cell * layout.kept + layout.place(unit, 0) : nullptr;
    const Vec h = below(new_state<CELL>(sum, before, c, left, record), left);
    store_n(d.h + cell * d.H + unit, h, left);
    return h;
  }

  void attend_all(long t) const {
    for (long first = 0; first < d.A && d.is_additive; first += BLOCK) {
      multiply_mixed(n, joined.units, {join(t, mine.from), joined.stride}, s.query + first * layout.units, s.sums, BLOCK);
      add_sums(s.sums, n, d.A - first, d.query + (t * d.B + mine.from) * d.A + first, d.A, false);
    }
    for (long row = mine.from; row < mine.to; row++) {
      const long cell = t * d.B + row;
      float* context = d.context + cell * d.M;
      attend(d, row, d.is_additive ? d.query + cell * d.A : d.h + cell * d.H, d.attention + cell * d.S, context);
      round_row(context, d.M, join(t, row) + joined.units);
    }
  }

  void combine(long t) const {
    const Half* const rows = join(t, mine.from);
    for (long first = 0; first < d.O; first += BLOCK) {
      multiply_mixed(n, joined.units, {rows, joined.stride}, s.combine_h + first * joined.units, s.sums, BLOCK);
      multiply_mixed(n, joined.values, {rows + joined.units, joined.stride}, s.combine_context + first * joined.values,
                     s.sums, BLOCK, true);
      for (long i = 0; i < n; i++)
        for (long v = 0; v < BLOCK; v += W) {
          const long row = mine.from + i, left = d.O - first - v;
          const Vec o = left > 0 ? below(fast_tanh(load(s.sums + i * BLOCK + v)), left) : Vec{};
          if (left > 0) store_n(d.output + (t * d.B + row) * d.O + first + v, o, left);
          store_half(operand(t + 1, row) + first + v, o, W);
        }
    }
  }
};

template <int CELL>
struct MixedAttentiveGradientScratch {
  static constexpr int N_BLOCKS = n_gradient_blocks(CELL);
  Half *w_feed, *w_hh, *w_query, *w_combine;     // shared
  float *carry, *d_energy;
  Half *gates[2], *d_query, *d_combined;         // per member
  float *sums, *d_feed, *d_joined, *d_weights;
  long stride, query_stride, output_stride, feed_stride, joined_stride, joined_width, total;

  MixedAttentiveGradientScratch(const Attentive& d, int member, int team_size, float* base) {
    const MixedLayout<CELL> layout(layer_of(d));
    const long outputs = layout.inputs, queries = round_up(d.A, BLOCK), rows = round_up(ceil_div(d.B, team_size), TILE_ROWS);
    Scratch scratch{base};
    stride = half_stride(N_BLOCKS * layout.units);
    query_stride = half_stride(queries), output_stride = half_stride(outputs);
    feed_stride = stride_of(outputs), joined_width = round_up(d.H + d.M, BLOCK), joined_stride = stride_of(joined_width);
    w_feed = scratch.take_array<Half>(n_gates(CELL) * layout.units * outputs);
    w_hh = scratch.take_array<Half>(n_gates(CELL) * layout.units * layout.units);
    w_query = scratch.take_array<Half>(queries * layout.units);
    w_combine = scratch.take_array<Half>(outputs * joined_width);
    carry = scratch.take(d.B * layout.units);
    d_energy = scratch.take(team_size * stride_of(d.A));
    for (int i = 0; i < team_size; i++) {
      Half *own_gates = scratch.take_array<Half>(2 * rows * stride), *own_query = scratch.take_array<Half>(rows * query_stride);
      Half* own_combined = scratch.take_array<Half>(rows * output_stride);
      float *own_sums = scratch.take(rows * BLOCK), *own_feed = scratch.take(rows * feed_stride);
      float *own_joined = scratch.take(rows * joined_stride), *own_weights = scratch.take(d.S);
      if (i != member) continue;
      gates[0] = own_gates, gates[1] = own_gates + rows * stride, d_query = own_query, d_combined = own_combined;
      sums = own_sums, d_feed = own_feed, d_joined = own_joined, d_weights = own_weights;
    }
    total = scratch.used;
  }
};

template <int CELL>
struct MixedAttentiveGradient {
  static constexpr int N_BLOCKS = n_gradient_blocks(CELL), N_GATES = n_gates(CELL);
  const Attentive& d;
  const int member;
  Team& team;
  const MixedAttentiveGradientScratch<CELL> s;
  const MixedLayout<CELL> layout;
  const Range mine;  // rows
  const long n, H, units;

  MixedAttentiveGradient(const Attentive& d, float* base, int member, Team& team)
      : d(d), member(member), team(team), s(d, member, team.size, base), layout(layer_of(d)),
        mine(d.B, member, team.size), n(mine.to - mine.from), H(d.H), units(layout.units) {}

  void run() const {
    pack();
    memset(own_energy(), 0, (size_t)d.A * sizeof(float));
    for (long i = 0; i < n; i++) memset(s.d_feed + i * s.feed_stride, 0, (size_t)s.feed_stride * sizeof(float));
    team.wait();
    for (long t = d.T - 1; t >= 0 && n; t--) {
      through_output(t);
      for (long i = 0; i < n; i++) {
        const long cell = t * d.B + mine.from + i;
        float* const d_query = d.d_query + cell * d.A;
        attend_backward(d, t, mine.from + i, s.d_joined + i * s.joined_stride + H,
                        d.is_additive ? d.query + cell * d.A : d.h + cell * H, d_query, own_energy(), s.d_weights);
        if (d.is_additive) round_row(d_query, d.A, s.d_query + i * s.query_stride);
      }
      for (long panel = 0; panel < layout.n_panels; panel++) step(t, panel);
      multiply_gates(s.gates[t & 1], 0, s.w_feed, layout.inputs, s.d_feed, s.feed_stride);
    }
    if (n) start();
    team.wait();
    if (member == 0 && d.d_energy)
      for (int i = 0; i < team.size; i++) add_scaled(d.d_energy, 1, s.d_energy + i * stride_of(d.A), d.A);
  }

 private:
  float* own_energy() const { return s.d_energy + member * stride_of(d.A); }

  void pack() const {
    pack_gates<CELL>(d.w_feed, d.w_feed_row, d.O, H, false, s.w_feed, Range(layout.inputs / BLOCK, member, team.size));
    pack_gates<CELL>(d.w_hh, H, H, H, true, s.w_hh, Range(layout.n_panels, member, team.size));
    const auto pack = [&](const float* w, long K, long N, Half* out) {  // w[k][n]
      const Range own(ceil_div(N, BLOCK), member, team.size);
      for (long panel = own.from; panel < own.to; panel++)
        pack_pairs([&](long k) { return rounded(w + k * N + panel * BLOCK, N - panel * BLOCK); }, K,
                   out + panel * BLOCK * round_up(K, BLOCK));
    };
    if (d.is_additive) pack(d.w_query, d.A, H, s.w_query);
    pack(d.w_combine, d.O, H + d.M, s.w_combine);
  }

  // to[i] = products of gate gradients, from block `first` on, with packed weights of `width` columns.
  void multiply_gates(const Half* gates, int first, const Half* packed, long width, float* to, long to_stride) const {
    for (long column = 0; column < width; column += BLOCK)
      multiply_mixed(n, N_GATES * units, {gates + first * units, s.stride}, packed + column * N_GATES * units, to + column,
                     to_stride);
  }

  // From the gradient of o = tanh(W_c [h; context]) to that of [h; context].
  void through_output(long t) const {
    for (long i = 0; i < n; i++) {
      const long cell = t * d.B + mine.from + i;
      for (long j = 0; j < d.O; j += W) {
        const long left = d.O - j;
        const Vec o = load_n(d.output + cell * d.O + j, left);
        Vec whole = load(s.d_feed + i * s.feed_stride + j);
        if (d.d_output) whole += load_n(d.d_output + cell * d.O + j, left);
        store_n(d.d_combined + cell * d.O + j, whole * (splat(1.f) - o * o), left);
      }
      round_row(d.d_combined + cell * d.O, d.O, s.d_combined + i * s.output_stride);
    }
    const long depth = layout.inputs;
    for (long column = 0; column < s.joined_width; column += BLOCK)
      multiply_mixed(n, depth, {s.d_combined, s.output_stride}, s.w_combine + column * depth, s.d_joined + column,
                     s.joined_stride);
  }

  // Computes the gate gradients of 32 units.
  void step(long t, long panel) const {
    const bool is_last = t == d.T - 1;
    const Half* const later = s.gates[1 - (t & 1)] + first_block(CELL, true) * units;
    if (!is_last)
      multiply_mixed(n, N_GATES * units, {later, s.stride}, s.w_hh + panel * BLOCK * N_GATES * units, s.sums, BLOCK);
    if (d.is_additive) {
      const long depth = round_up(d.A, BLOCK);
      multiply_mixed(n, depth, {s.d_query, s.query_stride}, s.w_query + panel * BLOCK * depth, s.sums, BLOCK, !is_last);
    }
    for (long i = 0; i < n; i++)
      for (long unit = panel * BLOCK; unit < (panel + 1) * BLOCK; unit += W) {
        Half* const gates = s.gates[t & 1] + i * s.stride + unit;
        Vec gradient[N_BLOCKS] = {};
        if (unit < H) finish(gradient, t, i, unit, is_last);
        for (int k = 0; k < N_BLOCKS; k++) store_half(gates + k * units, gradient[k], W);  // padding enters products
      }
  }

  // The gate gradients of W units of one row.
  __attribute__((always_inline)) void finish(Vec* gradient, long t, long i, long unit, bool is_last) const {
    const long row = mine.from + i, cell = t * d.B + row, left = H - unit, at = row * H + unit;
    Vec dh = load(s.d_joined + i * s.joined_stride + unit);
    if (!is_last || d.is_additive) dh += load(s.sums + i * BLOCK + unit % BLOCK);
    if (!d.is_additive) dh += load_n(d.d_query + cell * d.A + unit, left);
    if (is_last && d.dh_end) dh += load_n(d.dh_end + at, left);
    float* const carry = s.carry + row * units + unit;
    if (CELL == GRU && !is_last) dh += load(carry);
    const Vec dc = CELL != LSTM ? Vec{} : !is_last ? load(carry) : d.dc_end ? load_n(d.dc_end + at, left) : Vec{};
    const float* const record = d.record + cell * layout.kept + layout.place(unit, 0);
    const Vec before = !is_gated(CELL) ? Vec{}
                       : t             ? load(record - d.B * layout.kept + 4 * BLOCK)
                                       : load_n((CELL == LSTM ? d.c0 : d.h0) + at, left);
    state_gradient<CELL>(gradient, dh, dc, record, before, carry);
    for (int k = 0; k < N_BLOCKS; k++) {
      gradient[k] = below(gradient[k], left);
      const long to = (cell * N_GATES + gradient_gate(CELL, k)) * H + unit;
      if (k < N_GATES) store_n(d.d_known + to, gradient[k], left);
      if (CELL == GRU && k) store_n(d.d_state + to, gradient[k], left);
    }
  }

  // The gradients of what the first step reads.
  void start() const {
    const Half* const gates = s.gates[0];
    for (long panel = 0; panel < layout.n_panels; panel++) {
      multiply_mixed(n, N_GATES * units, {gates + first_block(CELL, true) * units, s.stride},
                     s.w_hh + panel * BLOCK * N_GATES * units, s.sums, BLOCK);
      add_sums(s.sums, n, H - panel * BLOCK, d.dh0 + mine.from * H + panel * BLOCK, H, false);
    }
    for (long i = 0; i < n; i++) {
      const long row = mine.from + i;
      if (CELL == GRU) add_scaled(d.dh0 + row * H, 1, s.carry + row * units, H);
      if (CELL == LSTM) copy_row(d.dc0 + row * H, s.carry + row * units, H);
      copy_row(d.dfeed0 + row * d.O, s.d_feed + i * s.feed_stride, d.O);
    }
  }
};

template <int CELL>
void mixed_attentive_forward_cell(const Attentive& d, float* base, int member, Team& team) {
  const Tiles tiles;
  MixedAttentive<CELL>(d, base, member, team).run();
}

template <int CELL>
void mixed_attentive_backward_cell(const Attentive& d, float* base, int member, Team& team) {
  const Tiles tiles;
  MixedAttentiveGradient<CELL>(d, base, member, team).run();
}

}  // namespace UNROLLED_ISA
