// A language model word by word: reading, the scores of the next word, and generation, whose definition is
// `unrolled.decoding`.
#pragma once

#include <vector>

#include "decoder.h"

namespace unrolled {

// A step reads a word and computes the new states of all layers; the output layer predicts the next word from h of the
// last one. A state is a row of floats: h (and c) of each layer.
struct LanguageModel {
  int cell = 0;
  long V = 0, E = 0;                 // E = V for one-hot vectors
  const float* embedding = nullptr;  // [V, E]; null for one-hot vectors
  float embedding_scale = 1;
  std::vector<Linear> layers;        // of each layer, those of its input and of its state
  Linear head;
};

// How words are chosen; see `unrolled.decoding.config`.
struct Choosing {
  const double* uniforms = nullptr;  // one for each word, in [0, 1); null takes the most probable word
  double temperature = 1, top_p = 1;
  long top_k = 0;
  std::vector<int32_t> barred;       // words that are never chosen
  int32_t end = 0;                   // the end of a document …
  bool stops = false;                // … ends generation, and is not returned
  bool restarts = false;             // … is read in the initial state, zeros
};

enum Outcome : int { COMPLETE = 0, ENDED = 1, UNDECIDED = 2 };

// UNDECIDED: a score is not a number, or infinite, and the definition has to choose the next word.
struct Generated {
  std::vector<int32_t> words;
  Outcome outcome = COMPLETE;
};

long state_width(const LanguageModel& model);
// Reads a word in each of R rows; `before` and `after`, [R, state_width], may be the same memory.
void read_words(const LanguageModel& model, const DecoderKernels& kernels, long R, const int32_t* words,
                const float* before, float* after, int n_threads);
// Scores of all words, [R, V], from h of the last layer, [R, head.K].
void score_words(const LanguageModel& model, const DecoderKernels& kernels, long R, const float* hidden, float* scores,
                 int n_threads);
// Chooses up to n words; `state` becomes the state after all of them.
Generated generate(const LanguageModel& model, const DecoderKernels& kernels, const Choosing& choosing, long n,
                   float* state, int n_threads);

}  // namespace unrolled
