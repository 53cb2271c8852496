#include "ops/moe_dispatch/moe_dispatch.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/moe_dispatch/moe_dispatch_cpu.h"

namespace fathom {

// A counting sort by expert: stable, so that tokens rise within each expert.
Dispatch make_dispatch(const Tensor& ids, int num_experts) {
  CHECK(ids.rank() == 2 && ids.contiguous() && num_experts >= 1 && ids.dim(1) >= 1);
  Dispatch d;
  d.num_experts = num_experts;
  d.num_tokens = ids.dim(0);
  d.top_k = ids.dim(1);
  const int64_t total = d.num_tokens * d.top_k;
  CHECK(total < (int64_t{1} << 31));
  const int32_t* id = ids.data<int32_t>();
  d.offsets.assign(num_experts + 1, 0);
  for (int64_t i = 0; i < total; ++i) {
    CHECK(id[i] >= 0 && id[i] < num_experts);
    ++d.offsets[id[i] + 1];
  }
  for (int e = 0; e < num_experts; ++e) d.offsets[e + 1] += d.offsets[e];
  std::vector<int32_t> next(d.offsets.begin(), d.offsets.end() - 1);
  d.rows.resize(total);
  d.slots.resize(total);
  d.position.resize(total);
  int64_t i = 0;
  for (int64_t t = 0; t < d.num_tokens; ++t)
    for (int64_t k = 0; k < d.top_k; ++k, ++i) {
      const int32_t r = next[id[i]]++;
      d.rows[r] = static_cast<int32_t>(t);
      d.slots[r] = static_cast<int32_t>(k);
      d.position[i] = r;
    }
  return d;
}

Tensor dispatch_weights(const Dispatch& d, const Tensor& weights) {
  CHECK_EQ(weights.numel(), d.num_tokens * d.top_k);
  CHECK(weights.contiguous());
  Tensor routed = Tensor::empty({weights.numel()}, DType::kF32);
  const float* from = weights.data<float>();
  float* to = routed.data<float>();
  for (int64_t i = 0; i < weights.numel(); ++i) to[d.position[i]] = from[i];
  return routed;
}

void undispatch_weights(const Dispatch& d, const Tensor& routed, Tensor& weights) {
  CHECK_EQ(weights.numel(), d.num_tokens * d.top_k);
  CHECK_EQ(routed.numel(), weights.numel());
  CHECK(weights.contiguous() && routed.contiguous());
  const float* from = routed.data<float>();
  float* to = weights.data<float>();
  for (int64_t i = 0; i < weights.numel(); ++i) to[i] = from[d.position[i]];
}

void combine_forward(const Dispatch& d, const Tensor& routed, bool accumulate, Tensor& y) {
  CHECK(routed.rank() == 2 && y.rank() == 2);
  CHECK_EQ(routed.dim(0), d.num_tokens * d.top_k);
  CHECK_EQ(y.dim(0), d.num_tokens);
  CHECK_EQ(y.dim(1), routed.dim(1));
  CHECK(routed.dtype() == DType::kF32 || routed.dtype() == DType::kBF16);
  CHECK(y.dtype() == DType::kF32 || y.dtype() == DType::kBF16);
  CombineRows a;
  a.width = y.dim(1);
  a.top_k = d.top_k;
  a.position = d.position.data();
  a.routed = routed.raw();
  a.routed_stride = routed.row_stride();
  a.routed_bf16 = routed.dtype() == DType::kBF16;
  a.accumulate = accumulate;
  a.y = y.raw();
  a.y_stride = y.row_stride();
  a.y_bf16 = y.dtype() == DType::kBF16;
  const auto kernel = FATHOM_PICK3(combine_rows);
  parallel_for(d.num_tokens, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, a.width * a.top_k)),
               [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

}  // namespace fathom
