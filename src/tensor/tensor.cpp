#include "tensor/tensor.h"

#include <cstring>

#include "tensor/format/f16.h"
#include "tensor/storage.h"

namespace fathom {

Shape::Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  CHECK(dims.size() <= kMaxRank);
  for (int i = 0; i < rank_; ++i) {
    CHECK(dims[i] >= 0);
    dims_[i] = dims[i];
  }
}
int64_t Shape::numel() const {
  int64_t n = 1;
  for (int i = 0; i < rank_; ++i) n *= dims_[i];
  return n;
}
std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string(dims_[i]);
  return s + "]";
}

Tensor Tensor::wrap(void* data, Shape shape, DType dtype, std::shared_ptr<void> keep_alive) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.row_size_ = 1;
  for (int i = 1; i < shape.rank(); ++i) t.row_size_ *= shape[i];
  t.row_stride_ = t.row_size_;
  t.data_ = static_cast<std::byte*>(data);
  t.storage_ = std::move(keep_alive);
  return t;
}
Tensor Tensor::empty(Shape shape, DType dtype) {
  auto storage = allocate_storage(shape.numel() * dtype_bytes(dtype));
  std::byte* data = storage.get();
  return wrap(data, shape, dtype, std::move(storage));
}
Tensor Tensor::lazy_zeros(Shape shape, DType dtype) {
  auto storage = allocate_zeroed_storage(shape.numel() * dtype_bytes(dtype));
  std::byte* data = storage.get();
  return wrap(data, shape, dtype, std::move(storage));
}
Tensor Tensor::zeros(Shape shape, DType dtype) {
  Tensor t = empty(shape, dtype);
  t.zero();
  return t;
}

Tensor Tensor::slice_rows(int64_t begin, int64_t end) const {
  CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= dim(0));
  Tensor t = *this;
  std::array<int64_t, Shape::kMaxRank> dims{};
  for (int i = 0; i < rank(); ++i) dims[i] = dim(i);
  dims[0] = end - begin;
  t.shape_ = Shape(std::span<const int64_t>(dims.data(), rank()));
  t.data_ = data_ + begin * row_stride_ * dtype_bytes(dtype_);
  return t;
}
Tensor Tensor::slice_columns(int64_t begin, int64_t end) const {
  CHECK(rank() == 2 && 0 <= begin && begin <= end && end <= dim(1));
  Tensor t = *this;
  t.shape_ = Shape({dim(0), end - begin});
  t.row_size_ = end - begin;
  t.data_ = data_ + begin * dtype_bytes(dtype_);
  return t;
}
Tensor Tensor::index(int64_t i) const {
  CHECK(rank() >= 1 && 0 <= i && i < dim(0));
  std::array<int64_t, Shape::kMaxRank> dims{};
  for (int d = 1; d < rank(); ++d) dims[d - 1] = dim(d);
  return wrap(data_ + i * row_stride_ * dtype_bytes(dtype_), Shape(std::span<const int64_t>(dims.data(), rank() - 1)), dtype_,
              storage_);
}
Tensor Tensor::view(Shape shape) const {
  CHECK(contiguous());
  CHECK_EQ(shape.numel(), numel());
  return wrap(data_, shape, dtype_, storage_);
}
void Tensor::zero() {
  const int64_t width = row_size_ * dtype_bytes(dtype_), stride = row_stride_ * dtype_bytes(dtype_);
  if (contiguous()) {
    std::memset(data_, 0, bytes());
  } else {
    for (int64_t i = 0; i < rows(); ++i) std::memset(data_ + i * stride, 0, width);
  }
}
void Tensor::copy_from(const Tensor& other) {
  CHECK(shape_ == other.shape_);
  const int64_t n = row_size_;
  for (int64_t i = 0; i < rows(); ++i) {
    if (dtype_ == other.dtype_) {
      const int64_t size = dtype_bytes(dtype_);
      std::memmove(data_ + i * row_stride_ * size, other.data_ + i * other.row_stride_ * size, n * size);
    } else if (dtype_ == DType::kF32 && other.dtype_ == DType::kBF16) {
      for (int64_t j = 0; j < n; ++j) row<float>(i)[j] = to_float(other.row<bf16>(i)[j]);
    } else if (dtype_ == DType::kBF16 && other.dtype_ == DType::kF32) {
      for (int64_t j = 0; j < n; ++j) row<bf16>(i)[j] = to_bf16(other.row<float>(i)[j]);
    } else if (dtype_ == DType::kF32 && other.dtype_ == DType::kF16) {
      const f16* from = reinterpret_cast<const f16*>(other.data_) + i * other.row_stride_;
      for (int64_t j = 0; j < n; ++j) row<float>(i)[j] = to_float(from[j]);
    } else {
      CHECK(false && "no conversion between these dtypes");
    }
  }
}
Tensor Tensor::to(DType dtype) const {
  Tensor t = empty(shape_, dtype);
  t.copy_from(*this);
  return t;
}

}  // namespace fathom
