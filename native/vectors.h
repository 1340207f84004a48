// What the kernels of word vectors compute: who stands near whom, and GloVe on those counts.
#pragma once

#include <cstdint>

namespace unrolled {

// Stands between words that share no window.
constexpr int32_t BORDER = -1;

// Pairs of sums are integers: the weight of a distance d is a multiple of 1/d, so that no order of adding
// changes a bit of them. Sums are 64 bits wide, or 128 where the multiples do not fit.
typedef unsigned __int128 WideSum;

// Words of a chunk of text, and where each of them stands.
struct Counting {
  const int32_t* tokens = nullptr;      // ranks or BORDER; with at least `window` borders at both ends
  const uint32_t* positions = nullptr;  // of word w: from starts[w] up to starts[w + 1]
  const int64_t* starts = nullptr;      // [V + 1]
  long first = 0;                       // what stands before it was counted with the chunk before
  long V = 0;
  int window = 0;
  bool both_sides = true;
  bool is_wide = false;
  const uint64_t* weights = nullptr;        // [window + 1], by distance
  const uint32_t* narrow_weights = nullptr;  // the same, where they fit
  long most_narrow = 0;                     // a word seen so often at most cannot overflow 32 bits
};

// Rows of a sparse matrix; the columns of each rise.
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

// Some rows to compute, and where they go, one behind the other.
struct RowTask {
  long from = 0, to = 0;
  uint32_t* columns = nullptr;
  void* values = nullptr;    // WideSum or uint64_t
  int64_t* sizes = nullptr;  // of each row
  long n = 0;                // entries written
};

// One non-zero of X: the places of its two words in their groups, f(X), log X.
struct Pair {
  uint16_t row, column;
  float weight, log_count;
};

// Pairs whose words are of one group of rows and one of columns.
struct PairBlock {
  const Pair* pairs = nullptr;
  long n = 0;
  long row_group = 0, column_group = 0;
  double loss = 0;   // Σ f · diff² / 2
  long refused = -1;  // the first pair whose gradient is not finite
};

// Parameters and their AdaGrad sums, [groups, words of a group, stride]; a side is 0 (w) or 1 (w̃).
struct GloVe {
  float *vectors[2] = {}, *vector_sums[2] = {};
  float *biases[2] = {}, *bias_sums[2] = {};  // [groups, words of a group]
  long n_in_group = 0;
  long size = 0;    // numbers of a vector
  long stride = 0;  // floats from one to the next, a multiple of 16; those beyond its size are zero
  float rate = 0, clip = 0;
};

struct VectorKernels {
  long (*row_bytes)(long V, bool is_wide);  // scratch; zeros when handed over, and after
  void (*count_rows)(const Counting&, RowTask&, void* scratch);
  void (*merge_rows)(const Merging&, RowTask&, long first_row, void* scratch);
  void (*train_block)(const GloVe&, PairBlock&);
};

}  // namespace unrolled
