// Large pieces of memory, kept for the next call: the page faults of fresh memory cost more than a
// tenth of a training step.
#pragma once

#include <cstddef>

namespace unrolled {

class Workspace {
 public:
  explicit Workspace(size_t bytes);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
  size_t bytes_;
};

// For tests: what a Workspace hands out is filled with NaN first.
void poison_workspaces(bool on);

}  // namespace unrolled
