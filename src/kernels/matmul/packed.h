// A weight in the panel layout of the current ISA rung: what Linear keeps for inference and rollouts.
#pragma once
#include <cstdint>
#include <memory>

#include "tensor/tensor.h"

namespace fathom {

enum class Compute : uint8_t { kF32, kBF16 };
inline DType compute_dtype(Compute c) { return c == Compute::kF32 ? DType::kF32 : DType::kBF16; }

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // w: [N, K] F32 or BF16 (row-strided allowed). Multi-threaded. The layout belongs to isa() at the time of the call.
  static PackedMatrix pack(const Tensor& w, Compute compute);
  bool defined() const { return storage_ != nullptr; }
  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  Compute compute() const { return compute_; }
  const void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  int64_t n_ = 0, k_ = 0, bytes_ = 0;
  Compute compute_ = Compute::kF32;
  void* data_ = nullptr;
  std::shared_ptr<std::byte> storage_;
};

}  // namespace fathom
