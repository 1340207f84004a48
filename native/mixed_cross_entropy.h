// The cross-entropy of a softmax over a linear layer in mixed precision, with all gradients: the equations of
// cross_entropy.h with products in bfloat16. The operands h, W and, for both gradients, d are rounded; the logits, the
// softmax and all sums are float32.
//
// Logits are computed twice, first for the maxima and sums of the rows, then for the gradients, so that only those of one
// chunk of words are stored.
#pragma once

#include "mixed_product.h"
#include "softmax_block.h"

namespace UNROLLED_ISA {

constexpr long MIXED_WORDS = 256;          // of a chunk
constexpr long MIXED_HIDDEN = 1L << 18;    // numbers in the hidden vectors of a block of rows; see below

struct MixedLossScratch {
  Scratch scratch;
  const long R;
  const SoftmaxRows softmax;
  const long depth, n_units, padded_rows, d_stride, turned_stride, weight_stride, dh_stride;
  long total;
  Half *weights, *columns, *pairs;             // shared: W; h as right-hand side, for logits and for dW
  float *logits, *sums, *most, *chunk_sum, *dh;  // per member
  Half *d, *turned, *words;                    // per member: d, dᵀ, and W as right-hand side, of a chunk

  MixedLossScratch(const CrossEntropy& e, int member, int team_size, float* base)
      : scratch{base}, R(equal_rows(e.M, MIXED_HIDDEN / larger(1, e.H))), softmax(scratch, round_up(R, BLOCK), team_size),
        depth(round_up(e.H, BLOCK)), n_units(depth / BLOCK), padded_rows(round_up(R, BLOCK)), d_stride(half_stride(R)),
        turned_stride(half_stride(MIXED_WORDS)), weight_stride(half_stride(e.H)), dh_stride(stride_of(depth)) {
    const bool has_gradients = e.d_hidden;
    weights = scratch.take_array<Half>((e.V + TILE_ROWS) * weight_stride);
    columns = scratch.take_array<Half>(padded_rows * depth);
    pairs = has_gradients ? scratch.take_array<Half>(padded_rows * depth) : nullptr;
    const auto own = [&](long n_floats) { return scratch.take(n_floats * team_size) + n_floats * member; };
    logits = own(MIXED_WORDS * softmax.stride);
    most = own(softmax.stride), chunk_sum = own(softmax.stride);
    dh = has_gradients ? scratch.take(padded_rows * dh_stride * team_size) : nullptr;
    sums = has_gradients ? own(MIXED_WORDS * BLOCK) : nullptr;
    d = has_gradients ? (Half*)own(MIXED_WORDS * d_stride / 2) : nullptr;
    turned = has_gradients ? (Half*)own(padded_rows * turned_stride / 2) : nullptr;
    words = has_gradients ? (Half*)own(MIXED_WORDS * BLOCK / 2) : nullptr;
    total = scratch.used;
  }
};

// The part of one member in a block of rows.
struct MixedLossBlock : SoftmaxBlock {
  const MixedLossScratch& s;
  MixedLossBlock(const CrossEntropy& e, const MixedLossScratch& s, int member, int team_size, long first)
      : SoftmaxBlock(e, s.softmax, member, team_size, first, smaller(s.R, e.M - first)), s(s) {}

  // Packs the hidden vectors as the right-hand side of both products.
  void pack() const {
    const Half* const h = e.rounded_hidden + first * e.H;
    const Range by_rows(s.padded_rows / BLOCK, member, team_size), by_units(s.n_units, member, team_size);
    for (long panel = by_rows.from; panel < by_rows.to; panel++)
      pack_turned([&](long n, long k) { return load_halves(h + (panel * BLOCK + n) * e.H + k, e.H - k); },
                  n_rows - panel * BLOCK, e.H, s.columns + panel * BLOCK * s.depth);
    for (long panel = by_units.from; panel < by_units.to && e.d_hidden; panel++)
      pack_pairs([&](long k) { return load_halves(h + k * e.H + panel * BLOCK, e.H - panel * BLOCK); }, n_rows,
                 s.pairs + panel * BLOCK * s.padded_rows);
  }

  void logits(long word, long n_words) const {
    if (e.bias)
      for (long i = 0; i < n_words; i++)
        for (long m = 0; m < s.padded_rows; m += W) store(s.logits + i * softmax.stride + m, splat(e.bias[word + i]));
    for (long panel = 0; panel < s.padded_rows / BLOCK; panel++)
      multiply_mixed(n_words, s.depth, {s.weights + word * s.weight_stride, s.weight_stride},
                     s.columns + panel * BLOCK * s.depth, s.logits + panel * BLOCK, softmax.stride, e.bias);
  }

  // Writes the gradients of the logits as rows of words, and adds them to those of the biases.
  void differentiate(long word, long n_words) const {
    const Vec even = splat(e.smoothing / (float)e.V);
    float* const scale = s.chunk_sum;
    for (long m = 0; m < s.padded_rows; m += W) store(scale + m, splat(1.f) / load(softmax.row_sum + m));
    for (long i = 0; i < n_words; i++)
      for (long m = 0; m < n_rows; m += W) {
        float* const at = s.logits + i * softmax.stride + m;
        store(at, exp_below(load(at) - load(softmax.row_largest + m)) * load(scale + m) - even);
      }
    for (long m = 0; m < n_rows; m++) {
      const int64_t target = e.targets[first + m];
      if (target >= word && target < word + n_words) s.logits[(target - word) * softmax.stride + m] -= 1.f - e.smoothing;
    }
    for (long i = 0; i < n_words; i++) {
      Vec sum = {};
      for (long m = 0; m < s.padded_rows; m += W) {
        const long left = n_rows - m;
        const Vec gradient = left > 0 ? below(load(s.logits + i * softmax.stride + m), left) : Vec{};
        sum += gradient;
        store_half(s.d + i * s.d_stride + m, gradient, W);
      }
      if (e.d_bias) write_bias(word + i, sum);
    }
  }

  void weight_gradient(long word, long n_words) const {
    for (long unit = 0; unit < e.H; unit += BLOCK) {
      multiply_mixed(n_words, s.padded_rows, {s.d, s.d_stride}, s.pairs + unit * s.padded_rows, s.sums, BLOCK);
      add_sums(s.sums, n_words, e.H - unit, e.d_weight + word * e.H + unit, e.H, first);
    }
  }

  void hidden_gradient(long word, long n_words) const {
    for (long m = 0; m < s.padded_rows; m += BLOCK)
      turn_rows([&](long k) { return _mm512_loadu_si512(s.d + k * s.d_stride + m); }, n_words,
                s.turned + m * s.turned_stride, s.turned_stride);
    const Half* const rows = s.weights + word * s.weight_stride;
    float* const dh = s.dh + member * s.padded_rows * s.dh_stride;
    for (long unit = 0; unit < e.H; unit += BLOCK) {
      pack_pairs([&](long k) { return _mm512_loadu_si512(rows + k * s.weight_stride + unit); }, n_words, s.words);
      multiply_mixed(n_rows, round_up(n_words, BLOCK), {s.turned, s.turned_stride}, s.words, dh + unit, s.dh_stride,
                     word != first_word);
    }
  }
};

// Rounds the rows of W from `from` on, with zeros after the last column.
static void round_weights(const CrossEntropy& e, const MixedLossScratch& s, long from, long to) {
  for (long word = from; word < to; word++)
    for (long k = 0; k < s.depth; k += BLOCK)
      _mm512_storeu_si512(s.weights + word * s.weight_stride + k, rounded(e.weight + word * e.H + k, e.H - k));
}

static void mixed_cross_entropy(const CrossEntropy& e, float* scratch, int member, Team& team) {
  const Tiles tiles;
  const MixedLossScratch s(e, member, team.size, scratch);
  round_weights(e, s, e.V * member / team.size, e.V * (member + 1) / team.size);
  for (long first = 0; first < e.M; first += s.R) {
    const MixedLossBlock block(e, s, member, team.size, first);
    block.pack();
    block.start();
    team.wait();
    block.over_chunks(MIXED_WORDS, [&](long word, long n_words) {
      block.logits(word, n_words);
      block.accumulate(s.logits, word, n_words, s.most, s.chunk_sum);
    });
    team.wait();
    if (member == 0) block.combine();
    team.wait();
    if (!e.d_hidden) continue;
    block.over_chunks(MIXED_WORDS, [&](long word, long n_words) {
      block.logits(word, n_words);
      block.differentiate(word, n_words);
      block.weight_gradient(word, n_words);
      block.hidden_gradient(word, n_words);
    });
    team.wait();
    block.reduce(s.dh, s.padded_rows, s.dh_stride);
  }
}

static long mixed_cross_entropy_floats(const CrossEntropy& e, int team_size) {
  return MixedLossScratch(e, 0, team_size, nullptr).total;
}

}  // namespace UNROLLED_ISA
