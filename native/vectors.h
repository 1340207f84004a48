// The arguments of the word-vector kernels: co-occurrence counts, and GloVe training on them.
#pragma once

#include <cstdint>

namespace unrolled {

// Marks a border between words that share no window.
constexpr int32_t BORDER = -1;

// Sums of weights are integers: the weight of a distance d is a multiple of 1/d, so the sums do not depend on the
// order of addition. They have 64 bits, or 128 if the multiples do not fit.
typedef unsigned __int128 WideSum;

// A chunk of text, and the positions of each word in it.
struct Counting {
  const int32_t* tokens = nullptr;      // ranks or BORDER; with at least `window` borders at both ends
  const uint32_t* positions = nullptr;  // those of word w are from starts[w] up to starts[w + 1]
  const int64_t* starts = nullptr;      // [V + 1]
  long first = 0;                       // pairs before this position were counted with the previous chunk
  long V = 0;
  int window = 0;
  bool both_sides = true;
  bool is_wide = false;
  const uint64_t* weights = nullptr;        // [window + 1], by distance
  const uint32_t* narrow_weights = nullptr;  // the same in 32 bits, if they fit
  long most_narrow = 0;                     // up to this number of occurrences, sums of a word fit into 32 bits
};

// Rows of a sparse matrix; columns are increasing within a row.
struct SparseRows {
  const uint64_t* ends = nullptr;  // [rows + 1], from 0
  const uint32_t* columns = nullptr;
  const void* values = nullptr;
};

// The sum of several matrices with V columns.
struct Merging {
  const SparseRows* matrices = nullptr;
  long n_matrices = 0, V = 0;
  bool is_wide = false;
};

// A range of rows to compute, and where the results are written, contiguously.
struct RowTask {
  long from = 0, to = 0;
  uint32_t* columns = nullptr;
  void* values = nullptr;    // WideSum or uint64_t
  int64_t* sizes = nullptr;  // number of entries of each row
  long n = 0;                // number of entries written
};

// One non-zero of X: the indices of its two words in their groups, f(X), log X.
struct Pair {
  uint16_t row, column;
  float weight, log_count;
};

// Pairs with words of one row group and one column group.
struct PairBlock {
  const Pair* pairs = nullptr;
  long n = 0;
  long row_group = 0, column_group = 0;
  double loss = 0;   // Σ f · diff² / 2
  long refused = -1;  // index of the first pair whose gradient is not finite
};

// Parameters and their AdaGrad sums, [groups, words of a group, stride]; a side is 0 (w) or 1 (w̃).
struct GloVe {
  float *vectors[2] = {}, *vector_sums[2] = {};
  float *biases[2] = {}, *bias_sums[2] = {};  // [groups, words of a group]
  long n_in_group = 0;
  long size = 0;    // width of a vector, D
  long stride = 0;  // floats from one vector to the next, a multiple of 16; padding is zero
  float rate = 0, clip = 0;
};

struct VectorKernels {
  long (*row_bytes)(long V, bool is_wide);  // size of the scratch memory, which must be zero before and is after a call
  void (*count_rows)(const Counting&, RowTask&, void* scratch);
  void (*merge_rows)(const Merging&, RowTask&, long first_row, void* scratch);
  void (*train_block)(const GloVe&, PairBlock&);
};

}  // namespace unrolled
