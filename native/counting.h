// Rows of the co-occurrence matrix: dense sums of one row at a time, then its non-zeros in increasing columns.
#pragma once

#include "simd.h"
#include "vectors.h"

namespace UNROLLED_ISA {

using unrolled::Counting;
using unrolled::Merging;
using unrolled::RowTask;
using unrolled::SparseRows;
using unrolled::WideSum;

// The scratch memory of a row: sums [V], touched columns [V + 1], a bit per column, a bit per 64 of these bits.
struct RowScratch {
  char* sums;
  int32_t* touched;
  uint64_t *bits, *groups;
  long V, bytes;
  RowScratch(long V, bool is_wide, void* memory) : V(V) {
    const long n_bits = V / 64 + 1, n_groups = V / 4096 + 1;
    const long sum_bytes = round_up(V * (is_wide ? 16 : 8), 64);
    sums = (char*)memory;
    bits = (uint64_t*)(sums + sum_bytes);
    groups = bits + n_bits;
    touched = (int32_t*)(groups + n_groups);
    bytes = sum_bytes + 8 * (n_bits + n_groups) + 4 * (V + 1);
  }
};

static long row_bytes(long V, bool is_wide) { return RowScratch(V, is_wide, nullptr).bytes; }

// A row whose sums are being computed.
template <class Sum>
struct Row {
  const RowScratch& scratch;
  Sum* sums;
  int32_t* touched;
  long n = 0;
  explicit Row(const RowScratch& scratch) : scratch(scratch), sums((Sum*)scratch.sums), touched(scratch.touched) {}

  __attribute__((always_inline)) void add(long column, Sum value) {
    const Sum before = sums[column];
    touched[n] = (int32_t)column;
    n += before == 0;
    sums[column] = before + value;
  }

  // Writes the row from entry `at` on, clears the scratch memory, and returns the position after the row.
  template <class Value>
  long take(uint32_t* columns, Value* values, long at) {
    if (n * 8 > scratch.V) {
      for (long c = 0; c < scratch.V; c++) {
        const Sum sum = sums[c];
        columns[at] = (uint32_t)c;
        values[at] = (Value)sum;
        at += sum != 0;
        sums[c] = 0;
      }
      return at;
    }
    for (long k = 0; k < n; k++) {
      const long c = touched[k];
      scratch.bits[c >> 6] |= 1ull << (c & 63);
      scratch.groups[c >> 12] |= 1ull << (c >> 6 & 63);
    }
    for (long group = 0; group <= scratch.V >> 12; group++) {
      for (uint64_t words = scratch.groups[group]; words; words &= words - 1) {
        const long word = group * 64 + __builtin_ctzll(words);
        for (uint64_t bits = scratch.bits[word]; bits; bits &= bits - 1) {
          const long c = word * 64 + __builtin_ctzll(bits);
          columns[at] = (uint32_t)c;
          values[at++] = (Value)sums[c];
          sums[c] = 0;
        }
        scratch.bits[word] = 0;
      }
      scratch.groups[group] = 0;
    }
    return at;
  }
};

template <class Sum, class Value, class Weight>
static long count_row(const Counting& call, const RowScratch& scratch, const Weight* weights, long word,
                      const RowTask& task, long at) {
  constexpr long AHEAD = 16;  // occurrences to prefetch, since they are at scattered positions
  Row<Sum> row(scratch);
  const uint32_t* place = call.positions + call.starts[word];
  const uint32_t* const end = call.positions + call.starts[word + 1];
  for (; place < end; place++) {
    if (place + AHEAD < end) __builtin_prefetch(call.tokens + place[AHEAD]);
    const int32_t* token = call.tokens + *place;
    long nearest = 1;  // distance from which words to the right belong to this chunk
    if (*place >= call.first) {
      for (long d = 1; d <= call.window && token[-d] >= 0; d++) row.add(token[-d], weights[d]);
    } else {
      nearest = call.first - *place;
    }
    if (!call.both_sides) continue;
    for (long d = 1; d <= call.window && token[d] >= 0; d++)
      if (d >= nearest) row.add(token[d], weights[d]);
  }
  return row.take(task.columns, (Value*)task.values, at);
}

static void count_rows(const Counting& call, RowTask& task, void* memory) {
  const RowScratch scratch(call.V, call.is_wide, memory);
  long at = 0;
  for (long word = task.from; word < task.to; word++) {
    const long before = at;
    if (call.is_wide)
      at = count_row<WideSum, WideSum>(call, scratch, call.weights, word, task, at);
    else if (call.starts[word + 1] - call.starts[word] <= call.most_narrow)
      at = count_row<uint32_t, uint64_t>(call, scratch, call.narrow_weights, word, task, at);
    else
      at = count_row<uint64_t, uint64_t>(call, scratch, call.weights, word, task, at);
    task.sizes[word - task.from] = at - before;
  }
  task.n = at;
}

template <class Sum>
static void merge_rows_of(const Merging& call, RowTask& task, long first_row, const RowScratch& scratch) {
  long at = 0;
  for (long word = task.from; word < task.to; word++) {
    Row<Sum> row(scratch);
    for (long i = 0; i < call.n_matrices; i++) {
      const SparseRows& matrix = call.matrices[i];
      const uint64_t from = matrix.ends[word - first_row], to = matrix.ends[word - first_row + 1];
      for (uint64_t k = from; k < to; k++) row.add(matrix.columns[k], ((const Sum*)matrix.values)[k]);
    }
    const long before = at;
    at = row.take(task.columns, (Sum*)task.values, at);
    task.sizes[word - task.from] = at - before;
  }
  task.n = at;
}

static void merge_rows(const Merging& call, RowTask& task, long first_row, void* memory) {
  const RowScratch scratch(call.V, call.is_wide, memory);
  if (call.is_wide) return merge_rows_of<WideSum>(call, task, first_row, scratch);
  return merge_rows_of<uint64_t>(call, task, first_row, scratch);
}

}  // namespace UNROLLED_ISA
