// Large blocks of memory that are reused by later calls, because page faults of new memory take more than a tenth of
// the time of a training step.
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

// For tests: fills the memory of each new Workspace with NaN.
void poison_workspaces(bool on);

}  // namespace unrolled
