// Compares the kernels with plain loops in double, on random shapes. It is a separate program, so that the sanitizers
// see every memory access. Usage: check_kernels [rounds]. Prints the tested instruction sets.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "../engine.h"
#include "../workspace.h"

using namespace unrolled;
using Doubles = std::vector<double>;
using Floats = std::vector<float>;

static std::mt19937 random_bits(1);
static long pick(long from, long to) { return std::uniform_int_distribution<long>(from, to)(random_bits); }
static Floats normal(long n, double deviation = 0.5) {
  std::normal_distribution<float> draw(0, (float)deviation);
  Floats values((size_t)n);
  for (float& v : values) v = draw(random_bits);
  return values;
}
static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Problem {
  int cell;
  bool reverse;
  long T, B, D, H, G, S;
  std::vector<int64_t> lengths;
  Floats x, h0, c0, w_ih, w_hh, b_ih, b_hh, dy, dh_end, dc_end;

  Problem()
      : cell((int)pick(0, 3)), reverse(pick(0, 1)), T(pick(1, 40)), B(pick(1, 20)), D(pick(1, 40)), H(pick(1, 40)) {
    G = cell == GRU ? 3 : cell == LSTM ? 4 : 1;
    for (long b = 0; b < B; b++) lengths.push_back(pick(0, T));
    if (pick(0, 2) == 0) lengths.assign((size_t)B, T);
    x = normal(T * B * D), h0 = normal(B * H), c0 = normal(B * H);
    // These weights preserve the magnitude of a signal; with larger ones the dynamics are chaotic, and rounding errors
    // grow without bound.
    w_ih = normal(G * H * D, 1 / std::sqrt(D)), w_hh = normal(G * H * H, 0.8 / std::sqrt(H)), b_ih = normal(G * H), b_hh = normal(G * H);
    dy = normal(T * B * H), dh_end = normal(B * H), dc_end = normal(B * H);
    for (long b = 0; b < B; b++)  // padding must not be read
      for (long t = lengths[b]; t < T; t++)
        for (long i = 0; i < D; i++) x[(t * B + b) * D + i] = std::numeric_limits<float>::quiet_NaN();
  }
  long time(long s, long b) const { return reverse ? lengths[b] - 1 - s : s; }

  // The loss Σ dy·y + dh_end·h_end + dc_end·c_end of one row, for weights with one number changed.
  double loss(const Doubles& wi, const Doubles& wh, const Doubles& start, const Doubles& inputs, long b,
              Floats* y = nullptr) const {
    Doubles h(start.begin() + b * H, start.begin() + (b + 1) * H), c(start.begin() + (B + b) * H, start.begin() + (B + b + 1) * H);
    double total = 0;
    for (long s = 0; s < lengths[b]; s++) {
      const long t = time(s, b);
      Doubles from_x((size_t)(G * H)), from_h((size_t)(G * H)), new_h((size_t)H);
      for (long g = 0; g < G * H; g++) {
        from_x[g] = b_ih[g], from_h[g] = b_hh[g];
        for (long i = 0; i < D; i++) from_x[g] += wi[g * D + i] * inputs[(t * B + b) * D + i];
        for (long i = 0; i < H; i++) from_h[g] += wh[g * H + i] * h[i];
      }
      for (long u = 0; u < H; u++) {
        const auto sum = [&](long gate) { return from_x[gate * H + u] + from_h[gate * H + u]; };
        if (cell == RNN_TANH) new_h[u] = std::tanh(sum(0));
        else if (cell == RNN_RELU) new_h[u] = std::fmax(0, sum(0));
        else if (cell == GRU) {
          const double r = sigmoid(sum(0)), z = sigmoid(sum(1));
          const double n = std::tanh(from_x[2 * H + u] + r * from_h[2 * H + u]);
          new_h[u] = (1 - z) * n + z * h[u];
        } else {
          c[u] = sigmoid(sum(1)) * c[u] + sigmoid(sum(0)) * std::tanh(sum(2));
          new_h[u] = sigmoid(sum(3)) * std::tanh(c[u]);
        }
      }
      h = new_h;
      for (long u = 0; u < H; u++) {
        total += dy[(t * B + b) * H + u] * h[u];
        if (y) (*y)[(t * B + b) * H + u] = (float)h[u];
      }
    }
    for (long u = 0; u < H; u++) total += dh_end[b * H + u] * h[u] + (cell == LSTM ? dc_end[b * H + u] * c[u] : 0);
    return total;
  }
};

static bool is_close(double given, double exact, double scale) { return std::fabs(given - exact) <= 3e-3 * (scale + std::fabs(exact)); }

// Checks one random problem: the outputs, and the gradients of a few numbers by central differences.
static bool check(int n_threads) {
  const Problem p;
  const PlannedLengths planned(p.T, p.B, p.lengths.data());
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const auto filled = [&](long n) { return Floats((size_t)n, nan); };
  Floats y = filled(p.T * p.B * p.H), h_end = filled(p.B * p.H), c_end = filled(p.B * p.H);
  Floats dx = filled(p.T * p.B * p.D), dh0 = filled(p.B * p.H), dc0 = filled(p.B * p.H);
  Floats dw_ih((size_t)(p.G * p.H * p.D)), dw_hh((size_t)(p.G * p.H * p.H)), db_ih((size_t)(p.G * p.H)), db_hh((size_t)(p.G * p.H));
  Recurrence r;
  r.cell = p.cell, r.reverse = p.reverse, r.T = p.T, r.B = p.B, r.D = p.D, r.H = p.H;
  r.plan = planned.plan();
  r.x = {const_cast<float*>(p.x.data()), p.B * p.D, p.D};
  r.h0 = p.h0.data(), r.c0 = p.c0.data();
  r.w_ih = p.w_ih.data(), r.w_hh = p.w_hh.data(), r.b_ih = p.b_ih.data(), r.b_hh = p.b_hh.data();
  r.y = {y.data(), p.B * p.H, p.H};
  r.h_end = h_end.data(), r.c_end = c_end.data();
  Floats record = filled(record_floats(r));
  r.record = record.empty() ? nullptr : record.data();
  run_forward({r}, n_threads);
  r.dy = {const_cast<float*>(p.dy.data()), p.B * p.H, p.H};
  r.dh_end = p.dh_end.data(), r.dc_end = p.cell == LSTM ? p.dc_end.data() : nullptr;
  r.dx = {dx.data(), p.B * p.D, p.D};
  r.dh0 = dh0.data(), r.dc0 = p.cell == LSTM ? dc0.data() : nullptr;
  r.dw_ih = dw_ih.data(), r.dw_hh = dw_hh.data(), r.db_ih = db_ih.data(), r.db_hh = db_hh.data();
  run_backward({r}, n_threads);
  r.record = nullptr;
  Floats y_again = filled(p.T * p.B * p.H);
  r.y.data = y_again.data();
  run_forward({r}, n_threads);

  Doubles wi(p.w_ih.begin(), p.w_ih.end()), wh(p.w_hh.begin(), p.w_hh.end()), x(p.x.begin(), p.x.end());
  Doubles start(p.h0.begin(), p.h0.end());
  start.insert(start.end(), p.c0.begin(), p.c0.end());
  Floats exact((size_t)(p.T * p.B * p.H));
  const auto loss = [&] {
    double total = 0;
    for (long b = 0; b < p.B; b++) total += p.loss(wi, wh, start, x, b, &exact);
    return total;
  };
  loss();
  bool ok = true;
  const auto report = [&](const char* what, double given, double right) {
    if (is_close(given, right, 1)) return;
    ok = false;
    std::printf("cell %d reverse %d T %ld B %ld D %ld H %ld threads %d: %s is %g, expected %g\n", p.cell, p.reverse, p.T, p.B,
                p.D, p.H, n_threads, what, given, right);
  };
  for (size_t i = 0; i < exact.size(); i++) {
    report("y", y[i], exact[i]);
    report("y in inference", y_again[i], exact[i]);
  }
  if (p.cell == RNN_RELU) return ok;  // central differences are wrong across the kink
  const auto derivative = [&](Doubles& values, size_t i) {
    const double before = values[i], step = 1e-4;
    values[i] = before + step;
    const double above = loss();
    values[i] = before - step;
    const double below = loss();
    values[i] = before;
    return (above - below) / (2 * step);
  };
  for (int n = 0; n < 3; n++) {
    const size_t i = (size_t)pick(0, p.G * p.H * p.D - 1), j = (size_t)pick(0, p.G * p.H * p.H - 1);
    const size_t k = (size_t)pick(0, p.B * p.H - 1), l = (size_t)pick(0, p.T * p.B * p.D - 1);
    report("dw_ih", dw_ih[i], derivative(wi, i));
    report("dw_hh", dw_hh[j], derivative(wh, j));
    report("dh0", dh0[k], derivative(start, k));
    if (p.cell == LSTM) report("dc0", dc0[k], derivative(start, k + (size_t)(p.B * p.H)));
    report("dx", dx[l], std::isnan(x[l]) ? 0 : derivative(x, l));
  }
  return ok;
}

int main(int n_arguments, char** arguments) {
  const int rounds = n_arguments > 1 ? std::atoi(arguments[1]) : 200;
  bool ok = true;
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (int round = 0; round < rounds; round++) ok &= check(1 + round % 3);
    std::printf("%s: %d problems\n", name.c_str(), rounds);
  }
  std::puts(ok ? "all right" : "WRONG");
  return ok ? 0 : 1;
}
