// Multi-token prediction, depth 1 (report §2.2, architecture.md §1.6). Row i of a segment joins the main model's h_i (after
// its final norm) with the embedding of token i+1 and predicts token i+2:
//   x = eh_proj [enorm(emb(t_{i+1})) ; hnorm(h_i)], one block, shared_head.norm, the main model's head.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nn/block.h"
#include "nn/embedding.h"

namespace fathom {

// The module's rows: those of each segment but the last.
struct MtpRows {
  Batch batch;                // ids: the next tokens; positions from 0
  std::vector<int32_t> main;  // row of the main batch
  explicit MtpRows(const Batch& batch);
  // Rows that are given as such: `next` holds the tokens behind main rows 0..T-1, and the positions of those.
  static MtpRows all(const Batch& next);
  int64_t count() const { return static_cast<int64_t>(main.size()); }

 private:
  MtpRows() = default;
};

struct MtpSaved {
  Tensor embedded, hidden, enorm_rstd, hnorm_rstd;  // inputs of the two norms
  BlockSaved block;
  Tensor last, last_rstd;  // residual before shared_head.norm
};

class MtpHead {
 public:
  // `cache_layer`: where the block's keys and values are in a cache.
  MtpHead(const std::string& prefix, int64_t hidden, double norm_eps, std::unique_ptr<Block> block, int cache_layer);
  // context.batch is rows.batch. With a cache, its block attends to the rows before, as the main model's do. main_hidden [T, d]
  // of the main batch. Returns the head's input [T', d], compute dtype.
  Tensor forward(const ForwardContext& context, const MtpRows& rows, const Embedding& embedding, const Tensor& main_hidden,
                 MtpSaved* saved);
  // dout [T', d] F32. dmain_hidden [T, d] F32 +=; the shared embedding's gradient is added.
  void backward(const ForwardContext& context, const MtpRows& rows, MtpSaved& saved, const Tensor& dout, Embedding& embedding,
                Tensor& dmain_hidden, WeightGradients& queue);
  void collect(std::vector<Parameter*>& parameters);
  void collect_named(std::vector<NamedTensor>& tensors) const;
  void prepack(const PackOptions& packing);
  void drop_packed();
  void drop_values();
  int64_t weight_bytes() const { return eh_proj_.weight_bytes() + block_->weight_bytes(); }  // read for one token
  Block& block() { return *block_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
  RmsNorm enorm_, hnorm_, norm_;
  Linear eh_proj_;
  std::unique_ptr<Block> block_;
  int cache_layer_;
};

}  // namespace fathom
