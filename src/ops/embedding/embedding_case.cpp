#include "ops/embedding/embedding_case.h"

#include "ops/embedding/embedding.h"

namespace fathom {

std::vector<OpCase> embedding_cases() {
  std::vector<OpCase> cases;
  const int64_t vocabulary = 16384;
  for (int64_t rows : {2048, 8192})
    for (int64_t width : {256, 640, 768}) {
      const double n = static_cast<double>(rows * width);
      // Few tokens are frequent, as in text.
      const auto some_ids = [=] {
        Rng rng(5, RngStream::kTest);
        std::vector<int32_t> ids(rows);
        for (auto& id : ids) id = static_cast<int32_t>(rng.next_below(rng.next_below(vocabulary) + 1));
        return ids;
      };
      cases.push_back({case_shape("embedding forward", {rows, width}, "f32"), 0, 8 * n, [=] {
                         return [ids = some_ids(), table = case_tensor({vocabulary, width}, DType::kF32),
                                 y = Tensor::empty({rows, width}, DType::kF32)]() mutable { embedding_forward(ids, table, y); };
                       }});
      cases.push_back({case_shape("embedding backward", {rows, width}, "f32"), n, 12 * n, [=] {
                         return [ids = some_ids(), dy = case_tensor({rows, width}, DType::kF32, 2, 1e-6f),
                                 table = Tensor::zeros({vocabulary, width}, DType::kF32)]() mutable {
                           embedding_backward(ids, dy, table);
                         };
                       }});
    }
  return cases;
}

}  // namespace fathom
