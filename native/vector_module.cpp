// The part of the Python module for word vectors. Arguments are memory addresses, as in the rest of the module.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "vector_engine.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace unrolled;

namespace {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

using TaskArguments = std::tuple<long, long, uintptr_t, uintptr_t, uintptr_t>;

std::vector<RowTask> tasks_of(const std::vector<TaskArguments>& arguments) {
  std::vector<RowTask> tasks;
  for (const auto& [from, to, columns, values, sizes] : arguments)
    tasks.push_back({from, to, at<uint32_t>(columns), at<void>(values), at<int64_t>(sizes), 0});
  return tasks;
}

std::vector<long> entries_of(const std::vector<RowTask>& tasks) {
  std::vector<long> entries;
  for (const RowTask& task : tasks) entries.push_back(task.n);
  return entries;
}

Dealing dealing_of(long first_row, long n_rows, long n_groups, uintptr_t ends, uintptr_t columns) {
  Dealing rows;
  rows.first_row = first_row, rows.n_rows = n_rows, rows.n_groups = n_groups;
  rows.ends = at<uint64_t>(ends), rows.columns = at<uint32_t>(columns);
  return rows;
}

}  // namespace

void bind_vectors(nb::module_& m) {
  nb::class_<WordTable>(m, "WordTable")
      .def(nb::init<>())
      .def(
          "add",
          [](WordTable& self, uintptr_t text, long n, int border, uintptr_t ids) {
            return self.add(at<char>(text), n, border, at<int32_t>(ids));
          },
          nb::call_guard<nb::gil_scoped_release>())
      .def("joined",
           [](const WordTable& self) {
             const std::string lines = self.joined();
             return nb::bytes(lines.data(), lines.size());
           })
      .def("counts", [](const WordTable& self) {
        return nb::bytes(self.counts().data(), self.counts().size() * sizeof(int64_t));
      });
  m.def(
      "expand",
      [](uintptr_t ids, long n, uintptr_t starts, uintptr_t words, uintptr_t out) {
        return expand(at<int32_t>(ids), n, at<int64_t>(starts), at<int32_t>(words), at<int32_t>(out));
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "index_positions",
      [](uintptr_t tokens, long n, long V, uintptr_t starts, uintptr_t positions) {
        index_positions(at<int32_t>(tokens), n, V, at<int64_t>(starts), at<uint32_t>(positions));
      },
      nb::call_guard<nb::gil_scoped_release>());
  nb::class_<Counting>(m, "Counting")
      .def("__init__", [](Counting* self, uintptr_t tokens, uintptr_t positions, uintptr_t starts, long first, long V,
                          int window, bool both_sides, bool is_wide, uintptr_t weights, uintptr_t narrow_weights,
                          long most_narrow) {
        new (self) Counting{at<int32_t>(tokens), at<uint32_t>(positions), at<int64_t>(starts), first, V, window,
                            both_sides, is_wide, at<uint64_t>(weights), at<uint32_t>(narrow_weights), most_narrow};
      });
  m.def(
      "count_rows",
      [](const Counting& call, const std::vector<TaskArguments>& arguments, int n_threads) {
        std::vector<RowTask> tasks = tasks_of(arguments);
        run_count_rows(call, tasks, n_threads);
        return entries_of(tasks);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "merge_rows",
      [](const std::vector<std::tuple<uintptr_t, uintptr_t, uintptr_t>>& arguments, long V, bool is_wide,
         const std::vector<TaskArguments>& task_arguments, int n_threads) {
        std::vector<SparseRows> matrices;
        for (const auto& [ends, columns, values] : arguments)
          matrices.push_back({at<uint64_t>(ends), at<uint32_t>(columns), at<void>(values)});
        std::vector<RowTask> tasks = tasks_of(task_arguments);
        run_merge_rows({matrices.data(), (long)matrices.size(), V, is_wide}, tasks, n_threads);
        return entries_of(tasks);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "count_blocks",
      [](long first_row, long n_rows, long n_groups, uintptr_t ends, uintptr_t columns, uintptr_t sizes,
         int n_threads) {
        run_count_blocks(dealing_of(first_row, n_rows, n_groups, ends, columns), at<int64_t>(sizes), n_threads);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "deal",
      [](long first_row, long n_rows, long n_groups, uintptr_t ends, uintptr_t columns, uintptr_t weights,
         uintptr_t log_counts, uintptr_t pairs, uintptr_t next, int n_threads) {
        Dealing rows = dealing_of(first_row, n_rows, n_groups, ends, columns);
        rows.weights = at<float>(weights), rows.log_counts = at<float>(log_counts);
        run_deal(rows, at<Pair>(pairs), at<int64_t>(next), n_threads);
      },
      nb::call_guard<nb::gil_scoped_release>());
  nb::class_<GloVe>(m, "GloVe")
      .def("__init__", [](GloVe* self, const std::vector<uintptr_t>& addresses, long n_in_group, long size,
                          long stride, float rate, float clip) {
        GloVe g;
        for (int side = 0; side < 2; side++) {
          g.vectors[side] = at<float>(addresses[(size_t)(4 * side)]);
          g.vector_sums[side] = at<float>(addresses[(size_t)(4 * side + 1)]);
          g.biases[side] = at<float>(addresses[(size_t)(4 * side + 2)]);
          g.bias_sums[side] = at<float>(addresses[(size_t)(4 * side + 3)]);
        }
        g.n_in_group = n_in_group, g.size = size, g.stride = stride, g.rate = rate, g.clip = clip;
        new (self) GloVe(g);
      });
  // A block is (address of its pairs, their number, row group, column group). Returns for each block its loss, and the
  // first pair whose gradient is not finite, or -1.
  m.def(
      "train_blocks",
      [](const GloVe& call, const std::vector<std::tuple<uintptr_t, long, long, long>>& arguments, int n_threads) {
        std::vector<PairBlock> blocks;
        for (const auto& [pairs, n, row_group, column_group] : arguments)
          blocks.push_back({at<Pair>(pairs), n, row_group, column_group, 0, -1});
        run_train_blocks(call, blocks, n_threads);
        std::vector<std::tuple<double, long>> results;
        for (const PairBlock& block : blocks) results.emplace_back(block.loss, block.refused);
        return results;
      },
      nb::call_guard<nb::gil_scoped_release>());
}
