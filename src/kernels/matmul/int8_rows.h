// Rows of activations in int8: x = code * scale, one scale a row (a token). Made by ops/quantize_rows, multiplied by gemm().
#pragma once
#include <cstdint>

#include "tensor/tensor.h"

namespace fathom {

// A row of codes is a row of chunks of 512 k: the codes, zeros behind the last, then as int32 the sums of the chunk's 16 groups
// of 32 k, and those of the first half of each. A weight with a scale a group needs those sums, Q6_K, which has two, both.
constexpr int64_t kInt8ChunkK = 512, kInt8Sums = 64, kInt8ChunkBytes = kInt8ChunkK + 2 * kInt8Sums;
constexpr int64_t int8_row_bytes(int64_t k) { return (k + kInt8ChunkK - 1) / kInt8ChunkK * kInt8ChunkBytes; }
constexpr int64_t int8_code_at(int64_t k) { return k / kInt8ChunkK * kInt8ChunkBytes + k % kInt8ChunkK; }
constexpr int64_t int8_sum_at(int64_t group) {  // of 32 k: bytes from the row's start
  return group / 16 * kInt8ChunkBytes + kInt8ChunkK + group % 16 * 4;
}

constexpr int64_t int8_half_sum_at(int64_t group) { return int8_sum_at(group) + kInt8Sums; }

constexpr int64_t kMaxInt8K = int64_t{1} << 17;  // a sum of 128 * 127 stays below 2^31

struct Int8Rows {
  Tensor codes;   // [T, int8_row_bytes(k)] I8
  Tensor scales;  // [T] F32
  Tensor sums;    // [T] I32: of all codes of a row
  int64_t k = 0;
  int64_t rows() const { return codes.rows(); }
  bool defined() const { return codes.defined(); }
};

}  // namespace fathom
