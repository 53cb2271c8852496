#include "ops/quantize_rows/quantize_rows_case.h"

#include "ops/quantize_rows/quantize_rows.h"

namespace fathom {

std::vector<OpCase> quantize_rows_cases() {
  std::vector<OpCase> cases;
  for (const int64_t rows : {1, 512})
    for (const int64_t width : {1536, 8960})
      for (const int64_t group : {32, 64}) {
        const double n = static_cast<double>(rows * width);
        cases.push_back({case_shape("quantize_rows", {rows, width}, group == 32 ? "bf16 -> int8 by 32" : "bf16 -> int8 by 64"),
                         0, 3 * n, [=] {
                           const Tensor x = case_tensor({rows, width}, DType::kBF16);
                           return [=] { quantize_rows(x, group); };
                         }});
      }
  return cases;
}

}  // namespace fathom
