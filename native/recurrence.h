// What one call of the kernels computes, and the table of functions that each instruction set offers.
#pragma once

#include <atomic>
#include <cstdint>

#include "vectors.h"

namespace unrolled {

enum Cell : int { RNN_TANH = 0, RNN_RELU = 1, GRU = 2, LSTM = 3 };

// [T, B, width] floats: rows of contiguous numbers at any distance from each other.
struct Rows {
  float* data = nullptr;
  long step = 0, row = 0;  // floats from one step to the next, from one row to the next
  // Inlined always: a copy of its own would be shared by the objects of all instruction sets.
  __attribute__((always_inline)) float* at(long t, long b) const { return data + t * step + b * row; }
};

// Which cells of the T × B rectangle are real, in the order they are computed. Row `order[j]` is the
// j-th longest; at step s the rows order[0 … active[s]) are still going, and the cell (s, j) has the
// number first[s] + j. Nothing is moved in memory: a row is reached through its index.
struct Plan {
  long n_steps = 0;                // of the longest row
  long n_cells = 0;
  const int64_t* lengths = nullptr;  // [B]
  const int32_t* order = nullptr;    // [B]
  const int32_t* active = nullptr;   // [n_steps + 1]; the last is 0
  const int64_t* first = nullptr;    // [n_steps + 1]
  bool is_full = true;             // every row as long as the rectangle, in its own order
};

// One layer in one direction. Float32; weights as in torch.nn: [G·H, D], [G·H, H], [G·H], gate order
// i f g o or r z n. A null pointer means: absent (biases), zero (gradients that come in), or not wanted
// (gradients that go out).
struct Recurrence {
  int cell = LSTM;
  bool reverse = false;
  long T = 0, B = 0, D = 0, H = 0;
  Plan plan;
  Rows x;                                             // [T, B, D]
  const float *h0 = nullptr, *c0 = nullptr;           // [B, H]
  const float *w_ih = nullptr, *w_hh = nullptr, *b_ih = nullptr, *b_hh = nullptr;
  Rows y;                                             // [T, B, H]
  float *h_end = nullptr, *c_end = nullptr;           // [B, H]
  float* record = nullptr;                            // what backward needs of each cell; null: inference
  Rows dy;                                            // [T, B, H]
  const float *dh_end = nullptr, *dc_end = nullptr;   // [B, H]
  Rows dx;                                            // [T, B, D]
  float *dh0 = nullptr, *dc0 = nullptr;               // [B, H]
  float *dw_ih = nullptr, *dw_hh = nullptr, *db_ih = nullptr, *db_hh = nullptr;
};

// The threads that work on one call, and where they meet.
struct Team {
  int size = 1;
  std::atomic<int> arrived{0}, generation{0};
  void wait();
};

// One step of a few rows with weights packed once: streaming and decoding.
enum WeightType : int { FLOAT32 = 0, BFLOAT16 = 1, INT8 = 2 };
struct Step {
  int cell = LSTM, weight_type = FLOAT32;
  long D = 0, H = 0;
};
struct StepCall {
  long n_rows = 0;
  const float *x = nullptr, *h = nullptr, *c = nullptr;
  long x_row = 0, h_row = 0, c_row = 0;  // floats from one row to the next
  float *h_out = nullptr, *c_out = nullptr;  // [rows, H], contiguous
};

// The steps of a decoder that attends and feeds its output back, all inputs known (teacher forcing):
//   gates = known_t + W_f o_{t−1} + U h_{t−1} (+ b');  h_t, c_t = cell(gates)
//   additive: e_s = v · tanh(W_q h_t + k_s);  else e_s = h_t · k_s
//   a = softmax(e) over the row's sources;  o_t = tanh(W_c [h_t; Σ_s a_s m_s])
// Arrays are contiguous; [T, B, …] unless said otherwise. Backward makes the gradients of what enters each
// product; the weights' own are one product each over all steps, made by the caller.
struct Attentive {
  int cell = LSTM;
  bool is_additive = true;
  long T = 0, B = 0, H = 0, O = 0, S = 0, M = 0, A = 0;  // A: width of keys
  const int64_t* lengths = nullptr;                      // [B] sources
  const float *known = nullptr;                          // [T, B, G·H]
  const float *w_feed = nullptr;                         // [G·H, O], rows w_feed_row apart
  long w_feed_row = 0;
  const float *w_hh = nullptr, *b_hh = nullptr;          // b_hh: GRU only
  const float *w_query = nullptr, *energy = nullptr;     // [A, H], [A]; additive only
  const float *keys = nullptr, *values = nullptr;        // [B, S, A], [B, S, M]
  const float *w_combine = nullptr;                      // [O, H + M]
  float* packed = nullptr;                               // the weights, arranged for forward
  const float *h0 = nullptr, *c0 = nullptr, *feed0 = nullptr;
  float *h = nullptr, *query = nullptr, *context = nullptr, *attention = nullptr, *output = nullptr;
  float *c_end = nullptr, *record = nullptr;
  const float *d_output = nullptr, *d_attention = nullptr;  // null: zero
  const float *dh_end = nullptr, *dc_end = nullptr;
  float *d_known = nullptr, *d_state = nullptr;          // d_state: GRU only, the state's side of the gates
  float *d_query = nullptr, *d_combined = nullptr;       // before W_q's and W_c's products
  float *d_keys = nullptr, *d_values = nullptr, *d_energy = nullptr;  // zeros when handed over
  float *dh0 = nullptr, *dc0 = nullptr, *dfeed0 = nullptr;
};

// The cross-entropy of softmax(W h + b) against one word a row, summed by the caller. Arrays are contiguous.
struct CrossEntropy {
  long M = 0, H = 0, V = 0;
  float smoothing = 0.f;              // ε: (1 − ε) on the target, ε / V on every word
  const float *hidden = nullptr;      // [M, H]
  const float *weight = nullptr, *bias = nullptr;  // [V, H]; [V] or null
  const int64_t* targets = nullptr;   // [M]
  float* nats = nullptr;              // [M]
  // Gradients of the sum of nats; d_hidden null: none is wanted. d_bias null: there is no bias.
  float *d_hidden = nullptr, *d_weight = nullptr, *d_bias = nullptr;
};

struct InstructionSet {
  const char* name;
  int lanes;
  long (*record_floats)(const Recurrence&);
  long (*forward_floats)(const Recurrence&, int team_size);   // scratch
  long (*backward_floats)(const Recurrence&, int team_size);  // scratch
  void (*forward)(const Recurrence&, float* scratch, int member, Team&);
  void (*backward)(const Recurrence&, float* scratch, int member, Team&);
  long (*step_bytes)(const Step&);
  void (*step_pack)(const Step&, const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh,
                    void* packed);
  void (*step)(const Step&, const void* packed, const StepCall&, int member, int team_size);
  long (*attentive_record_floats)(const Attentive&);
  long (*attentive_packed_floats)(const Attentive&);
  void (*attentive_pack)(const Attentive&, int member, int team_size);  // into d.packed
  long (*attentive_forward_floats)(const Attentive&, int team_size);
  long (*attentive_backward_floats)(const Attentive&, int team_size);
  void (*attentive_forward)(const Attentive&, float* scratch, int member, Team&);
  void (*attentive_backward)(const Attentive&, float* scratch, int member, Team&);
  long (*cross_entropy_floats)(const CrossEntropy&, int team_size);  // scratch
  void (*cross_entropy)(const CrossEntropy&, float* scratch, int member, Team&);
  long (*multiply_adds)(long n);  // returns the floating-point operations done
  VectorKernels vectors;
};

}  // namespace unrolled
