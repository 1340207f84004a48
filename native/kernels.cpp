// All kernels of one instruction set. This file is compiled once for each, with UNROLLED_ISA and UNROLLED_LANES.
#include "attentive.h"
#include "counting.h"
#include "cross_entropy.h"
#include "glove.h"
#include "step.h"

namespace UNROLLED_ISA {

template <template <int> class Sizes>
long floats_of(const Recurrence& r, int team_size) {
  switch (r.cell) {
    case RNN_TANH: return Sizes<RNN_TANH>(r, 0, team_size, nullptr).total;
    case RNN_RELU: return Sizes<RNN_RELU>(r, 0, team_size, nullptr).total;
    case GRU: return Sizes<GRU>(r, 0, team_size, nullptr).total;
    default: return Sizes<LSTM>(r, 0, team_size, nullptr).total;
  }
}

static long record_floats(const Recurrence& r) {
  if (r.cell == GRU) return r.plan.n_cells * record_stride<GRU>(r.H);
  return r.cell == LSTM ? r.plan.n_cells * record_stride<LSTM>(r.H) : 0;
}

static long forward_floats(const Recurrence& r, int team_size) { return floats_of<ForwardScratch>(r, team_size); }

static long backward_floats(const Recurrence& r, int team_size) { return floats_of<BackwardScratch>(r, team_size); }

static void forward(const Recurrence& r, float* scratch, int member, Team& team) {
  switch (r.cell) {
    case RNN_TANH: return forward_cell<RNN_TANH>(r, scratch, member, team);
    case RNN_RELU: return forward_cell<RNN_RELU>(r, scratch, member, team);
    case GRU: return forward_cell<GRU>(r, scratch, member, team);
    default: return forward_cell<LSTM>(r, scratch, member, team);
  }
}

static void backward(const Recurrence& r, float* scratch, int member, Team& team) {
  switch (r.cell) {
    case RNN_TANH: return backward_cell<RNN_TANH>(r, scratch, member, team);
    case RNN_RELU: return backward_cell<RNN_RELU>(r, scratch, member, team);
    case GRU: return backward_cell<GRU>(r, scratch, member, team);
    default: return backward_cell<LSTM>(r, scratch, member, team);
  }
}

static void attentive_pack(const Attentive& d, int member, int team_size) {
  switch (d.cell) {
    case RNN_TANH: return attentive_pack_cell<RNN_TANH>(d, member, team_size);
    case RNN_RELU: return attentive_pack_cell<RNN_RELU>(d, member, team_size);
    case GRU: return attentive_pack_cell<GRU>(d, member, team_size);
    default: return attentive_pack_cell<LSTM>(d, member, team_size);
  }
}

template <template <int> class Sizes>
long floats_of(const Attentive& d, int team_size) {
  switch (d.cell) {
    case RNN_TANH: return Sizes<RNN_TANH>(d, 0, team_size, nullptr).total;
    case RNN_RELU: return Sizes<RNN_RELU>(d, 0, team_size, nullptr).total;
    case GRU: return Sizes<GRU>(d, 0, team_size, nullptr).total;
    default: return Sizes<LSTM>(d, 0, team_size, nullptr).total;
  }
}

static long attentive_forward_floats(const Attentive& d, int team_size) {
  return floats_of<AttentiveScratch>(d, team_size);
}

static long attentive_backward_floats(const Attentive& d, int team_size) {
  return floats_of<AttentiveBackwardScratch>(d, team_size);
}

static void attentive_forward(const Attentive& d, float* scratch, int member, Team& team) {
  switch (d.cell) {
    case RNN_TANH: return attentive_forward_cell<RNN_TANH>(d, scratch, member, team);
    case RNN_RELU: return attentive_forward_cell<RNN_RELU>(d, scratch, member, team);
    case GRU: return attentive_forward_cell<GRU>(d, scratch, member, team);
    default: return attentive_forward_cell<LSTM>(d, scratch, member, team);
  }
}

static void attentive_backward(const Attentive& d, float* scratch, int member, Team& team) {
  switch (d.cell) {
    case RNN_TANH: return attentive_backward_cell<RNN_TANH>(d, scratch, member, team);
    case RNN_RELU: return attentive_backward_cell<RNN_RELU>(d, scratch, member, team);
    case GRU: return attentive_backward_cell<GRU>(d, scratch, member, team);
    default: return attentive_backward_cell<LSTM>(d, scratch, member, team);
  }
}

// n rounds of multiply-adds in registers, to measure the peak speed and whether the machine is otherwise idle.
static long multiply_adds(long n) {
  constexpr int N = N_REGISTERS == 32 ? 24 : 12;
  Vec sums[N];
  for (int i = 0; i < N; i++) sums[i] = splat((float)i);
  const Vec a = splat(0.999f), b = splat(0.001f);
  for (long k = 0; k < n; k++)
#pragma GCC unroll 24
    for (int i = 0; i < N; i++) sums[i] = sums[i] * a + b;
  Vec all = {};
  for (int i = 0; i < N; i++) all += sums[i];
  volatile float sink = all[0];
  (void)sink;
  return 2L * N * W * n;
}

#define NAME_OF(isa) #isa
#define QUOTED(isa) NAME_OF(isa)
extern const unrolled::InstructionSet instruction_set;
const unrolled::InstructionSet instruction_set = {
    QUOTED(UNROLLED_ISA), W, record_floats, forward_floats, backward_floats, forward, backward,
    step_bytes, step_pack, step, attentive_record_floats, attentive_packed_floats, attentive_pack,
    attentive_forward_floats, attentive_backward_floats, attentive_forward, attentive_backward,
    cross_entropy_floats, cross_entropy, multiply_adds, {row_bytes, count_rows, merge_rows, train_block}};

}  // namespace UNROLLED_ISA
