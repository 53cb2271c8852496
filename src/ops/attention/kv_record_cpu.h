// One kv head's part of a record as the kernels see it: byte offsets into it. Compiled once a rung (kv_record_cpu.cpp).
#pragma once
#include <cstddef>
#include <cstdint>

#include "backend/cpu/isa.h"
#include "ops/attention/kv_record.h"

namespace fathom {

struct RecordHead {
  KvType type = KvType::kPlain;
  bool value_in_key = false;  // absorbed MLA: the value is the key's codes
  int64_t bytes = 0;          // of a record
  int64_t key_codes = 0, value_codes = 0, key_scales = 0, value_scales = 0, shared = 0;
};

constexpr float kInt8Limit = 127, kE4m3Limit = 448;  // what the largest element of a group becomes

struct RecordRow {  // one kv head's elements of a row on their way into a record
  const void *key, *value;
  int64_t key_width, value_width;
  RecordHead head;
  std::byte* record;
};
using WriteRecordFn = void (*)(const RecordRow& row);

}  // namespace fathom

FATHOM_DECLARE_RUNGS4(void write_record_f32(const RecordRow& row); void write_record_bf16(const RecordRow& row))
