#include "search.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <memory>

#include "threads.h"
#include "workspace.h"

namespace unrolled {
namespace {

constexpr float NONE = -std::numeric_limits<float>::infinity();

struct Ending {
  long step;
  long slot;  // of the input of the step if it chose the end there, of its output if it was cut off
  float log_prob;
  double score;
  bool is_finished;
};

struct Candidate {
  float total;
  int32_t parent, word;
  bool operator<(const Candidate& other) const {
    if (total != other.total) return total > other.total;
    return parent != other.parent ? parent < other.parent : word < other.word;
  }
};

// The words and parents that a sentence chose at a step, and where its attention is.
struct Choices {
  std::vector<int32_t> words, parents;
  std::vector<float> attention;  // [inputs, S]
};

struct Sentence {
  long index, limit;
  std::vector<float> totals{0.f};  // of its live hypotheses
  long greedy = 0;                 // the slot of its greedy path; −1 if it has ended or was dropped
  std::vector<Ending> best;        // best first
  std::vector<Choices> steps;
  bool is_undecided = false;       // see Answers
};

// The results of a step for one hypothesis.
struct Listed {
  const float* log_probs;
  const int32_t* words;
  long n;
  float end;
  // The most probable word of all, the first one of equal ones; false if this is not certain.
  bool most_probable(int32_t end_word, int32_t& word, float& log_prob) const {
    log_prob = log_probs[0], word = words[0];
    for (long i = 1; i < n && log_probs[i] == log_prob; i++) {
      word = std::min(word, words[i]);
      if (i + 1 == n) return false;  // more words may be equal
    }
    if (end > log_prob || (end == log_prob && end_word < word)) word = end_word, log_prob = end;
    return true;
  }
};

class Searcher {
 public:
  Searcher(const Decoder& decoder, const Search& search, const DecoderKernels& kernels)
      : d_(decoder), q_(search), kernels_(kernels), stride_(kernels.state_stride(decoder)) {}

  // Finds the answers of the sentences first, first + step, …
  void run(long first, long by, std::vector<Answers>& answers) {
    for (long i = first; i < q_.B; i += by) {
      Sentence sentence;
      sentence.index = i, sentence.limit = q_.limits[(size_t)i];
      live_.push_back(std::move(sentence));
      kernels_.remember(d_, q_.memory, i);
    }
    if (live_.empty()) return;
    const long most = (long)live_.size() * q_.beam_size;
    const Workspace scratch(sizeof(float) * (size_t)kernels_.step_floats(d_, q_.memory, most));
    const Workspace states(sizeof(float) * (size_t)(2 * most * stride_));
    before_ = static_cast<float*>(states.data()), after_ = before_ + most * stride_;
    begin();
    for (long step = 0; !live_.empty(); step++) {
      advance(static_cast<float*>(scratch.data()));
      choose(step, answers);
    }
  }

 private:
  void begin() {
    for (size_t i = 0; i < live_.size(); i++) {
      float* to = before_ + (long)i * stride_;
      std::memset(to, 0, sizeof(float) * (size_t)stride_);
      const size_t n_parts = q_.states.size() - (d_.feeds ? 1 : 0);
      for (size_t part = 0; part < q_.states.size(); part++) {
        const long width = part < n_parts ? d_.H : d_.O;
        std::memcpy(to, q_.states[part] + live_[i].index * width, sizeof(float) * (size_t)width);
        to += width;
      }
      words_.push_back(q_.begin);
      sentences_.push_back((int32_t)live_[i].index);
    }
    std::memset(after_, 0, sizeof(float) * (size_t)((long)live_.size() * q_.beam_size * stride_));
  }

  void advance(float* scratch) {
    DecoderStep step;
    step.R = (long)words_.size();
    step.tokens = words_.data(), step.sentences = sentences_.data();
    step.before = before_, step.after = after_;
    step.barred = q_.barred.data(), step.n_barred = (long)q_.barred.size(), step.end = q_.end;
    // One more than can be chosen, to notice equal ones.
    step.n_listed = n_listed_ = std::min(q_.beam_size + 1, d_.V);
    log_probs_.resize((size_t)(step.R * n_listed_));
    listed_.resize(log_probs_.size());
    ends_.resize((size_t)step.R);
    step.log_probs = log_probs_.data(), step.words = listed_.data(), step.ends = ends_.data();
    if (q_.with_attention) {
      attention_.resize((size_t)(step.R * q_.memory.S));
      step.attention = attention_.data();
    }
    kernels_.step(d_, q_.memory, step, scratch);
  }

  Listed listed(long row) const {
    return {log_probs_.data() + row * n_listed_, listed_.data() + row * n_listed_, n_listed_, ends_[(size_t)row]};
  }

  // Extends all live sentences; those that are done get their answers and leave.
  void choose(long step, std::vector<Answers>& answers) {
    std::vector<Sentence> staying;
    words_.clear(), sentences_.clear();
    long row = 0, to = 0;
    for (Sentence& sentence : live_) {
      const long n = (long)sentence.totals.size();
      Choices choices;
      if (q_.with_attention)
        choices.attention.assign(attention_.begin() + row * q_.memory.S, attention_.begin() + (row + n) * q_.memory.S);
      const long n_kept = q_.beam_size == 1 ? follow(sentence, step, row, choices) : extend(sentence, step, row, choices);
      sentence.steps.push_back(std::move(choices));
      const Choices& made = sentence.steps.back();
      for (long slot = 0; slot < n_kept; slot++, to++) {
        std::memcpy(before_ + to * stride_, after_ + (row + made.parents[(size_t)slot]) * stride_,
                    sizeof(float) * (size_t)stride_);
        words_.push_back(made.words[(size_t)slot]);
        sentences_.push_back((int32_t)sentence.index);
      }
      row += n;
      if (n_kept) staying.push_back(std::move(sentence));
      else if (!sentence.is_undecided) answers[(size_t)sentence.index] = traced(sentence);
    }
    live_ = std::move(staying);
  }

  // Greedy search: the number of hypotheses that go on, 0 or 1.
  long follow(Sentence& sentence, long step, long row, Choices& choices) const {
    int32_t word;
    float log_prob;
    if (!listed(row).most_probable(q_.end, word, log_prob) || !(log_prob > NONE)) return leave(sentence);
    sentence.totals[0] += log_prob;
    choices.words.push_back(word), choices.parents.push_back(0);
    if (word != q_.end && step + 1 < sentence.limit) return 1;
    add(sentence, step, 0, sentence.totals[0], word == q_.end);
    return 0;
  }

  // Beam search: the number of hypotheses that go on.
  long extend(Sentence& sentence, long step, long row, Choices& choices) const {
    const long n = (long)sentence.totals.size(), k = q_.beam_size;
    std::vector<Candidate> candidates;
    std::vector<float> ended;
    for (long slot = 0; slot < n; slot++) {
      const Listed words = listed(row + slot);
      const float total = sentence.totals[(size_t)slot];
      ended.push_back(total + words.end);
      if (std::isnan(ended.back())) return leave(sentence);
      for (long i = 0; i < words.n && words.log_probs[i] > NONE; i++)
        candidates.push_back({total + words.log_probs[i], (int32_t)slot, words.words[i]});
    }
    const long n_sorted = std::min(k + 1, (long)candidates.size());
    std::partial_sort(candidates.begin(), candidates.begin() + n_sorted, candidates.end());
    for (long i = 1; i < n_sorted; i++)
      if (candidates[(size_t)i].total == candidates[(size_t)i - 1].total) return leave(sentence);
    candidates.resize((size_t)k, Candidate{NONE, 0, 0});
    if (sentence.greedy >= 0 && !keep_greedy(sentence, listed(row + sentence.greedy), candidates)) return leave(sentence);
    sentence.totals.clear();
    for (const Candidate& each : candidates) {
      choices.words.push_back(each.word), choices.parents.push_back(each.parent);
      sentence.totals.push_back(each.total);
    }
    const float most = *std::max_element(ended.begin(), ended.end());
    if ((double)most > least(sentence) * penalty(step + 1))
      for (long slot = 0; slot < n; slot++) add(sentence, step, slot, ended[(size_t)slot], true);
    if (step + 1 == sentence.limit) {
      for (long slot = 0; slot < k; slot++) add(sentence, step, slot, sentence.totals[(size_t)slot], false);
      return decided(sentence);
    }
    const double bound = least(sentence) * penalty(sentence.limit);
    const long n_useful = (long)std::count_if(sentence.totals.begin(), sentence.totals.end(),
                                              [&](float total) { return (double)total > bound; });
    sentence.totals.resize((size_t)n_useful);
    if (sentence.greedy >= n_useful) sentence.greedy = -1;
    return n_useful ? n_useful : decided(sentence);
  }

  // The greedy path stays live: in the slot that already has it, or else in the last one.
  bool keep_greedy(Sentence& sentence, const Listed& words, std::vector<Candidate>& chosen) const {
    int32_t word;
    float log_prob;
    if (!words.most_probable(q_.end, word, log_prob)) return false;
    const int32_t parent = (int32_t)sentence.greedy;
    sentence.greedy = -1;
    if (word == q_.end || !(log_prob > NONE)) return true;
    size_t slot = 0;
    while (slot + 1 < chosen.size() && !(chosen[slot].parent == parent && chosen[slot].word == word)) slot++;
    chosen[slot] = {sentence.totals[(size_t)parent] + log_prob, parent, word};
    sentence.greedy = (long)slot;
    return true;
  }

  // Wu et al. 2016, equation 14.
  double penalty(long n_words) const { return std::pow((5 + (double)n_words) / 6, q_.alpha); }

  static long leave(Sentence& sentence) {
    sentence.is_undecided = true;
    return 0;
  }

  static long decided(Sentence& sentence) {
    sentence.is_undecided = sentence.best.empty();
    return 0;
  }

  // The score that an ending must exceed to be among the n best.
  double least(const Sentence& sentence) const {
    return (long)sentence.best.size() == q_.n_best ? sentence.best.back().score : -std::numeric_limits<double>::infinity();
  }

  void add(Sentence& sentence, long step, long slot, float log_prob, bool is_finished) const {
    const Ending ending{step, slot, log_prob, (double)log_prob / penalty(step + 1), is_finished};
    if (!(ending.score > least(sentence))) return;
    auto& best = sentence.best;
    best.insert(std::upper_bound(best.begin(), best.end(), ending,
                                 [](const Ending& a, const Ending& b) { return a.score > b.score; }),
                ending);
    if ((long)best.size() > q_.n_best) best.pop_back();
  }

  Answers traced(const Sentence& sentence) const {
    Answers answers;
    for (const Ending& ending : sentence.best) {
      Found found;
      found.log_prob = ending.log_prob, found.score = ending.score, found.is_finished = ending.is_finished;
      const size_t S = (size_t)q_.memory.S;
      if (q_.with_attention) found.attention.resize((size_t)(ending.step + 1) * S);
      long slot = ending.slot;
      for (long step = ending.step; step >= 0; step--) {
        const Choices& made = sentence.steps[(size_t)step];
        if (step < ending.step || !ending.is_finished) {
          found.words.push_back(made.words[(size_t)slot]);
          slot = made.parents[(size_t)slot];
        }
        if (q_.with_attention)
          std::copy_n(made.attention.begin() + slot * (long)S, S, found.attention.begin() + step * (long)S);
      }
      std::reverse(found.words.begin(), found.words.end());
      answers.push_back(std::move(found));
    }
    return answers;
  }

  const Decoder& d_;
  const Search& q_;
  const DecoderKernels& kernels_;
  const long stride_;
  long n_listed_ = 0;
  float *before_ = nullptr, *after_ = nullptr;
  std::vector<Sentence> live_;
  std::vector<int32_t> words_, sentences_, listed_;
  std::vector<float> log_probs_, ends_, attention_;
};

}  // namespace

std::vector<Answers> search(const Decoder& decoder, const Search& given, const DecoderKernels& kernels, int n_threads) {
  Search search = given;
  const long n_steps = search.B * search.memory.S;
  const Workspace powers(sizeof(float) * (size_t)(n_steps * kernels.powers_stride(decoder)));
  const std::unique_ptr<bool[]> in_range(new bool[(size_t)search.B + 1]());
  search.memory.powers = static_cast<float*>(powers.data());
  search.memory.in_range = in_range.get();
  search.barred.push_back(search.begin);
  std::vector<Answers> answers((size_t)search.B);
  std::vector<std::exception_ptr> errors((size_t)std::max(1, n_threads));
  in_parallel(n_threads, [&](int member, int n_members) {
    try {
      Searcher(decoder, search, kernels).run(member, n_members, answers);
    } catch (...) {
      errors[(size_t)member] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
  return answers;
}

}  // namespace unrolled
