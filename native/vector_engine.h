// Encodes text as ids, and runs the counting and training kernels on several threads.
#pragma once

#include <string>
#include <vector>

#include "vectors.h"

namespace unrolled {

// Numbers the different words of a text, split at ASCII white space, in order of first occurrence.
class WordTable {
 public:
  WordTable();
  // Writes the ids of the words of `text` to `ids`, which must have room for n + 1, with one BORDER for one or more
  // consecutive `border` bytes. Returns the number of ids. A word ends at the end of `text`.
  long add(const char* text, long n, int border, int32_t* ids);
  // All words in the order of their ids, each followed by a line end.
  std::string joined() const;
  const std::vector<int64_t>& counts() const { return counts_; }

 private:
  struct Slot {
    uint64_t hash = 0;
    int32_t id = -1;
  };
  int32_t id_of(const char* word, long n, uint64_t hash);
  void grow();

  std::vector<Slot> slots_;
  std::string text_;             // all words, concatenated
  std::vector<int64_t> starts_;  // where each word starts in text_
  std::vector<int64_t> counts_;
  bool ends_in_border_ = false;
};

// Replaces each id by words[starts[id] … starts[id + 1]). Words below 0 are left out; borders remain, and consecutive
// ones are merged. Returns the number of tokens in `out`, which must have enough room.
long expand(const int32_t* ids, long n, const int64_t* starts, const int32_t* words, int32_t* out);

// Computes the positions of each word in increasing order: first `starts` [V + 1], then `positions`.
void index_positions(const int32_t* tokens, long n, long V, int64_t* starts, uint32_t* positions);

void run_count_rows(const Counting& call, std::vector<RowTask>& tasks, int n_threads);
void run_merge_rows(const Merging& call, std::vector<RowTask>& tasks, int n_threads);

// Rows of X, to be sorted into blocks: word w has index w / n_groups in group w % n_groups.
struct Dealing {
  long first_row = 0, n_rows = 0, n_groups = 0;
  const uint64_t* ends = nullptr;     // [n_rows + 1], from 0
  const uint32_t* columns = nullptr;  // of the entries
  const float *weights = nullptr, *log_counts = nullptr;
};
void run_count_blocks(const Dealing& rows, int64_t* sizes, int n_threads);           // adds to [groups, groups]
void run_deal(const Dealing& rows, Pair* pairs, int64_t* next, int n_threads);  // advances next[block]

void run_train_blocks(const GloVe& call, std::vector<PairBlock>& blocks, int n_threads);

}  // namespace unrolled
