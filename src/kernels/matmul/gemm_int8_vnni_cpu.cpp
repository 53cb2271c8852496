// The avx512_vnni rung: the avx512 files compiled once more, for this one instruction.
#if FATHOM_RUNG_LEVEL == 2
#pragma GCC target("avx512vnni")
#define FATHOM_VNNI 1
#include "kernels/matmul/gemm_int8_tile.h"

namespace fathom::FATHOM_RUNG {

static_assert(kColumnRows == 14);
const GemmKernels* gemm_int8_vnni_kernels() { return &kInt8Kernels; }

}  // namespace fathom::FATHOM_RUNG
#endif
