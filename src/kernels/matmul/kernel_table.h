// The kernels of each rung, by name: what gemm.cpp and packed.cpp choose from.
#pragma once
#include "backend/cpu/isa.h"
#include "kernels/matmul/kernel.h"

#define FATHOM_DECLARE_GEMM(rung)                                                                                            \
  namespace fathom::rung {                                                                                                   \
  const GemmKernels* gemm_f32_kernels();                                                                                     \
  const GemmKernels* gemm_widen_kernels();                                                                                   \
  const GemmKernels* gemm_dot_kernels();                                                                                     \
  const GemmKernels* gemm_tile_kernels();                                                                                    \
  const GemmKernels* gemm_int8_kernels();                                                                                    \
  const GemmKernels* gemm_int8_tile_kernels();                                                                               \
  void gemm_pack_panel(const MatrixView& b, int64_t panel, int64_t n, int64_t k, int64_t k0, int64_t kc, PanelFormat format, \
                       void* out);                                                                                           \
  }
FATHOM_DECLARE_GEMM(portable)
FATHOM_DECLARE_GEMM(avx2)
FATHOM_DECLARE_GEMM(avx512)
FATHOM_DECLARE_GEMM(avx512bf16)
FATHOM_DECLARE_GEMM(amx)
#undef FATHOM_DECLARE_GEMM
namespace fathom::avx512 {
const GemmKernels* gemm_int8_vnni_kernels();  // of the avx512_vnni rung, which differs from avx512 in this alone
}

// One table entry a rung for the function `name`.
#define FATHOM_GEMM_TABLE(name) \
  { portable::name, avx2::name, avx512::name, avx512bf16::name, amx::name }
