// A named benchmark shape of an op: what `bench` times, and what it is compared with.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tensor/tensor.h"

namespace fathom {

struct OpCase {
  std::string name;                                // "rms_norm forward [2048, 640] f32 -> bf16"
  double flops = 0;                                // of one run; 0 where memory alone binds
  double bytes = 0;                                // read and written at least once in one run, each counted once
  std::function<std::function<void()>()> prepare;  // allocates the operands and returns one run
  bool bf16 = false;                               // which GEMM peak the flops are compared with
  bool int8 = false;                               // or that of int8
};

// Operands for benchmarks: uniform values of variance 1, the same every time.
inline Tensor case_tensor(Shape shape, DType dtype, uint64_t seed = 1, float scale = 1.f) {
  Tensor t = Tensor::empty(shape, DType::kF32);
  Rng rng(seed, RngStream::kTest);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.data<float>()[i] = (static_cast<float>(rng.next_u32()) * 0x1p-31f - 1.f) * 1.7f * scale;
  return dtype == DType::kF32 ? t : t.to(dtype);
}
inline std::string case_shape(const char* what, const Shape& shape, const char* types) {
  return std::string(what) + " " + shape.str() + " " + types;
}

}  // namespace fathom
