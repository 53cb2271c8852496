#include "infer/draft_depth.h"

#include <algorithm>
#include <vector>

namespace fathom {
namespace {

constexpr double kPrior = 0.7, kPriorEvidence = 8;          // acceptance before anything is known
constexpr double kGlobalMemory = 256, kRequestMemory = 32;  // guesses after which an old one counts for little
constexpr double kRequestPrior = 8;                         // guesses until a request's own rate counts half
constexpr double kFirstSlope = 0.1;                         // of a one-row step: a further row, before one was measured
constexpr int64_t kTrialSteps = 4, kFirstDistance = 64, kLongestDistance = 2048;  // steps
constexpr int64_t kMinMeasured = 3;  // steps without guesses that are timed before any guess
constexpr int64_t kRemeasure = 256;  // steps after which one without guesses is timed again
constexpr int64_t kExplore = 64;     // steps after which one with a guess more is timed

}  // namespace

void DraftDepth::Mean::add(double x) {
  ++count;
  if (count == 1) {
    value = x;
    return;
  }
  x = std::min(x, 2 * value);  // a step that waited for another process says nothing
  value += (x - value) / static_cast<double>(std::min<int64_t>(count, 16));
}

void DraftDepth::record_step(int64_t rows, double seconds) { seconds_[rows].add(seconds); }
void DraftDepth::record_draft(int64_t depth, double seconds) {
  if (depth > 0) draft_seconds_.add(seconds / static_cast<double>(depth));
}

void DraftDepth::record_acceptance(Sequence& sequence, int64_t drafted, int64_t accepted) {
  for (int64_t j = 0; j < std::min(drafted, accepted + 1); ++j) {  // those behind the first wrong one say nothing
    const double hit = j < accepted;
    const size_t i = static_cast<size_t>(j);
    evidence_[i] = std::min(evidence_[i] + 1, kGlobalMemory);
    rate_[i] += (hit - rate_[i]) / evidence_[i];
    sequence.acceptance_evidence = std::min<float>(sequence.acceptance_evidence + 1, kRequestMemory);
    sequence.acceptance += (static_cast<float>(hit) - sequence.acceptance) / sequence.acceptance_evidence;
  }
}

double DraftDepth::acceptance(const Sequence& sequence, int64_t position) const {
  double global = kPrior;  // a position not seen yet is like the one before it
  for (int64_t j = 0; j <= position; ++j) {
    const size_t i = static_cast<size_t>(j);
    global = (rate_[i] * evidence_[i] + global * kPriorEvidence) / (evidence_[i] + kPriorEvidence);
  }
  const double n = sequence.acceptance_evidence;
  return (sequence.acceptance * n + global * kRequestPrior) / (n + kRequestPrior);
}

double DraftDepth::step_seconds(int64_t rows) const {
  if (seconds_.empty()) return 1 + kFirstSlope * static_cast<double>(rows - 1);
  const auto above = seconds_.lower_bound(rows);
  if (above != seconds_.end() && above->first == rows) return above->second.value;
  if (above == seconds_.begin()) return above->second.value;  // fewer rows than ever: not dearer
  const auto below = std::prev(above);
  const double b = below->second.value, distance = static_cast<double>(rows - below->first);
  if (above != seconds_.end())
    return b + (above->second.value - b) * distance / static_cast<double>(above->first - below->first);
  double slope = kFirstSlope * b / static_cast<double>(below->first);
  if (below != seconds_.begin()) {
    const auto first = seconds_.begin();
    slope = std::max(0.0, b - first->second.value) / static_cast<double>(below->first - first->first);
  }
  return b + slope * distance;
}

// For each greatest depth: guesses in the order of their probability, as long as they raise the rate. Sets draft_wanted for
// the best.
int64_t DraftDepth::best_depth(std::span<Sequence* const> decodes) {
  struct Guess {
    double probability;
    int64_t position;
    Sequence* sequence;
  };
  const int64_t n = static_cast<int64_t>(decodes.size());
  std::vector<Guess> guesses;
  for (Sequence* s : decodes) {
    double probability = 1;
    for (int64_t j = 0; j < s->draft_wanted; ++j) guesses.push_back({probability *= acceptance(*s, j), j, s});
    s->draft_wanted = 0;
  }
  std::stable_sort(guesses.begin(), guesses.end(),
                   [](const Guess& a, const Guess& b) { return a.probability > b.probability; });
  const auto take = [&](int64_t depth, bool set) {
    double expected = static_cast<double>(n), seconds = step_seconds(n) + static_cast<double>(depth) * draft_seconds_.value;
    int64_t rows = n;
    for (const Guess& guess : guesses) {
      if (guess.position >= depth) continue;
      const double more = step_seconds(rows + 1) - step_seconds(rows);
      if (guess.probability * seconds <= more * expected) break;
      expected += guess.probability;
      seconds += more;
      ++rows;
      if (set) ++guess.sequence->draft_wanted;
    }
    return expected / seconds;
  };
  int64_t best = 0;
  double rate = static_cast<double>(n) / step_seconds(n);
  for (int64_t depth = 1; depth <= max_depth_; ++depth)
    if (const double r = take(depth, false); r > rate) rate = r, best = depth;
  if (best > 0) take(best, true);
  return best;
}

void DraftDepth::choose(std::span<Sequence* const> decodes) {
  for (Sequence* s : decodes)  // the last token is drawn without a guess, so that no row goes beyond max_tokens
    s->draft_wanted = std::clamp<int64_t>(s->request.max_tokens - s->num_generated() - 1, 0, max_depth_);
  if (!automatic_ || decodes.empty()) return;
  ++steps_;
  const int64_t n = static_cast<int64_t>(decodes.size());
  const auto without = seconds_.find(n);
  const bool measured = without != seconds_.end() && without->second.count >= kMinMeasured;
  if (!measured || steps_ % kRemeasure == 0) {
    for (Sequence* s : decodes) s->draft_wanted = 0;
    return;
  }
  std::vector<int64_t> allowed;
  for (const Sequence* s : decodes) allowed.push_back(s->draft_wanted);
  if (best_depth(decodes) > 0) {
    trial_distance_ = 0;
    trial_left_ = 0;
    next_trial_ = steps_ + kFirstDistance;
    if (steps_ % kExplore == 0)
      for (size_t i = 0; i < decodes.size(); ++i) decodes[i]->draft_wanted = std::min(allowed[i], decodes[i]->draft_wanted + 1);
    return;
  }
  if (trial_left_ == 0 && steps_ >= next_trial_) {
    trial_left_ = kTrialSteps;
    trial_distance_ = std::min(kLongestDistance, std::max(kFirstDistance, 2 * trial_distance_));
    next_trial_ = steps_ + trial_distance_;
  }
  if (trial_left_ == 0) return;
  --trial_left_;
  for (size_t i = 0; i < decodes.size(); ++i) decodes[i]->draft_wanted = std::min<int64_t>(allowed[i], 1);
}

}  // namespace fathom
