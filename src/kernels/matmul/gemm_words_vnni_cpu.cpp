// The avx512_vnni rung: gemm_words.h compiled once more, for VPDPWSSD.
#if FATHOM_RUNG_LEVEL == 2
#pragma GCC target("avx512vnni")
#define FATHOM_VNNI 1
#include "kernels/matmul/gemm_blocks_cpu.h"
#include "kernels/matmul/gemm_words.h"

namespace fathom::FATHOM_RUNG {

void gemm_blocks_vnni(const GemmTile& t) { t.weight_format == WeightFormat::kFp8Block ? gemm_blocks_widen(t) : gemm_words(t); }

}  // namespace fathom::FATHOM_RUNG
#endif
