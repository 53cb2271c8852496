// What forward and backward share on the way to the kernels.
#pragma once
#include "ops/attention/attention.h"
#include "ops/attention/attention_cpu.h"

namespace fathom {
float* attention_scratch(int64_t floats);  // this thread's, 64-byte aligned, kept
AttentionHead attention_head(const AttentionLayout& layout, int64_t kv_head);
void check_attention_layout(const AttentionLayout& layout);
}  // namespace fathom
