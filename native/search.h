// Greedy and beam search with a decoder: the Python search of `unrolled.decoding`, whose rules these are, in one call.
#pragma once

#include <vector>

#include "decoder.h"

namespace unrolled {

// Where the hypotheses of a search begin, and its rules.
struct Search {
  SourceMemory memory;                 // `powers` and `in_range` are made by the search
  long B = 0;
  std::vector<const float*> states;    // of each layer h (and c), then o with input feeding: [B, width]
  std::vector<long> limits;            // [B], each at least 1
  double alpha = 0;                    // of the length penalty
  long beam_size = 1, n_best = 1;      // a beam of 1 is greedy search
  int32_t begin = 0, end = 0;
  std::vector<int32_t> barred;         // words that are never chosen
  bool with_attention = false;
};

// A hypothesis, and its attention [steps, S] if asked for.
struct Found {
  std::vector<int32_t> words;
  float log_prob = 0;
  double score = 0;
  bool is_finished = false;
  std::vector<float> attention;
};

// The answers of a sentence, best first. Empty if the answer depends on the order of equally probable words or if a
// probability is not a number; the search that is the definition then has to find it.
using Answers = std::vector<Found>;

// `kernels` are those that packed the decoder's weights.
std::vector<Answers> search(const Decoder& decoder, const Search& search, const DecoderKernels& kernels, int n_threads);

}  // namespace unrolled
