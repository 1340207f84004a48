// Threads for the kernels. They come from the OpenMP runtime that PyTorch has loaded, so that two pools
// never spin against each other on the same cores; where there is none, from a small pool of our own.
#pragma once

#include <functional>

namespace unrolled {

// Runs work(member, n_members) on up to `wanted` threads at once; fewer, down to one, inside another
// parallel region, after a fork, or where the runtime grants fewer.
void in_parallel(int wanted, const std::function<void(int, int)>& work);

// "openmp" or "own": where the threads come from.
const char* thread_source();

}  // namespace unrolled
