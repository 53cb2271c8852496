// Kernels of SwiGLU over a range of rows. Strides in elements; width is I.
#pragma once
#include "backend/cpu/isa.h"

namespace fathom {

struct SwigluRows {
  int64_t width = 0;
  const void* gate_up = nullptr;
  int64_t gate_up_stride = 0;
  bool gate_up_bf16 = false;
  const float* row_scale = nullptr;
  void* act = nullptr;  // forward: written; backward: written where not null
  int64_t act_stride = 0;
  bool act_bf16 = false;
  const void* dact = nullptr;  // from here on: backward
  int64_t dact_stride = 0;
  bool dact_bf16 = false;
  void* dgate_up = nullptr;
  int64_t dgate_up_stride = 0;
  bool dgate_up_bf16 = false;
  float* drow_scale = nullptr;
};

}  // namespace fathom

FATHOM_DECLARE_RUNGS3(void swiglu_rows(const SwigluRows& a, int64_t begin, int64_t end))
FATHOM_DECLARE_RUNGS3(void swiglu_gradient_rows(const SwigluRows& a, int64_t begin, int64_t end))
