// Runs the kernels of decoders and of products in bfloat16 on random shapes, in arrays of exactly their size, so that
// the sanitizers see every memory access beyond them. Losses and products are compared with plain loops in double,
// layers and decoders in bfloat16 with those in float32, and searches with each other. Usage: check_decoders [rounds].
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "../engine.h"
#include "../search.h"

using namespace unrolled;
using Floats = std::vector<float>;
using Halves = std::vector<uint16_t>;

static std::mt19937 random_bits(1);
static long pick(long from, long to) { return std::uniform_int_distribution<long>(from, to)(random_bits); }
static Floats normal(long n, double deviation = 0.5) {
  std::normal_distribution<float> draw(0, (float)deviation);
  Floats values((size_t)n);
  for (float& v : values) v = draw(random_bits);
  return values;
}

// To the nearest number in bfloat16, of two equally near ones to the even one.
static uint16_t half_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float float_of(uint16_t half) {
  const uint32_t bits = (uint32_t)half << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
static Halves halves_of(const Floats& values) {
  Halves halves;
  for (float v : values) halves.push_back(half_of(v));
  return halves;
}
static Floats floats_of(const Halves& halves) {
  Floats values;
  for (uint16_t h : halves) values.push_back(float_of(h));
  return values;
}

static bool all_right = true;
// The distance of two arrays, as a part of the length of the second, is at most `most`.
static void compare(const char* what, const Floats& given, const Floats& expected, double most) {
  double distance = 0, length = 1e-12;
  for (size_t i = 0; i < expected.size(); i++) {
    distance += (double)(given[i] - expected[i]) * (given[i] - expected[i]);
    length += (double)expected[i] * expected[i];
  }
  const double part = std::sqrt(distance / length);
  if (part <= most) return;
  all_right = false;
  std::printf("%s differs by %g, at most %g is allowed\n", what, part, most);
}

static void check_loss(bool is_mixed, int n_threads) {
  const long M = pick(1, 40), H = pick(1, 70), V = pick(2, 300);
  Floats hidden = normal(M * H), weight = normal(V * H), bias = normal(V);
  Halves rounded = halves_of(hidden);
  std::vector<int64_t> targets;
  for (long m = 0; m < M; m++) targets.push_back(pick(0, V - 1));
  Floats nats((size_t)M), d_hidden((size_t)(M * H)), d_weight((size_t)(V * H)), d_bias((size_t)V);
  CrossEntropy e;
  e.M = M, e.H = H, e.V = V, e.smoothing = pick(0, 1) ? 0.1f : 0.f;
  e.hidden = is_mixed ? nullptr : hidden.data(), e.rounded_hidden = rounded.data();
  e.weight = weight.data(), e.bias = bias.data(), e.targets = targets.data(), e.nats = nats.data();
  const auto run = [&] { is_mixed ? run_mixed_cross_entropy(e, n_threads) : run_cross_entropy(e, n_threads); };
  run();
  const Floats without_gradients = nats;
  e.d_hidden = d_hidden.data(), e.d_weight = d_weight.data(), e.d_bias = d_bias.data();
  run();
  if (is_mixed) hidden = floats_of(rounded), weight = floats_of(halves_of(weight));
  Floats right((size_t)M), right_hidden((size_t)(M * H)), right_weight((size_t)(V * H)), right_bias((size_t)V);
  for (long m = 0; m < M; m++) {
    std::vector<double> logits((size_t)V);
    double sum = 0, all = 0;
    for (long w = 0; w < V; w++) {
      logits[w] = bias[w];
      for (long i = 0; i < H; i++) logits[w] += (double)hidden[m * H + i] * weight[w * H + i];
      sum += std::exp(logits[w]), all += logits[w];
    }
    right[m] = (float)(std::log(sum) - (1 - e.smoothing) * logits[targets[m]] - e.smoothing * all / V);
    for (long w = 0; w < V; w++) {
      const double d = std::exp(logits[w]) / sum - (w == targets[m] ? 1 - e.smoothing : 0) - e.smoothing / V;
      right_bias[w] += (float)d;
      for (long i = 0; i < H; i++) {
        right_hidden[m * H + i] += (float)(d * weight[w * H + i]);
        right_weight[w * H + i] += (float)(d * hidden[m * H + i]);
      }
    }
  }
  const double most = is_mixed ? 1e-2 : 1e-4;  // gradients of the logits are rounded, too
  compare("nats without gradients", without_gradients, right, 1e-4);
  compare("nats", nats, right, 1e-4);
  compare("d_hidden", d_hidden, right_hidden, most);
  compare("d_weight", d_weight, right_weight, most);
  compare("d_bias", d_bias, right_bias, most);
}

static void check_product(int n_threads) {
  MixedProduct p;
  p.kind = (int)pick(0, 2), p.M = pick(1, 70), p.N = pick(1, 70), p.K = pick(1, 70);
  const bool of_rows = p.kind == MixedProduct::OF_ROWS, plain = p.kind == MixedProduct::PLAIN;
  p.x_row = p.K + pick(0, 3), p.y_row = p.N + pick(0, 3), p.w_row = (plain ? p.N : p.K) + pick(0, 3);
  p.out_row = (of_rows ? p.K : p.N) + pick(0, 3);
  const Halves x = halves_of(normal(p.M * p.x_row)), y = halves_of(normal(p.M * p.y_row));
  const Floats w = normal((plain ? p.K : p.N) * p.w_row), rounded = floats_of(halves_of(w));
  const long n_rows = of_rows ? p.N : p.M, n_columns = of_rows ? p.K : p.N;
  Floats out((size_t)(n_rows * p.out_row)), right = out;
  p.x = x.data(), p.y = y.data(), p.w = w.data(), p.out = out.data();
  run_mixed_product(p, n_threads);
  for (long i = 0; i < n_rows; i++)
    for (long j = 0; j < n_columns; j++) {
      double sum = 0;
      for (long k = 0; k < (of_rows ? p.M : p.K); k++)
        sum += of_rows ? (double)float_of(y[k * p.y_row + i]) * float_of(x[k * p.x_row + j])
                       : (double)float_of(x[i * p.x_row + k]) * rounded[plain ? k * p.w_row + j : j * p.w_row + k];
      right[i * p.out_row + j] = (float)sum;
    }
  compare("product", out, right, 1e-5);
}

static void check_layer(int n_threads) {
  Mixed m;
  Recurrence& r = m.layer;
  r.cell = (int)pick(0, 3), r.reverse = pick(0, 1);
  r.T = pick(1, 20), r.B = pick(1, 40), r.D = pick(1, 70), r.H = pick(1, 70);
  const long G = r.cell == GRU ? 3 : r.cell == LSTM ? 4 : 1, n_x = r.T * r.B * r.D, n_y = r.T * r.B * r.H;
  std::vector<int64_t> lengths;
  for (long b = 0; b < r.B; b++) lengths.push_back(pick(0, r.T));
  const PlannedLengths planned(r.T, r.B, lengths.data());
  r.plan = planned.plan();
  Halves x = halves_of(normal(n_x)), dy = halves_of(normal(n_y));
  const Floats h0 = normal(r.B * r.H), c0 = normal(r.B * r.H), b_ih = normal(G * r.H), b_hh = normal(G * r.H);
  const Floats w_ih = normal(G * r.H * r.D, 0.5 / std::sqrt(r.D)), w_hh = normal(G * r.H * r.H, 0.5 / std::sqrt(r.H));
  r.h0 = h0.data(), r.c0 = c0.data(), r.b_ih = b_ih.data(), r.b_hh = b_hh.data();
  r.w_ih = w_ih.data(), r.w_hh = w_hh.data();
  const auto sized = [](long n) { return Floats((size_t)n); };
  struct Results {
    Floats y, dx, h_end, c_end, dh0, dc0, dw_ih, dw_hh, db_ih, db_hh;
  };
  const auto into = [&](Results& to) {
    to = {sized(n_y), sized(n_x), sized(r.B * r.H), sized(r.B * r.H), sized(r.B * r.H), sized(r.B * r.H),
          sized(G * r.H * r.D), sized(G * r.H * r.H), sized(G * r.H), sized(G * r.H)};
    r.h_end = to.h_end.data(), r.c_end = r.cell == LSTM ? to.c_end.data() : nullptr;
    r.dh0 = to.dh0.data(), r.dc0 = r.cell == LSTM ? to.dc0.data() : nullptr;
    r.dw_ih = to.dw_ih.data(), r.dw_hh = to.dw_hh.data(), r.db_ih = to.db_ih.data(), r.db_hh = to.db_hh.data();
  };
  Results mixed, exact;
  into(mixed);
  Halves y((size_t)n_y), dx((size_t)n_x), operands((size_t)mixed_set().operand_halves(r));
  Floats record = sized(mixed_set().record_floats(r));
  m.x = {x.data(), r.B * r.D, r.D}, m.y = {y.data(), r.B * r.H, r.H};
  run_mixed_forward({m}, n_threads);
  m.record = record.data(), m.operands = operands.data();
  run_mixed_forward({m}, n_threads);
  m.dy = {dy.data(), r.B * r.H, r.H}, m.dx = {dx.data(), r.B * r.D, r.D};
  run_mixed_backward({m}, n_threads);
  mixed.y = floats_of(y), mixed.dx = floats_of(dx);

  into(exact);
  Floats exact_x = floats_of(x), exact_dy = floats_of(dy), exact_record = sized(record_floats(r));
  r.record = exact_record.empty() ? nullptr : exact_record.data();
  r.x = {exact_x.data(), r.B * r.D, r.D}, r.dy = {exact_dy.data(), r.B * r.H, r.H};
  r.y = {exact.y.data(), r.B * r.H, r.H}, r.dx = {exact.dx.data(), r.B * r.D, r.D};
  run_forward({r}, n_threads);
  run_backward({r}, n_threads);
  compare("y", mixed.y, exact.y, 0.05);
  compare("h_end", mixed.h_end, exact.h_end, 0.05);
  if (r.cell == RNN_RELU) return;  // a rounded sum may be on the other side of the kink
  compare("dx", mixed.dx, exact.dx, 0.1);
  compare("dh0", mixed.dh0, exact.dh0, 0.1);
  compare("dw_ih", mixed.dw_ih, exact.dw_ih, 0.1);
  compare("dw_hh", mixed.dw_hh, exact.dw_hh, 0.1);
  compare("db_hh", mixed.db_hh, exact.db_hh, 0.1);
}

static void check_attentive(bool has_mixed, int n_threads) {
  Attentive d;
  d.cell = (int)pick(0, 3), d.is_additive = pick(0, 1);
  d.T = pick(1, 8), d.B = pick(1, 20), d.H = pick(1, 50), d.O = pick(1, 50), d.S = pick(1, 12), d.M = pick(1, 50);
  d.A = d.is_additive ? pick(1, 50) : d.H;
  const long G = d.cell == GRU ? 3 : d.cell == LSTM ? 4 : 1, N = d.T * d.B;
  std::vector<int64_t> lengths;
  for (long b = 0; b < d.B; b++) lengths.push_back(pick(0, d.S));
  d.lengths = lengths.data(), d.w_feed_row = d.O + pick(0, 3);
  std::vector<Floats> kept;
  const auto given = [&](long n, double deviation) {
    kept.push_back(normal(n, deviation));
    return kept.back().data();
  };
  kept.reserve(64);
  d.known = given(N * G * d.H, 0.5), d.w_feed = given(G * d.H * d.w_feed_row, 0.3 / std::sqrt(d.O));
  d.w_hh = given(G * d.H * d.H, 0.3 / std::sqrt(d.H)), d.b_hh = d.cell == GRU ? given(G * d.H, 0.3) : nullptr;
  if (d.is_additive) d.w_query = given(d.A * d.H, 1 / std::sqrt(d.H)), d.energy = given(d.A, 0.3);
  d.keys = given(d.B * d.S * d.A, 0.3), d.values = given(d.B * d.S * d.M, 0.5);
  d.w_combine = given(d.O * (d.H + d.M), 1 / std::sqrt(d.H + d.M)), d.feed0 = given(d.B * d.O, 0.5);
  d.h0 = given(d.B * d.H, 0.5), d.c0 = d.cell == LSTM ? given(d.B * d.H, 0.5) : nullptr;
  d.d_output = given(N * d.O, 0.5), d.d_attention = given(N * d.S, 0.5), d.dh_end = given(d.B * d.H, 0.5);
  d.dc_end = d.cell == LSTM ? given(d.B * d.H, 0.5) : nullptr;
  std::vector<std::vector<Floats>> runs;
  for (int is_mixed = 0; is_mixed <= (int)has_mixed; is_mixed++) {
    runs.emplace_back();
    std::vector<Floats>& made = runs.back();
    made.reserve(32);
    const auto make = [&](long n) {
      made.emplace_back((size_t)n);
      return made.back().data();
    };
    d.output = make(N * d.O), d.attention = make(N * d.S), d.d_known = make(N * G * d.H), d.dh0 = make(d.B * d.H);
    d.d_keys = make(d.B * d.S * d.A), d.d_values = make(d.B * d.S * d.M), d.dfeed0 = make(d.B * d.O);
    d.d_combined = make(N * d.O), d.h = make(N * d.H), d.context = make(N * d.M);
    d.query = d.is_additive ? make(N * d.A) : nullptr, d.d_query = make(N * d.A);
    d.d_energy = d.is_additive ? make(d.A) : nullptr, d.d_state = d.cell == GRU ? make(N * G * d.H) : nullptr;
    d.c_end = d.cell == LSTM ? make(d.B * d.H) : nullptr, d.dc0 = d.cell == LSTM ? make(d.B * d.H) : nullptr;
    if (is_mixed) {
      const AttentiveLayout layout = mixed_set().attentive_layout(d);
      Floats record((size_t)layout.record_floats);
      Halves operands((size_t)((N + d.B + layout.spare_rows) * layout.operand_stride));
      Halves joined((size_t)((N + layout.spare_rows) * layout.joined_stride));
      d.record = record.data(), d.operands = operands.data(), d.joined = joined.data();
      run_mixed_attentive_forward(d, n_threads);
      run_mixed_attentive_backward(d, n_threads);
    } else {
      Floats packed((size_t)instruction_set().attentive_packed_floats(d));
      Floats record((size_t)instruction_set().attentive_record_floats(d));
      d.packed = packed.data(), d.record = record.empty() ? nullptr : record.data();
      run_attentive_pack(d, n_threads);
      run_attentive_forward(d, n_threads);
      run_attentive_backward(d, n_threads);
    }
  }
  if (!has_mixed || d.cell == RNN_RELU) return;
  const char* names[] = {"output", "attention", "d_known", "dh0", "d_keys", "d_values", "dfeed0"};
  for (size_t i = 0; i < 7; i++) compare(names[i], runs[1][i], runs[0][i], 0.1);
}

static void check_search() {
  const DecoderKernels& kernels = decoder_kernels();
  Decoder d;
  d.cell = (int)pick(0, 3), d.score = (int)pick(0, 2), d.feeds = d.score && pick(0, 1), d.n_layers = pick(1, 2);
  d.E = pick(1, 20), d.H = pick(1, 40), d.M = d.score ? pick(1, 20) : 0, d.V = pick(6, 90);
  d.A = d.score == ADDITIVE ? pick(1, 30) : d.score ? d.H : 0;
  d.O = d.score ? pick(1, 30) : d.H;
  const long G = d.cell == GRU ? 3 : d.cell == LSTM ? 4 : 1, states = d.cell == LSTM ? 2 : 1;
  std::vector<Floats> kept;
  kept.reserve(64);
  const auto given = [&](long n, double deviation) {
    kept.push_back(normal(n, deviation));
    return kept.back().data();
  };
  const auto map_of = [&](long N, long K, bool has_bias) {
    return Linear{given(N * K, 1 / std::sqrt(K)), has_bias ? given(N, 0.5) : nullptr, N, K, FLOAT32, nullptr};
  };
  std::vector<Linear> layers;
  for (long i = 0; i < d.n_layers; i++) {
    layers.push_back(map_of(G * d.H, i ? d.H : d.E + (d.feeds ? d.O : 0), true));
    layers.push_back(map_of(G * d.H, d.H, true));
  }
  if (d.score == ADDITIVE) d.query = map_of(d.A, d.H, false), d.energy = given(d.A, 1);
  if (d.score) d.combine = map_of(d.O, d.H + d.M, false);
  d.head = map_of(d.V, d.O, true);
  d.embedding = given(d.V * d.E, 1), d.layers = layers.data();
  Search s;
  s.B = pick(1, 9), s.memory.S = pick(1, 8), s.alpha = (double)pick(0, 1), s.beam_size = pick(1, 6);
  s.n_best = pick(1, s.beam_size), s.begin = 1, s.end = 2, s.barred = {0, 1}, s.with_attention = d.score && pick(0, 1);
  std::vector<int64_t> lengths;
  for (long b = 0; b < s.B; b++) lengths.push_back(pick(1, s.memory.S)), s.limits.push_back(pick(1, 12));
  s.memory.lengths = lengths.data(), s.memory.keys = given(s.B * s.memory.S * d.A, 1);
  s.memory.values = given(s.B * s.memory.S * d.M, 1);
  for (long i = 0; i < d.n_layers * states; i++) s.states.push_back(given(s.B * d.H, 0.5));
  if (d.feeds) s.states.push_back(given(s.B * d.O, 0.5));
  const std::vector<Answers> alone = search(d, s, kernels, 1);
  std::vector<std::vector<char>> packed;
  const auto pack = [&](Linear& map) {
    if (!map.weight) return;
    packed.emplace_back((size_t)kernels.packed_bytes(map) + 64);
    void* const place = (void*)(((uintptr_t)packed.back().data() + 63) / 64 * 64);
    kernels.pack(map, place);
    map.packed = place;
  };
  for (Linear& map : layers) pack(map);
  for (Linear* map : {&d.query, &d.combine, &d.head}) pack(*map);
  const std::vector<Answers> together = search(d, s, kernels, 3);
  for (size_t b = 0; b < alone.size(); b++)
    for (size_t i = 0; i < alone[b].size() && i < together[b].size(); i++) {
      const Found &one = alone[b][i], &other = together[b][i];
      const bool is_short = (long)one.words.size() <= s.limits[b];
      // Rounding may exchange hypotheses that are nearly as good, but not change how good they are.
      if (is_short && std::fabs(one.score - other.score) <= 1e-3 * (1 + std::fabs(one.score))) continue;
      all_right = false;
      std::printf("search: cell %d, score %d, answer %zu has %zu words and %g, together %g\n", d.cell, d.score, i,
                  one.words.size(), one.score, other.score);
    }
}

int main(int n_arguments, char** arguments) {
  const int rounds = n_arguments > 1 ? std::atoi(arguments[1]) : 100;
  const auto repeat = [&](const std::string& name, const std::function<void(int)>& once) {
    for (int round = 0; round < rounds; round++) once(1 + round % 3);
    std::printf("%s: %d rounds\n", name.c_str(), rounds);
  };
  const std::string best = instruction_sets().front();
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    repeat(name, [](int n_threads) {
      check_loss(false, n_threads);
      check_attentive(false, n_threads);
      check_search();
    });
  }
  use_instruction_set(best);
  for (const std::string& name : mixed_sets()) {
    use_mixed_set(name);
    repeat(name, [](int n_threads) {
      check_loss(true, n_threads);
      check_product(n_threads);
      check_layer(n_threads);
      check_attentive(true, n_threads);
    });
  }
  std::puts(all_right ? "all right" : "WRONG");
  return all_right ? 0 : 1;
}
