// The tile kernels over FP8 blocks: gemm_fp8_cpu.cpp, one a form of arithmetic. For *_cpu.cpp files.
#pragma once
#include "kernels/matmul/kernel.h"

namespace fathom::FATHOM_RUNG {

void gemm_fp8_tile_f32(const GemmTile& t);
void gemm_fp8_tile_widen(const GemmTile& t);  // A rounded to bf16
void gemm_fp8_tile_dot(const GemmTile& t);
void gemm_fp8_tile_tiles(const GemmTile& t);

}  // namespace fathom::FATHOM_RUNG
