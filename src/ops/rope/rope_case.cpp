#include "ops/rope/rope_case.h"

#include "ops/rope/rope.h"

namespace fathom {

std::vector<OpCase> rope_cases() {
  std::vector<OpCase> cases;
  const RopeTable table = make_rope_table(64, 10000, {});
  for (int64_t rows : {1, 2048})
    for (bool interleaved : {true, false})
      for (DType type : {DType::kF32, DType::kBF16}) {
        const int64_t heads = 16;
        const double values = static_cast<double>(rows * heads * 64), size = static_cast<double>(dtype_bytes(type));
        std::string what = interleaved ? "rope interleaved" : "rope half-split";
        cases.push_back({case_shape(what.c_str(), {rows, heads, 64}, type == DType::kF32 ? "f32" : "bf16"), 3 * values,
                         2 * values * size + 2 * 4 * static_cast<double>(rows * 32), [=] {
                           std::vector<int32_t> positions(rows);
                           for (int64_t i = 0; i < rows; ++i) positions[i] = static_cast<int32_t>(i);
                           return [=, x = case_tensor({rows, heads * 64}, type),
                                   angles = make_rope_angles(table, positions)]() mutable {
                             rope_apply(x, static_cast<int>(heads), 64, 0, angles, interleaved, false);
                           };
                         }});
      }
  return cases;
}

}  // namespace fathom
