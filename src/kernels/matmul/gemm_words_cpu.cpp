// Weights in blocks of integers times rows of 16-bit integers, for the rungs that multiply no bf16 (gemm_words.h).
#include "kernels/matmul/kernel.h"
#if FATHOM_GEMM_FMA
#include "kernels/matmul/gemm_blocks_cpu.h"
#include "kernels/matmul/gemm_words.h"

namespace fathom::FATHOM_RUNG {

void gemm_blocks_words(const GemmTile& t) { gemm_words(t); }

}  // namespace fathom::FATHOM_RUNG
#endif
