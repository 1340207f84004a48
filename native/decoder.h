// The arguments of the kernels of a decoder's step, and of the search that calls them.
#pragma once

#include <cstdint>

namespace unrolled {

// y = W x + b. The rows of W are read as they are (`packed` is null), which is fast for few rows of x and needs no
// preparation, or from memory in which `pack` has arranged them.
struct Linear {
  const float* weight = nullptr;  // [N, K]
  const float* bias = nullptr;    // [N] or null
  long N = 0, K = 0;
  int type = 0;  // a WeightType; other than FLOAT32 only if packed
  const void* packed = nullptr;
};

enum AttentionScore : int { NO_ATTENTION = 0, ADDITIVE = 1, MULTIPLICATIVE = 2 };

// The weights of a decoder, with letters as in `Attentive`: a step reads a word y and, with input feeding, the last
// output o, and then computes
//   h = the layers' new states;  e_s = v · tanh(W_q h + k_s) or h · k_s;  a = softmax(e)
//   o = tanh(W_c [h; Σ_s a_s m_s]);  without attention o = tanh(W_c h), or h if there is no W_c
//   log p = log softmax(W o + b)
struct Decoder {
  int cell = 0, score = NO_ATTENTION;
  bool feeds = false;
  long n_layers = 0, E = 0, H = 0, O = 0, M = 0, A = 0, V = 0;
  const float* embedding = nullptr;  // [V, E]
  float embedding_scale = 1;
  const Linear* layers = nullptr;  // of each layer, those of its input and of its state
  Linear query, combine, head;     // query: additive only; combine: N = 0 if there is none
  const float* energy = nullptr;   // [A], additive only
};

// What the hypotheses of a sentence share. Rows of B sentences of up to S steps.
struct SourceMemory {
  const float *keys = nullptr, *values = nullptr;  // [B, S, A], [B, S, M]
  const int64_t* lengths = nullptr;                // [B]
  long S = 0;
  // Additive only: exp(2 k), [B, S, width of rows], and per sentence whether all of them are in range.
  float* powers = nullptr;
  bool* in_range = nullptr;
};

// One step of R hypotheses. The state of a hypothesis is a row of floats: h (and c) of each layer, then o.
struct DecoderStep {
  long R = 0;
  const int32_t* tokens = nullptr;    // [R], the last word of each
  const int32_t* sentences = nullptr;  // [R], its sentence
  const float* before = nullptr;      // [R, state_stride]
  float* after = nullptr;
  float* attention = nullptr;         // [R, S], or null
  const int32_t* barred = nullptr;    // words that are not listed
  long n_barred = 0, end = 0;         // end: the id of the end of sentence, which is never listed
  // Results: the most probable words, best first, and for equal ones in the order of their ids; −∞ if there are fewer.
  long n_listed = 0;
  float* log_probs = nullptr;         // [R, n_listed]
  int32_t* words = nullptr;           // [R, n_listed]
  float* ends = nullptr;              // [R], log-probability of the end; NaN if any logit is
};

// Weights of words that are summed in float32 before the sums are added in double.
constexpr long WEIGHTS_AT_ONCE = 256;

struct DecoderKernels {
  long (*packed_bytes)(const Linear&);
  void (*pack)(const Linear&, void* packed);
  long (*state_stride)(const Decoder&);
  long (*powers_stride)(const Decoder&);
  void (*remember)(const Decoder&, const SourceMemory&, long sentence);  // computes the powers of a sentence
  long (*step_floats)(const Decoder&, const SourceMemory&, long most_rows);
  void (*step)(const Decoder&, const SourceMemory&, const DecoderStep&, float* scratch);
  // What a step consists of; see decoder_step.h.
  void (*apply)(const Linear&, const float* const* x, long n, float* out, long stride, int member, int team_size);
  void (*finish_cell)(int cell, const float* from_x, const float* from_h, const float* before, float* after, long H);
  void (*weigh)(float* logits, long V, float scale, float* powers, float* sums);
  void (*list_words)(float* logits, long V, float* values, int32_t* words, long n_listed);
};

}  // namespace unrolled
