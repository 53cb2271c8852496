// How many guesses each decoding sequence gets: those that raise the expected tokens per second, by what was measured.
// Guess j of a sequence counts with the probability that it and all before it come true; a step of w rows costs what steps of
// w rows have cost (with experts, more rows touch more of them: no formula, the clock); a guess costs what guesses have cost.
// Under load a further row costs about as much as another sequence's, so guessing ends by itself. Where it does not pay, a
// short trial at growing distances finds out whether that has changed. Decides by time: how many steps a request takes may
// differ from run to run, never what it gives.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>

#include "infer/drafter.h"

namespace fathom {

class DraftDepth {
 public:
  // `max_depth` guesses at most, 1 to kMaxDraft; not automatic: always so many.
  DraftDepth(int64_t max_depth, bool automatic) : max_depth_(max_depth), automatic_(automatic) {}

  // Sets draft_wanted of the decoding sequences of the next step; never beyond a request's max_tokens.
  void choose(std::span<Sequence* const> decodes);
  // After a step of decode rows alone: `rows` with guesses, seconds of forward and sampling.
  void record_step(int64_t rows, double seconds);
  // A call of the drafter: the most guesses of one sequence, seconds.
  void record_draft(int64_t depth, double seconds);
  // `accepted` of `drafted` guesses of a sequence came true.
  void record_acceptance(Sequence& sequence, int64_t drafted, int64_t accepted);

  double acceptance(const Sequence& sequence, int64_t position) const;  // that a guess comes true if those before it do
  double step_seconds(int64_t rows) const;                              // expected

 private:
  struct Mean {
    double value = 0;
    int64_t count = 0;
    void add(double x);
  };
  int64_t best_depth(std::span<Sequence* const> decodes);

  int64_t max_depth_;
  bool automatic_;
  std::array<double, kMaxDraft> rate_{}, evidence_{};  // by position, over all requests
  std::map<int64_t, Mean> seconds_;                    // of a step, by its rows
  Mean draft_seconds_;                                 // per guess of depth
  int64_t steps_ = 0, next_trial_ = 0, trial_left_ = 0, trial_distance_ = 0;
};

}  // namespace fathom
