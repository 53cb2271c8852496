// The kernel of quantize_rows() over a range of rows. Strides in elements.
#pragma once
#include "backend/cpu/isa.h"

namespace fathom {

struct QuantizeRows {
  int64_t width = 0;
  const void* x = nullptr;
  int64_t x_stride = 0;
  bool x_bf16 = false;
  int8_t* codes = nullptr;  // chunks of int8_rows.h
  int64_t codes_stride = 0;
  int64_t group = 0;
  float smallest = 0;
};

}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void quantize_rows_of(const QuantizeRows& a, int64_t begin, int64_t end))
