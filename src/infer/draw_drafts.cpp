#include "infer/draw_drafts.h"

#include "base/thread_pool.h"
#include "nn/rows.h"

namespace fathom {

Tensor rows_of(const Tensor& from, std::span<const int32_t> rows) {
  Tensor to = Tensor::empty({static_cast<int64_t>(rows.size()), from.dim(1)}, from.dtype());
  gather_rows(from, rows, to);
  return to;
}

void draw_drafts(Decoder& model, const Tensor& hidden, std::span<const DraftJob> jobs, int64_t num_valid) {
  const Tensor logits = model.logits(hidden);
  parallel_for(static_cast<int64_t>(jobs.size()), rows_per_piece(num_valid), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sequence& sequence = *jobs[static_cast<size_t>(i)].sequence;
      const int64_t ahead = static_cast<int64_t>(sequence.draft.size());
      std::vector<int32_t> room;
      const std::span<const float> row(logits.row<float>(i), static_cast<size_t>(logits.dim(1)));
      const float uniform = sequence.uniform(sequence.num_generated() + ahead);
      sequence.draft.push_back(
          sample_token(row, num_valid, sequence.request.sampling, uniform, sequence.history(ahead, room)).id);
    }
  });
}

}  // namespace fathom
