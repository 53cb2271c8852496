// Rows of activations in int8: x = code * scale, one scale for every group of k of a row. Made by ops/quantize_rows, multiplied
// by gemm().
#pragma once
#include <cstdint>

#include "kernels/matmul/block_format.h"
#include "tensor/tensor.h"

namespace fathom {

// A row is a row of chunks of 512 k: the codes, zeros behind the last; then for each 32 k of the chunk, of the group that they
// belong to, as int32 the sum of the codes, as int32 the sum of those of its first half (Q6_K has a scale for each), and as
// float the scale.
constexpr int64_t kInt8ChunkK = 512, kInt8Sums = 64, kInt8ChunkBytes = kInt8ChunkK + 3 * kInt8Sums;
constexpr int64_t int8_row_bytes(int64_t k) { return (k + kInt8ChunkK - 1) / kInt8ChunkK * kInt8ChunkBytes; }
constexpr int64_t int8_code_at(int64_t k) {
  return k / kInt8ChunkK * kInt8ChunkBytes + k % kInt8ChunkK;
}  // bytes from the row's start
constexpr int64_t int8_sum_at(int64_t k) { return k / kInt8ChunkK * kInt8ChunkBytes + kInt8ChunkK + k % kInt8ChunkK / 32 * 4; }
constexpr int64_t int8_half_sum_at(int64_t k) { return int8_sum_at(k) + kInt8Sums; }
constexpr int64_t int8_scale_at(int64_t k) { return int8_sum_at(k) + 2 * kInt8Sums; }

// The same rows for each kind of weight that reads them: those with a scale for every 32 k want one for 32 k of a row too,
// int8 rows one for 64 k.
struct Int8Rows {
  int64_t rows = 0, k = 0;
  Tensor groups32, groups64;  // [rows, int8_row_bytes(k)] I8; undefined where no weight reads it
  const Tensor& codes(WeightFormat format) const { return int8_layout(format).group == 32 ? groups32 : groups64; }
  Tensor& codes(WeightFormat format) { return int8_layout(format).group == 32 ? groups32 : groups64; }
};

}  // namespace fathom
