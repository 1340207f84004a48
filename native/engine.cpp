#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "threads.h"
#include "workspace.h"

#define DECLARE(isa)                                     \
  namespace isa {                                        \
  extern const unrolled::InstructionSet instruction_set; \
  extern const unrolled::DecoderKernels decoder_kernels; \
  }
// CMakeLists.txt defines which instruction sets are built.
#if defined(UNROLLED_HAS_AVX512)
DECLARE(avx512)
#endif
#if defined(UNROLLED_HAS_AVX2)
DECLARE(avx2)
#endif
#if defined(UNROLLED_HAS_SSE2)
DECLARE(sse2)
#endif
#if defined(UNROLLED_HAS_NEON)
DECLARE(neon)
#endif

namespace unrolled {
namespace {

std::vector<const InstructionSet*> available() {
  std::vector<const InstructionSet*> sets;
#if defined(UNROLLED_HAS_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq"))
    sets.push_back(&avx512::instruction_set);
#endif
#if defined(UNROLLED_HAS_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&avx2::instruction_set);
#endif
#if defined(UNROLLED_HAS_SSE2)
  sets.push_back(&sse2::instruction_set);
#endif
#if defined(UNROLLED_HAS_NEON)
  sets.push_back(&neon::instruction_set);
#endif
  return sets;
}

const InstructionSet* chosen = nullptr;

// Calls are distributed to groups of threads; all threads of a group work on one of its calls at a time.
template <class Task>
void run(const std::vector<Task>& tasks, int n_threads, void (*kernel)(const Task&, float*, int, Team&),
         long (*scratch_floats)(const Task&, int)) {
  const int n_tasks = (int)tasks.size();
  std::vector<std::unique_ptr<Workspace>> scratch;
  for (const Task& task : tasks)
    scratch.push_back(std::make_unique<Workspace>(sizeof(float) * (size_t)scratch_floats(task, n_threads)));
  const std::unique_ptr<Team[]> teams(new Team[(size_t)n_tasks]);
  std::atomic<bool> are_teams_formed{false};
  in_parallel(n_threads, [&](int thread, int n_threads) {
    const int n_groups = std::min(n_tasks, n_threads);
    const auto group_start = [&](int group) { return group * n_threads / n_groups; };
    int group = 0;
    while (group_start(group + 1) <= thread) group++;
    if (thread == 0) {
      for (int i = 0; i < n_tasks; i++) teams[i].size = group_start(i % n_groups + 1) - group_start(i % n_groups);
      are_teams_formed.store(true, std::memory_order_release);
    } else {
      while (!are_teams_formed.load(std::memory_order_acquire)) std::this_thread::yield();
    }
    for (int i = group; i < n_tasks; i += n_groups)
      kernel(tasks[i], static_cast<float*>(scratch[i]->data()), thread - group_start(group), teams[i]);
  });
}

}  // namespace

PlannedLengths::PlannedLengths(long T, long B, const int64_t* lengths)
    : is_full_(true), lengths_((size_t)B, T), order_((size_t)B) {
  std::iota(order_.begin(), order_.end(), 0);
  if (lengths) {
    lengths_.assign(lengths, lengths + B);
    is_full_ = std::all_of(lengths_.begin(), lengths_.end(), [T](int64_t n) { return n == T; });
  }
  if (!is_full_)
    std::stable_sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) { return lengths_[a] > lengths_[b]; });
  const long n_steps = B ? lengths_[order_[0]] : 0;
  active_.resize((size_t)n_steps + 1);
  first_.resize((size_t)n_steps + 1);
  long n_active = B, n_cells = 0;
  for (long step = 0; step <= n_steps; step++) {
    while (n_active && lengths_[order_[n_active - 1]] <= step) n_active--;
    active_[step] = (int32_t)n_active;
    first_[step] = n_cells;
    n_cells += n_active;
  }
}

Plan PlannedLengths::plan() const {
  Plan plan;
  plan.n_steps = (long)active_.size() - 1;
  plan.n_cells = first_.back();
  plan.lengths = lengths_.data();
  plan.order = order_.data();
  plan.active = active_.data();
  plan.first = first_.data();
  plan.is_full = is_full_;
  return plan;
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet* set : available()) names.push_back(set->name);
  return names;
}

const InstructionSet& instruction_set() {
  if (!chosen) chosen = available().front();
  return *chosen;
}

const DecoderKernels& decoder_kernels() {
  const InstructionSet* set = &instruction_set();
#if defined(UNROLLED_HAS_AVX512)
  if (set == &avx512::instruction_set) return avx512::decoder_kernels;
#endif
#if defined(UNROLLED_HAS_AVX2)
  if (set == &avx2::instruction_set) return avx2::decoder_kernels;
#endif
#if defined(UNROLLED_HAS_SSE2)
  if (set == &sse2::instruction_set) return sse2::decoder_kernels;
#endif
#if defined(UNROLLED_HAS_NEON)
  if (set == &neon::instruction_set) return neon::decoder_kernels;
#endif
  throw std::logic_error("an instruction set without kernels for decoders");
}

void use_instruction_set(const std::string& name) {
  std::string listed;
  for (const InstructionSet* set : available()) {
    if (name == set->name) {
      chosen = set;
      return;
    }
    listed += (listed.empty() ? "" : ", ") + std::string(set->name);
  }
  throw std::invalid_argument("no instruction set '" + name + "' here; there are " + listed);
}

long record_floats(const Recurrence& call) { return instruction_set().record_floats(call); }

void run_forward(const std::vector<Recurrence>& calls, int n_threads) {
  run(calls, n_threads, instruction_set().forward, instruction_set().forward_floats);
}

void run_backward(const std::vector<Recurrence>& calls, int n_threads) {
  run(calls, n_threads, instruction_set().backward, instruction_set().backward_floats);
}

void run_attentive_pack(const Attentive& call, int n_threads) {
  in_parallel(n_threads, [&](int member, int size) { instruction_set().attentive_pack(call, member, size); });
}

void run_attentive_forward(const Attentive& call, int n_threads) {
  run<Attentive>({call}, n_threads, instruction_set().attentive_forward, instruction_set().attentive_forward_floats);
}

void run_attentive_backward(const Attentive& call, int n_threads) {
  run<Attentive>({call}, n_threads, instruction_set().attentive_backward, instruction_set().attentive_backward_floats);
}

void run_cross_entropy(const CrossEntropy& call, int n_threads) {
  run<CrossEntropy>({call}, n_threads, instruction_set().cross_entropy, instruction_set().cross_entropy_floats);
}

}  // namespace unrolled
