// Records to rows again: one kv head of a block, in the compute type, laid out for the attention kernels. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd.h"
#include "kernels/matmul/decode_codes.h"
#include "kernels/matmul/widen_fp8.h"
#include "ops/attention/attention_cpu.h"

namespace fathom::FATHOM_RUNG {

// The head as it stands once opened: rows of [key | value, where it is not in the key | shared].
inline AttentionHead opened_head(const AttentionHead& h) {
  AttentionHead o = h;
  o.key_offset = 0;
  o.value_offset = h.record.value_in_key ? 0 : h.key_width;
  o.shared_offset = h.key_width + (h.record.value_in_key ? 0 : h.value_width);
  o.row_width = o.shared_offset + h.shared_width;
  return o;
}

// n codes with a scale for every 128 to elements.
template <class T>
FATHOM_INLINE void open_codes(KvType type, const std::byte* codes, const std::byte* scales, int64_t n, T* to) {
  const float unit = type == KvType::kFp8 ? 256.f : 1.f;  // widen_e4m3 gives the value / 256
  for (int64_t i = 0; i < n; i += 16) {
    float scale;
    __builtin_memcpy(&scale, scales + i / kKvGroup * 4, 4);
    const F32 x = type == KvType::kFp8 ? widen_e4m3(reinterpret_cast<const uint8_t*>(codes + i))
                                       : load_i8(reinterpret_cast<const char*>(codes + i));
    const F32 value = x * set1(scale * unit);
    if (i + 16 <= n)
      store(to + i, value);
    else
      store_n(to + i, value, static_cast<int>(n - i));
  }
}

// The first `valid` rows of a block.
template <class T>
void open_block(const AttentionHead& h, const AttentionHead& opened, const std::byte* block, int64_t valid, T* to) {
  const RecordHead& r = h.record;
  for (int64_t j = 0; j < valid; ++j, block += r.bytes, to += opened.row_width) {
    open_codes(r.type, block + r.key_codes, block + r.key_scales, h.key_width, to);
    if (!r.value_in_key)
      open_codes(r.type, block + r.value_codes, block + r.value_scales, h.value_width, to + opened.value_offset);
    if (h.shared_width > 0)
      __builtin_memcpy(to + opened.shared_offset, block + r.shared, static_cast<size_t>(h.shared_width) * sizeof(T));
  }
}

}  // namespace fathom::FATHOM_RUNG
