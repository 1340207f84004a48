// The forward pass of a layer in one direction: the input products of a chunk of steps, then the steps, with the
// non-linearity at the end of each tile's product.
#pragma once

#include "cells.h"

namespace UNROLLED_ISA {

// Number of cells whose input products are computed at once: enough rows for full tiles, few enough for the cache.
constexpr long FORWARD_CHUNK = 128;

// The grouping of gate columns. All gates of W units are in one tile, so that a tile results in new states; the plain
// RNN, with one gate, groups up to three times W units.
template <int CELL>
struct GatePanels {
  Panels plain;
  long n_panels;
  GatePanels(long H, int team_size) : plain(H, team_size) {
    n_panels = is_gated(CELL) ? plain.n_vectors : plain.n_panels;
  }
  long unit(long panel) const { return (is_gated(CELL) ? panel : plain.begin(panel)) * W; }  // first unit
  long width(long panel) const { return is_gated(CELL) ? n_gates(CELL) : plain.width(panel); }
  template <class F>
  void with(long panel, F f) const {
    if constexpr (is_gated(CELL)) f(Number<n_gates(CELL)>());
    else with_width(plain.width(panel), f);
  }
};

template <int CELL>
long record_stride(long H) {
  return stride_of(n_recorded(CELL) * round_up(H, W));
}

// Pointers to the data of one row for a tile of one step.
struct ForwardLine {
  float* product;         // the input product; part of the record if there is one
  float* y;
  float* c;               // LSTM: the new cell state …
  const float* c_before;  // … and the old one
};

template <int CELL>
struct ForwardScratch {
  float *w_ih, *w_hh, *bias, *state_bias, *products, *cell_state;
  const float** a;      // rows of the left-hand side of the product
  float** out;          // rows of the input products
  ForwardLine* lines;
  long product_stride, product_unit, chunk_cells, total;

  ForwardScratch(const Recurrence& r, int member, int team_size, float* base) {
    Scratch scratch{base};
    const long padded = round_up(r.H, W), gates = n_gates(CELL) * padded;
    const bool in_record = is_gated(CELL) && r.record;
    chunk_cells = FORWARD_CHUNK + r.B;
    product_unit = (in_record ? n_recorded(CELL) : n_gates(CELL)) * W;
    product_stride = in_record ? record_stride<CELL>(r.H) : stride_of(gates);
    w_ih = scratch.take(gates * r.D);
    w_hh = scratch.take(gates * r.H);
    bias = scratch.take(gates);
    state_bias = scratch.take(padded);
    products = in_record ? nullptr : scratch.take(chunk_cells * product_stride);
    cell_state = CELL == LSTM && !r.record ? scratch.take(r.B * padded) : nullptr;
    for (int i = 0; i < team_size; i++) {
      const float** own_a = scratch.take_array<const float*>(chunk_cells);
      float** own_out = scratch.take_array<float*>(chunk_cells);
      ForwardLine* own_lines = scratch.take_array<ForwardLine>(r.B);
      if (i == member) a = own_a, out = own_out, lines = own_lines;
    }
    total = scratch.used;
  }
};

// Computes the new states of the rows in a tile and the units of one panel from the sums of their gates.
template <int CELL, int NV>
ALWAYS_INLINE void finish_step(const Tile<NV>& gates, long n_rows, const float* const* h_before,
                               const ForwardLine* lines, long in_product, long unit, long in_c,
                               long in_c_before, long n, bool keep) {
#pragma GCC unroll 1
  for (int m = 0; m < n_rows; m++) {
    float* record = lines[m].product + in_product;
    float* y = lines[m].y + unit;
    if constexpr (CELL == RNN_TANH || CELL == RNN_RELU) {
      for (int v = 0; v < NV; v++)
        store_n(y + v * W, CELL == RNN_TANH ? tanh_of(gates[m][v]) : relu(gates[m][v]), n - v * W);
    } else if constexpr (CELL == GRU) {
      const Vec r = sigmoid(gates[m][0]), z = sigmoid(gates[m][1]), from_state = gates[m][2];
      const Vec new_h = tanh_of(load(record + 2 * W) + r * from_state);
      const Vec h = load_n(h_before[m] + unit, n);
      store_n(y, new_h + z * (h - new_h), n);
      if (keep) {
        store(record, r);
        store(record + W, z);
        store(record + 2 * W, new_h);
        store(record + 3 * W, from_state);
      }
    } else {
      const Vec i = sigmoid(gates[m][0]), f = sigmoid(gates[m][1]);
      const Vec g = tanh_of(gates[m][2]), o = sigmoid(gates[m][3]);
      const Vec c = f * load_n(lines[m].c_before + in_c_before, n) + i * g;
      store(lines[m].c + in_c, c);
      store_n(y, o * tanh_of(c), n);
      if (keep) {
        store(record, i);
        store(record + W, f);
        store(record + 2 * W, g);
        store(record + 3 * W, o);
      }
    }
  }
}

// Asks for what the rows of the next tile need: they are too far apart for the processor to guess.
template <int CELL, int NV>
ALWAYS_INLINE void prefetch_rows(const ForwardLine* lines, long from, long to, long in_product, long unit, long in_c) {
  for (long m = from; m < to; m++) {
    prefetch(lines[m].product + in_product, NV * W);
    prefetch(lines[m].y + unit, W);
    if (CELL == LSTM) prefetch(lines[m].c_before + in_c, W);
  }
}

// Fetches the packed weights of the next panel while the tiles of rows of this one are computed: large weights come
// from the third cache, for which the first tile would wait.
struct NextPanel {
  const float* at;
  long n = 0;  // floats for each tile
  bool is_fetched;
  NextPanel(const float* packed, long size, long n_tiles, long n_weights) : at(packed) {
    // Small weights stay in the second cache, and for few tiles, asking would take longer than waiting. With 32
    // registers, tiles are so large that no difference was measured.
    is_fetched = N_REGISTERS == 16 && n_weights >= 1L << 18 && n_tiles >= 8;
    if (is_fetched) n = round_up(ceil_div(size, n_tiles), 16);
  }
  void fetch_part() {
    prefetch_later(at, n);
    at += n;
  }
};

template <int CELL>
void pack_forward(const Recurrence& r, const GatePanels<CELL>& panels, const ForwardScratch<CELL>& s, int member,
                  int team_size) {
  const long H = r.H;
  const Range mine(panels.n_panels, member, team_size);
  for (long panel = mine.from; panel < mine.to; panel++) {
    const long width = panels.width(panel), unit = panels.unit(panel);
    const long at = unit * n_gates(CELL);  // columns of the panels before this one
    const auto row_of = [&](long v) { return is_gated(CELL) ? v * H + unit : unit + v * W; };
    const auto n_of = [&](long v) { return H - unit - (is_gated(CELL) ? 0 : v * W); };
    pack_transposed(r.w_ih, r.D, width, row_of, n_of, s.w_ih + at * r.D, r.D);
    pack_transposed(r.w_hh, H, width, row_of, n_of, s.w_hh + at * H, H);
    for (long v = 0; v < width; v++) {
      const Vec from_x = r.b_ih ? load_n(r.b_ih + row_of(v), n_of(v)) : Vec{};
      const Vec from_h = r.b_hh ? load_n(r.b_hh + row_of(v), n_of(v)) : Vec{};
      const bool apart = CELL == GRU && v == 2;  // the reset gate only scales the state part
      store(s.bias + at + v * W, apart ? from_x : from_x + from_h);
      if (apart) store(s.state_bias + unit, from_h);
    }
  }
}

template <int CELL>
void forward_cell(const Recurrence& r, float* base, int member, Team& team) {
  const ForwardScratch<CELL> s(r, member, team.size, base);
  const Share share(r, member, team.size);
  const GatePanels<CELL> panels(r.H, share.by_columns ? team.size : 1);
  const Place place{r};
  const long H = r.H, padded = round_up(H, W), n_steps = r.plan.n_steps;
  const bool keep = r.record && is_gated(CELL);
  pack_forward<CELL>(r, panels, s, member, team.size);
  team.wait();
  const Range mine = share.by_columns ? Range(panels.n_panels, member, team.size) : Range(panels.n_panels, 0, 1);
  const auto next_columns = [&](long panel) {
    return panels.unit(panel + 1 < mine.to ? panel + 1 : mine.from) * n_gates(CELL);
  };

  for (long s0 = 0, s1; s0 < n_steps; s0 = s1) {
    for (s1 = s0 + 1; s1 < n_steps && r.plan.first[s1 + 1] - r.plan.first[s0] <= FORWARD_CHUNK; s1++) {}
    const auto product_of = [&](long step, long j) {
      const long cell = place.number(step, j);
      return keep ? r.record + cell * s.product_stride : s.products + (cell - r.plan.first[s0]) * s.product_stride;
    };
    long n_cells = 0;
    for (long step = s0; step < s1; step++)
      for (long i = 0, n = share.count(step); i < n; i++, n_cells++) {
        s.a[n_cells] = place.x(step, share.place(i));
        s.out[n_cells] = product_of(step, share.place(i));
      }
    for (long panel = mine.from; panel < mine.to; panel++)
      panels.with(panel, [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long columns = panels.unit(panel) * n_gates(CELL);
        const long in_product = is_gated(CELL) ? panel * s.product_unit : columns;
        NextPanel next(s.w_ih + next_columns(panel) * r.D, r.D * NV * W, ceil_div(n_cells, tile_rows(NV)),
                       n_gates(CELL) * H * r.D);
        tile_over<tile_rows(NV)>(n_cells, [&](long i, long n_rows) {
          next.fetch_part();
          Tile<NV> acc;
          for (int v = 0; v < NV; v++)
            for (int m = 0; m < n_rows; m++) acc[m][v] = load(s.bias + columns + v * W);
          multiply<NV>(acc, n_rows, s.a + i, 0, 1, s.w_ih + columns * r.D, r.D);
          for (int m = 0; m < n_rows; m++)
            for (int v = 0; v < NV; v++) store(s.out[i + m] + in_product + v * W, acc[m][v]);
        });
      });

    for (long step = s0; step < s1; step++) {
      const long n = share.count(step);
      const long c_unit = r.record ? s.product_unit : W, c_before_unit = step ? c_unit : W;
      for (long i = 0; i < n; i++) {
        const long j = share.place(i);
        ForwardLine& line = s.lines[i];
        s.a[i] = place.h_before(step, j);
        line.product = product_of(step, j);
        line.y = place.y(step, j);
        if (CELL == LSTM) {
          line.c = r.record ? line.product + 4 * W : s.cell_state + j * padded;
          line.c_before = !step      ? r.c0 + place.row(j) * H
                          : r.record ? r.record + place.number(step - 1, j) * s.product_stride + 4 * W
                                     : line.c;
        }
      }
      for (long panel = mine.from; panel < mine.to; panel++)
        panels.with(panel, [&](auto width) {
          constexpr int NV = decltype(width)::value;
          const long unit = panels.unit(panel), columns = unit * n_gates(CELL), n_real = H - unit;
          const long in_product = is_gated(CELL) ? panel * s.product_unit : columns;
          NextPanel next(s.w_hh + next_columns(panel) * H, H * NV * W, ceil_div(n, tile_rows(NV)),
                         n_gates(CELL) * H * H);
          tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
            next.fetch_part();
            if (next.is_fetched)
              prefetch_rows<CELL, NV>(s.lines, i + n_rows, smaller(n, i + n_rows + tile_rows(NV)), in_product, unit,
                                      panel * c_before_unit);
            Tile<NV> acc;
            for (int m = 0; m < n_rows; m++)
              for (int v = 0; v < NV; v++)
                acc[m][v] = CELL == GRU && v == 2 ? load(s.state_bias + unit)
                                                  : load(s.lines[i + m].product + in_product + v * W);
            multiply<NV>(acc, n_rows, s.a + i, 0, 1, s.w_hh + columns * H, H);
            finish_step<CELL, NV>(acc, n_rows, s.a + i, s.lines + i, in_product, unit, panel * c_unit,
                                      panel * c_before_unit, n_real, keep);
          });
        });
      if (share.by_columns) team.wait();
    }
    // Products outside the record are overwritten by the next chunk, for other rows if some rows end early.
    if (!keep && !r.plan.is_full) team.wait();
  }

  team.wait();
  const Range rows(r.B, member, team.size);
  for (long j = rows.from; j < rows.to; j++) {
    const long b = place.row(j), length = r.plan.lengths[b];
    copy_row(r.h_end + b * H, length ? place.y(length - 1, j) : r.h0 + b * H, H);
    if (CELL != LSTM) continue;
    if (!length) copy_row(r.c_end + b * H, r.c0 + b * H, H);
    else if (!r.record) copy_row(r.c_end + b * H, s.cell_state + j * padded, H);
    else
      for (long unit = 0; unit < H; unit += W)
        store_n(r.c_end + b * H + unit,
                load(r.record + place.number(length - 1, j) * s.product_stride + unit / W * s.product_unit + 4 * W),
                H - unit);
  }
  clear_padding(r, r.y, H, member, team.size);
}

}  // namespace UNROLLED_ISA
