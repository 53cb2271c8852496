// The kernels of each rung, by name: what gemm.cpp and packed.cpp choose from.
#pragma once
#include "backend/cpu/isa.h"
#include "kernels/matmul/kernel.h"

// A rung compiles what its own instructions bring; what would be the same code as on the rung below is taken from there. What
// there may be no instructions for (products of bf16 pairs, tiles) runs, emulated, on portable, which every machine has; tiles
// on avx512 too, whose packing is that of the rungs above.
#define FATHOM_DECLARE_GEMM(rung)                                                                                 \
  namespace fathom::rung {                                                                                        \
  const GemmKernels* gemm_f32_kernels();       /* not avx512bf16, amx */                                          \
  const GemmKernels* gemm_widen_kernels();     /* not avx512bf16, amx */                                          \
  const GemmKernels* gemm_dot_kernels();       /* portable, avx512bf16 */                                         \
  const GemmKernels* gemm_tile_kernels();      /* not avx2, avx512bf16 */                                         \
  const GemmKernels* gemm_int8_kernels();      /* not amx */                                                      \
  const GemmKernels* gemm_int8_tile_kernels(); /* not avx2, avx512bf16 */                                         \
  void gemm_pack_panel(const MatrixView& b, int64_t panel, int64_t n, int64_t k0, int64_t kc, PanelFormat format, \
                       void* out); /* not amx */                                                                  \
  }
FATHOM_DECLARE_GEMM(portable)
FATHOM_DECLARE_GEMM(avx2)
FATHOM_DECLARE_GEMM(avx512)
FATHOM_DECLARE_GEMM(avx512bf16)
FATHOM_DECLARE_GEMM(amx)
#undef FATHOM_DECLARE_GEMM
namespace fathom::avx512 {  // of the avx512_vnni rung, which differs from avx512 in these alone
const GemmKernels* gemm_int8_vnni_kernels();
const GemmKernels* gemm_widen_vnni_kernels();
}  // namespace fathom::avx512

namespace fathom {
inline constexpr IsaTable<PackPanel> kPackPanels = {portable::gemm_pack_panel, avx2::gemm_pack_panel, avx512::gemm_pack_panel,
                                                    avx512bf16::gemm_pack_panel};
}
