// Forward and backward of one micro-batch (report §3.2.3 for what is kept and what is recomputed).
#include <algorithm>

#include "base/error.h"
#include "model/decoder_impl.h"
#include "nn/profile.h"
#include "nn/rows.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "tensor/storage.h"

namespace fathom {
namespace {

// Rows of [begin, end) that have a target, relative to begin.
std::vector<int32_t> rows_with_target(std::span<const int32_t> targets) {
  std::vector<int32_t> rows;
  for (size_t i = 0; i < targets.size(); ++i)
    if (targets[i] >= 0) rows.push_back(static_cast<int32_t>(i));
  return rows;
}

void scatter_rows(const Tensor& from, std::span<const int32_t> rows, Tensor& to) {
  to.zero();
  scatter_add_rows(from, rows, to);
}

}  // namespace

void Decoder::Impl::head_backward(const Tensor& hidden, std::span<const int32_t> targets, const TokenObjective& objective,
                                  std::span<float> logp, Tensor& dhidden) {
  const int64_t rows = hidden.rows(), step = logits_rows(), vocab = config.vocab_size, d = config.hidden_size;
  const Compute compute = numerics.compute;
  Parameter& weight = head_weight();
  Tensor buffer = Tensor::empty({std::min(rows, step), vocab}, DType::kF32);
  // In bf16 a row of the gradient takes the first half of its row of logits.
  Tensor gradient = compute == Compute::kF32
                        ? buffer
                        : Tensor::wrap(buffer.raw(), {buffer.rows(), 2 * vocab}, DType::kBF16).slice_columns(0, vocab);
  std::vector<float> coefficient(std::min(rows, step));
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step), n = end - begin;
    const auto chunk_targets = targets.subspan(begin, n);
    Tensor dchunk = dhidden.slice_rows(begin, end);
    // Rows without a target (prompts, padding) cost nothing: the others are moved together.
    const std::vector<int32_t> live = rows_with_target(chunk_targets);
    const int64_t m = static_cast<int64_t>(live.size());
    Tensor x = hidden.slice_rows(begin, end), dx = dchunk;
    std::vector<int32_t> live_targets(chunk_targets.begin(), chunk_targets.end());
    if (m < n) {
      live_targets.clear();
      for (const int32_t i : live) live_targets.push_back(chunk_targets[i]);
      if (m > 0) {
        x = Tensor::empty({m, d}, hidden.dtype());
        gather_rows(hidden.slice_rows(begin, end), live, x);
        dx = Tensor::empty({m, d}, DType::kF32);
      }
    }
    std::vector<float> live_logp(m), live_coefficient(m);
    Tensor logits = buffer.slice_rows(0, m), dlogits = gradient.slice_rows(0, m);
    std::fill(logp.begin() + begin, logp.begin() + end, 0.f);
    std::fill(coefficient.begin(), coefficient.begin() + n, 0.f);
    Tensor values = Tensor::wrap(live_logp.data(), {m}, DType::kF32), lse = Tensor::empty({m}, DType::kF32);
    if (m > 0) {
      head_forward(x, logits);
      ProfileScope scope("backward.loss");
      fathom::token_log_probs(logits, live_targets, vocab, values, &lse);
      for (int64_t i = 0; i < m; ++i) logp[begin + live[i]] = live_logp[i];
    }
    objective(begin, logp.subspan(begin, n), {coefficient.data(), static_cast<size_t>(n)});
    if (m == 0) {
      dchunk.zero();
      continue;
    }
    for (int64_t i = 0; i < m; ++i) live_coefficient[i] = coefficient[live[i]];
    {
      ProfileScope scope("backward.loss");
      log_prob_backward(logits, live_targets, live_coefficient, vocab, dlogits, values, &lse);
    }
    const double product = 2.0 * static_cast<double>(m * vocab * d);
    ProfileScope scope("backward.head", {2 * product, 0});
    matmul_backward_input(dlogits, {weight.value, nullptr}, compute, false, dx);
    matmul_backward_weight(dlogits, x, compute, weight.accumulate(), weight.grad);
    if (m < n) scatter_rows(dx, live, dchunk);
  }
}

void Decoder::Impl::mtp_backward(const Batch& batch, std::span<const int32_t> targets, const Tensor& hidden,
                                 const BackwardOptions& options, TrainingTerms& terms, WeightGradients& queue, Tensor& dhidden,
                                 BackwardResult& result) {
  const MtpRows rows(batch);
  if (rows.count() == 0) return;
  ForwardContext c = context(rows.batch, nullptr);
  c.training = &terms;
  MtpSaved saved;
  const Tensor predicted = mtp->forward(c, rows, *embedding, hidden, &saved);
  std::vector<int32_t> next(rows.count());  // row i predicts t_{i+2}: the main target of row i+1
  for (int64_t i = 0; i < rows.count(); ++i) next[i] = targets[rows.main[i] + 1];
  std::vector<float> logp(rows.count());
  const float coefficient = -options.mtp_weight * options.main_token_weight;
  Tensor dpredicted = Tensor::empty(predicted.shape(), DType::kF32);
  head_backward(
      predicted, next,
      [&](int64_t, std::span<const float>, std::span<float> out) { std::fill(out.begin(), out.end(), coefficient); }, logp,
      dpredicted);
  for (int64_t i = 0; i < rows.count(); ++i) {
    if (next[i] < 0) continue;
    result.mtp_logp_sum += logp[i];
    ++result.mtp_tokens;
  }
  mtp->backward(c, rows, saved, dpredicted, *embedding, dhidden, queue);
}

BackwardResult Decoder::forward_backward(const Batch& batch, std::span<const int32_t> targets, const TokenObjective& objective,
                                         const BackwardOptions& options) {
  Impl& m = *impl_;
  m.check_batch(batch);
  CHECK_EQ(targets.size(), batch.num_rows());
  CHECK(batch.num_rows() > 0);
  if (m.numerics.mla == MlaFormula::kAbsorbed && m.config.is_mla())
    fail_usage("model", "training needs the expanded MLA formula: the absorbed one has no backward");
  if (m.numerics.cache != KvType::kPlain)
    fail_usage("model", "training needs plain keys and values; the " + std::string(kv_type_name(m.numerics.cache)) +
                            " cache is for inference");
  if (m.numerics.activations != Activations::k16Bit)
    fail_usage("model", "training computes on 16-bit activations; int8 activations are for inference");
  if (options.mtp_weight > 0 && !m.mtp)
    fail_usage("model", "an MTP loss is asked for, but the model has no MTP module (num_nextn_predict_layers is 0)");
  for (const int32_t t : targets)
    if (t >= m.config.vocab_size) fail_usage("model", "target id " + std::to_string(t) + " is outside the vocabulary");
  const std::vector<Parameter*> parameters = this->parameters();
  for (Parameter* p : parameters) {
    CHECK(!p->trainable || p->grad.defined());
    if (options.first_micro_batch) p->grad_written = false;
  }

  TrainingTerms terms;
  terms.balance_alpha = options.balance_alpha;
  terms.balance_scale = options.balance_scale;
  ForwardContext c = m.context(batch, nullptr);
  c.training = &terms;
  Impl::Saved saved;
  WeightGradients queue;
  BackwardResult result;
  result.logp.resize(batch.num_rows());

  Tensor hidden = m.forward(c, &saved);
  Tensor dhidden = Tensor::empty(hidden.shape(), DType::kF32);
  // All activations are alive now: this is the most that a step needs. What the cache has left over from the last backward is
  // of other sizes, and so are the logits afterwards; new pages cost less than half a percent of a step.
  constexpr int64_t kLarge = int64_t{2} << 20;
  trim_storage_cache(kLarge);
  m.head_backward(hidden, targets, objective, result.logp, dhidden);
  if (options.mtp_weight > 0) m.mtp_backward(batch, targets, hidden, options, terms, queue, dhidden, result);
  trim_storage_cache(kLarge);

  Tensor dresidual = Tensor::empty(hidden.shape(), DType::kF32);
  m.norm->backward(dhidden, saved.last, saved.last_rstd, false, dresidual);
  saved.last = hidden = dhidden = Tensor();
  for (size_t l = m.blocks.size(); l-- > 0;) m.blocks[l]->backward(c, saved.blocks[l], dresidual, queue);
  m.embedding->backward(batch.ids, dresidual);
  queue.flush();
  for (Parameter* p : parameters)
    if (p->trainable && !p->accumulate()) p->grad.zero();  // took no part in this micro-batch
  result.balance_loss = terms.balance_layers > 0 ? terms.balance_sum / terms.balance_layers : 0;
  return result;
}

}  // namespace fathom
