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
  int64_t count() const { return static_cast<int64_t>(main.size()); }
};

struct MtpSaved {
  Tensor embedded, hidden, enorm_rstd, hnorm_rstd;  // inputs of the two norms
  BlockSaved block;
  Tensor last, last_rstd;  // residual before shared_head.norm
};

class MtpHead {
 public:
  MtpHead(const std::string& prefix, int64_t hidden, double norm_eps, std::unique_ptr<Block> block);
  // context.batch is rows.batch. main_hidden [T, d] of the main batch. Returns the head's input [T', d], compute dtype.
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
  Block& block() { return *block_; }
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
  RmsNorm enorm_, hnorm_, norm_;
  Linear eh_proj_;
  std::unique_ptr<Block> block_;
};

}  // namespace fathom
