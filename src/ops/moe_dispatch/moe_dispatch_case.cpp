#include "ops/moe_dispatch/moe_dispatch_case.h"

#include "ops/moe_dispatch/moe_dispatch.h"

namespace fathom {
namespace {

Tensor some_ids(int64_t tokens, int64_t k, int experts) {
  Tensor ids = Tensor::empty({tokens, k}, DType::kI32);
  Rng rng(5, RngStream::kTest);
  for (int64_t t = 0; t < tokens; ++t) {
    const auto first = static_cast<int32_t>(rng.next_below(experts));
    for (int64_t j = 0; j < k; ++j) ids.row<int32_t>(t)[j] = static_cast<int32_t>((first + j * 7) % experts);
  }
  return ids;
}

}  // namespace

std::vector<OpCase> moe_dispatch_cases() {
  std::vector<OpCase> cases;
  for (int64_t tokens : {2048, 8192})
    for (auto [experts, k] : {std::pair{16, 4}, {64, 6}}) {
      const int64_t slots = k, count = experts;
      const double total = static_cast<double>(tokens * slots);
      const std::string types = "of " + std::to_string(count) + " experts";
      cases.push_back({case_shape("make_dispatch", {tokens, slots}, types.c_str()), 0, 16 * total, [=] {
                         return [=, ids = some_ids(tokens, slots, count)] { make_dispatch(ids, static_cast<int>(count)); };
                       }});
      for (int64_t width : {256, 640, 768})
        for (DType type : {DType::kF32, DType::kBF16}) {
          const double n = static_cast<double>(tokens * width);
          cases.push_back(
              {case_shape("combine", {tokens, slots, width}, type == DType::kF32 ? "f32" : "bf16 -> f32"), n * slots,
               n * (slots * dtype_bytes(type) + 8), [=] {
                 const Dispatch d = make_dispatch(some_ids(tokens, slots, count), static_cast<int>(count));
                 const Tensor routed = case_tensor({tokens * slots, width}, type, 2, 1e-6f);
                 return [=, y = Tensor::zeros({tokens, width}, DType::kF32)]() mutable { combine_forward(d, routed, true, y); };
               }});
        }
    }
  return cases;
}

}  // namespace fathom
