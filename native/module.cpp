// The Python module. Arguments are plain memory addresses, so one build works with every version of PyTorch.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>

#include "engine.h"
#include "threads.h"
#include "workspace.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace unrolled;

void bind_decoder(nb::module_& m);
void bind_vectors(nb::module_& m);

namespace {

float* at(uintptr_t address) { return reinterpret_cast<float*>(address); }
// Floats of recycled memory, which is given back with the array.
nb::ndarray<nb::numpy, float, nb::ndim<1>> recycled(size_t n_floats) {
  auto* memory = new Workspace(n_floats * sizeof(float));
  const nb::capsule owner(memory, [](void* p) noexcept { delete static_cast<Workspace*>(p); });
  return {memory->data(), {n_floats}, owner};
}
uint16_t* halves_at(uintptr_t address) { return reinterpret_cast<uint16_t*>(address); }

// The sizes and the plan of a call, shared by forward and backward.
struct Shape {
  int cell;
  bool reverse;
  long T, B, D, H;
  PlannedLengths lengths;
};

Recurrence begin(const Shape& shape) {
  Recurrence r;
  r.cell = shape.cell;
  r.reverse = shape.reverse;
  r.T = shape.T, r.B = shape.B, r.D = shape.D, r.H = shape.H;
  r.plan = shape.lengths.plan();
  return r;
}

class PackedStep {
 public:
  PackedStep(int cell, int weight_type, long D, long H, uintptr_t w_ih, uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh)
      : isa_(instruction_set()), step_{cell, weight_type, D, H}, bytes_(isa_.step_bytes(step_)), packed_((size_t)bytes_) {
    isa_.step_pack(step_, at(w_ih), at(w_hh), at(b_ih), at(b_hh), packed_.data());
  }
  void run(long n_rows, uintptr_t x, long x_row, uintptr_t h, long h_row, uintptr_t c, long c_row, uintptr_t h_out,
           uintptr_t c_out, int n_threads) const {
    const StepCall call{n_rows, at(x), at(h), at(c), x_row, h_row, c_row, at(h_out), at(c_out)};
    if (n_threads <= 1) return isa_.step(step_, packed_.data(), call, 0, 1);
    in_parallel(n_threads, [&](int member, int size) { isa_.step(step_, packed_.data(), call, member, size); });
  }
  long bytes() const { return bytes_; }

 private:
  const InstructionSet& isa_;
  const Step step_;
  const long bytes_;
  const Workspace packed_;
};

}  // namespace

NB_MODULE(_kernels, m) {
  nb::set_leak_warnings(false);  // a graph that outlives the interpreter is not a leak
  nb::class_<Shape>(m, "Shape")
      .def("__init__",
           [](Shape* self, int cell, bool reverse, long T, long B, long D, long H, uintptr_t lengths) {
             new (self) Shape{cell, reverse, T, B, D, H,
                              PlannedLengths(T, B, reinterpret_cast<const int64_t*>(lengths))};
           })
      .def_prop_ro("n_cells", [](const Shape& self) { return self.lengths.plan().n_cells; })
      .def_prop_ro("record_floats", [](const Shape& self) { return record_floats(begin(self)); })
      .def_prop_ro("mixed_record_floats", [](const Shape& self) { return mixed_set().record_floats(begin(self)); })
      .def_prop_ro("operand_halves", [](const Shape& self) { return mixed_set().operand_halves(begin(self)); });
  nb::class_<Recurrence>(m, "Recurrence")
      .def("__init__", [](Recurrence* self, const Shape& shape) { new (self) Recurrence(begin(shape)); },
           nb::keep_alive<1, 2>())
      .def("given",
           [](Recurrence& r, uintptr_t x, long step, long row, uintptr_t h0, uintptr_t c0, uintptr_t w_ih,
              uintptr_t w_hh, uintptr_t b_ih, uintptr_t b_hh) {
             r.x = {at(x), step, row};
             r.h0 = at(h0), r.c0 = at(c0);
             r.w_ih = at(w_ih), r.w_hh = at(w_hh), r.b_ih = at(b_ih), r.b_hh = at(b_hh);
           })
      .def("made",
           [](Recurrence& r, uintptr_t y, long step, long row, uintptr_t h_end, uintptr_t c_end, uintptr_t record) {
             r.y = {at(y), step, row};
             r.h_end = at(h_end), r.c_end = at(c_end), r.record = at(record);
           })
      .def("gradients_given",
           [](Recurrence& r, uintptr_t dy, long step, long row, uintptr_t dh_end, uintptr_t dc_end) {
             r.dy = {at(dy), step, row};
             r.dh_end = at(dh_end), r.dc_end = at(dc_end);
           })
      .def("gradients_made", [](Recurrence& r, uintptr_t dx, long step, long row, uintptr_t dh0, uintptr_t dc0,
                                uintptr_t dw_ih, uintptr_t dw_hh, uintptr_t db_ih, uintptr_t db_hh) {
        r.dx = {at(dx), step, row};
        r.dh0 = at(dh0), r.dc0 = at(dc0);
        r.dw_ih = at(dw_ih), r.dw_hh = at(dw_hh), r.db_ih = at(db_ih), r.db_hh = at(db_hh);
      });
  nb::class_<Mixed>(m, "Mixed")
      .def("__init__", [](Mixed* self, const Shape& shape) { (new (self) Mixed)->layer = begin(shape); },
           nb::keep_alive<1, 2>())
      .def_rw("layer", &Mixed::layer)
#define ROWS(name)                                                             \
  .def(#name, [](Mixed& call, uintptr_t data, long step, long row) {           \
    call.name = {halves_at(data), step, row};                                  \
  })
      ROWS(x) ROWS(y) ROWS(dy) ROWS(dx)
      .def("keep", [](Mixed& call, uintptr_t memory, uintptr_t floats) {
        call.record = at(memory);
        call.operands = memory ? halves_at(memory + floats * sizeof(float)) : nullptr;
      });
  m.def("recycled", &recycled);
  m.def("mixed_sets", &mixed_sets);
  m.def("mixed_set", [] { return std::string(mixed_set().name); });
  m.def("use_mixed_set", &use_mixed_set);
  m.def("mixed_forward", &run_mixed_forward, "calls"_a, "n_threads"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def("mixed_backward", &run_mixed_backward, "calls"_a, "n_threads"_a, nb::call_guard<nb::gil_scoped_release>());
#define SIZE(name) .def_rw(#name, &Attentive::name)
#define ADDRESS(name)                                                                              \
  .def_prop_rw(#name, [](const Attentive& d) { return reinterpret_cast<uintptr_t>(d.name); },      \
               [](Attentive& d, uintptr_t address) { d.name = reinterpret_cast<decltype(d.name)>(address); })
  nb::class_<Attentive>(m, "Attentive")
      .def(nb::init<>())
      SIZE(cell) SIZE(is_additive) SIZE(T) SIZE(B) SIZE(H) SIZE(O) SIZE(S) SIZE(M) SIZE(A)
      SIZE(w_feed_row) ADDRESS(lengths) ADDRESS(known) ADDRESS(w_feed) ADDRESS(w_hh) ADDRESS(b_hh)
      ADDRESS(w_query) ADDRESS(energy) ADDRESS(keys) ADDRESS(values) ADDRESS(w_combine) ADDRESS(packed)
      ADDRESS(h0) ADDRESS(c0) ADDRESS(feed0) ADDRESS(h) ADDRESS(query) ADDRESS(context) ADDRESS(attention)
      ADDRESS(output) ADDRESS(c_end) ADDRESS(record) ADDRESS(d_output) ADDRESS(d_attention) ADDRESS(dh_end)
      ADDRESS(dc_end) ADDRESS(d_known) ADDRESS(d_state) ADDRESS(d_query) ADDRESS(d_combined) ADDRESS(d_keys)
      ADDRESS(d_values) ADDRESS(d_energy) ADDRESS(dh0) ADDRESS(dc0) ADDRESS(dfeed0)
      ADDRESS(operands) ADDRESS(joined)
      .def("mixed_layout",
           [](const Attentive& d) {
             const AttentiveLayout own = mixed_set().attentive_layout(d);
             return nb::make_tuple(own.record_floats, own.operand_stride, own.state, own.joined_stride, own.context,
                                   own.spare_rows);
           })
      .def_prop_ro("record_floats", [](const Attentive& d) { return instruction_set().attentive_record_floats(d); })
      .def_prop_ro("packed_floats", [](const Attentive& d) { return instruction_set().attentive_packed_floats(d); });
  // In mixed precision, `hidden` is bfloat16.
  m.def(
      "cross_entropy",
      [](bool is_mixed, long M, long H, long V, float smoothing, uintptr_t hidden, uintptr_t weight, uintptr_t bias,
         uintptr_t targets, uintptr_t nats, uintptr_t d_hidden, uintptr_t d_weight, uintptr_t d_bias, int n_threads) {
        CrossEntropy call{M, H, V, smoothing, at(hidden), at(weight), at(bias), reinterpret_cast<const int64_t*>(targets),
                          at(nats), at(d_hidden), at(d_weight), at(d_bias), halves_at(hidden)};
        is_mixed ? run_mixed_cross_entropy(call, n_threads) : run_cross_entropy(call, n_threads);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "mixed_product",
      [](int kind, long M, long N, long K, uintptr_t x, long x_row, uintptr_t y, long y_row, uintptr_t w, long w_row,
         uintptr_t out, long out_row, int n_threads) {
        MixedProduct call;
        call.kind = kind, call.M = M, call.N = N, call.K = K;
        call.x = halves_at(x), call.x_row = x_row, call.y = halves_at(y), call.y_row = y_row;
        call.w = at(w), call.w_row = w_row, call.out = at(out), call.out_row = out_row;
        run_mixed_product(call, n_threads);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("attentive_pack", &run_attentive_pack, nb::call_guard<nb::gil_scoped_release>());
  m.def("attentive_forward", &run_attentive_forward, nb::call_guard<nb::gil_scoped_release>());
  m.def("attentive_backward", &run_attentive_backward, nb::call_guard<nb::gil_scoped_release>());
  m.def("mixed_attentive_forward", &run_mixed_attentive_forward, nb::call_guard<nb::gil_scoped_release>());
  m.def("mixed_attentive_backward", &run_mixed_attentive_backward, nb::call_guard<nb::gil_scoped_release>());
  m.def("forward", &run_forward, "calls"_a, "n_threads"_a, nb::call_guard<nb::gil_scoped_release>());
  m.def("backward", &run_backward, "calls"_a, "n_threads"_a, nb::call_guard<nb::gil_scoped_release>());
  nb::class_<PackedStep>(m, "PackedStep")
      .def(nb::init<int, int, long, long, uintptr_t, uintptr_t, uintptr_t, uintptr_t>())
      .def("run", &PackedStep::run)
      .def_prop_ro("bytes", &PackedStep::bytes);
  m.def(
      "multiply_adds",
      [](long n, int n_threads) {
        std::atomic<long> total{0};
        in_parallel(n_threads, [&](int, int) { total += instruction_set().multiply_adds(n); });
        return total.load();
      },
      "n"_a, "n_threads"_a, nb::call_guard<nb::gil_scoped_release>());
  bind_decoder(m);
  bind_vectors(m);
  m.def("instruction_sets", &instruction_sets);
  m.def("instruction_set", [] { return std::string(instruction_set().name); });
  m.def("use_instruction_set", &use_instruction_set);
  m.def("thread_source", &thread_source);
  m.def("poison_workspaces", &poison_workspaces);
}
