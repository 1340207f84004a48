#include "threads.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "recurrence.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace unrolled {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Where threads sleep that have waited for a while. There is one place for all: few get here at the same time.
struct Sleepers {
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int> n{0};
};

Sleepers& sleepers() {
  static Sleepers* all = new Sleepers;  // never destroyed, because threads may outlive `main`
  return *all;
}

constexpr int MOST_SPINS = 3000;  // some 50 µs on AMD, 150 on Intel

// Spins first: a synchronization takes about 0.1 µs if all cores are free. Then it sleeps, since what is waited for may
// need this core. The condition must be read from an atomic, sequentially consistent like `n`: either the thread that
// changes it sees a sleeper, or the sleeper sees the change.
template <class Condition>
void wait_until(Condition is_met) {
  for (int spins = 0; spins < MOST_SPINS; spins++) {
    if (is_met()) return;
    pause_briefly();
  }
  Sleepers& all = sleepers();
  std::unique_lock<std::mutex> lock(all.mutex);
  all.n.fetch_add(1);
  all.wake.wait(lock, is_met);
  all.n.fetch_sub(1);
}

// To be called after each change of what others wait for.
void wake_sleepers() {
  Sleepers& all = sleepers();
  if (all.n.load() == 0) return;
  { std::lock_guard<std::mutex> none_is_about_to_sleep(all.mutex); }
  all.wake.notify_all();
}

std::atomic<bool> is_forked_child{false};

// Looked up at run time instead of linked, so that it is the library that PyTorch has loaded, whatever its name.
struct OpenMP {
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
  int (*thread_number)() = nullptr;
  int (*n_threads)() = nullptr;
  int (*in_parallel)() = nullptr;
  OpenMP() {
#if !defined(_WIN32)
    const char* pinned = std::getenv("UNROLLED_THREADS_FROM");
    if (pinned && std::string_view(pinned) == "own") return;
    find(parallel, "GOMP_parallel");
    find(thread_number, "omp_get_thread_num");
    find(n_threads, "omp_get_num_threads");
    find(in_parallel, "omp_in_parallel");
#endif
  }
  bool is_there() const { return parallel && thread_number && n_threads && in_parallel; }

 private:
  template <class Function>
  static void find(Function& function, const char* name) {
#if !defined(_WIN32)
    function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
#endif
  }
};

const OpenMP& openmp() {
  static const OpenMP found;
  return found;
}

// A thread pool that sleeps between calls and runs one call at a time.
class OwnPool {
 public:
  bool run(int n_members, const std::function<void(int, int)>& work) {
    std::unique_lock<std::mutex> only_one(busy_, std::try_to_lock);
    if (!only_one) return false;
    while ((int)workers_.size() < n_members - 1) {
      const int member = (int)workers_.size() + 1;
      workers_.emplace_back([this, member, seen = generation_] { serve(member, seen); });
      workers_.back().detach();
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work;
      n_members_ = n_members;
      n_left_ = n_members - 1;
      generation_++;
    }
    wake_.notify_all();
    work(0, n_members);
    wait_until([this] { return n_left_.load() == 0; });
    return true;
  }

 private:
  void serve(int member, long seen) {
    for (;;) {
      const std::function<void(int, int)>* work;
      int n_members;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        work = work_;
        n_members = n_members_;
      }
      if (member >= n_members) continue;
      (*work)(member, n_members);
      if (n_left_.fetch_sub(1) == 1) wake_sleepers();
    }
  }

  std::mutex busy_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  const std::function<void(int, int)>* work_ = nullptr;
  int n_members_ = 0;
  std::atomic<int> n_left_{0};
  long generation_ = 0;
};

OwnPool& own_pool() {
  static OwnPool* pool = new OwnPool;  // never destroyed, because its threads may outlive `main`
  return *pool;
}

#if !defined(_WIN32)
// A forked child has a copy of the pool's memory, but not its threads.
const int watching_forks = pthread_atfork(nullptr, nullptr, [] { is_forked_child = true; });
#endif

}  // namespace

void Team::wait() {
  if (size == 1) return;
  const int now = generation.load(std::memory_order_relaxed);
  if (arrived.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
    arrived.store(0, std::memory_order_relaxed);
    generation.store(now + 1);
    wake_sleepers();
  } else {
    wait_until([&] { return generation.load() != now; });
  }
}

void Signal::give() {
  is_given_.store(true);
  wake_sleepers();
}

void Signal::wait() {
  wait_until([&] { return is_given_.load(); });
}

void in_parallel(int wanted, const std::function<void(int, int)>& work) {
  if (wanted <= 1 || is_forked_child) return work(0, 1);
  const OpenMP& omp = openmp();
  if (!omp.is_there()) {
    if (!own_pool().run(wanted, work)) work(0, 1);
    return;
  }
  if (omp.in_parallel()) return work(0, 1);
  omp.parallel(
      [](void* work) {
        const OpenMP& omp = openmp();
        (*static_cast<const std::function<void(int, int)>*>(work))(omp.thread_number(), omp.n_threads());
      },
      const_cast<std::function<void(int, int)>*>(&work), (unsigned)wanted, 0);
}

const char* thread_source() { return openmp().is_there() ? "openmp" : "own"; }

}  // namespace unrolled
