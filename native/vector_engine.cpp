#include "vector_engine.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>

#include "engine.h"
#include "threads.h"

namespace unrolled {
namespace {

constexpr uint64_t MIXER = 0x9e3779b97f4a7c15ull;

bool is_space(unsigned char byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

uint64_t mixed(uint64_t hash, uint64_t part) {
  const auto product = (unsigned __int128)(hash ^ part) * MIXER;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t hash_of(const char* word, long n) {
  uint64_t hash = MIXER ^ (uint64_t)n, part;
  for (; n >= 8; n -= 8, word += 8) {
    std::memcpy(&part, word, 8);
    hash = mixed(hash, part);
  }
  part = 0;
  std::memcpy(&part, word, (size_t)n);
  return mixed(hash, part);
}

// Zeroed memory, aligned to 64 bytes.
class Zeros {
 public:
  explicit Zeros(long bytes) : data_(std::calloc((size_t)bytes + 64, 1)) {
    if (!data_) throw std::bad_alloc();
  }
  ~Zeros() { std::free(data_); }
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;
  void* data() const {
    return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(data_) + 63) / 64 * 64);
  }

 private:
  void* data_;
};

// Each thread takes the next task when it is free; results do not depend on which thread takes which task.
template <class Task, class Work>
void share(std::vector<Task>& tasks, int n_threads, long scratch_bytes, Work work) {
  const int n_members = n_threads < (int)tasks.size() ? n_threads : (int)tasks.size();
  if (tasks.empty()) return;
  std::vector<std::unique_ptr<Zeros>> scratch;
  for (int i = 0; i < n_members; i++) scratch.push_back(std::make_unique<Zeros>(scratch_bytes));
  std::atomic<size_t> next{0};
  in_parallel(n_members, [&](int member, int) {
    for (size_t i = next++; i < tasks.size(); i = next++) work(tasks[i], scratch[(size_t)member]->data());
  });
}

}  // namespace

WordTable::WordTable() : slots_(1 << 16), starts_(1, 0) {}

long WordTable::add(const char* text, long n, int border, int32_t* ids) {
  const char *at = text, *const end = text + n;
  int32_t* next = ids;
  while (at < end) {
    if ((unsigned char)*at == (unsigned char)border || is_space((unsigned char)*at)) {
      if ((unsigned char)*at == (unsigned char)border && !ends_in_border_) {
        *next++ = BORDER;
        ends_in_border_ = true;
      }
      at++;
      continue;
    }
    const char* const word = at;
    while (at < end && (unsigned char)*at != (unsigned char)border && !is_space((unsigned char)*at)) at++;
    *next++ = id_of(word, at - word, hash_of(word, at - word));
    ends_in_border_ = false;
  }
  return next - ids;
}

int32_t WordTable::id_of(const char* word, long n, uint64_t hash) {
  const size_t mask = slots_.size() - 1;
  size_t place = hash & mask;
  for (; slots_[place].id >= 0; place = (place + 1) & mask) {
    const Slot& slot = slots_[place];
    if (slot.hash != hash) continue;
    const int64_t start = starts_[(size_t)slot.id];
    if (starts_[(size_t)slot.id + 1] - start == n && !std::memcmp(text_.data() + start, word, (size_t)n)) {
      counts_[(size_t)slot.id]++;
      return slot.id;
    }
  }
  if (counts_.size() >= INT32_MAX) throw std::length_error("more than 2,147,483,647 different words");
  const auto id = (int32_t)counts_.size();
  slots_[place] = {hash, id};
  text_.append(word, (size_t)n);
  starts_.push_back((int64_t)text_.size());
  counts_.push_back(1);
  if (2 * counts_.size() > slots_.size()) grow();
  return id;
}

void WordTable::grow() {
  std::vector<Slot> before(2 * slots_.size());
  before.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : before) {
    if (slot.id < 0) continue;
    size_t place = slot.hash & mask;
    while (slots_[place].id >= 0) place = (place + 1) & mask;
    slots_[place] = slot;
  }
}

std::string WordTable::joined() const {
  std::string lines;
  lines.reserve(text_.size() + counts_.size());
  for (size_t i = 0; i < counts_.size(); i++) {
    lines.append(text_, (size_t)starts_[i], (size_t)(starts_[i + 1] - starts_[i]));
    lines += '\n';
  }
  return lines;
}

long expand(const int32_t* ids, long n, const int64_t* starts, const int32_t* words, int32_t* out) {
  int32_t* next = out;
  bool ends_in_border = false;
  for (long i = 0; i < n; i++) {
    if (ids[i] < 0) {
      if (!ends_in_border) *next++ = BORDER;
      ends_in_border = true;
      continue;
    }
    for (int64_t k = starts[ids[i]]; k < starts[ids[i] + 1]; k++)
      if (words[k] >= 0) {
        *next++ = words[k];
        ends_in_border = false;
      }
  }
  return next - out;
}

void index_positions(const int32_t* tokens, long n, long V, int64_t* starts, uint32_t* positions) {
  std::memset(starts, 0, sizeof(int64_t) * (size_t)(V + 1));
  for (long i = 0; i < n; i++)
    if (tokens[i] >= 0) starts[tokens[i] + 1]++;
  for (long w = 0; w < V; w++) starts[w + 1] += starts[w];
  std::vector<int64_t> next(starts, starts + V);
  for (long i = 0; i < n; i++)
    if (tokens[i] >= 0) positions[next[(size_t)tokens[i]]++] = (uint32_t)i;
}

void run_count_rows(const Counting& call, std::vector<RowTask>& tasks, int n_threads) {
  const VectorKernels& kernels = instruction_set().vectors;
  share(tasks, n_threads, kernels.row_bytes(call.V, call.is_wide),
        [&](RowTask& task, void* scratch) { kernels.count_rows(call, task, scratch); });
}

void run_merge_rows(const Merging& call, std::vector<RowTask>& tasks, int n_threads) {
  const VectorKernels& kernels = instruction_set().vectors;
  const long first_row = tasks.empty() ? 0 : tasks.front().from;
  share(tasks, n_threads, kernels.row_bytes(call.V, call.is_wide),
        [&](RowTask& task, void* scratch) { kernels.merge_rows(call, task, first_row, scratch); });
}

// Each member processes its own row groups, so that no two members write to the same block.
template <class Take>
static void deal_rows(const Dealing& rows, int n_threads, Take take) {
  in_parallel(n_threads, [&](int member, int n_members) {
    for (long i = 0; i < rows.n_rows; i++) {
      const long word = rows.first_row + i, group = word % rows.n_groups;
      if (group % n_members != member) continue;
      for (uint64_t k = rows.ends[i]; k < rows.ends[i + 1]; k++)
        take(group * rows.n_groups + rows.columns[k] % rows.n_groups, word / rows.n_groups, k);
    }
  });
}

void run_count_blocks(const Dealing& rows, int64_t* sizes, int n_threads) {
  deal_rows(rows, n_threads, [&](long block, long, uint64_t) { sizes[block]++; });
}

void run_deal(const Dealing& rows, Pair* pairs, int64_t* next, int n_threads) {
  deal_rows(rows, n_threads, [&](long block, long row, uint64_t k) {
    pairs[next[block]++] = {(uint16_t)row, (uint16_t)(rows.columns[k] / rows.n_groups), rows.weights[k],
                            rows.log_counts[k]};
  });
}

void run_train_blocks(const GloVe& call, std::vector<PairBlock>& blocks, int n_threads) {
  const VectorKernels& kernels = instruction_set().vectors;
  share(blocks, n_threads, 0, [&](PairBlock& block, void*) { kernels.train_block(call, block); });
}

}  // namespace unrolled
