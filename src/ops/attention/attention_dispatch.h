// What forward and backward share on the way to the kernels.
#pragma once
#include "ops/attention/attention.h"
#include "ops/attention/attention_cpu.h"

namespace fathom {
float* attention_scratch(int64_t floats);  // this thread's, 64-byte aligned, kept
AttentionHead attention_head(const AttentionLayout& layout, DType dtype, int64_t kv_head);
RecordHead record_head(const AttentionLayout& layout, DType dtype, int64_t kv_head);
void check_attention_layout(const AttentionLayout& layout);
// bf16 stores go through the avx512bf16 rung's form on emulated pair products; with set_isa_for_test(kPortable) the rest too.
void set_emulated_attention_for_test(bool emulated);
bool emulated_attention();
}  // namespace fathom
