// One step of a few rows with prepacked weights, for streaming, completion, and greedy and beam search.
//
// For each W hidden units, the packed block has, in the order of use: biases; for int8, the scales; the input weights
// and the state weights as [K][G · W].
#pragma once

#include "cells.h"
#include "rounded.h"

namespace UNROLLED_ISA {

using unrolled::Step;
using unrolled::StepCall;

constexpr int STEP_ROWS = tile_rows(4);

struct StepLayout {
  long n_panels, n_biases, n_vectors, header, x_bytes, h_bytes, stride;
  explicit StepLayout(const Step& s) {
    n_panels = ceil_div(s.H, W);
    n_vectors = n_gates(s.cell);
    n_biases = s.cell == GRU ? 4 : n_vectors;
    header = (n_biases + (s.weight_type == INT8 ? 2 * n_vectors : 0)) * W * 4;
    x_bytes = packed_bytes(s.weight_type, s.D, n_vectors);
    h_bytes = packed_bytes(s.weight_type, s.H, n_vectors);
    stride = round_up(header + x_bytes + h_bytes, 64);
  }
};

static long step_bytes(const Step& s) {
  const StepLayout layout(s);
  return layout.n_panels * layout.stride;
}

static void step_pack(const Step& s, const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh,
                      void* packed) {
  const StepLayout layout(s);
  const long H = s.H, G = layout.n_vectors;
  memset(packed, 0, layout.n_panels * layout.stride);
  for (long panel = 0; panel < layout.n_panels; panel++) {
    char* block = (char*)packed + panel * layout.stride;
    float* biases = (float*)block;
    float* scales = biases + layout.n_biases * W;
    char *x_weights = block + layout.header, *h_weights = x_weights + layout.x_bytes;
    if (s.weight_type == FLOAT32) {
      const auto row_of = [&](long gate) { return gate * H + panel * W; };
      const auto n_of = [&](long) { return H - panel * W; };
      pack_transposed(w_ih, s.D, G, row_of, n_of, (float*)x_weights, s.D);
      pack_transposed(w_hh, H, G, row_of, n_of, (float*)h_weights, H);
    }
    for (long gate = 0; gate < G; gate++)
      for (long j = 0; j < W && panel * W + j < H; j++) {
        const long row = gate * H + panel * W + j, lane = gate * W + j;
        const float from_x = b_ih ? b_ih[row] : 0, from_h = b_hh ? b_hh[row] : 0;
        const bool apart = s.cell == GRU && gate == 2;
        biases[lane] = apart ? from_x : from_x + from_h;
        if (apart) biases[lane + W] = from_h;
        if (s.weight_type == FLOAT32) continue;
        const float x_scale = pack_lane(s.weight_type, w_ih + row * s.D, s.D, G, lane, x_weights);
        const float h_scale = pack_lane(s.weight_type, w_hh + row * H, H, G, lane, h_weights);
        if (s.weight_type == INT8) scales[lane] = x_scale, scales[G * W + lane] = h_scale;
      }
  }
}

template <int CELL, int TYPE>
void step_cell(const Step& s, const void* packed, const StepCall& call, int member, int team_size) {
  constexpr int G = n_gates(CELL);
  const StepLayout layout(s);
  const bool by_rows = call.n_rows >= 8 * team_size;
  const Range panels(layout.n_panels, by_rows ? 0 : member, by_rows ? 1 : team_size);
  const Range rows(call.n_rows, by_rows ? member : 0, by_rows ? team_size : 1);
  for (long panel = panels.from; panel < panels.to; panel++) {
    const char* block = (const char*)packed + panel * layout.stride;
    const float* biases = (const float*)block;
    const float* scales = biases + layout.n_biases * W;
    const char *x_weights = block + layout.header, *h_weights = x_weights + layout.x_bytes;
    const long unit = panel * W, n = s.H - unit;
    tile_over<STEP_ROWS>(rows.to - rows.from, [&](long i, long n_rows) {
      const long row = rows.from + i;
      const float *x[STEP_ROWS], *h[STEP_ROWS];
      Tile<G> gates;
      Vec new_from_x[STEP_ROWS];
      for (int m = 0; m < n_rows; m++) {
        x[m] = call.x + (row + m) * call.x_row;
        h[m] = call.h + (row + m) * call.h_row;
        for (int gate = 0; gate < G; gate++) gates[m][gate] = load(biases + gate * W);
      }
      multiply_packed<TYPE, G>(gates, n_rows, x, x_weights, scales, s.D);
      if constexpr (CELL == GRU)
        for (int m = 0; m < n_rows; m++) {
          new_from_x[m] = gates[m][2];
          gates[m][2] = load(biases + 3 * W);
        }
      multiply_packed<TYPE, G>(gates, n_rows, h, h_weights, scales + G * W, s.H);
      for (int m = 0; m < n_rows; m++) {
        float* h_out = call.h_out + (row + m) * s.H + unit;
        if constexpr (CELL == GRU) {
          const Vec r = sigmoid(gates[m][0]), z = sigmoid(gates[m][1]);
          const Vec new_h = tanh_of(new_from_x[m] + r * gates[m][2]), before = load_n(h[m] + unit, n);
          store_n(h_out, new_h + z * (before - new_h), n);
        } else if constexpr (CELL == LSTM) {
          const Vec before = load_n(call.c + (row + m) * call.c_row + unit, n);
          const Vec c = sigmoid(gates[m][1]) * before + sigmoid(gates[m][0]) * tanh_of(gates[m][2]);
          store_n(call.c_out + (row + m) * s.H + unit, c, n);
          store_n(h_out, sigmoid(gates[m][3]) * tanh_of(c), n);
        } else {
          store_n(h_out, CELL == RNN_TANH ? tanh_of(gates[m][0]) : relu(gates[m][0]), n);
        }
      }
    });
  }
}

template <int CELL>
void step_of(const Step& s, const void* packed, const StepCall& call, int member, int team_size) {
  switch (s.weight_type) {
    case FLOAT32: return step_cell<CELL, FLOAT32>(s, packed, call, member, team_size);
    case BFLOAT16: return step_cell<CELL, BFLOAT16>(s, packed, call, member, team_size);
    default: return step_cell<CELL, INT8>(s, packed, call, member, team_size);
  }
}

static void step(const Step& s, const void* packed, const StepCall& call, int member, int team_size) {
  switch (s.cell) {
    case RNN_TANH: return step_of<RNN_TANH>(s, packed, call, member, team_size);
    case RNN_RELU: return step_of<RNN_RELU>(s, packed, call, member, team_size);
    case GRU: return step_of<GRU>(s, packed, call, member, team_size);
    default: return step_of<LSTM>(s, packed, call, member, team_size);
  }
}

}  // namespace UNROLLED_ISA
