// Text to ids, and the teams of threads that count and train word vectors.
#pragma once

#include <string>
#include <vector>

#include "vectors.h"

namespace unrolled {

// Numbers the different words of a text, what stands between ASCII white space, in order of appearance.
class WordTable {
 public:
  WordTable();
  // The ids of the words of `text` into `ids`, which has room for n + 1; BORDER where the byte `border` stands,
  // once for several in a row. Returns how many ids. A word does not reach over the end of `text`.
  long add(const char* text, long n, int border, int32_t* ids);
  // All words in order, a line end after each.
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
  std::string text_;             // all words, one behind the other
  std::vector<int64_t> starts_;  // in it
  std::vector<int64_t> counts_;
  bool ends_in_border_ = false;
};

// Each id becomes the words[starts[id] … starts[id + 1]), of which those below 0 are left out; borders stay,
// once for several in a row. Returns how many there are in `out`, which has room for them.
long expand(const int32_t* ids, long n, const int64_t* starts, const int32_t* words, int32_t* out);

// Where each word stands, in order: `starts` [V + 1] is made from the tokens, then `positions`.
void index_positions(const int32_t* tokens, long n, long V, int64_t* starts, uint32_t* positions);

void run_count_rows(const Counting& call, std::vector<RowTask>& tasks, int n_threads);
void run_merge_rows(const Merging& call, std::vector<RowTask>& tasks, int n_threads);

// Some rows of X, to be dealt to blocks: word w is number w / n_groups in group w % n_groups.
struct Dealing {
  long first_row = 0, n_rows = 0, n_groups = 0;
  const uint64_t* ends = nullptr;     // [n_rows + 1], from 0
  const uint32_t* columns = nullptr;  // of the entries
  const float *weights = nullptr, *log_counts = nullptr;
};
void run_count_blocks(const Dealing& rows, int64_t* sizes, int n_threads);           // adds to [groups, groups]
void run_deal(const Dealing& rows, Pair* pairs, int64_t* next, int n_threads);  // moves next[block] on

void run_train_blocks(const GloVe& call, std::vector<PairBlock>& blocks, int n_threads);

}  // namespace unrolled
