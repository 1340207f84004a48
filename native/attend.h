// Attention of one row of a decoder to its memory, and its gradients, in float32.
#pragma once

#include <math.h>

#include "cells.h"

namespace UNROLLED_ISA {

using unrolled::Attentive;

// Computes the weights a_s and the context Σ a_s m_s of one row from its query.
NEVER_INLINE void attend(const Attentive& d, long row, const float* query, float* weights, float* context) {
  const long n = d.lengths[row];
  const float* keys = d.keys + row * d.S * d.A;
  const float* values = d.values + row * d.S * d.M;
  float largest = -INFINITY;
  for (long s = 0; s < n; s++) {
    if (d.is_additive) {
      Vec sum = {};
      for (long i = 0; i < d.A; i += W) {
        const long left = d.A - i;
        sum += load_n(d.energy + i, left) * tanh_of(load_n(query + i, left) + load_n(keys + s * d.A + i, left));
      }
      weights[s] = 0;
      for (int lane = 0; lane < W; lane++) weights[s] += sum[lane];
    } else {
      weights[s] = dot(query, keys + s * d.A, d.A);
    }
    largest = weights[s] > largest || weights[s] != weights[s] ? weights[s] : largest;
  }
  float total = 0;
  for (long s = 0; s < n; s++) total += weights[s] = expf(weights[s] - largest);
  for (long s = 0; s < n; s++) weights[s] /= total;
  for (long s = n; s < d.S; s++) weights[s] = 0;
  memset(context, 0, d.M * sizeof(float));
  for (long s = 0; s < n; s++) add_scaled(context, weights[s], values + s * d.M, d.M);
}

// Computes the gradients of a row's keys, values, query and energies from that of its context.
NEVER_INLINE void attend_backward(const Attentive& d, long t, long row, const float* d_context, const float* query,
                                  float* d_query, float* d_energy, float* d_weights) {
  const long n = d.lengths[row], cell = t * d.B + row;
  const float* weights = d.attention + cell * d.S;
  const float* keys = d.keys + row * d.S * d.A;
  float* d_keys = d.d_keys + row * d.S * d.A;
  memset(d_query, 0, d.A * sizeof(float));
  float mean = 0;
  for (long s = 0; s < n; s++) {
    const long at = (row * d.S + s) * d.M;
    d_weights[s] = dot(d_context, d.values + at, d.M);
    if (d.d_attention) d_weights[s] += d.d_attention[cell * d.S + s];
    add_scaled(d.d_values + at, weights[s], d_context, d.M);
    mean += weights[s] * d_weights[s];
  }
  for (long s = 0; s < n; s++) {
    const float d_score = weights[s] * (d_weights[s] - mean);
    if (!d.is_additive) {
      add_scaled(d_query, d_score, keys + s * d.A, d.A);
      add_scaled(d_keys + s * d.A, d_score, query, d.A);
      continue;
    }
    const Vec scale = splat(d_score), one = splat(1.f);
    for (long i = 0; i < d.A; i += W) {
      const long left = d.A - i;
      const Vec u = tanh_of(load_n(query + i, left) + load_n(keys + s * d.A + i, left));
      const Vec inner = scale * load_n(d.energy + i, left) * (one - u * u);
      store_n(d_energy + i, load_n(d_energy + i, left) + scale * u, left);
      store_n(d_keys + s * d.A + i, load_n(d_keys + s * d.A + i, left) + inner, left);
      store_n(d_query + i, load_n(d_query + i, left) + inner, left);
    }
  }
}

}  // namespace UNROLLED_ISA
