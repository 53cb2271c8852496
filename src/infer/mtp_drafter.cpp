#include "infer/mtp_drafter.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "infer/draw_drafts.h"

namespace fathom {
namespace {

constexpr int64_t kMaxWaiting = 64;  // rows of a sequence

}  // namespace

MtpDrafter::MtpDrafter(Decoder& model, KvCache& cache, int64_t num_valid)
    : model_(model),
      cache_(cache),
      num_valid_(num_valid),
      row_bytes_(model.config().hidden_size * dtype_bytes(compute_dtype(model.numerics().compute))) {
  if (!model.has_mtp())
    fail_usage("infer", "this model has no MTP module (num_nextn_predict_layers is 0); use prompt look-up or a draft model");
  CHECK_EQ(cache.num_layers(), model.num_cache_layers() + 1);
}

int64_t MtpDrafter::bytes_per_draft() const { return model_.mtp_weight_bytes_per_token(); }

void MtpDrafter::observe(std::span<const ComputedRows> rows, const Tensor& hidden) {
  std::vector<Piece> pieces;
  for (const ComputedRows& r : rows) {
    Waiting& waiting = waiting_[r.sequence->id];
    if (waiting.end() != r.begin) waiting.begin = r.begin, waiting.count = 0, waiting.hidden.clear();
    const size_t old = waiting.hidden.size();
    waiting.count += r.end - r.begin;
    waiting.hidden.resize(static_cast<size_t>(waiting.count * row_bytes_));
    const int64_t stride = hidden.row_stride() * dtype_bytes(hidden.dtype());
    for (int64_t i = 0; i < r.end - r.begin; ++i)
      std::memcpy(waiting.hidden.data() + old + static_cast<size_t>(i * row_bytes_), hidden.raw() + (r.row + i) * stride,
                  static_cast<size_t>(row_bytes_));
    // The last one waits for its sequence's own copy of the block that others may read now.
    if ((r.prefill || waiting.count > kMaxWaiting) && waiting.count > 1)
      pieces.push_back({r.sequence, &waiting, waiting.count - 1});
  }
  if (!pieces.empty()) compute(pieces);
}

Tensor MtpDrafter::compute(std::span<const Piece> pieces) {
  Batch batch;
  KvView view;
  view.cache = &cache_;
  for (const Piece& piece : pieces) {
    const std::span<const int32_t> tokens = piece.sequence->tokens;
    batch.add(tokens.subspan(static_cast<size_t>(piece.waiting->begin + 1), static_cast<size_t>(piece.count)),
              static_cast<int32_t>(piece.waiting->begin));
    view.blocks.emplace_back(piece.sequence->table.blocks);
  }
  Tensor hidden = Tensor::empty({batch.num_rows(), model_.config().hidden_size}, compute_dtype(model_.numerics().compute));
  std::byte* to = hidden.raw();
  for (const Piece& piece : pieces) {
    Waiting& waiting = *piece.waiting;
    const size_t bytes = static_cast<size_t>(piece.count * row_bytes_);
    std::memcpy(to, waiting.hidden.data(), bytes);
    to += bytes;
    waiting.hidden.erase(waiting.hidden.begin(), waiting.hidden.begin() + static_cast<int64_t>(bytes));
    waiting.begin += piece.count;
    waiting.count -= piece.count;
  }
  return model_.mtp_forward(batch, hidden, &view);
}

void MtpDrafter::draft(std::span<const DraftJob> jobs) {
  std::vector<DraftJob> active;
  std::vector<Piece> pieces;
  std::vector<int32_t> last;  // row of each job's last waiting position
  for (const DraftJob& job : jobs) {
    const auto it = waiting_.find(job.sequence->id);
    if (it == waiting_.end() || it->second.count == 0 || it->second.end() != job.sequence->num_computed) continue;
    active.push_back(job);
    pieces.push_back({job.sequence, &it->second, it->second.count});
    last.push_back((last.empty() ? -1 : last.back()) + static_cast<int32_t>(it->second.count));
  }
  if (active.empty()) return;
  Tensor hidden = rows_of(compute(pieces), last);
  for (int64_t n = 0;; ++n) {
    draw_drafts(model_, hidden, active, num_valid_);
    // The next guess of those that want one: a row behind the last, from the module's own output.
    Batch batch;
    KvView view;
    view.cache = &cache_;
    std::vector<int32_t> kept;
    std::vector<DraftJob> next;
    for (size_t i = 0; i < active.size(); ++i) {
      const DraftJob& job = active[i];
      if (job.count <= n + 1) continue;
      kept.push_back(static_cast<int32_t>(i));
      next.push_back(job);
      batch.add({&job.sequence->draft.back(), 1}, static_cast<int32_t>(job.sequence->num_computed + n));
      view.blocks.emplace_back(job.sequence->table.blocks);
    }
    if (next.empty()) return;
    hidden = model_.mtp_forward(batch, rows_of(hidden, kept), &view);
    active = std::move(next);
  }
}

}  // namespace fathom
