// The equations of the cells on vectors, shared by the kernels in float32 and in mixed precision.
#pragma once

#include "simd.h"

namespace UNROLLED_ISA {

// The hidden state of a GRU from its new state and its update gate.
ALWAYS_INLINE Vec gru_state(Vec z, Vec new_h, Vec h_before) { return new_h + z * (h_before - new_h); }

struct LstmState {
  Vec i, f, g, o, c, h;
};

// `gates` are the sums of i f g o.
ALWAYS_INLINE LstmState lstm_state(const Vec* gates, Vec c_before) {
  LstmState s;
  s.i = sigmoid(gates[0]), s.f = sigmoid(gates[1]);
  s.g = tanh_of(gates[2]), s.o = sigmoid(gates[3]);
  s.c = s.f * c_before + s.i * s.g;
  s.h = s.o * tanh_of(s.c);
  return s;
}

struct GruGradient {
  Vec r, z, n, n_state, carry;  // n_state: of the hidden part of n
};

// From dh, the total gradient of the hidden state.
ALWAYS_INLINE GruGradient gru_gradient(Vec dh, Vec r, Vec z, Vec new_h, Vec from_state, Vec h_before) {
  const Vec one = splat(1.f);
  GruGradient d;
  d.n = dh * (one - z) * (one - new_h * new_h);
  d.carry = dh * z;
  d.r = d.n * from_state * r * (one - r);
  d.z = dh * (h_before - new_h) * z * (one - z);
  d.n_state = d.n * r;
  return d;
}

struct LstmGradient {
  Vec i, f, g, o, carry;
};

// From dh, and from dc, the part of the cell state's gradient that comes from the next step.
ALWAYS_INLINE LstmGradient lstm_gradient(Vec dh, Vec dc, Vec i, Vec f, Vec g, Vec o, Vec c, Vec c_before) {
  const Vec one = splat(1.f), tanh_c = tanh_of(c);
  dc = dh * o * (one - tanh_c * tanh_c) + dc;
  return {dc * g * i * (one - i), dc * c_before * f * (one - f), dc * i * (one - g * g), dh * tanh_c * o * (one - o),
          dc * f};
}

}  // namespace UNROLLED_ISA
