#pragma once
#include "backend/cpu/isa.h"
#include "tensor/format/bf16.h"

FATHOM_DECLARE_RUNGS3(void widen_row(const bf16* x, float* y, int64_t n))
FATHOM_DECLARE_RUNGS3(void add_row(const float* x, float* y, int64_t n))  // y += x
FATHOM_DECLARE_RUNGS3(void add_row_bf16(const bf16* x, float* y, int64_t n))
