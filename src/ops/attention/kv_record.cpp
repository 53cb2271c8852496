#include "ops/attention/kv_record.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/thread_pool.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_dispatch.h"
#include "tensor/format/e4m3.h"

namespace fathom {
namespace {

int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }
int64_t groups(int64_t width) { return (width + kKvGroup - 1) / kKvGroup; }

bool value_in_key(const AttentionLayout& l) {
  return l.value_stride == l.key_stride && l.value_offset == l.key_offset && l.value_width <= l.key_width;
}

// The parts of one kv head: element offset in the row, width, and where codes and scales stand.
struct Part {
  int64_t offset, width, codes, scales;
};
std::pair<Part, Part> parts(const AttentionLayout& l, int64_t g, const RecordHead& h) {
  return {{l.key_offset + g * l.key_stride, l.key_width, h.key_codes, h.key_scales},
          {l.value_offset + g * l.value_stride, h.value_in_key ? 0 : l.value_width, h.value_codes, h.value_scales}};
}

float element_at(const Tensor& t, int64_t row, int64_t i) {
  return t.dtype() == DType::kF32 ? t.row<float>(row)[i] : to_float(t.row<bf16>(row)[i]);
}

}  // namespace

std::string_view kv_type_name(KvType type) { return type == KvType::kPlain ? "plain" : type == KvType::kInt8 ? "int8" : "fp8"; }
std::optional<KvType> kv_type_from_name(std::string_view name) {
  for (const KvType type : {KvType::kPlain, KvType::kInt8, KvType::kFp8})
    if (name == kv_type_name(type)) return type;
  return std::nullopt;
}

RecordHead record_head(const AttentionLayout& l, DType dtype, int64_t g) {
  RecordHead h;
  h.type = l.store;
  h.value_in_key = value_in_key(l);
  const int64_t value_width = h.value_in_key ? 0 : l.value_width;
  const int64_t codes = round16(l.key_width) + round16(value_width), scales = groups(l.key_width) + groups(value_width);
  h.key_codes = g * codes;
  h.value_codes = h.value_in_key ? h.key_codes : h.key_codes + round16(l.key_width);
  h.key_scales = l.num_kv_heads * codes + g * scales * 4;
  h.value_scales = h.value_in_key ? h.key_scales : h.key_scales + groups(l.key_width) * 4;
  h.shared = l.num_kv_heads * (codes + scales * 4);
  h.bytes = round16(h.shared + l.shared_width * dtype_bytes(dtype));
  return h;
}

int64_t kv_row_bytes(const AttentionLayout& layout, DType dtype) {
  return layout.store == KvType::kPlain ? layout.row_width * dtype_bytes(dtype) : record_head(layout, dtype, 0).bytes;
}

void write_kv_records(const AttentionLayout& l, const Tensor& kv, std::byte* const* rows) {
  CHECK(l.store != KvType::kPlain && (kv.dtype() == DType::kF32 || kv.dtype() == DType::kBF16));
  const int64_t size = dtype_bytes(kv.dtype());
  const WriteRecordFn write = kv.dtype() == DType::kF32
                                  ? IsaTable<WriteRecordFn>{portable::write_record_f32, avx2::write_record_f32,
                                                            avx512::write_record_f32, avx512bf16::write_record_f32}
                                        .pick()
                                  : IsaTable<WriteRecordFn>{portable::write_record_bf16, avx2::write_record_bf16,
                                                            avx512::write_record_bf16, avx512bf16::write_record_bf16}
                                        .pick();
  parallel_for(kv.rows(), 16, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const std::byte* row = kv.raw() + t * kv.row_stride() * size;
      for (int64_t g = 0; g < l.num_kv_heads; ++g) {
        const RecordHead head = record_head(l, kv.dtype(), g);
        const auto [key, value] = parts(l, g, head);
        write({row + key.offset * size, row + value.offset * size, key.width, value.width, head, rows[t]});
        if (g == 0 && l.shared_width > 0)
          std::memcpy(rows[t] + head.shared, row + l.shared_offset * size, static_cast<size_t>(l.shared_width * size));
      }
    }
  });
}

void write_kv_records_ref(const AttentionLayout& l, const Tensor& kv, std::byte* records) {
  const int64_t bytes = kv_row_bytes(l, kv.dtype());
  std::memset(records, 0, static_cast<size_t>(kv.rows() * bytes));
  for (int64_t t = 0; t < kv.rows(); ++t)
    for (int64_t g = 0; g < l.num_kv_heads; ++g) {
      const RecordHead head = record_head(l, kv.dtype(), g);
      std::byte* record = records + t * bytes;
      const auto [key, value] = parts(l, g, head);
      for (const Part& part : {key, value})
        for (int64_t begin = 0; begin < part.width; begin += kKvGroup) {
          const int64_t end = std::min(part.width, begin + kKvGroup);
          float largest = 0;
          bool finite = true;
          for (int64_t i = begin; i < end; ++i) {
            const float x = element_at(kv, t, part.offset + i);
            finite = finite && std::isfinite(x);
            largest = std::max(largest, std::abs(x));
          }
          const float scale = finite ? largest / (l.store == KvType::kInt8 ? kInt8Limit : kE4m3Limit) : __builtin_nanf("");
          std::memcpy(record + part.scales + begin / kKvGroup * 4, &scale, 4);
          for (int64_t i = begin; i < end; ++i) {
            const float x = scale > 0 ? element_at(kv, t, part.offset + i) / scale : 0;
            const uint8_t code =
                l.store == KvType::kInt8 ? static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(x))) : e4m3_from_float(x);
            record[part.codes + i] = static_cast<std::byte>(code);
          }
        }
      if (l.shared_width > 0)
        std::memcpy(record + head.shared, kv.raw() + (t * kv.row_stride() + l.shared_offset) * dtype_bytes(kv.dtype()),
                    static_cast<size_t>(l.shared_width * dtype_bytes(kv.dtype())));
    }
}

void read_kv_records_ref(const AttentionLayout& l, const std::byte* records, Tensor& kv) {
  const int64_t bytes = kv_row_bytes(l, kv.dtype());
  for (int64_t t = 0; t < kv.rows(); ++t)
    for (int64_t g = 0; g < l.num_kv_heads; ++g) {
      const RecordHead head = record_head(l, kv.dtype(), g);
      const std::byte* record = records + t * bytes;
      const auto [key, value] = parts(l, g, head);
      for (const Part& part : {key, value})
        for (int64_t i = 0; i < part.width; ++i) {
          float scale;
          std::memcpy(&scale, record + part.scales + i / kKvGroup * 4, 4);
          const uint8_t code = static_cast<uint8_t>(record[part.codes + i]);
          const float x =
              (l.store == KvType::kInt8 ? static_cast<float>(static_cast<int8_t>(code)) : e4m3_to_float(code)) * scale;
          if (kv.dtype() == DType::kF32)
            kv.row<float>(t)[part.offset + i] = x;
          else
            kv.row<bf16>(t)[part.offset + i] = to_bf16(x);
        }
      if (l.shared_width > 0)
        std::memcpy(kv.raw() + (t * kv.row_stride() + l.shared_offset) * dtype_bytes(kv.dtype()), record + head.shared,
                    static_cast<size_t>(l.shared_width * dtype_bytes(kv.dtype())));
    }
}

}  // namespace fathom
