// What decoder*.cpp share.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "model/decoder.h"
#include "nn/block.h"
#include "nn/embedding.h"
#include "nn/mtp_head.h"
#include "nn/norm.h"
#include "ops/rope/rope.h"

namespace fathom {

struct Decoder::Impl {
  Impl(ModelConfig config, Numerics numerics);

  // What a training forward keeps for its backward.
  struct Saved {
    std::vector<BlockSaved> blocks;
    Tensor last, last_rstd;  // residual before the final norm
  };

  ForwardContext context(const Batch& batch, KvView* cache) const;
  void check_batch(const Batch& batch) const;
  Tensor forward(const ForwardContext& context, Saved* saved);  // hidden after the final norm
  Parameter& head_weight() { return head ? head->weight : embedding->table; }
  int64_t head_bytes() const;
  void head_forward(const Tensor& hidden, Tensor& logits);
  // Rows of logits at a time, so that a chunk stays near 16 MiB.
  int64_t logits_rows() const;

  // One head's loss over all its rows: chunked logits, the objective's coefficients, gradients of hidden and head weight.
  // dhidden [T, d] F32 is assigned.
  void head_backward(const Tensor& hidden, std::span<const int32_t> targets, const TokenObjective& objective,
                     std::span<float> logp, Tensor& dhidden);
  void mtp_backward(const Batch& batch, std::span<const int32_t> targets, const Tensor& hidden, const BackwardOptions& options,
                    TrainingTerms& terms, WeightGradients& queue, Tensor& dhidden, BackwardResult& result);

  ModelConfig config;
  Numerics numerics;
  RopeTable rope;
  std::unique_ptr<Embedding> embedding;
  std::vector<std::unique_ptr<Block>> blocks;
  std::unique_ptr<RmsNorm> norm;
  std::unique_ptr<Linear> head;  // null: tied
  std::unique_ptr<MtpHead> mtp;
  PackedMatrix packed_tied_head;
  bool prepacked = false;
  Probe* probe = nullptr;
  ExpertReads* reads = nullptr;
  std::vector<LayerLoad> loads;
};

}  // namespace fathom
