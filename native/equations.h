// The equations of the cells on vectors of 16 floats, for mixed precision: with faster non-linearities, whose relative
// error is a few roundings of float32.
#pragma once

#include "simd.h"

namespace UNROLLED_ISA {

// 1 / x: an estimate of 14 bits and one step of Newton's method.
ALWAYS_INLINE Vec reciprocal(Vec x) {
  const Vec estimate = (Vec)_mm512_rcp14_ps((__m512)x);
  return estimate * (splat(2.f) - x * estimate);
}

ALWAYS_INLINE Vec fast_sigmoid(Vec x) {
  Vec p, power;
  exp_parts(-at_most(splat(87.f), at_least(splat(-87.f), x)), p, power);
  return reciprocal(p * power + (power + splat(1.f)));
}

// (exp(2x) − 1) / (exp(2x) + 1), exact for small x because p is: exp(2x) = 2^n (1 + p).
ALWAYS_INLINE Vec fast_tanh(Vec x) {
  Vec p, power;
  const Vec bounded = at_most(splat(9.2f), at_least(splat(-9.2f), x)), one = splat(1.f);
  exp_parts(bounded + bounded, p, power);
  return (p * power + (power - one)) * reciprocal(p * power + (power + one));
}

// The hidden state of a GRU from its new state and its update gate.
ALWAYS_INLINE Vec gru_state(Vec z, Vec new_h, Vec h_before) { return new_h + z * (h_before - new_h); }

struct LstmState {
  Vec i, f, g, o, c, h;
};

// `gates` are the sums of i f g o.
ALWAYS_INLINE LstmState lstm_state(const Vec* gates, Vec c_before) {
  LstmState s;
  s.i = fast_sigmoid(gates[0]), s.f = fast_sigmoid(gates[1]);
  s.g = fast_tanh(gates[2]), s.o = fast_sigmoid(gates[3]);
  s.c = s.f * c_before + s.i * s.g;
  s.h = s.o * fast_tanh(s.c);
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
  const Vec one = splat(1.f), tanh_c = fast_tanh(c);
  dc = dh * o * (one - tanh_c * tanh_c) + dc;
  return {dc * g * i * (one - i), dc * c_before * f * (one - f), dc * i * (one - g * g), dh * tanh_c * o * (one - o),
          dc * f};
}

}  // namespace UNROLLED_ISA
