#include "ops/cross_entropy/cross_entropy.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/log_sum_exp.h"
#include "kernels/rungs.h"
#include "ops/cross_entropy/cross_entropy_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kGrain = 8192;  // logits a piece

// fn(t) for every row, in parallel.
template <class Fn>
void for_rows(const Tensor& logits, Fn&& fn) {
  parallel_for(logits.rows(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, logits.dim(1))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) fn(t);
               });
}

void check_rows(const Tensor& logits, int64_t num_valid, const Tensor& out) {
  CHECK(logits.rank() == 2 && logits.dtype() == DType::kF32);
  CHECK(1 <= num_valid && num_valid <= logits.dim(1));
  CHECK_EQ(out.numel(), logits.rows());
  CHECK(out.contiguous());
}
void check_targets(std::span<const int32_t> targets, int64_t rows, int64_t num_valid) {
  CHECK_EQ(targets.size(), rows);
  for (int32_t t : targets) CHECK(t < num_valid);
}

}  // namespace

void log_sum_exp(const Tensor& logits, int64_t num_valid, Tensor& lse) {
  check_rows(logits, num_valid, lse);
  float* out = lse.data<float>();
  for_rows(logits, [&](int64_t t) { out[t] = row_log_sum_exp(logits.row<float>(t), num_valid); });
}

void token_entropy(const Tensor& logits, int64_t num_valid, Tensor& entropy) {
  check_rows(logits, num_valid, entropy);
  float* out = entropy.data<float>();
  for_rows(logits, [&](int64_t t) { out[t] = row_entropy(logits.row<float>(t), num_valid); });
}

void token_kl_divergence(const Tensor& p, const Tensor& lse_p, const Tensor& q, const Tensor& lse_q, int64_t num_valid,
                         Tensor& kl) {
  check_rows(p, num_valid, kl);
  check_rows(p, num_valid, lse_p);
  check_rows(q, num_valid, lse_q);
  CHECK(p.shape() == q.shape());
  const float *a = lse_p.data<float>(), *b = lse_q.data<float>();
  float* out = kl.data<float>();
  for_rows(p, [&](int64_t t) { out[t] = row_kl_divergence(p.row<float>(t), a[t], q.row<float>(t), b[t], num_valid); });
}

void token_log_probs(const Tensor& logits, std::span<const int32_t> targets, int64_t num_valid, Tensor& logp, Tensor* lse) {
  check_rows(logits, num_valid, logp);
  if (lse) check_rows(logits, num_valid, *lse);
  float* sums = lse ? lse->data<float>() : nullptr;
  check_targets(targets, logits.rows(), num_valid);
  float* out = logp.data<float>();
  for_rows(logits, [&](int64_t t) {
    const float* x = logits.row<float>(t);
    const float sum = targets[t] < 0 && !sums ? 0.f : row_log_sum_exp(x, num_valid);
    if (sums) sums[t] = sum;
    out[t] = targets[t] < 0 ? 0.f : x[targets[t]] - sum;
  });
}

void log_prob_backward(const Tensor& logits, std::span<const int32_t> targets, std::span<const float> coefficient,
                       int64_t num_valid, Tensor& dlogits, Tensor& logp, const Tensor* known_lse) {
  check_rows(logits, num_valid, logp);
  if (known_lse) check_rows(logits, num_valid, *known_lse);
  const float* sums = known_lse ? known_lse->data<float>() : nullptr;
  check_targets(targets, logits.rows(), num_valid);
  CHECK_EQ(coefficient.size(), logits.rows());
  CHECK(dlogits.shape() == logits.shape());
  const bool f32 = dlogits.dtype() == DType::kF32;
  CHECK(f32 || dlogits.dtype() == DType::kBF16);
  const int64_t n = logits.dim(1);
  const auto gradient = FATHOM_PICK3(log_prob_gradient_row);
  const auto gradient_bf16 = FATHOM_PICK3(log_prob_gradient_row_bf16);
  float* out = logp.data<float>();
  for_rows(logits, [&](int64_t t) {
    const float* x = logits.row<float>(t);
    const int32_t target = targets[t];
    const float lse = target < 0 ? 0.f : sums ? sums[t] : row_log_sum_exp(x, num_valid);
    out[t] = target < 0 ? 0.f : x[target] - lse;
    if (f32)
      gradient(x, n, num_valid, target, coefficient[t], lse, dlogits.row<float>(t));
    else
      gradient_bf16(x, n, num_valid, target, coefficient[t], lse, dlogits.row<bf16>(t));
  });
}

}  // namespace fathom
