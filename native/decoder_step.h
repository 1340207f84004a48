// One step of a decoder for the hypotheses of several sentences: embedding, recurrent layers, attention, output layer,
// and the most probable words of each hypothesis.
#pragma once

#include <math.h>

#include "cells.h"
#include "decoder.h"
#include "dot.h"
#include "rounded.h"

namespace UNROLLED_ISA {

using unrolled::ADDITIVE;
using unrolled::Decoder;
using unrolled::DecoderStep;
using unrolled::Linear;
using unrolled::NO_ATTENTION;
using unrolled::SourceMemory;
using unrolled::WEIGHTS_AT_ONCE;

// ---- linear maps

// Bytes of one vector of columns: for int8 the scales, then the weights.
static long vector_bytes(const Linear& f) { return (f.type == INT8 ? 4 * W : 0) + packed_bytes(f.type, f.K, 1); }

static long linear_bytes(const Linear& f) { return ceil_div(f.N, W) * vector_bytes(f); }

static void pack_linear(const Linear& f, void* packed) {
  const Panels panels(f.N, 1);
  for (long panel = 0; panel < panels.n_panels; panel++) {
    const long first = panels.begin(panel), width = panels.width(panel), begin = first * W;
    char* block = (char*)packed + first * vector_bytes(f);
    const auto n_of = [&](long v) { return f.N - begin - v * W; };
    if (f.type == FLOAT32) {
      const auto row_of = [&](long v) { return begin + v * W; };
      pack_transposed(f.weight, f.K, width, row_of, n_of, (float*)block, f.K);
      continue;
    }
    memset(block, 0, width * vector_bytes(f));
    float* scales = (float*)block;
    char* weights = block + (f.type == INT8 ? width * W * 4 : 0);
    for (long lane = 0; lane < smaller(width * W, f.N - begin); lane++) {
      const float scale = pack_lane(f.type, f.weight + (begin + lane) * f.K, f.K, width, lane, weights);
      if (f.type == INT8) scales[lane] = scale;
    }
  }
}

template <int TYPE>
void apply_packed(const Linear& f, const float* const* x, long n, float* out, long stride, int member, int team_size) {
  const Panels panels(f.N, 1);
  const Range mine(panels.n_panels, member, team_size);
  for (long panel = mine.from; panel < mine.to; panel++)
    with_width(panels.width(panel), [&](auto width) {
      constexpr int NV = decltype(width)::value;
      constexpr int MOST = TYPE == FLOAT32 || tile_rows(NV) < 6 ? tile_rows(NV) : 6;
      const long first = panels.begin(panel);
      const char* block = (const char*)f.packed + first * vector_bytes(f);
      const char* weights = block + (TYPE == INT8 ? NV * W * 4 : 0);
      tile_over<MOST>(n, [&](long i, long n_rows) {
        Tile<NV> acc = {};
        multiply_packed<TYPE, NV>(acc, n_rows, x + i, weights, (const float*)block, f.K);
        for (int v = 0; v < NV; v++) {
          const long column = (first + v) * W;
          const Vec bias = f.bias ? load_n(f.bias + column, f.N - column) : Vec{};
          for (int m = 0; m < n_rows; m++) store(out + (i + m) * stride + column, acc[m][v] + bias);
        }
      });
    });
}

// A member's columns of out[i] = W x[i] + b; a row of `out` has memory for whole vectors.
static void apply_part(const Linear& f, const float* const* x, long n, float* out, long stride, int member,
                       int team_size) {
  if (!f.packed) {
    // Whole blocks of eight columns, so that the sums do not depend on the size of the team.
    const Range blocks(ceil_div(f.N, 8), member, team_size);
    const long from = 8 * blocks.from, to = smaller(8 * blocks.to, f.N);
    return dot_rows(x, n, f.weight + from * f.K, f.bias ? f.bias + from : nullptr, to - from, f.K, out + from, stride);
  }
  switch (f.type) {
    case FLOAT32: return apply_packed<FLOAT32>(f, x, n, out, stride, member, team_size);
    case BFLOAT16: return apply_packed<BFLOAT16>(f, x, n, out, stride, member, team_size);
    default: return apply_packed<INT8>(f, x, n, out, stride, member, team_size);
  }
}

static void apply(const Linear& f, const float* const* x, long n, float* out, long stride) {
  apply_part(f, x, n, out, stride, 0, 1);
}

// ---- attention

// The additive score as v · tanh(q + k) = Σ v − 2 Σ v / (exp(2 q) exp(2 k) + 1), where the softmax cancels the first
// sum: a reciprocal for each number instead of a tanh. In this range, no product of two powers over- or underflows.
constexpr float LARGEST_EXPONENT = 20.f;

ALWAYS_INLINE Vec reciprocal(Vec x) {
#if UNROLLED_LANES == 16
  const Vec near = (Vec)_mm512_rcp14_ps((__m512)x);  // with one step of Newton's method
  return near * (splat(2.f) - x * near);
#else
  return splat(1.f) / x;
#endif
}

// powers = exp(2 x), with zeros after the end; returns whether all n numbers are in range.
ALWAYS_INLINE bool powers_of(const float* x, long n, float* powers) {
  Vec largest = {};
  for (long i = 0; i < n; i += W) {
    const Vec value = load_n(x + i, n - i);
    largest = at_least(largest, (Vec)((IntVec)value & 0x7fffffff));
    Vec p, power;
    exp_parts(at_most(splat(80.f), at_least(splat(-80.f), value + value)), p, power);
    store(powers + i, p * power + power);
  }
  float most = 0;
  for (int lane = 0; lane < W; lane++) most = most < largest[lane] || largest[lane] != largest[lane] ? largest[lane] : most;
  return most <= LARGEST_EXPONENT;
}

static long powers_stride(const Decoder& d) { return d.score == ADDITIVE ? stride_of(d.A) : 0; }

static void remember(const Decoder& d, const SourceMemory& memory, long sentence) {
  if (d.score != ADDITIVE) return;
  const long stride = powers_stride(d);
  bool in_range = true;
  for (long s = 0; s < memory.lengths[sentence]; s++) {
    const long step = sentence * memory.S + s;
    in_range &= powers_of(memory.keys + step * d.A, d.A, memory.powers + step * stride);
  }
  memory.in_range[sentence] = in_range;
}

// Computes the energies of one query; `powers` is scratch memory.
ALWAYS_INLINE void energies_of(const Decoder& d, const SourceMemory& memory, long sentence, const float* query,
                               float* powers, float* energies) {
  const long n = memory.lengths[sentence], first = sentence * memory.S, stride = powers_stride(d);
  if (d.score != ADDITIVE) {
    for (long s = 0; s < n; s++) energies[s] = dot(query, memory.keys + (first + s) * d.A, d.A);
    return;
  }
  const bool fast = memory.in_range[sentence] && powers_of(query, d.A, powers);
  for (long s = 0; s < n; s++) {
    Vec sum = {};
    const float *keys = memory.keys + (first + s) * d.A, *of_keys = memory.powers + (first + s) * stride;
    for (long i = 0; i < d.A; i += W) {
      const long left = d.A - i;
      const Vec v = load_n(d.energy + i, left);
      if (fast) sum -= (v + v) * reciprocal(load(powers + i) * load(of_keys + i) + splat(1.f));
      else sum += v * tanh_of(load_n(query + i, left) + load_n(keys + i, left));
    }
    energies[s] = 0;
    for (int lane = 0; lane < W; lane++) energies[s] += sum[lane];
  }
}

// Replaces n energies by their softmax.
ALWAYS_INLINE void softmax(float* energies, long n) {
  float largest = -INFINITY, total = 0;
  for (long s = 0; s < n; s++) largest = energies[s] > largest ? energies[s] : largest;
  for (long s = 0; s < n; s += W) {
    const Vec exps = exp_below(load_n(energies + s, n - s) - splat(largest));
    store_n(energies + s, exps, n - s);
  }
  for (long s = 0; s < n; s++) total += energies[s];
  for (long s = 0; s < n; s++) energies[s] /= total;
}

// ---- recurrent layers

// New states of one row from the products with its input and with its state.
template <int CELL>
void finish_cell(const float* from_x, const float* from_h, const float* before, float* after, long H) {
  const auto gate = [&](int g, long unit) __attribute__((always_inline)) {
    return load(from_x + g * H + unit) + load(from_h + g * H + unit);
  };
  for (long unit = 0; unit < H; unit += W) {
    const long n = H - unit;
    if constexpr (CELL == GRU) {
      const Vec r = sigmoid(gate(0, unit)), z = sigmoid(gate(1, unit)), h = load_n(before + unit, n);
      const Vec new_h = tanh_of(load(from_x + 2 * H + unit) + r * load(from_h + 2 * H + unit));
      store_n(after + unit, new_h + z * (h - new_h), n);
    } else if constexpr (CELL == LSTM) {
      const Vec c = sigmoid(gate(1, unit)) * load_n(before + H + unit, n) + sigmoid(gate(0, unit)) * tanh_of(gate(2, unit));
      store_n(after + H + unit, c, n);
      store_n(after + unit, sigmoid(gate(3, unit)) * tanh_of(c), n);
    } else {
      store_n(after + unit, CELL == RNN_TANH ? tanh_of(gate(0, unit)) : relu(gate(0, unit)), n);
    }
  }
}

static void finish_cell_of(int cell, const float* from_x, const float* from_h, const float* before, float* after,
                           long H) {
  switch (cell) {
    case RNN_TANH: return finish_cell<RNN_TANH>(from_x, from_h, before, after, H);
    case RNN_RELU: return finish_cell<RNN_RELU>(from_x, from_h, before, after, H);
    case GRU: return finish_cell<GRU>(from_x, from_h, before, after, H);
    default: return finish_cell<LSTM>(from_x, from_h, before, after, H);
  }
}

// ---- the most probable words

ALWAYS_INLINE bool any_above(Vec x, Vec bound) {
#if UNROLLED_LANES == 16
  return _mm512_cmp_ps_mask((__m512)x, (__m512)bound, _CMP_GT_OQ);
#elif UNROLLED_LANES == 8 && defined(__AVX__)
  return _mm256_movemask_ps((__m256)(x > bound));
#elif UNROLLED_LANES == 4 && defined(__SSE2__)
  return _mm_movemask_ps((__m128)(x > bound));
#else
  const IntVec above = x > bound;
  int any = 0;
  for (int lane = 0; lane < W; lane++) any |= above[lane];
  return any;
#endif
}

// Inserts a word into a list that is sorted by value; an equal one stays before it.
ALWAYS_INLINE void insert(float value, int32_t word, float* values, int32_t* words, long n) {
  long at = n - 1;
  for (; at > 0 && values[at - 1] < value; at--) values[at] = values[at - 1], words[at] = words[at - 1];
  values[at] = value, words[at] = word;
}

// Lists the words with the largest of V logits; a row of logits has memory for whole vectors.
static void list_words(float* logits, long V, float* values, int32_t* words, long n_listed) {
  for (long i = 0; i < n_listed; i++) values[i] = -INFINITY, words[i] = 0;
  for (long i = V; i < round_up(V, W); i++) logits[i] = -INFINITY;
  for (long first = 0; first < V; first += W) {
    const Vec block = load(logits + first);
    if (!any_above(block, splat(values[n_listed - 1]))) continue;
    for (int lane = 0; lane < W; lane++)
      if (logits[first + lane] > values[n_listed - 1])
        insert(logits[first + lane], (int32_t)(first + lane), values, words, n_listed);
  }
}

ALWAYS_INLINE float largest_of(const float* logits, long V) {
  Vec most = splat(-INFINITY);
  for (long i = 0; i < V; i += W) most = at_least(most, load(logits + i));
  float largest = -INFINITY;
  for (int lane = 0; lane < W; lane++) largest = most[lane] > largest ? most[lane] : largest;
  return largest;
}

// powers = exp(scale (logit − largest)) of V logits, and their sum over each block of WEIGHTS_AT_ONCE; a row has memory
// for whole vectors. NaN if a logit is, or the largest is infinite.
static void weigh(float* logits, long V, float scale, float* powers, float* sums) {
  for (long i = V; i < round_up(V, W); i++) logits[i] = -INFINITY;
  const float largest = largest_of(logits, V);
  for (long first = 0; first < V; first += WEIGHTS_AT_ONCE) {
    Vec sum = {};
    for (long i = first; i < smaller(first + WEIGHTS_AT_ONCE, V); i += W) {
      const Vec x = (load(logits + i) - splat(largest)) * splat(scale), power = exp_below(x);
      store(powers + i, power);
      sum += power;
    }
    float total = 0;
    for (int lane = 0; lane < W; lane++) total += sum[lane];
    sums[first / WEIGHTS_AT_ONCE] = total;
  }
}

// Log-probabilities of a row from its logits.
ALWAYS_INLINE void choose_words(const Decoder& d, const DecoderStep& step, long row, float* logits) {
  const long V = d.V;
  for (long i = V; i < round_up(V, W); i++) logits[i] = -INFINITY;
  const float largest = largest_of(logits, V);
  Vec sum = {};
  float total = 0;
  for (long i = 0; i < V; i += W) sum += exp_below(load(logits + i) - splat(largest));
  for (int lane = 0; lane < W; lane++) total += sum[lane];
  const float log_total = logf(total);
  step.ends[row] = total == total ? (logits[step.end] - largest) - log_total : total;
  logits[step.end] = -INFINITY;
  for (long i = 0; i < step.n_barred; i++) logits[step.barred[i]] = -INFINITY;
  float* values = step.log_probs + row * step.n_listed;
  list_words(logits, V, values, step.words + row * step.n_listed, step.n_listed);
  for (long i = 0; i < step.n_listed; i++) values[i] = (values[i] - largest) - log_total;
}

// ---- the step

static long state_width(const Decoder& d) {
  return d.n_layers * (d.cell == LSTM ? 2 : 1) * d.H + (d.feeds ? d.O : 0);
}

static long state_stride(const Decoder& d) { return stride_of(state_width(d)); }

constexpr long LOGITS_AT_ONCE = 1L << 20;  // 4 MB

struct DecoderScratch {
  long input_stride, gates_stride, query_stride, joined_stride, output_stride, logits_stride, n_at_once, total;
  float *input, *from_x, *from_h, *query, *powers, *energies, *joined, *output, *logits;
  const float** x;
  DecoderScratch(const Decoder& d, const SourceMemory& memory, long most_rows, float* base) {
    Scratch scratch{base};
    const long gates = n_gates(d.cell) * d.H;
    input_stride = stride_of(d.E + (d.feeds ? d.O : 0));
    gates_stride = stride_of(gates) + W;  // a gate's last vector may reach beyond the row
    query_stride = stride_of(d.A);
    joined_stride = stride_of(d.H + d.M);
    output_stride = stride_of(d.O);
    logits_stride = stride_of(d.V);
    n_at_once = smaller(most_rows, larger(8, LOGITS_AT_ONCE / larger(1, d.V) / 24 * 24));
    input = scratch.take(most_rows * input_stride);
    from_x = scratch.take(most_rows * gates_stride);
    from_h = scratch.take(most_rows * gates_stride);
    query = scratch.take(most_rows * query_stride);
    powers = scratch.take(query_stride);
    energies = scratch.take(stride_of(memory.S));
    joined = scratch.take(most_rows * joined_stride);
    output = scratch.take(most_rows * output_stride);
    logits = scratch.take(n_at_once * logits_stride);
    x = scratch.take_array<const float*>(most_rows);
    total = scratch.used;
  }
};

static long decoder_step_floats(const Decoder& d, const SourceMemory& memory, long most_rows) {
  return DecoderScratch(d, memory, most_rows, nullptr).total;
}

ALWAYS_INLINE void point_at(const float** x, const float* first, long stride, long n) {
  for (long i = 0; i < n; i++) x[i] = first + i * stride;
}

// The new states of all layers; the rows of the last one's h are in s.x at the end.
static void decoder_layers(const Decoder& d, const DecoderStep& step, const DecoderScratch& s) {
  const long stride = state_stride(d), n_parts = d.cell == LSTM ? 2 : 1;
  const long feed = d.n_layers * n_parts * d.H;
  for (long row = 0; row < step.R; row++) {
    float* x = s.input + row * s.input_stride;
    const float* word = d.embedding + step.tokens[row] * d.E;
    for (long i = 0; i < d.E; i++) x[i] = word[i] * d.embedding_scale;
    if (d.feeds) memcpy(x + d.E, step.before + row * stride + feed, d.O * sizeof(float));
  }
  point_at(s.x, s.input, s.input_stride, step.R);
  for (long layer = 0; layer < d.n_layers; layer++) {
    const long part = layer * n_parts * d.H;
    apply(d.layers[2 * layer], s.x, step.R, s.from_x, s.gates_stride);
    point_at(s.x, step.before + part, stride, step.R);
    apply(d.layers[2 * layer + 1], s.x, step.R, s.from_h, s.gates_stride);
    for (long row = 0; row < step.R; row++)
      finish_cell_of(d.cell, s.from_x + row * s.gates_stride, s.from_h + row * s.gates_stride,
                     step.before + row * stride + part, step.after + row * stride + part, d.H);
    point_at(s.x, step.after + part, stride, step.R);
  }
}

// Attention of all rows: their joined rows become [h; context].
static void decoder_attention(const Decoder& d, const SourceMemory& memory, const DecoderStep& step,
                              const DecoderScratch& s) {
  if (d.score == ADDITIVE) apply(d.query, s.x, step.R, s.query, s.query_stride);
  for (long row = 0; row < step.R; row++) {
    const long sentence = step.sentences[row], n = memory.lengths[sentence];
    energies_of(d, memory, sentence, d.score == ADDITIVE ? s.query + row * s.query_stride : s.x[row], s.powers,
                s.energies);
    softmax(s.energies, n);
    float* joined = s.joined + row * s.joined_stride;
    memcpy(joined, s.x[row], d.H * sizeof(float));
    memset(joined + d.H, 0, d.M * sizeof(float));
    for (long i = 0; i < n; i++)
      add_scaled(joined + d.H, s.energies[i], memory.values + (sentence * memory.S + i) * d.M, d.M);
    if (step.attention) {
      float* to = step.attention + row * memory.S;
      memcpy(to, s.energies, n * sizeof(float));
      memset(to + n, 0, (memory.S - n) * sizeof(float));
    }
  }
  point_at(s.x, s.joined, s.joined_stride, step.R);
}

static void decoder_step(const Decoder& d, const SourceMemory& memory, const DecoderStep& step, float* base) {
  const DecoderScratch s(d, memory, step.R, base);
  const long stride = state_stride(d);
  decoder_layers(d, step, s);
  if (d.score != NO_ATTENTION) decoder_attention(d, memory, step, s);
  if (d.combine.N) {
    apply(d.combine, s.x, step.R, s.output, s.output_stride);
    for (long row = 0; row < step.R; row++) {
      float* output = s.output + row * s.output_stride;
      for (long i = 0; i < d.O; i += W) store(output + i, tanh_of(load(output + i)));
      if (d.feeds) memcpy(step.after + row * stride + state_width(d) - d.O, output, d.O * sizeof(float));
    }
    point_at(s.x, s.output, s.output_stride, step.R);
  }
  for (long first = 0; first < step.R; first += s.n_at_once) {
    const long n = smaller(s.n_at_once, step.R - first);
    apply(d.head, s.x + first, n, s.logits, s.logits_stride);
    for (long i = 0; i < n; i++) choose_words(d, step, first + i, s.logits + i * s.logits_stride);
  }
}

}  // namespace UNROLLED_ISA
