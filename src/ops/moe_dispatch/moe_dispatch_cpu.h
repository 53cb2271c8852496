#pragma once
#include "backend/cpu/isa.h"

namespace fathom {
struct CombineRows {
  int64_t width = 0, top_k = 0;
  const int32_t* position = nullptr;  // [T*k]
  const void* routed = nullptr;       // [T*k, width]
  int64_t routed_stride = 0;
  bool routed_bf16 = false;
  bool accumulate = false;
  void* y = nullptr;
  int64_t y_stride = 0;
  bool y_bf16 = false;
};
}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void combine_rows(const CombineRows& a, int64_t begin, int64_t end))
