// The backward pass of a layer in one direction. Gate gradients are computed from the last step to the first, a chunk
// of steps at a time. After each chunk, while its gate gradients are in the cache, the gradients of inputs and weights
// are computed.
#pragma once

#include "forward.h"

namespace UNROLLED_ISA {

constexpr long BACKWARD_CHUNK = 256;  // cells
constexpr int GRADIENT_ROWS = 8;      // rows of a weight gradient in one tile

struct BackwardLine {
  const float *dy, *dh_end, *dc_end;   // null means zero
  const float *record, *y, *h_before;
  const float* c_before;               // LSTM
  float *gates, *carry;
};

template <int CELL>
struct BackwardScratch {
  float *w_ih, *w_hh, *carry, *turned;
  float *gates[2], *x[2], *h[2];  // for two chunks, because a member may be one chunk ahead of another
  double* bias;
  const float** a;
  float** out;
  BackwardLine* lines;
  long stride, chunk_cells, total;

  BackwardScratch(const Recurrence& r, int member, int team_size, float* base) {
    Scratch scratch{base};
    const long padded = gradient_width(r.H), blocks = n_gradient_blocks(CELL) * padded;
    chunk_cells = larger(BACKWARD_CHUNK, r.B);
    stride = stride_of(blocks);
    w_ih = scratch.take(n_gates(CELL) * r.H * round_up(r.D, W));
    w_hh = scratch.take(n_gates(CELL) * r.H * padded);
    carry = scratch.take(r.B * padded);
    turned = scratch.take(chunk_cells * blocks);
    for (int i = 0; i < 2; i++) {
      gates[i] = scratch.take(chunk_cells * stride);
      x[i] = scratch.take(chunk_cells * round_up(r.D, W));
      h[i] = scratch.take(chunk_cells * padded);
    }
    bias = scratch.take_array<double>(blocks);
    for (int i = 0; i < team_size; i++) {
      const float** own_a = scratch.take_array<const float*>(chunk_cells);
      float** own_out = scratch.take_array<float*>(chunk_cells);
      BackwardLine* own_lines = scratch.take_array<BackwardLine>(r.B);
      if (i == member) a = own_a, out = own_out, lines = own_lines;
    }
    total = scratch.used;
  }
};

// acc += Σ over gates of gradients[block of the gate] · rows of the gate in the panel. The sum of each gate is computed
// separately, which also bounds the rounding error.
template <int CELL, bool OF_STATE, int NV>
ALWAYS_INLINE void multiply_gates(Tile<NV>& acc, long n_rows, const float* const* gates, const float* panel, long H) {
  const long padded = gradient_width(H);
  for (int gate = 0; gate < n_gates(CELL); gate++) {
    const int block = OF_STATE ? state_block(CELL, gate) : gate;
    multiply<NV>(acc, n_rows, gates, block * padded, 1, panel + gate * H * NV * W, H);
  }
}

// Computes the gate gradients of one row and W units from dh, the total gradient of their hidden states.
template <int CELL>
ALWAYS_INLINE void finish_gradients(Vec dh, const BackwardLine& line, bool is_last, long unit, long n, long padded) {
  const Vec one = splat(1.f);
  const long in_record = unit * n_recorded(CELL);
  float* gates = line.gates + unit;
  float* carry = line.carry + unit;
  if constexpr (CELL == RNN_TANH) {
    const Vec y = load_n(line.y + unit, n);
    store(gates, dh * (one - y * y));
  } else if constexpr (CELL == RNN_RELU) {
    const Vec y = load_n(line.y + unit, n);
    store(gates, y <= Vec{} ? Vec{} : dh);
  } else if constexpr (CELL == GRU) {
    if (!is_last) dh += load(carry);
    const float* record = line.record + in_record;
    const Vec r = load(record), z = load(record + W), new_h = load(record + 2 * W);
    const Vec from_state = load(record + 3 * W), h = load_n(line.h_before + unit, n);
    const Vec d_new = dh * (one - z) * (one - new_h * new_h);
    store(carry, dh * z);
    store(gates, d_new * from_state * r * (one - r));
    store(gates + padded, dh * (h - new_h) * z * (one - z));
    store(gates + 2 * padded, d_new);
    store(gates + 3 * padded, d_new * r);
  } else {
    const float* record = line.record + in_record;
    const Vec i = load(record), f = load(record + W), g = load(record + 2 * W), o = load(record + 3 * W);
    const Vec tanh_c = tanh_of(load(record + 4 * W));
    Vec dc = dh * o * (one - tanh_c * tanh_c);
    if (!is_last) dc += load(carry);
    else if (line.dc_end) dc += load_n(line.dc_end + unit, n);
    store(carry, dc * f);
    store(gates, dc * g * i * (one - i));
    store(gates + padded, dc * load_n(line.c_before, n) * f * (one - f));
    store(gates + 2 * padded, dc * i * (one - g * g));
    store(gates + 3 * padded, dh * tanh_c * o * (one - o));
  }
}

// Where the gradient of a weight [gates · H, N] is stored.
struct WeightGradient {
  float* data;
  long N, H;
  int cell;
  bool of_state;
  // The first row of a block of gate gradients, and their number; null if the block does not belong to the weight.
  float* rows(long block, long& n_rows) const {
    const long blocks_per_gate = gradient_width(H) / GRADIENT_ROWS;
    long gate = block / blocks_per_gate;
    const long unit = block % blocks_per_gate * GRADIENT_ROWS;
    if (cell == GRU && of_state && gate >= 2) gate = gate == 3 ? 2 : -1;
    if (gate < 0 || gate >= n_gates(cell) || unit >= H) return nullptr;
    n_rows = smaller(GRADIENT_ROWS, H - unit);
    return data + (gate * H + unit) * N;
  }
};

// d_weight[row][column] (+)= Σ_k turned[row][k] · packed[k][column] for the rows in the blocks of this member.
NEVER_INLINE void add_weight_gradient(const float* turned, Range blocks, const float* packed, const Panels& panels,
                                      long K, bool is_first, const WeightGradient& gradient) {
  const long N = gradient.N;
  for (long panel = 0; panel < panels.n_panels; panel++)
    with_width(panels.width(panel), [&](auto width) {
      constexpr int NV = decltype(width)::value;
      constexpr int MR = tile_rows(NV) >= GRADIENT_ROWS ? GRADIENT_ROWS : 4;  // divides a block
      const long column = panels.begin(panel) * W;
      for (long block = blocks.from; block < blocks.to; block++) {
        long n_rows = 0;
        float* d_weight = gradient.rows(block, n_rows);
        for (int half = 0; half < GRADIENT_ROWS && half < n_rows; half += MR) {
          const float* a[MR];
          for (int m = 0; m < MR; m++) a[m] = turned + block * GRADIENT_ROWS * K + half + m;
          const long n = smaller(MR, n_rows - half);
          if (!is_first)
            for (long m = 0; m < n; m++)
              for (int v = 0; v < NV; v++) __builtin_prefetch(d_weight + (half + m) * N + column + v * W, 1, 3);
          Tile<NV> acc = {};
          multiply<NV>(acc, MR, (const float* const*)a, 0, GRADIENT_ROWS, packed + column * K, K);
          for (long m = 0; m < n; m++)
            for (int v = 0; v < NV; v++) {
              float* to = d_weight + (half + m) * N + column + v * W;
              const long left = N - column - v * W;
              store_n(to, is_first ? acc[m][v] : acc[m][v] + load_n(to, left), left);
            }
        }
      }
    });
}

template <int CELL>
struct Backward {
  const Recurrence& r;
  const int member;
  Team& team;
  const BackwardScratch<CELL> s;
  const Share share;
  const Place place;
  const Panels units, inputs;
  const long H, padded, record_step;
  const Range mine;  // panels of hidden units

  Backward(const Recurrence& r, float* base, int member, Team& team)
      : r(r), member(member), team(team), s(r, member, team.size, base), share(r, member, team.size), place{r},
        units(r.H, share.by_columns ? team.size : 1), inputs(r.D, 1), H(r.H), padded(gradient_width(r.H)),
        record_step(record_stride<CELL>(r.H)),
        mine(units.n_panels, share.by_columns ? member : 0, share.by_columns ? team.size : 1) {}

  // Computes the gate gradients of one step and writes them to `now`; `later` has those of the following step.
  void step(long step, const float* later, float* now) const {
    const long n = share.count(step), n_going_on = share.count(step + 1);
    for (long i = 0; i < n; i++) {
      const long j = share.place(i), b = place.row(j), cell = place.number(step, j);
      const bool is_last = i >= n_going_on;
      BackwardLine& line = s.lines[i];
      line.dy = r.dy.data ? r.dy.at(place.time(step, b), b) : nullptr;
      line.dh_end = is_last && r.dh_end ? r.dh_end + b * H : nullptr;
      line.dc_end = is_last && r.dc_end ? r.dc_end + b * H : nullptr;
      line.y = place.y(step, j);
      line.h_before = place.h_before(step, j);
      line.gates = now + j * s.stride;
      line.carry = s.carry + j * padded;
      if (is_gated(CELL)) line.record = r.record + cell * record_step;
      if (CELL == LSTM)
        line.c_before = step ? r.record + place.number(step - 1, j) * record_step + 4 * W : r.c0 + b * H;
      if (!is_last) s.a[i] = later + j * s.stride;
    }
    const long c_before_unit = step ? n_recorded(CELL) : 1;
    for (long panel = mine.from; panel < mine.to; panel++)
      with_width(units.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long unit = units.begin(panel) * W;
        const auto tile = [&](long i, long n_rows, bool is_last) {
          Tile<NV> dh = {};
          if (!is_last)
            multiply_gates<CELL, true, NV>(dh, n_rows, s.a + i, s.w_hh + unit * n_gates(CELL) * H, H);
#pragma GCC unroll 1
          for (int m = 0; m < n_rows; m++) {
            BackwardLine line = s.lines[i + m];
#pragma GCC unroll 1
            for (int v = 0; v < NV; v++) {
              const long at = unit + v * W, left = H - at;
              Vec whole = dh[m][v];
              if (line.dy) whole += load_n(line.dy + at, left);
              if (line.dh_end) whole += load_n(line.dh_end + at, left);
              BackwardLine here = line;
              here.c_before = line.c_before + at * c_before_unit;
              finish_gradients<CELL>(whole, here, is_last, at, left, padded);
            }
          }
        };
        tile_over<tile_rows(NV)>(n_going_on, [&](long i, long n_rows) { tile(i, n_rows, false); });
        tile_over<tile_rows(NV)>(n - n_going_on, [&](long i, long n_rows) { tile(n_going_on + i, n_rows, true); });
      });
    if (share.by_columns) team.wait();
  }

  void chunk(long s0, long s1, int side, const float* later, bool is_first) const {
    const long first = r.plan.first[s0], K = r.plan.first[s1] - first;
    float* gates = s.gates[side];
    const bool wants_weights = r.dw_ih || r.dw_hh || r.db_ih || r.db_hh;
    if (wants_weights) pack_operands(s0, s1, K, side);
    for (long step_now = s1 - 1; step_now >= s0; step_now--) {
      float* now = gates + (r.plan.first[step_now] - first) * s.stride;
      step(step_now, later, now);
      later = now;
    }
    team.wait();
    if (r.dx.data) input_gradients(s0, s1, gates);
    if (wants_weights) weight_gradients(gates, K, side, is_first);
  }

  void run() const {
    pack_weights();
    const Range rows(r.B, member, team.size);
    const long n_blocks = n_gradient_blocks(CELL) * padded / GRADIENT_ROWS;
    const Range blocks(n_blocks, member, team.size);
    for (long i = blocks.from * GRADIENT_ROWS; i < blocks.to * GRADIENT_ROWS; i++) s.bias[i] = 0;
    team.wait();

    const float* later = nullptr;
    int side = 0;
    for (long s1 = r.plan.n_steps, s0; s1 > 0; s1 = s0, side ^= 1) {
      for (s0 = s1 - 1; s0 > 0 && r.plan.first[s1] - r.plan.first[s0 - 1] <= BACKWARD_CHUNK; s0--) {}
      chunk(s0, s1, side, later, s1 == r.plan.n_steps);
      later = s.gates[side];
    }
    initial_gradients(later);
    team.wait();
    if (member == 0) write_bias_gradients();
    clear_padding(r, r.dx, r.D, member, team.size);
  }

 private:
  void pack_weights() const {
    const Range hidden(units.n_panels, member, team.size);
    pack_rows([&](long k) { return r.w_hh + k * H; }, n_gates(CELL) * H, H, units, hidden.from, hidden.to, s.w_hh);
    if (!r.dx.data) return;
    const Range from_x(inputs.n_panels, member, team.size);
    pack_rows([&](long k) { return r.w_ih + k * r.D; }, n_gates(CELL) * H, r.D, inputs, from_x.from, from_x.to, s.w_ih);
  }

  // Packs the inputs and previous states of the cells in the chunk, the right-hand sides of the weight gradients.
  void pack_operands(long s0, long s1, long K, int side) const {
    const auto pack = [&](auto row_at, const Panels& panels, long N, float* out) {
      long k = 0;
      for (long step = s0; step < s1; step++)
        for (long j = 0; j < r.plan.active[step]; j++) s.a[k++] = row_at(step, j);
      const Range range(panels.n_panels, member, team.size);
      pack_rows([&](long k) { return s.a[k]; }, K, N, panels, range.from, range.to, out);
    };
    if (r.dw_ih) pack([&](long step, long j) { return place.x(step, j); }, inputs, r.D, s.x[side]);
    if (r.dw_hh) pack([&](long step, long j) { return place.h_before(step, j); }, units, H, s.h[side]);
  }

  void input_gradients(long s0, long s1, const float* gates) const {
    const long first = r.plan.first[s0];
    const Range cells(r.plan.first[s1] - first, member, team.size);
    long n = 0;
    for (long step = s0; step < s1; step++)
      for (long j = 0; j < r.plan.active[step]; j++) {
        const long cell = place.number(step, j) - first;
        if (cell < cells.from || cell >= cells.to) continue;
        const long b = place.row(j);
        s.a[n] = gates + cell * s.stride;
        s.out[n++] = r.dx.at(place.time(step, b), b);
      }
    for (long panel = 0; panel < inputs.n_panels; panel++)
      with_width(inputs.width(panel), [&](auto width) {
        constexpr int NV = decltype(width)::value;
        const long column = inputs.begin(panel) * W;
        tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
          Tile<NV> acc = {};
          multiply_gates<CELL, false, NV>(acc, n_rows, s.a + i, s.w_ih + column * n_gates(CELL) * H, H);
          for (int m = 0; m < n_rows; m++)
            for (int v = 0; v < NV; v++) store_n(s.out[i + m] + column + v * W, acc[m][v], r.D - column - v * W);
        });
      });
  }

  void weight_gradients(const float* gates, long K, int side, bool is_first) const {
    const Range blocks(n_gradient_blocks(CELL) * padded / GRADIENT_ROWS, member, team.size);
    for (long block = blocks.from; block < blocks.to; block++) {
      const float* from = gates + block * GRADIENT_ROWS;
      float* to = s.turned + block * GRADIENT_ROWS * K;
      typedef float Eight __attribute__((vector_size(4 * GRADIENT_ROWS), aligned(4), may_alias));
      for (long start = 0; start < K; start += 32) {  // short sums in float, their total in double
        Eight sums = {};
        for (long k = start; k < smaller(K, start + 32); k++) {
          const Eight values = *(const Eight*)(from + k * s.stride);
          *(Eight*)(to + k * GRADIENT_ROWS) = values;
          sums += values;
        }
        for (int i = 0; i < GRADIENT_ROWS; i++) s.bias[block * GRADIENT_ROWS + i] += sums[i];
      }
    }
    if (r.dw_ih)
      add_weight_gradient(s.turned, blocks, s.x[side], inputs, K, is_first, {r.dw_ih, r.D, H, CELL, false});
    if (r.dw_hh) add_weight_gradient(s.turned, blocks, s.h[side], units, K, is_first, {r.dw_hh, H, H, CELL, true});
  }

  // One more product, for the gradient of the initial states.
  void initial_gradients(const float* gates) const {
    const long n = share.count(0);
    for (long i = 0; i < n; i++) s.a[i] = gates + share.place(i) * s.stride;
    if (r.dh0 && n)
      for (long panel = mine.from; panel < mine.to; panel++)
        with_width(units.width(panel), [&](auto width) {
          constexpr int NV = decltype(width)::value;
          const long unit = units.begin(panel) * W;
          tile_over<tile_rows(NV)>(n, [&](long i, long n_rows) {
            Tile<NV> acc = {};
            multiply_gates<CELL, true, NV>(acc, n_rows, s.a + i, s.w_hh + unit * n_gates(CELL) * H, H);
            for (int m = 0; m < n_rows; m++)
              for (int v = 0; v < NV; v++) {
                const long j = share.place(i + m), at = unit + v * W;
                if (CELL == GRU) acc[m][v] += load(s.carry + j * padded + at);
                store_n(r.dh0 + place.row(j) * H + at, acc[m][v], H - at);
              }
          });
        });
    team.wait();
    const Range rows(r.B, member, team.size);
    for (long j = rows.from; j < rows.to; j++) {
      const long b = place.row(j);
      const bool is_empty = !r.plan.lengths[b];
      if (is_empty && r.dh0) copy_row(r.dh0 + b * H, r.dh_end ? r.dh_end + b * H : nullptr, H);
      if (!r.dc0) continue;
      if (is_empty) copy_row(r.dc0 + b * H, r.dc_end ? r.dc_end + b * H : nullptr, H);
      else copy_row(r.dc0 + b * H, s.carry + j * padded, H);
    }
  }

  void write_bias_gradients() const {
    for (int gate = 0; gate < n_gates(CELL); gate++)
      for (long i = 0; i < H; i++) {
        if (r.db_ih) r.db_ih[gate * H + i] = (float)s.bias[gate * padded + i];
        if (r.db_hh) r.db_hh[gate * H + i] = (float)s.bias[state_block(CELL, gate) * padded + i];
      }
  }
};

template <int CELL>
void backward_cell(const Recurrence& r, float* base, int member, Team& team) {
  Backward<CELL>(r, base, member, team).run();
}

}  // namespace UNROLLED_ISA
