// A typed, strided-by-row view of shared memory. Rows (all dimensions after the first) are contiguous; the distance
// between rows may be larger than a row, so that a column slice of a wide matrix is a tensor too.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>

#include "base/check.h"
#include "tensor/dtype.h"
#include "tensor/format/bf16.h"

namespace fathom {

class Shape {
 public:
  static constexpr int kMaxRank = 4;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(std::span<const int64_t> dims);
  int rank() const { return rank_; }
  int64_t operator[](int i) const { return dims_[i]; }
  int64_t numel() const;
  std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  std::string str() const;  // "[3, 64]"
  friend bool operator==(const Shape& a, const Shape& b) { return a.rank_ == b.rank_ && a.dims_ == b.dims_; }

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kF32;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::kBF16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kI64;
};
template <>
struct DTypeOf<int8_t> {
  static constexpr DType value = DType::kI8;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kU8;
};

class Tensor {
 public:
  Tensor() = default;  // empty: defined() is false
  static Tensor empty(Shape shape, DType dtype);
  static Tensor zeros(Shape shape, DType dtype);
  static Tensor lazy_zeros(Shape shape, DType dtype);  // large and filled little by little: takes memory as it is written
  // A view of memory that somebody else owns; `keep_alive` is held as long as the view (may be null).
  static Tensor wrap(void* data, Shape shape, DType dtype, std::shared_ptr<void> keep_alive = nullptr);

  bool defined() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return shape_.rank(); }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t rows() const { return rank() == 0 ? 1 : dim(0); }
  int64_t row_size() const { return row_size_; }      // elements in a row
  int64_t row_stride() const { return row_stride_; }  // elements from row to row; >= row_size
  bool contiguous() const { return rows() <= 1 || row_stride_ == row_size_; }
  int64_t bytes() const { return numel() * dtype_bytes(dtype_); }

  template <class T>
  T* data() {
    CHECK(dtype_ == DTypeOf<T>::value);
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  const T* data() const {
    CHECK(dtype_ == DTypeOf<T>::value);
    return reinterpret_cast<const T*>(data_);
  }
  template <class T>
  T* row(int64_t i) {
    return data<T>() + i * row_stride_;
  }
  template <class T>
  const T* row(int64_t i) const {
    return data<T>() + i * row_stride_;
  }
  std::byte* raw() { return data_; }
  const std::byte* raw() const { return data_; }

  Tensor slice_rows(int64_t begin, int64_t end) const;     // [begin, end) of the first dimension, shares memory
  Tensor slice_columns(int64_t begin, int64_t end) const;  // rank 2: columns [begin, end), shares memory
  Tensor index(int64_t i) const;                           // first dimension dropped: rank - 1, shares memory
  Tensor view(Shape shape) const;                          // contiguous only; same number of elements
  void zero();
  void copy_from(const Tensor& other);  // same shape; converts between F32 and BF16
  Tensor to(DType dtype) const;         // a new contiguous tensor
  Tensor clone() const { return to(dtype_); }

 private:
  Shape shape_;
  DType dtype_ = DType::kF32;
  int64_t row_size_ = 0, row_stride_ = 0;
  std::byte* data_ = nullptr;
  std::shared_ptr<void> storage_;
};

}  // namespace fathom
