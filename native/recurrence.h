// The arguments of the kernels, and the table of functions of an instruction set.
#pragma once

#include <atomic>
#include <cstdint>

#include "vectors.h"

namespace unrolled {

enum Cell : int { RNN_TANH = 0, RNN_RELU = 1, GRU = 2, LSTM = 3 };

// [T, B, width] floats: rows of contiguous numbers with arbitrary strides.
struct Rows {
  float* data = nullptr;
  long step = 0, row = 0;  // floats from one step to the next, from one row to the next
  // Always inlined: otherwise the objects of all instruction sets would share one compiled copy.
  __attribute__((always_inline)) float* at(long t, long b) const { return data + t * step + b * row; }
};

// The cells of the T × B rectangle that are not padding, in the order of computation. Row `order[j]` is the j-th
// longest. At step s, the rows order[0 … active[s]) have not ended, and the cell (s, j) has the number first[s] + j.
// Nothing is moved in memory: a row is accessed by its index.
struct Plan {
  long n_steps = 0;                // of the longest row
  long n_cells = 0;
  const int64_t* lengths = nullptr;  // [B]
  const int32_t* order = nullptr;    // [B]
  const int32_t* active = nullptr;   // [n_steps + 1]; the last is 0
  const int64_t* first = nullptr;    // [n_steps + 1]
  bool is_full = true;             // every row has T steps, and the order is unchanged
};

// One layer in one direction. Float32; weights as in torch.nn: [G·H, D], [G·H, H], [G·H], gate order i f g o or r z n.
// A null pointer means that a bias is absent, that an incoming gradient is zero, or that an outgoing gradient is not
// needed.
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
  float* record = nullptr;                            // data of each cell for backward; null for inference
  Rows dy;                                            // [T, B, H]
  const float *dh_end = nullptr, *dc_end = nullptr;   // [B, H]
  Rows dx;                                            // [T, B, D]
  float *dh0 = nullptr, *dc0 = nullptr;               // [B, H]
  float *dw_ih = nullptr, *dw_hh = nullptr, *db_ih = nullptr, *db_hh = nullptr;
};

// The threads that work on one call, with a barrier.
struct Team {
  int size = 1;
  std::atomic<int> arrived{0}, generation{0};
  void wait();
};

// One step of a few rows with prepacked weights, for streaming and decoding.
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

// The steps of a decoder with attention and input feeding, with known inputs (teacher forcing):
//   gates = known_t + W_f o_{t−1} + U h_{t−1} (+ b');  h_t, c_t = cell(gates)
//   additive: e_s = v · tanh(W_q h_t + k_s);  otherwise e_s = h_t · k_s
//   a = softmax(e) over the source positions of the row;  o_t = tanh(W_c [h_t; Σ_s a_s m_s])
// Arrays are contiguous, [T, B, …] unless noted otherwise. Backward computes the gradients of the results of the
// products; the caller computes each weight gradient by one product over all steps.
struct Attentive {
  int cell = LSTM;
  bool is_additive = true;
  long T = 0, B = 0, H = 0, O = 0, S = 0, M = 0, A = 0;  // A: width of keys
  const int64_t* lengths = nullptr;                      // [B] source lengths
  const float *known = nullptr;                          // [T, B, G·H]
  const float *w_feed = nullptr;                         // [G·H, O], rows w_feed_row apart
  long w_feed_row = 0;
  const float *w_hh = nullptr, *b_hh = nullptr;          // b_hh: GRU only
  const float *w_query = nullptr, *energy = nullptr;     // [A, H], [A]; additive only
  const float *keys = nullptr, *values = nullptr;        // [B, S, A], [B, S, M]
  const float *w_combine = nullptr;                      // [O, H + M]
  float* packed = nullptr;                               // the weights, packed for forward
  const float *h0 = nullptr, *c0 = nullptr, *feed0 = nullptr;
  float *h = nullptr, *query = nullptr, *context = nullptr, *attention = nullptr, *output = nullptr;
  float *c_end = nullptr, *record = nullptr;
  const float *d_output = nullptr, *d_attention = nullptr;  // null means zero
  const float *dh_end = nullptr, *dc_end = nullptr;
  float *d_known = nullptr, *d_state = nullptr;          // d_state: GRU only, the state part of the gates
  float *d_query = nullptr, *d_combined = nullptr;       // gradients of the products with W_q and W_c
  float *d_keys = nullptr, *d_values = nullptr, *d_energy = nullptr;  // must be zero before the call
  float *dh0 = nullptr, *dc0 = nullptr, *dfeed0 = nullptr;
  uint16_t *operands = nullptr, *joined = nullptr;       // only in mixed precision, see AttentiveLayout
};

// The cross-entropy of softmax(W h + b) with one target word per row; the caller sums it. Arrays are contiguous.
struct CrossEntropy {
  long M = 0, H = 0, V = 0;
  float smoothing = 0.f;              // ε: (1 − ε) on the target, ε / V on every word
  const float *hidden = nullptr;      // [M, H]; unused in mixed precision
  const float *weight = nullptr, *bias = nullptr;  // [V, H]; [V] or null
  const int64_t* targets = nullptr;   // [M]
  float* nats = nullptr;              // [M]
  // Gradients of the sum of nats. If d_hidden is null, no gradients are computed; if d_bias is null, there is no bias.
  float *d_hidden = nullptr, *d_weight = nullptr, *d_bias = nullptr;
  const uint16_t* rounded_hidden = nullptr;  // [M, H] in bfloat16; only in mixed precision
};

struct InstructionSet {
  const char* name;
  int lanes;
  long (*record_floats)(const Recurrence&);
  long (*forward_floats)(const Recurrence&, int team_size);   // size of the scratch memory
  long (*backward_floats)(const Recurrence&, int team_size);  // size of the scratch memory
  void (*forward)(const Recurrence&, float* scratch, int member, Team&);
  void (*backward)(const Recurrence&, float* scratch, int member, Team&);
  long (*step_bytes)(const Step&);
  void (*step_pack)(const Step&, const float* w_ih, const float* w_hh, const float* b_ih, const float* b_hh,
                    void* packed);
  void (*step)(const Step&, const void* packed, const StepCall&, int member, int team_size);
  long (*attentive_record_floats)(const Attentive&);
  long (*attentive_packed_floats)(const Attentive&);
  void (*attentive_pack)(const Attentive&, int member, int team_size);  // writes to d.packed
  long (*attentive_forward_floats)(const Attentive&, int team_size);
  long (*attentive_backward_floats)(const Attentive&, int team_size);
  void (*attentive_forward)(const Attentive&, float* scratch, int member, Team&);
  void (*attentive_backward)(const Attentive&, float* scratch, int member, Team&);
  long (*cross_entropy_floats)(const CrossEntropy&, int team_size);  // size of the scratch memory
  void (*cross_entropy)(const CrossEntropy&, float* scratch, int member, Team&);
  long (*multiply_adds)(long n);  // returns the number of floating-point operations
  VectorKernels vectors;
};

}  // namespace unrolled
