#include "kernels/matmul/random_part.h"

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "tensor/format/block_bytes.h"
#include "tensor/format/e4m3.h"

namespace fathom {
namespace {

void fill(Tensor& t, uint64_t seed) {
  constexpr int64_t kPiece = 1 << 16;
  parallel_for((t.bytes() + kPiece - 1) / kPiece, 4, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      Rng rng(seed, RngStream::kTest, 1, static_cast<uint64_t>(piece));
      const int64_t last = std::min(t.bytes(), (piece + 1) * kPiece);
      for (int64_t i = piece * kPiece; i < last; i += 8) {
        const uint64_t x = rng.next_u64();
        std::memcpy(t.raw() + i, &x, static_cast<size_t>(std::min<int64_t>(8, last - i)));
      }
    }
  });
}

}  // namespace

WeightPart random_part(WeightFormat format, int64_t rows, int64_t k, uint64_t seed, float deviation, float spread) {
  CHECK_EQ(k % k_multiple(format), 0);
  WeightPart w;
  Rng rng(seed, RngStream::kTest);
  // The codes' own deviation: uniform over their range.
  const auto scale = [&](float codes) { return deviation / codes * std::exp2(rng.next_normal() * spread); };
  const auto scales = [&](Shape shape, float codes) {
    Tensor t = Tensor::empty(shape, DType::kF32);
    for (int64_t i = 0; i < t.numel(); ++i) t.data<float>()[i] = scale(codes);
    return t;
  };
  if (format == WeightFormat::kPlain) {
    w.values = Tensor::empty({rows, k}, DType::kBF16);
    fill(w.values, seed);
    bf16* x = w.values.data<bf16>();
    const uint16_t base = to_bf16(deviation).bits;  // within a factor of 2 of the deviation, either sign
    parallel_for(rows * k, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) x[i].bits = static_cast<uint16_t>((base & 0x7f80) | (x[i].bits & 0x807f));
    });
  } else if (format == WeightFormat::kFp8Block) {
    w.values = Tensor::empty({rows, k}, DType::kF8E4M3);
    fill(w.values, seed);
    uint8_t* bytes = reinterpret_cast<uint8_t*>(w.values.raw());
    for (int64_t i = 0; i < rows * k; ++i)
      if (e4m3_is_nan(bytes[i])) bytes[i] = 0x11;
    w.scales = scales({(rows + kFp8Block - 1) / kFp8Block, (k + kFp8Block - 1) / kFp8Block}, 100);
  } else if (format == WeightFormat::kInt8Row) {
    w.values = Tensor::empty({rows, k}, DType::kI8);
    fill(w.values, seed);
    w.scales = scales({rows}, 74);
  } else if (is_int4(format)) {
    w.values = Tensor::empty({rows, k / 8}, DType::kI32);
    fill(w.values, seed);
    w.scales = scales({rows, k / block_layout(format).group}, 4.6f);
  } else {
    w.type = type_of(format);
    const GgmlTypeInfo& info = ggml_type_info(w.type);
    w.values = Tensor::empty({rows, k / info.block * info.bytes}, DType::kU8);
    fill(w.values, seed);
    // The f16 scales and minima: finite, of either sign.
    uint8_t* bytes = reinterpret_cast<uint8_t*>(w.values.raw());
    const bool q4_k = w.type == GgmlType::kQ4_K, q6_k = w.type == GgmlType::kQ6_K;
    const float codes = q4_k ? 145 : q6_k ? 1365 : w.type == GgmlType::kQ8_0 ? 74 : w.type == GgmlType::kQ5_0 ? 9 : 4.6f;
    for (int64_t i = 0; i < w.values.bytes(); i += info.bytes) {
      const float d = scale(codes) * (q6_k || rng.next_below(2) ? 1.f : -1.f);
      store_f16(bytes + i + (q6_k ? 208 : 0), d);
      if (q4_k || w.type == GgmlType::kQ4_1) store_f16(bytes + i + 2, d * (q4_k ? 7.5f : -7.5f));
    }
  }
  return w;
}

}  // namespace fathom
