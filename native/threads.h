// Threads for the kernels. They come from the OpenMP runtime that PyTorch has loaded, so that no two pools compete
// for the same cores; if there is none, they come from a small pool of our own.
#pragma once

#include <atomic>
#include <functional>

namespace unrolled {

// Runs work(member, n_members) on up to `wanted` threads at once. There may be fewer, down to one, inside another
// parallel region, after a fork, or if the runtime provides fewer.
void in_parallel(int wanted, const std::function<void(int, int)>& work);

// A message from one thread to others that wait for it. A thread that waits spins for up to 150 µs and then sleeps.
class Signal {
 public:
  void give();
  void wait();

 private:
  std::atomic<bool> is_given_{false};
};

// The source of the threads, "openmp" or "own".
const char* thread_source();

}  // namespace unrolled
