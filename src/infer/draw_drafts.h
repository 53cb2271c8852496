// What drafters with a distribution of their own share.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "infer/drafter.h"
#include "model/decoder.h"

namespace fathom {

// rows [n, d] of `from`, copied.
Tensor rows_of(const Tensor& from, std::span<const int32_t> rows);
// Rows of so many logits that are worth handing to a thread.
inline int64_t rows_per_piece(int64_t num_valid) { return std::max<int64_t>(1, 65536 / num_valid); }
// Appends one guess to each job's draft: drawn from the head's logits of `hidden` [jobs, d] as the engine would draw that
// token of the sequence, with the same random number.
void draw_drafts(Decoder& model, const Tensor& hidden, std::span<const DraftJob> jobs, int64_t num_valid);

}  // namespace fathom
