// What drafters with a distribution of their own share.
#pragma once
#include <span>
#include <vector>

#include "infer/drafter.h"
#include "model/decoder.h"

namespace fathom {

// rows [n, d] of `from`, copied.
Tensor rows_of(const Tensor& from, std::span<const int32_t> rows);
// Appends one guess to each job's draft: drawn from the head's logits of `hidden` [jobs, d] as the engine would draw that
// token of the sequence, with the same random number.
void draw_drafts(Decoder& model, const Tensor& hidden, std::span<const DraftJob> jobs, int64_t num_valid);

}  // namespace fathom
