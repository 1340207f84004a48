// Runs the kernels: selects the instruction set, plans the order of cells, and forms teams of threads.
#pragma once

#include <string>
#include <vector>

#include "decoder.h"
#include "mixed.h"
#include "recurrence.h"

namespace unrolled {

// Owns the arrays of a Plan.
class PlannedLengths {
 public:
  // `lengths` may be null: every row has T steps.
  PlannedLengths(long T, long B, const int64_t* lengths);
  Plan plan() const;

 private:
  bool is_full_;
  std::vector<int64_t> lengths_, first_;
  std::vector<int32_t> order_, active_;
};

// Names of the instruction sets that are built and that this processor supports, best first.
std::vector<std::string> instruction_sets();
const InstructionSet& instruction_set();
const DecoderKernels& decoder_kernels();  // of that instruction set
// Throws std::invalid_argument if this instruction set is not available.
void use_instruction_set(const std::string& name);

long record_floats(const Recurrence& call);
// Independent calls run in parallel if there are enough threads.
void run_forward(const std::vector<Recurrence>& calls, int n_threads);
void run_backward(const std::vector<Recurrence>& calls, int n_threads);

// Names of the instruction sets for products in bfloat16, best first; none if a narrower instruction set is in use.
std::vector<std::string> mixed_sets();
// Throws std::invalid_argument if there is none.
const MixedSet& mixed_set();
void use_mixed_set(const std::string& name);
void run_mixed_forward(const std::vector<Mixed>& calls, int n_threads);
void run_mixed_backward(const std::vector<Mixed>& calls, int n_threads);
void run_mixed_cross_entropy(const CrossEntropy& call, int n_threads);
void run_mixed_product(const MixedProduct& call, int n_threads);

void run_attentive_pack(const Attentive& call, int n_threads);
void run_attentive_forward(const Attentive& call, int n_threads);
void run_attentive_backward(const Attentive& call, int n_threads);
void run_mixed_attentive_forward(const Attentive& call, int n_threads);
void run_mixed_attentive_backward(const Attentive& call, int n_threads);

void run_cross_entropy(const CrossEntropy& call, int n_threads);

}  // namespace unrolled
