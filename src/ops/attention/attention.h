// Causal attention over packed sequences, keys and values in blocks of 64 positions: one contract for training, prefill
// and decode, multi-head, grouped-query, expanded MLA (report §2.1.1) and absorbed MLA (V2 report §2.1.2, latent cache).
// Blockwise with an online softmax, never a full score matrix; softmax in f32. Keys are reduced in blocks by absolute
// position, in order, so a query's bits do not depend on chunking, batch or threads (DESIGN: strict numerics).
//
// A row of the key/value store belongs to one position and holds all heads:
//   key of kv head g    = row[key_offset + g*key_stride, + key_width) ++ row[shared_offset, + shared_width)
//   value of kv head g  = row[value_offset + g*value_stride, + value_width)
// GQA: shared_width 0. Expanded MLA: per head [k_nope | v], shared = k_pe. Absorbed MLA: kv_heads 1, key = [c_kv | k_pe]
// as key_width 512 and shared_width 64, value = c_kv (value_width 512, the same elements).
#pragma once
#include <span>
#include <vector>

#include "ops/attention/kv_record.h"
#include "tensor/tensor.h"

namespace fathom {

constexpr int64_t kKeyBlock = 64;  // positions a block; also the cache's page size

struct AttentionLayout {
  int num_heads = 0, num_kv_heads = 0;  // query head i uses kv head i / (num_heads / num_kv_heads)
  int64_t key_width = 0, key_offset = 0, key_stride = 0;
  int64_t shared_width = 0, shared_offset = 0;
  int64_t value_width = 0, value_offset = 0, value_stride = 0;
  int64_t row_width = 0;          // elements from row to row inside a block
  float scale = 1;                // softmax scale, applied to the scores in f32
  KvType store = KvType::kPlain;  // quantised: the store's rows are records (kv_record.h), kv_row_bytes apart
  int64_t query_width() const { return key_width + shared_width; }
};

// One sequence's queries: rows [query_begin, query_begin + num_queries) of q; the first stands at position
// first_position. Query i sees positions 0 .. first_position + i. blocks[b] is the first row of positions [64b, 64b+64);
// the rows up to the last visible position must be there, later rows of the last block may be anything readable.
struct AttentionSequence {
  int64_t query_begin = 0, num_queries = 0, first_position = 0;
  std::span<const void* const> blocks;  // rows of the store's dtype (that of q), or records
};

// q [T, H * query_width] F32 or BF16 (= the store's dtype), out [T, H * value_width] same dtype, assigned.
// lse [T, H] F32: log-sum-exp of the scaled scores, saved for backward where not null.
void attention_forward(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                       Tensor& out, Tensor* lse);

// Training: every sequence starts at position 0 and its keys are rows [query_begin, + num_queries) of kv [T, row_width].
// dq [T, H*query_width] and dkv [T, row_width] are assigned, dtype of q. Recomputes the probabilities from lse.
void attention_backward(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                        std::span<const AttentionSequence> sequences, const Tensor& out, const Tensor& lse, const Tensor& dout,
                        Tensor& dq, Tensor& dkv);

// Block pointers of a packed activation: those of each sequence in `kv` [T, row_width], for attention_forward in training.
std::vector<std::vector<const void*>> packed_blocks(const Tensor& kv, std::span<const int64_t> sequence_begins /* [S+1] */);

}  // namespace fathom
