#include "workspace.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unrolled {
namespace {

constexpr size_t HUGE_PAGE = size_t(2) << 20;
constexpr size_t KEPT_BLOCKS = 8;

struct Block {
  void* data;
  size_t bytes;
};

std::mutex kept_mutex;
std::vector<Block>& kept() {
  static auto* blocks = new std::vector<Block>;  // never destroyed, because threads may outlive static objects
  return *blocks;
}
std::atomic<bool> is_poisoned{false};

void* allocate(size_t bytes) {
#if defined(_WIN32)
  void* data = _aligned_malloc(bytes, 64);
#else
  void* data = std::aligned_alloc(bytes >= HUGE_PAGE ? HUGE_PAGE : 64, bytes);
#endif
  if (!data) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= HUGE_PAGE) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

void release(void* data) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

size_t rounded(size_t bytes) {
  const size_t unit = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Workspace::Workspace(size_t bytes) : data_(nullptr), bytes_(rounded(bytes ? bytes : 1)) {
  // In a forked child, the mutex may be held by a thread that does not exist; then allocate new memory.
  if (std::unique_lock<std::mutex> lock(kept_mutex, std::try_to_lock); lock) {
    auto& blocks = kept();
    size_t best = blocks.size();
    for (size_t i = 0; i < blocks.size(); i++)
      if (blocks[i].bytes >= bytes_ && blocks[i].bytes <= 4 * bytes_ &&
          (best == blocks.size() || blocks[i].bytes < blocks[best].bytes))
        best = i;
    if (best < blocks.size()) {
      data_ = blocks[best].data;
      bytes_ = blocks[best].bytes;
      blocks.erase(blocks.begin() + (long)best);
    }
  }
  if (!data_) data_ = allocate(bytes_);
  if (is_poisoned) std::memset(data_, 0xff, bytes_);  // with all bits set, floats and doubles are NaN
}

Workspace::~Workspace() {
  Block oldest{data_, 0};
  if (std::unique_lock<std::mutex> lock(kept_mutex, std::try_to_lock); lock) {
    auto& blocks = kept();
    blocks.push_back({data_, bytes_});
    if (blocks.size() <= KEPT_BLOCKS) return;
    oldest = blocks.front();
    blocks.erase(blocks.begin());
  }
  release(oldest.data);
}

void poison_workspaces(bool on) { is_poisoned = on; }

}  // namespace unrolled
