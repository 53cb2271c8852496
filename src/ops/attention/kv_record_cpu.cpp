#include "ops/attention/kv_record_cpu.h"

#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {
namespace {

// Lanes of x / scale to codes. The branches of e4m3_from_float as selections, so that the compiler makes vectors of it.
FATHOM_INLINE void int8_codes(const float* x, int64_t n, std::byte* to) {
  for (int64_t i = 0; i < n; ++i)  // the addition rounds to an integer in the lowest bits
    to[i] = static_cast<std::byte>(__builtin_bit_cast(uint32_t, x[i] + 0x1.8p23f) & 0xffu);
}
FATHOM_INLINE void e4m3_codes(const float* x, int64_t n, std::byte* to) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, x[i]), magnitude = bits & 0x7fffffffu;
    const uint32_t small = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) * 512 + 0x1p23f) & 0xffu;
    const uint32_t normal = ((magnitude + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20) - 960u;
    uint32_t code = magnitude < 0x3c800000u ? small : normal;
    code = magnitude >= 0x43e00000u ? 0x7eu : code;
    to[i] = static_cast<std::byte>(code | (bits >> 24 & 0x80u));
  }
}

template <class T>
void write_part(KvType type, const T* x, int64_t width, std::byte* codes, std::byte* scales) {
  for (int64_t begin = 0; begin < width; begin += kKvGroup) {
    const int64_t n = width - begin < kKvGroup ? width - begin : kKvGroup;
    alignas(64) float y[kKvGroup];
    F32 largest = zero(), not_finite = zero();  // infinity * 0 is NaN
    for (int64_t i = 0; i < n; i += 16) {
      const F32 v = load_n(x + begin + i, static_cast<int>(n - i < 16 ? n - i : 16));
      largest = max(max(v, zero() - v), largest);
      not_finite = fma(v, zero(), not_finite);
      store(y + i, v);
    }
    const float bad = reduce_add(not_finite);
    const float scale = bad == 0 ? reduce_max(largest) / (type == KvType::kInt8 ? kInt8Limit : kE4m3Limit) : bad;
    __builtin_memcpy(scales + begin / kKvGroup * 4, &scale, 4);
    const F32 divisor = set1(scale > 0 ? scale : 1);
    for (int64_t i = 0; i < n; i += 16) store(y + i, scale > 0 ? load(y + i) / divisor : zero());
    if (type == KvType::kInt8)
      int8_codes(y, n, codes + begin);
    else
      e4m3_codes(y, n, codes + begin);
  }
}

template <class T>
void write_record(const RecordRow& r) {
  const RecordHead& h = r.head;
  write_part(h.type, static_cast<const T*>(r.key), r.key_width, r.record + h.key_codes, r.record + h.key_scales);
  write_part(h.type, static_cast<const T*>(r.value), r.value_width, r.record + h.value_codes, r.record + h.value_scales);
}

}  // namespace

void write_record_f32(const RecordRow& row) { write_record<float>(row); }
void write_record_bf16(const RecordRow& row) { write_record<bf16>(row); }

}  // namespace fathom::FATHOM_RUNG
