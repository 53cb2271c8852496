// Element types of GGUF files: blocks of values with shared scales (architecture.md §2.7).
#pragma once
#include <cstdint>
#include <string_view>

namespace fathom {

enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
};

struct GgmlTypeInfo {
  GgmlType type;
  const char* name;      // "Q4_K"
  int64_t block, bytes;  // values in a block, bytes of a block
  bool real;             // values that dequantize_row() gives
};
// Null where the number or name is unknown.
const GgmlTypeInfo* find_ggml_type(uint32_t number);
const GgmlTypeInfo* find_ggml_type(std::string_view name);  // any case
const GgmlTypeInfo& ggml_type_info(GgmlType type);
int64_t ggml_row_bytes(GgmlType type, int64_t n);  // n: whole blocks

}  // namespace fathom
