// The kernels in mixed precision. This file is compiled once with AVX512_BF16 and once with AMX.
#include "mixed_attentive.h"

namespace UNROLLED_ISA {

// Calls f with the cell as a type.
template <class F>
static auto with_cell(int cell, F f) {
  switch (cell) {
    case RNN_TANH: return f(Number<RNN_TANH>());
    case RNN_RELU: return f(Number<RNN_RELU>());
    case GRU: return f(Number<GRU>());
    default: return f(Number<LSTM>());
  }
}

static long operand_halves(const Recurrence& r) {
  return with_cell(r.cell, [&](auto cell) {
    return (r.plan.n_cells + SPARE_ROWS) * MixedLayout<decltype(cell)::value>(r).operand;
  });
}

static long record_floats(const Recurrence& r) {
  return with_cell(r.cell, [&](auto cell) { return r.plan.n_cells * MixedLayout<decltype(cell)::value>(r).kept; });
}

static long forward_floats(const Mixed& m, int team_size) {
  return with_cell(m.layer.cell, [&](auto cell) {
    return MixedForwardScratch<decltype(cell)::value>(m, 0, team_size, nullptr).total;
  });
}

static long backward_floats(const Mixed& m, int team_size) {
  return with_cell(m.layer.cell, [&](auto cell) {
    return MixedBackwardScratch<decltype(cell)::value>(m, 0, team_size, nullptr).total;
  });
}

static void forward(const Mixed& m, float* scratch, int member, Team& team) {
  with_cell(m.layer.cell, [&](auto cell) { mixed_forward_cell<decltype(cell)::value>(m, scratch, member, team); });
}

static void backward(const Mixed& m, float* scratch, int member, Team& team) {
  with_cell(m.layer.cell, [&](auto cell) { mixed_backward_cell<decltype(cell)::value>(m, scratch, member, team); });
}

static unrolled::AttentiveLayout attentive_layout(const Attentive& d) {
  const JoinedLayout joined(d);
  return with_cell(d.cell, [&](auto cell) {
    const MixedLayout<decltype(cell)::value> layout(layer_of(d));
    return unrolled::AttentiveLayout{d.T * d.B * layout.kept, layout.operand, layout.inputs,
                                     joined.stride,           joined.units,   SPARE_ROWS};
  });
}

static long attentive_forward_floats(const Attentive& d, int team_size) {
  return with_cell(d.cell, [&](auto cell) {
    return MixedAttentiveScratch<decltype(cell)::value>(d, 0, team_size, nullptr).total;
  });
}

static long attentive_backward_floats(const Attentive& d, int team_size) {
  return with_cell(d.cell, [&](auto cell) {
    return MixedAttentiveGradientScratch<decltype(cell)::value>(d, 0, team_size, nullptr).total;
  });
}

static void attentive_forward(const Attentive& d, float* scratch, int member, Team& team) {
  with_cell(d.cell, [&](auto cell) { mixed_attentive_forward_cell<decltype(cell)::value>(d, scratch, member, team); });
}

static void attentive_backward(const Attentive& d, float* scratch, int member, Team& team) {
  with_cell(d.cell, [&](auto cell) { mixed_attentive_backward_cell<decltype(cell)::value>(d, scratch, member, team); });
}

#define NAME_OF(isa) #isa
#define QUOTED(isa) NAME_OF(isa)
extern const unrolled::MixedOutput mixed_output;
extern const unrolled::MixedSet mixed_set;
const unrolled::MixedSet mixed_set = {
    QUOTED(UNROLLED_ISA), operand_halves, record_floats, forward_floats, backward_floats, forward, backward,
    attentive_layout, attentive_forward_floats, attentive_backward_floats, attentive_forward, attentive_backward,
    &mixed_output};

}  // namespace UNROLLED_ISA
