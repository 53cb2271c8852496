// The tile kernels over weights that are packed in blocks: gemm_blocks_cpu.cpp, one a form of arithmetic. For *_cpu.cpp files.
#pragma once
#include "kernels/matmul/kernel.h"

namespace fathom::FATHOM_RUNG {

void gemm_blocks_f32(const GemmTile& t);
void gemm_blocks_widen(const GemmTile& t);  // A rounded to bf16
void gemm_blocks_words(const GemmTile& t);  // by integers: plain weights, and what gemm_blocks_widen() hands on
void gemm_blocks_vnni(const GemmTile& t);   // gemm_blocks_widen() with VNNI: of avx512 alone
void gemm_pack_panel(const MatrixView& b, int64_t panel, int64_t n, int64_t k0, int64_t kc, PanelFormat format, void* out);
void gemm_blocks_dot(const GemmTile& t);
void gemm_blocks_tiles(const GemmTile& t);

}  // namespace fathom::FATHOM_RUNG
