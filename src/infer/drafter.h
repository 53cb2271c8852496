// Who guesses the next tokens of decoding sequences. A guess never changes what a request gives, only how many steps it takes:
// the model draws every token with that position's own random number, and the guess counts where it is equal. So a drafter
// draws its guess with the same number (Sequence::uniform), from its own distribution (infer/draw_drafts.h).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "infer/sequence.h"
#include "tensor/tensor.h"

namespace fathom {

constexpr int64_t kMaxDraft = 16;  // guesses of one sequence in one step

struct DraftJob {
  Sequence* sequence;  // decoding; its table holds places for positions up to num_tokens + count - 1
  int64_t count;       // guesses wanted, at least 1
};
// What the step has put into the cache for good: positions [begin, end) of a sequence, hidden states from `row` on. The token
// at `end` is known.
struct ComputedRows {
  const Sequence* sequence;
  int64_t begin, end, row;
  bool prefill;
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Fills sequence->draft with up to `count` tokens each. Between the plan of a step (its block copies are done) and its
  // forward.
  virtual void draft(std::span<const DraftJob> jobs) = 0;
  // hidden [T, d]: the forward's output. A sequence that begins behind where it ended before (or anew) has its rows below
  // `begin` from the tree of shared prefixes.
  virtual void observe(std::span<const ComputedRows>, const Tensor& /*hidden*/) {}
  virtual void forget(const Sequence&) {}  // it has ended; its table is still there
  // Bytes of weights that one more guess of one sequence reads, the cache left out: for benchmarks.
  virtual int64_t bytes_per_draft() const { return 0; }
};

}  // namespace fathom
