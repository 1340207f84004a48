// The steps of a decoder with attention and input feeding. Rows are independent, so each member of the team computes
// all steps of some rows, and only the packing of the weights is shared.
#pragma once

#include "attend.h"
#include "backward.h"

namespace UNROLLED_ISA {

// The stride of the record depends only on the cell, as in a plain layer.
ALWAYS_INLINE long attentive_record_stride(const Attentive& d) {
  return d.cell == GRU ? record_stride<GRU>(d.H) : d.cell == LSTM ? record_stride<LSTM>(d.H) : 0;
}

static long attentive_record_floats(const Attentive& d) { return d.T * d.B * attentive_record_stride(d); }

// ---- forward

// The packed weights of the decoder; made once for a sequence.
struct AttentiveWeights {
  float *w_feed, *w_hh, *state_bias, *w_query, *w_combine;
  long total;
  AttentiveWeights(const Attentive& d, float* base) {
    Scratch scratch{base};
    const long gates = n_gates(d.cell) * round_up(d.H, W);
    w_feed = scratch.take(gates * d.O);
    w_hh = scratch.take(gates * d.H);
    state_bias = scratch.take(gates);
    w_query = scratch.take(round_up(d.A, W) * d.H);
    w_combine = scratch.take(round_up(d.O, W) * (d.H + d.M));
    total = scratch.used;
  }
};

static long attentive_packed_floats(const Attentive& d) { return AttentiveWeights(d, nullptr).total; }

template <int CELL>
void attentive_pack_cell(const Attentive& d, int member, int team_size) {
  const AttentiveWeights s(d, d.packed);
  const GatePanels<CELL> panels(d.H, 1);
  const long H = d.H, J = d.H + d.M;
  const Range packed(panels.n_panels, member, team_size);
  for (long panel = packed.from; panel < packed.to; panel++) {
    const long width = panels.width(panel), unit = panels.unit(panel), at = unit * n_gates(CELL);
    const auto row_of = [&](long v) { return is_gated(CELL) ? v * H + unit : unit + v * W; };
    const auto n_of = [&](long v) { return H - unit - (is_gated(CELL) ? 0 : v * W); };
    pack_transposed(d.w_feed, d.O, width, row_of, n_of, s.w_feed + at * d.O, d.w_feed_row);
    pack_transposed(d.w_hh, H, width, row_of, n_of, s.w_hh + at * H, H);
    for (long v = 0; v < width; v++)
      store(s.state_bias + at + v * W, d.b_hh ? load_n(d.b_hh + row_of(v), n_of(v)) : Vec{});
  }
  const auto pack_columns = [&](const float* w, long K, long N, float* out) {
    const Panels its(N, 1);
    const Range mine(its.n_panels, member, team_size);
    for (long panel = mine.from; panel < mine.to; panel++) {
      const long first = its.begin(panel) * W;
      pack_transposed(w, K, its.width(panel), [&](long v) { return first + v * W; },
                      [&](long v) { return N - first - v * W; }, out + first * K, K);
    }
  };
  if (d.is_additive) pack_columns(d.w_query, H, d.A, s.w_query);
  pack_columns(d.w_combine, J, d.O, s.w_combine);
}

template <int CELL>
struct AttentiveScratch {
  float *products, *joined;
  long product_stride, product_unit, total;
  const float **a, **b;
  ForwardLine* lines;

  AttentiveScratch(const Attentive& d, int member, int team_size, float* base) {
    Scratch scratch{base};
    product_unit = (is_gated(CELL) ? n_recorded(CELL) : 1) * W;
    product_stride = is_gated(CELL) ? record_stride<CELL>(d.H) : stride_of(d.H);
    products = d.record ? nullptr : scratch.take(d.B * product_stride);
    joined = scratch.take(d.B * (d.H + d.M + 16));
    for (int i = 0; i < team_size; i++) {
      const float** own_a = scratch.take_array<const float*>(d.B);
      const float** own_b = scratch.take_array<const float*>(d.B);
      ForwardLine* own_lines = scratch.take_array<ForwardLine>(d.B);
      if (i == member) a = own_a, b = own_b, lines = own_lines;
    }
    total = scratch.used;
  }
};

template <int CELL>
void attentive_forward_cell(const Attentive& d, float* base, int member, Team& team) {
  constexpr int G = n_gates(CELL);
  const long H = d.H, B = d.B, O = d.O, J = d.H + d.M;
  const AttentiveScratch<CELL> s(d, member, team.size, base);
  const AttentiveWeights w(d, d.packed);
  const GatePanels<CELL> panels(H, 1);
  const Panels queries(d.A, 1), outputs(O, 1);
  const Range mine(B, member, team.size);
  const long n = mine.to - mine.from, padded = round_up(H, W);
  for (long t = 0; t < d.T; t++) {
    for (long i = 0; i < n; i++) {
      const long row = mine.from + i, cell = t * B + row;
      ForwardLine& line = s.lines[i];
      s.a[i] = t ? d.output + (cell - B) * O : d.feed0 + row * O;
      s.b[i] = t ? d.h + (cell - B) * H : d.h0 + row * H;
      line.product = d.record ? d.record + cell * s.product_stride : s.products + row * s.product_stride;
      line.y = d.h + cell * H;
      if (CELL != LSTM) continue;
      line.c = line.product + 4 * W;
      // Without a record, the new cell state overwrites the old one.
      line.c_before = !t ? d.c0 + row * H : d.record ? line.c - B * s.product_stride : line.c;
    }
    const long c_before_unit = t ? s.product_unit : W;
    for (long panel = 0; panel < panels.n_panels; panel++)
      panels.with(panel, [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long unit = panels.unit(panel), columns = unit * G, n_real = H - unit;
        const long in_product = is_gated(CELL) ? panel * s.product_unit : columns;
        tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
          Tile<NV> acc, part = {};
          for (int m = 0; m < n_rows; m++) {
            const float* known = d.known + (t * B + mine.from + i + m) * G * H + unit;
            for (int v = 0; v < NV; v++)
              acc[m][v] = is_gated(CELL) ? load_n(known + v * H, n_real) : load_n(known + v * W, n_real - v * W);
          }
          multiply<NV>(part, n_rows, s.a + i, 0, 1, w.w_feed + columns * O, O);
          for (int m = 0; m < n_rows; m++)
            for (int v = 0; v < NV; v++) acc[m][v] += part[m][v];
          if constexpr (CELL == GRU)
            for (int m = 0; m < n_rows; m++) {
              store(s.lines[i + m].product + in_product + 2 * W, acc[m][2]);  // the input part of n is kept separate
              acc[m][2] = Vec{};
            }
          for (int m = 0; m < n_rows; m++)
            for (int v = 0; v < NV; v++) acc[m][v] += load(w.state_bias + columns + v * W);
          multiply<NV>(acc, n_rows, s.b + i, 0, 1, w.w_hh + columns * H, H);
          finish_step<CELL, NV>(acc, n_rows, s.b + i, s.lines + i, in_product, unit, panel * s.product_unit,
                                    panel * c_before_unit, n_real, d.record != nullptr);
        });
      });

    for (long i = 0; i < n; i++) s.a[i] = s.lines[i].y;
    if (d.is_additive)
      product_rows(s.a, n, H, w.w_query, queries, d.query + (t * B + mine.from) * d.A, d.A, d.A);
    for (long i = 0; i < n; i++) {
      const long row = mine.from + i, cell = t * B + row;
      float* context = d.context + cell * d.M;
      attend(d, row, d.is_additive ? d.query + cell * d.A : s.lines[i].y, d.attention + cell * d.S, context);
      float* joined = s.joined + row * (J + 16);
      memcpy(joined, s.lines[i].y, H * sizeof(float));
      memcpy(joined + H, context, d.M * sizeof(float));
      s.a[i] = joined;
    }
    float* output = d.output + (t * B + mine.from) * O;
    product_rows(s.a, n, J, w.w_combine, outputs, output, O, O);
    for (long i = 0; i < n * O; i += W) store_n(output + i, tanh_of(load_n(output + i, n * O - i)), n * O - i);
  }
  if (CELL != LSTM) return;
  for (long i = 0; i < n; i++) {
    const long row = mine.from + i;
    float* to = d.c_end + row * H;
    if (!d.T) copy_row(to, d.c0 + row * H, H);
    else
      for (long unit = 0; unit < padded; unit += W)
        store_n(to + unit, load(s.lines[i].c + unit / W * s.product_unit), H - unit);
  }
}

// ---- backward

template <int CELL>
struct AttentiveBackwardScratch {
  float *w_feed, *w_hh, *w_query, *w_combine, *carry, *d_feed, *d_joined, *d_energy, *d_weights, *gates[2];
  const float **a, **b;
  BackwardLine* lines;
  long stride, joined_stride, total;

  AttentiveBackwardScratch(const Attentive& d, int member, int team_size, float* base) {
    Scratch scratch{base};
    const long padded = gradient_width(d.H), J = d.H + d.M;
    stride = stride_of(n_gradient_blocks(CELL) * padded);
    joined_stride = stride_of(J);
    w_feed = scratch.take(n_gates(CELL) * d.H * round_up(d.O, W));
    w_hh = scratch.take(n_gates(CELL) * d.H * padded);
    w_query = scratch.take(d.A * padded);
    w_combine = scratch.take(d.O * round_up(J, W));
    carry = scratch.take(d.B * padded);
    d_feed = scratch.take(d.B * stride_of(d.O));
    d_joined = scratch.take(d.B * joined_stride);
    for (float*& side : gates) side = scratch.take(d.B * stride);
    d_energy = scratch.take(team_size * stride_of(d.A));
    d_weights = scratch.take(team_size * stride_of(d.S));
    for (int i = 0; i < team_size; i++) {
      const float** own_a = scratch.take_array<const float*>(d.B);
      const float** own_b = scratch.take_array<const float*>(d.B);
      BackwardLine* own_lines = scratch.take_array<BackwardLine>(d.B);
      if (i == member) a = own_a, b = own_b, lines = own_lines;
    }
    total = scratch.used;
  }
};

template <int CELL>
void attentive_backward_cell(const Attentive& d, float* base, int member, Team& team) {
  constexpr int G = n_gates(CELL);
  const long H = d.H, B = d.B, O = d.O, J = d.H + d.M, padded = gradient_width(H), feed_stride = stride_of(O);
  const AttentiveBackwardScratch<CELL> s(d, member, team.size, base);
  const Panels units(H, 1), feeds(O, 1), joined(J, 1);
  const auto pack = [&](const float* w, long row_stride, long K, long N, const Panels& panels, float* out) {
    const Range mine(panels.n_panels, member, team.size);
    pack_rows([&](long k) { return w + k * row_stride; }, K, N, panels, mine.from, mine.to, out);
  };
  pack(d.w_feed, d.w_feed_row, G * H, O, feeds, s.w_feed);
  pack(d.w_hh, H, G * H, H, units, s.w_hh);
  if (d.is_additive) pack(d.w_query, H, d.A, H, units, s.w_query);
  pack(d.w_combine, J, O, J, joined, s.w_combine);
  float* d_energy = s.d_energy + member * stride_of(d.A);
  memset(d_energy, 0, d.A * sizeof(float));
  team.wait();

  const Range mine(B, member, team.size);
  const long n = mine.to - mine.from, record_step = attentive_record_stride(d);
  for (long i = mine.from; i < mine.to; i++) memset(s.d_feed + i * feed_stride, 0, feed_stride * sizeof(float));
  // Computes the gradient of the fed-back output from the gate gradients of a step.
  const auto feed_back = [&](float* gates) {
    for (long i = 0; i < n; i++) s.a[i] = gates + (mine.from + i) * s.stride;
    for (long panel = 0; panel < feeds.n_panels; panel++)
      with_width(feeds.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long column = feeds.begin(panel) * W;
        tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
          Tile<NV> acc = {};
          multiply_gates<CELL, false, NV>(acc, n_rows, s.a + i, s.w_feed + column * G * H, H);
          for (int m = 0; m < n_rows; m++)
            for (int v = 0; v < NV; v++) store(s.d_feed + (mine.from + i + m) * feed_stride + column + v * W, acc[m][v]);
        });
      });
  };
  const Vec one = splat(1.f);
  for (long t = d.T - 1; t >= 0; t--) {
    const bool is_last = t == d.T - 1;
    float *now = s.gates[t & 1], *later = s.gates[1 - (t & 1)];
    for (long i = 0; i < n; i++) {  // backward through o = tanh(…)
      const long row = mine.from + i, cell = t * B + row;
      for (long j = 0; j < O; j += W) {
        const Vec o = load_n(d.output + cell * O + j, O - j);
        Vec whole = load(s.d_feed + row * feed_stride + j);
        if (d.d_output) whole += load_n(d.d_output + cell * O + j, O - j);
        store_n(d.d_combined + cell * O + j, whole * (one - o * o), O - j);
      }
      s.a[i] = d.d_combined + cell * O;
    }
    product_rows(s.a, n, O, s.w_combine, joined, s.d_joined + mine.from * s.joined_stride, s.joined_stride, J);
    for (long i = 0; i < n; i++) {
      const long row = mine.from + i, cell = t * B + row;
      const float* query = d.is_additive ? d.query + cell * d.A : d.h + cell * H;
      attend_backward(d, t, row, s.d_joined + row * s.joined_stride + H, query, d.d_query + cell * d.A, d_energy,
                      s.d_weights + member * stride_of(d.S));
      BackwardLine& line = s.lines[i];
      line.dy = s.d_joined + row * s.joined_stride;
      line.dh_end = is_last && d.dh_end ? d.dh_end + row * H : nullptr;
      line.dc_end = is_last && d.dc_end ? d.dc_end + row * H : nullptr;
      line.y = d.h + cell * H;
      line.h_before = t ? d.h + (cell - B) * H : d.h0 + row * H;
      line.gates = now + row * s.stride;
      line.carry = s.carry + row * padded;
      if (is_gated(CELL)) line.record = d.record + cell * record_step;
      if (CELL == LSTM) line.c_before = t ? line.record - B * record_step + 4 * W : d.c0 + row * H;
      s.a[i] = later + row * s.stride;
      s.b[i] = d.d_query + cell * d.A;
    }
    const long c_before_unit = t ? n_recorded(CELL) : 1;
    for (long panel = 0; panel < units.n_panels; panel++)
      with_width(units.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long unit = units.begin(panel) * W;
        tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
          Tile<NV> dh = {};
          if (!is_last) multiply_gates<CELL, true, NV>(dh, n_rows, s.a + i, s.w_hh + unit * G * H, H);
          if (d.is_additive) multiply<NV>(dh, n_rows, s.b + i, 0, 1, s.w_query + unit * d.A, d.A);
#pragma GCC unroll 1
          for (int m = 0; m < n_rows; m++) {
            BackwardLine here = s.lines[i + m];
#pragma GCC unroll 1
            for (int v = 0; v < NV; v++) {
              const long at = unit + v * W, left = H - at;
              Vec whole = dh[m][v] + load_n(here.dy + at, left);
              if (!d.is_additive) whole += load_n(s.b[i + m] + at, left);
              if (here.dh_end) whole += load_n(here.dh_end + at, left);
              here.c_before = s.lines[i + m].c_before + at * c_before_unit;
              finish_gradients<CELL>(whole, here, is_last, at, left, padded);
            }
          }
        });
      });
    for (long row = mine.from; row < mine.to; row++)
      for (int gate = 0; gate < G; gate++) {
        const long to = ((t * B + row) * G + gate) * H;
        memcpy(d.d_known + to, now + row * s.stride + gate * padded, H * sizeof(float));
        if (CELL == GRU)
          memcpy(d.d_state + to, now + row * s.stride + state_block(CELL, gate) * padded, H * sizeof(float));
      }
    feed_back(now);
  }
  const float* first = s.gates[0];
  for (long i = 0; i < n; i++) s.a[i] = first + (mine.from + i) * s.stride;
  for (long panel = 0; d.T && panel < units.n_panels; panel++)
    with_width(units.width(panel), [&](auto width) {
      constexpr int NV = decltype(width)::value;
      const long unit = units.begin(panel) * W;
      tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
        Tile<NV> acc = {};
        multiply_gates<CELL, true, NV>(acc, n_rows, s.a + i, s.w_hh + unit * G * H, H);
        for (int m = 0; m < n_rows; m++)
          for (int v = 0; v < NV; v++) {
            const long row = mine.from + i + m, at = unit + v * W;
            if (CELL == GRU) acc[m][v] += load(s.carry + row * padded + at);
            store_n(d.dh0 + row * H + at, acc[m][v], H - at);
          }
      });
    });
  for (long row = mine.from; row < mine.to; row++) {
    copy_row(d.dfeed0 + row * O, s.d_feed + row * feed_stride, O);
    if (CELL == LSTM) copy_row(d.dc0 + row * H, s.carry + row * padded, H);
  }
  team.wait();
  if (member == 0 && d.d_energy)
    for (int i = 0; i < team.size; i++) add_scaled(d.d_energy, 1, s.d_energy + i * stride_of(d.A), d.A);
}

}  // namespace UNROLLED_ISA
