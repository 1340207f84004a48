// Threads for the kernels. They come from the OpenMP runtime that PyTorch has loaded, so that no two pools compete
// for the same cores; if there is none, they come from a small pool of our own.
#pragma once

#include <functional>

namespace unrolled {

// Runs work(member, n_members) on up to `wanted` threads at once. There may be fewer, down to one, inside another
// parallel region, after a fork, or if the runtime provides fewer.
void in_parallel(int wanted, const std::function<void(int, int)>& work);

// The source of the threads, "openmp" or "own".
const char* thread_source();

}  // namespace unrolled
