// Random problems of the layouts in use, for the tests and the benchmark.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "ops/attention/attention.h"

namespace fathom {

AttentionLayout grouped_layout(int heads, int kv_heads, int64_t width);  // GQA: keys, then values
AttentionLayout expanded_layout(int heads, int64_t key_width, int64_t shared_width,
                                int64_t value_width);                                  // MLA: [k_nope | v] a head, k_pe
AttentionLayout absorbed_layout(int heads, int64_t latent_width, int64_t rope_width);  // MLA: [c_kv | k_pe]

// Sequences of `positions[s]` positions whose last queries[s] are asked; the store is one packed activation.
struct AttentionProblem {
  AttentionLayout layout;
  Tensor q, kv;
  std::vector<int64_t> kv_begins;                // [S+1] rows of kv
  std::vector<std::vector<const void*>> blocks;  // of kv
  std::vector<AttentionSequence> sequences;
};
AttentionProblem make_attention_problem(const AttentionLayout& layout, DType dtype, const std::vector<int64_t>& positions,
                                        const std::vector<int64_t>& queries, uint64_t seed);

}  // namespace fathom
