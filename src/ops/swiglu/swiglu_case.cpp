#include "ops/swiglu/swiglu_case.h"

#include "ops/swiglu/swiglu.h"

namespace fathom {

std::vector<OpCase> swiglu_cases() {
  std::vector<OpCase> cases;
  for (int64_t rows : {1, 2048, 8192})
    for (int64_t width : {256, 640, 1792})
      for (DType type : {DType::kF32, DType::kBF16}) {
        const double n = static_cast<double>(rows * width), size = static_cast<double>(dtype_bytes(type));
        const char* name = type == DType::kF32 ? "f32" : "bf16";
        // An exponential and a quotient count as 20 operations.
        cases.push_back(
            {case_shape("swiglu forward", {rows, width}, name), 23 * n, 3 * n * size, [=] {
               const Tensor gate_up = case_tensor({rows, 2 * width}, type), scale = case_tensor({rows}, DType::kF32, 2);
               return [=, act = Tensor::empty({rows, width}, type)]() mutable { swiglu_forward(gate_up, &scale, act); };
             }});
        if (rows == 1) continue;
        cases.push_back({case_shape("swiglu backward", {rows, width}, name), 33 * n, 6 * n * size, [=] {
                           const Tensor gate_up = case_tensor({rows, 2 * width}, type),
                                        scale = case_tensor({rows}, DType::kF32, 2), dact = case_tensor({rows, width}, type, 3);
                           return [=, d = Tensor::empty({rows, 2 * width}, type), act = Tensor::empty({rows, width}, type),
                                   dscale = Tensor::empty({rows}, DType::kF32)]() mutable {
                             swiglu_backward(dact, gate_up, &scale, d, &act, &dscale);
                           };
                         }});
      }
  return cases;
}

}  // namespace fathom
