// Compares the kernels of word vectors and of the softmax with plain loops, on random shapes. It is a separate program,
// so that the sanitizers see every memory access. Buffers have exactly the size that callers guarantee.
// Usage: check_vectors [rounds]. Prints the tested instruction sets.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../engine.h"
#include "../vector_engine.h"

using namespace unrolled;
using Doubles = std::vector<double>;
using Floats = std::vector<float>;

static std::mt19937 random_bits(1);
static long pick(long from, long to) { return std::uniform_int_distribution<long>(from, to)(random_bits); }
static double uniform(double from, double to) { return std::uniform_real_distribution<double>(from, to)(random_bits); }
static Floats normal(long n, double deviation = 0.5) {
  std::normal_distribution<float> draw(0, (float)deviation);
  Floats values((size_t)n);
  for (float& v : values) v = draw(random_bits);
  return values;
}

static bool ok = true;
static void expect(bool holds, const char* what) {
  if (!holds) ok = false, std::printf("wrong: %s\n", what);
}
static void expect_close(double given, double right, const char* what) {
  if (std::fabs(given - right) <= 1e-3 * (1 + std::fabs(right))) return;
  ok = false;
  std::printf("wrong: %s is %.9g, expected %.9g\n", what, given, right);
}

// Encoding words, and expanding ids

static void check_words() {
  const char bytes[] = "ab\xc3\xa9 \t\n\v\f\r";
  const int border = pick(0, 1) ? '\n' : 0;
  std::map<std::string, int32_t> index;
  std::vector<std::string> words;
  std::vector<int64_t> counts;
  std::vector<int32_t> right, found;
  WordTable table;
  // Enough different words to make the table grow.
  const long n_texts = pick(1, 3), longest = pick(0, 20) ? 12 : 200000;
  for (long i = 0; i < n_texts; i++) {
    std::vector<char> text;
    for (long n = pick(0, longest); n > 0; n--) text.push_back(pick(0, 9) ? bytes[pick(0, 9)] : (char)(pick(0, 3) ? pick('a', 'z') : border));
    std::vector<int32_t> ids(text.size() + 1);
    const long n_ids = table.add(text.data(), (long)text.size(), border, ids.data());
    found.insert(found.end(), ids.begin(), ids.begin() + n_ids);
    std::string word;
    for (size_t k = 0; k <= text.size(); k++) {
      const bool ends = k == text.size() || text[k] == (char)border || std::strchr(" \t\n\v\f\r", text[k]);
      if (!ends) {
        word += text[k];
        continue;
      }
      if (!word.empty()) {
        const auto [at, is_new] = index.try_emplace(word, (int32_t)words.size());
        if (is_new) words.push_back(word), counts.push_back(0);
        counts[(size_t)at->second]++;
        right.push_back(at->second);
        word.clear();
      }
      if (k < text.size() && text[k] == (char)border && !(right.size() && right.back() == BORDER)) right.push_back(BORDER);
    }
  }
  std::string joined;
  for (const std::string& word : words) joined += word + "\n";
  expect(found == right, "ids");
  expect(table.joined() == joined, "words");
  expect(table.counts() == counts, "counts of words");

  std::vector<int64_t> starts(1, 0);
  std::vector<int32_t> its, expanded, out;
  for (size_t w = 0; w < words.size(); w++) {
    for (long n = pick(0, 3); n > 0; n--) its.push_back((int32_t)pick(-1, 5));
    starts.push_back((int64_t)its.size());
  }
  size_t room = 0;
  for (const int32_t id : right) {
    room += id < 0 ? 1 : (size_t)(starts[(size_t)id + 1] - starts[(size_t)id]);
    if (id < 0 && (expanded.empty() || expanded.back() != BORDER)) expanded.push_back(BORDER);
    for (int64_t k = id < 0 ? 0 : starts[(size_t)id]; id >= 0 && k < starts[(size_t)id + 1]; k++)
      if (its[(size_t)k] >= 0) expanded.push_back(its[(size_t)k]);
  }
  out.resize(room);
  out.resize((size_t)expand(right.data(), (long)right.size(), starts.data(), its.data(), out.data()));
  expect(out == expanded, "expanded ids");
}

// Counting, merging, and sorting into blocks

struct Matrix {
  std::vector<uint64_t> ends{0};
  std::vector<uint32_t> columns;
  std::vector<uint64_t> narrow;
  std::vector<WideSum> wide;
  SparseRows rows(bool is_wide) const { return {ends.data(), columns.data(), is_wide ? (const void*)wide.data() : (const void*)narrow.data()}; }
};

// Runs a kernel on rows [first, first + room.size()) in random tasks, each with exactly the room that its rows need.
template <class Run>
static Matrix run_rows(const std::vector<long>& room, long first, bool is_wide, Run run) {
  std::vector<RowTask> tasks;
  std::vector<std::vector<uint32_t>> columns;
  std::vector<std::vector<uint64_t>> narrow;
  std::vector<std::vector<WideSum>> wide;
  std::vector<int64_t> sizes(room.size());
  for (size_t from = 0, to; from < room.size(); from = to) {
    to = (size_t)pick((long)from + 1, (long)room.size());
    size_t n = 0;
    for (size_t i = from; i < to; i++) n += (size_t)room[i];
    columns.emplace_back(n), narrow.emplace_back(is_wide ? 0 : n), wide.emplace_back(is_wide ? n : 0);
    void* values = is_wide ? (void*)wide.back().data() : (void*)narrow.back().data();
    tasks.push_back({first + (long)from, first + (long)to, columns.back().data(), values, sizes.data() + from, 0});
  }
  run(tasks);
  Matrix found;
  for (const int64_t size : sizes) found.ends.push_back(found.ends.back() + (uint64_t)size);
  for (size_t i = 0; i < tasks.size(); i++)
    for (long k = 0; k < tasks[i].n; k++) {
      found.columns.push_back(columns[i][(size_t)k]);
      if (is_wide) found.wide.push_back(wide[i][(size_t)k]);
      else found.narrow.push_back(narrow[i][(size_t)k]);
    }
  expect(found.columns.size() == found.ends.back(), "entries of all rows");
  return found;
}

using Sums = std::vector<std::map<uint32_t, WideSum>>;  // for each row, by column

static void expect_rows(const Matrix& found, const Sums& right, bool is_wide, const char* what) {
  size_t k = 0;
  for (size_t row = 0; row < right.size(); row++) {
    for (const auto& [column, sum] : right[row]) {
      const bool is_there = k < found.columns.size() && found.columns[k] == column;
      expect(is_there && (is_wide ? found.wide[k] : (WideSum)found.narrow[k]) == sum, what);
      k++;
    }
    expect(found.ends[row + 1] == k, what);
  }
}

static void check_counting(int n_threads) {
  const long V = pick(0, 3) ? pick(1, 90) : pick(4000, 9000), window = pick(1, 12), n = pick(0, 400);
  const bool both_sides = pick(0, 1), is_wide = pick(0, 2) == 0;
  const long n_used = V > 4000 ? pick(1, 60) : V;  // few of many words, so that rows are very sparse
  // Exactly `window` borders at both ends, with no memory beyond them.
  std::vector<int32_t> tokens((size_t)(n + 2 * window), BORDER);
  for (long i = 0; i < n; i++) tokens[(size_t)(window + i)] = pick(0, 9) ? (int32_t)(pick(0, n_used - 1) * (V / n_used)) : BORDER;
  std::vector<uint64_t> weights(1, 0);
  std::vector<uint32_t> narrow_weights(1, 0);
  for (long d = 1; d <= window; d++) {
    weights.push_back(is_wide ? (1ull << 63) / (uint64_t)d : (uint64_t)pick(1, 1000000));
    narrow_weights.push_back((uint32_t)weights.back());
  }
  std::vector<int64_t> starts((size_t)V + 1);
  std::vector<uint32_t> positions((size_t)n);
  index_positions(tokens.data(), (long)tokens.size(), V, starts.data(), positions.data());
  Counting call;
  call.tokens = tokens.data(), call.positions = positions.data(), call.starts = starts.data();
  call.first = window + pick(0, n), call.V = V, call.window = (int)window;
  call.both_sides = both_sides, call.is_wide = is_wide;
  call.weights = weights.data(), call.narrow_weights = narrow_weights.data(), call.most_narrow = pick(0, 1) ? 100 : 1;
  Sums right((size_t)V);
  for (long j = 0; j < (long)tokens.size(); j++)
    for (long d = 1; d <= window && d <= j && tokens[(size_t)j] >= 0 && tokens[(size_t)(j - d)] >= 0; d++) {
      if (j < call.first) continue;
      const auto row = (uint32_t)tokens[(size_t)j], column = (uint32_t)tokens[(size_t)(j - d)];
      right[row][column] += weights[(size_t)d];
      if (both_sides) right[column][row] += weights[(size_t)d];
    }
  std::vector<long> room;
  for (long w = 0; w < V; w++) {
    const long most = (both_sides ? 2 : 1) * window * (long)(starts[(size_t)w + 1] - starts[(size_t)w]);
    room.push_back((most < V ? most : V) + 1);
  }
  const Matrix found = run_rows(room, 0, is_wide, [&](std::vector<RowTask>& tasks) { run_count_rows(call, tasks, n_threads); });
  expect_rows(found, right, is_wide, "counted rows");

  // Adds several copies of the same matrix, starting at some row.
  const long times = pick(1, 4), first_row = pick(0, V - 1);
  std::vector<long> merged_room;
  Matrix part;
  const size_t begin = found.ends[(size_t)first_row];
  for (long w = first_row; w < V; w++) {
    const long size = (long)(found.ends[(size_t)w + 1] - found.ends[(size_t)w]);
    part.ends.push_back(found.ends[(size_t)w + 1] - begin);
    merged_room.push_back((times * size < V ? times * size : V) + 1);
  }
  part.columns.assign(found.columns.begin() + (long)begin, found.columns.end());
  if (is_wide) part.wide.assign(found.wide.begin() + (long)begin, found.wide.end());
  else part.narrow.assign(found.narrow.begin() + (long)begin, found.narrow.end());
  const std::vector<SparseRows> matrices((size_t)times, part.rows(is_wide));
  const Matrix merged = run_rows(merged_room, first_row, is_wide, [&](std::vector<RowTask>& tasks) {
    run_merge_rows({matrices.data(), times, V, is_wide}, tasks, n_threads);
  });
  right.erase(right.begin(), right.begin() + first_row);
  for (auto& row : right)
    for (auto& [column, sum] : row) sum *= (unsigned)times;
  expect_rows(merged, right, is_wide, "merged rows");

  // Sorted into blocks: every entry occurs once, in the order of the rows.
  const long n_groups = pick(1, 5), n_entries = (long)part.columns.size();
  Floats f = normal(n_entries), log_counts = normal(n_entries);
  Dealing rows;
  rows.first_row = first_row, rows.n_rows = V - first_row, rows.n_groups = n_groups;
  rows.ends = part.ends.data(), rows.columns = part.columns.data();
  rows.weights = f.data(), rows.log_counts = log_counts.data();
  std::vector<int64_t> sizes((size_t)(n_groups * n_groups)), next(sizes.size()), place(sizes.size());
  run_count_blocks(rows, sizes.data(), n_threads);
  for (size_t i = 1; i < sizes.size(); i++) next[i] = place[i] = place[i - 1] + sizes[i - 1];
  std::vector<Pair> pairs((size_t)n_entries);
  run_deal(rows, pairs.data(), next.data(), n_threads);
  for (long i = 0; i < rows.n_rows; i++)
    for (uint64_t k = part.ends[(size_t)i]; k < part.ends[(size_t)i + 1]; k++) {
      const long word = first_row + i, column = part.columns[k];
      const Pair& pair = pairs[(size_t)place[(size_t)(word % n_groups * n_groups + column % n_groups)]++];
      expect(pair.row == word / n_groups && pair.column == column / n_groups, "words of a pair");
      expect(pair.weight == f[k] && pair.log_count == log_counts[k], "numbers of a pair");
    }
  expect(place == next, "pairs of each block");
}

// GloVe

static void check_glove(int n_threads) {
  const long size = pick(1, 200), stride = (size + 15) / 16 * 16, n_in_group = pick(1, 7), n_groups = pick(1, 3);
  const double rate = 0.05, clip = pick(0, 1) ? 100 : 0.01;
  const long n_words = n_in_group * n_groups;
  Floats vectors[2], vector_sums[2], biases[2], bias_sums[2];
  for (int side = 0; side < 2; side++) {
    vectors[side] = Floats((size_t)(n_words * stride), 0.f);
    vector_sums[side] = Floats((size_t)(n_words * stride), 1.f);
    biases[side] = normal(n_words), bias_sums[side] = Floats((size_t)n_words, 1.f);
    for (long w = 0; w < n_words; w++)
      for (long i = 0; i < size; i++) {
        vectors[side][(size_t)(w * stride + i)] = (float)uniform(-0.3, 0.3);
        vector_sums[side][(size_t)(w * stride + i)] = (float)uniform(1, 3);
      }
  }
  GloVe g;
  Doubles w[2], sums[2], b[2], b_sums[2];
  for (int side = 0; side < 2; side++) {
    w[side].assign(vectors[side].begin(), vectors[side].end()), sums[side].assign(vector_sums[side].begin(), vector_sums[side].end());
    b[side].assign(biases[side].begin(), biases[side].end()), b_sums[side].assign(bias_sums[side].begin(), bias_sums[side].end());
    g.vectors[side] = vectors[side].data(), g.vector_sums[side] = vector_sums[side].data();
    g.biases[side] = biases[side].data(), g.bias_sums[side] = bias_sums[side].data();
  }
  g.n_in_group = n_in_group, g.size = size, g.stride = stride, g.rate = (float)rate, g.clip = (float)clip;
  // Blocks that share no group, as in a round of an epoch.
  const long shift = pick(0, n_groups - 1);
  std::vector<std::vector<Pair>> pairs((size_t)n_groups);
  std::vector<PairBlock> blocks;
  const long refused_in = pick(0, 3) ? -1 : pick(0, n_groups - 1);
  for (long group = 0; group < n_groups; group++) {
    std::vector<Pair>& its = pairs[(size_t)group];
    for (long row = 0; row < n_in_group; row++)
      for (long column = 0; column < n_in_group; column++)
        if (pick(0, 2)) its.push_back({(uint16_t)row, (uint16_t)column, (float)uniform(0, 1), (float)uniform(-1, 5)});
    if (group == refused_in && its.size()) its[its.size() / 2].log_count = std::numeric_limits<float>::infinity();
    blocks.push_back({its.data(), (long)its.size(), group, (group + shift) % n_groups, 0, -1});
  }
  run_train_blocks(g, blocks, n_threads);
  const auto clipped = [&](double x) { return std::fmax(-clip * rate, std::fmin(clip * rate, x)); };
  for (const PairBlock& block : blocks) {
    double loss = 0;
    long refused = -1;
    for (long k = 0; k < block.n && refused < 0; k++) {
      const Pair& pair = block.pairs[k];
      const auto i = (size_t)(block.row_group * n_in_group + pair.row), j = (size_t)(block.column_group * n_in_group + pair.column);
      double diff = b[0][i] + b[1][j] - pair.log_count;
      for (long d = 0; d < size; d++) diff += w[0][i * (size_t)stride + (size_t)d] * w[1][j * (size_t)stride + (size_t)d];
      const double weighted = pair.weight * diff;
      if (!std::isfinite(weighted)) {
        refused = k;
        break;
      }
      loss += 0.5 * weighted * diff;
      for (long d = 0; d < size; d++) {
        const size_t at = i * (size_t)stride + (size_t)d, to = j * (size_t)stride + (size_t)d;
        const double to_w = clipped(weighted * rate * w[1][to]), to_c = clipped(weighted * rate * w[0][at]);
        w[0][at] -= to_w / std::sqrt(sums[0][at]), sums[0][at] += to_w * to_w;
        w[1][to] -= to_c / std::sqrt(sums[1][to]), sums[1][to] += to_c * to_c;
      }
      b[0][i] -= weighted / std::sqrt(b_sums[0][i]), b_sums[0][i] += weighted * weighted;
      b[1][j] -= weighted / std::sqrt(b_sums[1][j]), b_sums[1][j] += weighted * weighted;
    }
    expect(block.refused == refused, "the first pair whose gradient is not finite");
    expect_close(block.loss, loss, "loss of a block");
  }
  for (int side = 0; side < 2; side++) {
    for (long word = 0; word < n_words; word++)
      for (long d = 0; d < stride; d++) {
        const auto at = (size_t)(word * stride + d);
        expect_close(vectors[side][at], d < size ? w[side][at] : 0, "a vector");
        expect_close(vector_sums[side][at], d < size ? sums[side][at] : 1, "a vector's sums");
      }
    for (size_t word = 0; word < (size_t)n_words; word++) {
      expect_close(biases[side][word], b[side][word], "a bias");
      expect_close(bias_sums[side][word], b_sums[side][word], "a bias's sums");
    }
  }
}

// Cross-entropy

static void check_cross_entropy(int n_threads) {
  const long M = pick(1, 60), H = pick(1, 40), V = pick(0, 3) ? pick(1, 60) : pick(200, 500);
  const bool has_bias = pick(0, 1), has_gradients = pick(0, 3);
  const double smoothing = pick(0, 1) ? 0 : 0.1;
  const Floats hidden = normal(M * H), weight = normal(V * H), bias = normal(V);
  std::vector<int64_t> targets;
  for (long m = 0; m < M; m++) targets.push_back(pick(0, V - 1));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Floats nats((size_t)M, nan), d_hidden((size_t)(M * H), nan), d_weight((size_t)(V * H), nan), d_bias((size_t)V, nan);
  CrossEntropy e;
  e.M = M, e.H = H, e.V = V, e.smoothing = (float)smoothing;
  e.hidden = hidden.data(), e.weight = weight.data(), e.bias = has_bias ? bias.data() : nullptr;
  e.targets = targets.data(), e.nats = nats.data();
  if (has_gradients) e.d_hidden = d_hidden.data(), e.d_weight = d_weight.data(), e.d_bias = has_bias ? d_bias.data() : nullptr;
  run_cross_entropy(e, n_threads);
  Doubles dh((size_t)(M * H)), dw((size_t)(V * H)), db((size_t)V);
  for (long m = 0; m < M; m++) {
    Doubles l((size_t)V);
    double total = 0, even = 0;
    for (long v = 0; v < V; v++) {
      l[(size_t)v] = has_bias ? bias[(size_t)v] : 0;
      for (long h = 0; h < H; h++) l[(size_t)v] += (double)hidden[(size_t)(m * H + h)] * weight[(size_t)(v * H + h)];
      total += std::exp(l[(size_t)v]), even += l[(size_t)v] / (double)V;
    }
    const auto target = (size_t)targets[(size_t)m];
    expect_close(nats[(size_t)m], std::log(total) - (1 - smoothing) * l[target] - smoothing * even, "nats");
    for (long v = 0; v < V; v++) {
      const double d = std::exp(l[(size_t)v]) / total - ((size_t)v == target ? 1 - smoothing : 0) - smoothing / (double)V;
      db[(size_t)v] += d;
      for (long h = 0; h < H; h++) {
        dh[(size_t)(m * H + h)] += d * weight[(size_t)(v * H + h)];
        dw[(size_t)(v * H + h)] += d * hidden[(size_t)(m * H + h)];
      }
    }
  }
  if (!has_gradients) return;
  for (size_t i = 0; i < dh.size(); i++) expect_close(d_hidden[i], dh[i], "d_hidden");
  for (size_t i = 0; i < dw.size(); i++) expect_close(d_weight[i], dw[i], "d_weight");
  for (size_t i = 0; has_bias && i < db.size(); i++) expect_close(d_bias[i], db[i], "d_bias");
}

int main(int n_arguments, char** arguments) {
  const int rounds = n_arguments > 1 ? std::atoi(arguments[1]) : 200;
  for (int round = 0; round < rounds; round++) check_words();
  for (const std::string& name : instruction_sets()) {
    use_instruction_set(name);
    for (int round = 0; round < rounds; round++) {
      check_counting(1 + round % 3);
      check_glove(1 + round % 3);
      check_cross_entropy(1 + round % 3);
    }
    std::printf("%s: %d problems of each kind\n", name.c_str(), rounds);
  }
  std::puts(ok ? "all right" : "WRONG");
  return ok ? 0 : 1;
}
