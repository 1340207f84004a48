#include "engine.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "threads.h"
#include "workspace.h"

#if defined(UNROLLED_HAS_AVX512BF16)
#include <cpuid.h>
#endif
#if defined(UNROLLED_HAS_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

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
#define DECLARE_MIXED(isa)               \
  namespace isa {                        \
  extern const unrolled::MixedSet mixed_set; \
  }
#if defined(UNROLLED_HAS_AVX512BF16)
DECLARE_MIXED(avx512bf16)
#endif
#if defined(UNROLLED_HAS_AMX)
DECLARE_MIXED(amx)
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
const MixedSet* chosen_mixed = nullptr;

#if defined(UNROLLED_HAS_AVX512BF16)
// Bits of leaf 7 of the instruction cpuid.
bool has_avx512_bf16() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
}
#endif
#if defined(UNROLLED_HAS_AMX)
// Linux lets a process use tiles after it has asked; elsewhere, no one has tried.
bool may_use_amx() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
  static const bool is_granted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
  return is_granted;
#else
  return false;
#endif
}
#endif

std::vector<const MixedSet*> available_mixed() {
  std::vector<const MixedSet*> sets;
  if (std::string(instruction_set().name) != "avx512") return sets;
#if defined(UNROLLED_HAS_AVX512BF16)
  if (has_avx512_bf16()) {
#if defined(UNROLLED_HAS_AMX)
    if (may_use_amx()) sets.push_back(&amx::mixed_set);
#endif
    sets.push_back(&avx512bf16::mixed_set);
  }
#endif
  return sets;
}

// The one with this name, or null; all names are added to `listed`.
template <class Set>
const Set* find(const std::vector<const Set*>& sets, const std::string& name, std::string& listed) {
  const Set* found = nullptr;
  for (const Set* set : sets) {
    if (name == set->name) found = set;
    listed += (listed.empty() ? "" : ", ") + std::string(set->name);
  }
  return found;
}

// Calls are distributed to groups of threads; all threads of a group work on one of its calls at a time.
template <class Task>
void run(const std::vector<Task>& tasks, int n_threads, void (*kernel)(const Task&, float*, int, Team&),
         long (*scratch_floats)(const Task&, int)) {
  const int n_tasks = (int)tasks.size();
  std::vector<std::unique_ptr<Workspace>> scratch;
  for (const Task& task : tasks)
    scratch.push_back(std::make_unique<Workspace>(sizeof(float) * (size_t)scratch_floats(task, n_threads)));
  const std::unique_ptr<Team[]> teams(new Team[(size_t)n_tasks]);
  Signal teams_are_formed;
  in_parallel(n_threads, [&](int thread, int n_threads) {
    const int n_groups = std::min(n_tasks, n_threads);
    const auto group_start = [&](int group) { return group * n_threads / n_groups; };
    int group = 0;
    while (group_start(group + 1) <= thread) group++;
    if (thread == 0) {
      for (int i = 0; i < n_tasks; i++) teams[i].size = group_start(i % n_groups + 1) - group_start(i % n_groups);
      teams_are_formed.give();
    } else {
      teams_are_formed.wait();
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
  const InstructionSet* found = find(available(), name, listed);
  if (!found) throw std::invalid_argument("no instruction set '" + name + "' here; there are " + listed);
  chosen = found;
  chosen_mixed = nullptr;
}

std::vector<std::string> mixed_sets() {
  std::vector<std::string> names;
  for (const MixedSet* set : available_mixed()) names.push_back(set->name);
  return names;
}

const MixedSet& mixed_set() {
  if (!chosen_mixed) {
    const auto sets = available_mixed();
    if (sets.empty()) throw std::invalid_argument("there are no instructions for products in bfloat16 here");
    chosen_mixed = sets.front();
  }
  return *chosen_mixed;
}

void use_mixed_set(const std::string& name) {
  std::string listed;
  const MixedSet* found = find(available_mixed(), name, listed);
  if (!found) throw std::invalid_argument("no instructions '" + name + "' for products in bfloat16 here; there are " + listed);
  chosen_mixed = found;
}

// The spare rows of the operands limit the team.
template <class Task>
void run_mixed(const std::vector<Task>& calls, int n_threads, void (*kernel)(const Task&, float*, int, Team&),
               long (*scratch_floats)(const Task&, int)) {
  run(calls, std::min(n_threads, MAX_MIXED_TEAM), kernel, scratch_floats);
}

void run_mixed_forward(const std::vector<Mixed>& calls, int n_threads) {
  run_mixed(calls, n_threads, mixed_set().forward, mixed_set().forward_floats);
}

void run_mixed_backward(const std::vector<Mixed>& calls, int n_threads) {
  run_mixed(calls, n_threads, mixed_set().backward, mixed_set().backward_floats);
}

void run_mixed_attentive_forward(const Attentive& call, int n_threads) {
  run_mixed<Attentive>({call}, n_threads, mixed_set().attentive_forward, mixed_set().attentive_forward_floats);
}

void run_mixed_attentive_backward(const Attentive& call, int n_threads) {
  run_mixed<Attentive>({call}, n_threads, mixed_set().attentive_backward, mixed_set().attentive_backward_floats);
}

void run_mixed_cross_entropy(const CrossEntropy& call, int n_threads) {
  const MixedOutput& output = *mixed_set().output;
  run_mixed<CrossEntropy>({call}, n_threads, output.cross_entropy, output.cross_entropy_floats);
}

void run_mixed_product(const MixedProduct& call, int n_threads) {
  const MixedOutput& output = *mixed_set().output;
  run_mixed<MixedProduct>({call}, n_threads, output.product, output.product_floats);
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
