#include "tensor/format/dequantize.h"

#include <cstring>

#include "base/check.h"

namespace fathom {

void dequantize_row(GgmlType type, const std::byte* from, int64_t n, float* to) {
  const GgmlTypeInfo& info = ggml_type_info(type);
  CHECK(info.real && n % info.block == 0);
  if (type == GgmlType::kF32) {
    std::memcpy(to, from, static_cast<size_t>(n) * 4);
    return;
  }
  DequantizeBlock block = dequantize_simple(type);
  if (!block) block = dequantize_k(type);
  if (!block) block = dequantize_iq(type);
  CHECK(block != nullptr);
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(from);
  for (int64_t i = 0; i < n; i += info.block, bytes += info.bytes) block(bytes, to + i);
}

}  // namespace fathom
