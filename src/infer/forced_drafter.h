// For benchmarks and tests: knows what the plain run gave and errs on purpose, so that any rate of acceptance can be measured
// with any weights. Wraps a drafter, which still does its work (and takes its time), or stands alone.
#pragma once
#include <map>
#include <memory>

#include "infer/drafter.h"

namespace fathom {

// By Request::sequence: the tokens of the plain run.
using KnownTokens = std::map<uint64_t, std::vector<int32_t>>;

class ForcedDrafter : public Drafter {
 public:
  // Each guess is right with probability `acceptance`, drawn from (seed, sequence, position). Both references outlive this.
  ForcedDrafter(std::unique_ptr<Drafter> inner, const KnownTokens& known, double acceptance, int64_t vocab, uint64_t seed)
      : inner_(std::move(inner)), known_(known), acceptance_(acceptance), vocab_(vocab), seed_(seed) {}
  void draft(std::span<const DraftJob> jobs) override {
    if (inner_) inner_->draft(jobs);
    for (const DraftJob& job : jobs) {
      Sequence& sequence = *job.sequence;
      const auto it = known_.find(sequence.request.sequence);
      if (it == known_.end()) continue;
      sequence.draft.clear();
      const int64_t done = sequence.num_generated(), end = static_cast<int64_t>(it->second.size());
      for (int64_t n = done; n < std::min(end, done + job.count); ++n) {
        Rng rng(seed_, RngStream::kTest, sequence.request.sequence, static_cast<uint64_t>(n));
        const bool right = rng.next_float() < acceptance_;
        const int32_t token = it->second[static_cast<size_t>(n)];
        sequence.draft.push_back(right ? token : static_cast<int32_t>((token + 1) % vocab_));
      }
    }
  }
  void observe(std::span<const ComputedRows> rows, const Tensor& hidden) override {
    if (inner_) inner_->observe(rows, hidden);
  }
  void forget(const Sequence& sequence) override {
    if (inner_) inner_->forget(sequence);
  }
  int64_t bytes_per_draft() const override { return inner_ ? inner_->bytes_per_draft() : 0; }

 private:
  std::unique_ptr<Drafter> inner_;
  const KnownTokens& known_;
  double acceptance_;
  int64_t vocab_;
  uint64_t seed_;
};

}  // namespace fathom
