// The one forward: embedding, blocks (attention, FFN or MoE), final norm, head, MTP module; and its backward.
// Training, rollout, evaluation and serving all run this code.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/matmul/packed.h"
#include "model/model_config.h"
#include "nn/batch.h"
#include "nn/forward_context.h"
#include "nn/kv_cache.h"
#include "nn/packed_store.h"
#include "nn/parameter.h"
#include "tensor/tensor.h"

namespace fathom {

// The identity of a run's numerics, apart from the ISA rung: recorded in checkpoints.
struct Numerics {
  Compute compute = Compute::kF32;  // GEMM operands, attention operands and cache; norms, router, softmax, logits are f32
  MlaFormula mla = MlaFormula::kExpanded;
  // Inference: linear layers' weights that are stored plain are quantised to it when packed (embedding, head and router stay).
  WeightFormat weights = WeightFormat::kPlain;
  KvType cache = KvType::kPlain;                  // Inference: how keys and values are kept
  Activations activations = Activations::k16Bit;  // Inference: int8 rows for linear layers, but for the head and the router
  std::string identity()
      const;  // "avx512/f32/expanded": rung, compute, formula; and what weights, cache or activations are quantised to
};

// Given rows [begin, begin + n) and the log-probabilities of their targets, fills d(objective)/d(logp) for each row.
// Minimised: mean cross-entropy has coefficient -1/N.
using TokenObjective = std::function<void(int64_t begin, std::span<const float> logp, std::span<float> coefficient)>;

struct BackwardOptions {
  float mtp_weight = 0;           // lambda / D on the MTP cross-entropy, relative to main_token_weight
  float main_token_weight = 0;    // what one MTP token weighs: mtp coefficient = -mtp_weight * main_token_weight
  float balance_alpha = 0;        // sequence-wise balance loss
  float balance_scale = 1;        // its share of this micro-batch in the step (1 / micro-batches)
  bool first_micro_batch = true;  // assign gradients instead of adding: nothing needs to be zeroed
};
struct BackwardResult {
  std::vector<float> logp;  // [T] of the targets (0 where target < 0)
  double mtp_logp_sum = 0;
  int64_t mtp_tokens = 0;
  double balance_loss = 0;  // mean over MoE layers
};

// Bytes that one token's keys and values take in a layer's cache: known from the config, without a model.
int64_t cache_row_bytes(const ModelConfig& config, const Numerics& numerics);

class Decoder {
 public:
  explicit Decoder(ModelConfig config, Numerics numerics);
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  const ModelConfig& config() const;
  const Numerics& numerics() const;

  // --- weights
  void allocate(DType dtype);  // values undefined until loaded or initialised (inference: F32 or BF16; none for FP8 blocks)
  void init_weights(uint64_t seed,
                    double std);             // normal(0, std), norms 1, biases 0; F32; Philox by parameter: same on any machine
  std::vector<Parameter*> parameters();      // fixed order
  std::vector<NamedTensor> named_tensors();  // published names, the checkpoint's order
  void allocate_grads();
  // Weights changed (optimizer step, load): packed copies are stale. prepack() makes them for the forward role.
  void prepack(PackedStore* store = nullptr);  // `store`: where they come from, or go to, in a fixed order
  void drop_packed();
  bool prepacked() const;
  void drop_values_after_prepack();  // inference: one copy of the weights stays

  // --- forward
  // Hidden states after the final norm, [T, d] in the compute dtype. With `cache`: writes the rows' keys and values into it.
  Tensor forward(const Batch& batch, KvView* cache);
  Tensor logits(const Tensor& hidden);  // [n, V] F32
  struct Probe {                        // what fixtures and learners look at; filled by forward where set
    std::vector<Tensor> layer_outputs;  // F32 [T,d] residual after each block
    Tensor embeddings, final_norm;
    std::vector<Tensor> expert_ids, expert_weights, router_logits;  // by MoE layer, in layer order
    std::vector<int> moe_layers;
  };
  void set_probe(Probe* probe);
  void set_expert_reads(ExpertReads* reads);  // null: not counted; else every forward() adds (the MTP module's do not)
  // MTP: logits of row i (0..n-2 of each segment) for token i+2, [T, V] (last row of a segment: zeros).
  Tensor mtp_logits(const Batch& batch, const Tensor& hidden);
  // The same for drafts, with a cache of num_cache_layers() + 1 layers, of which the module has the last. Row i joins hidden
  // row i, the state of position positions[i], with ids[i], the token behind it. Returns [T, d] for logits(), and for another
  // round.
  bool has_mtp() const;
  Tensor mtp_forward(const Batch& batch, const Tensor& hidden, KvView* cache);

  // Cache geometry of this config and numerics.
  int num_cache_layers() const;
  int64_t cache_row_width() const;  // elements
  int64_t cache_row_bytes() const;  // of one layer and token, as it is kept

  // --- training
  // logp[t] of targets[t] after row t (0 where targets[t] < 0), no gradient, chunked logits.
  std::vector<float> token_log_probs(const Batch& batch, std::span<const int32_t> targets);
  // Forward and backward of one micro-batch: gradients accumulate into Parameter::grad. targets[t] < 0: no loss at row t.
  BackwardResult forward_backward(const Batch& batch, std::span<const int32_t> targets, const TokenObjective& objective,
                                  const BackwardOptions& options);

  // --- MoE bookkeeping (layers in order; the MTP module's MoE last)
  struct LayerLoad {
    std::string layer;  // "model.layers.3"
    Tensor counts;      // [E] I64 since reset_load; training forwards only, never the recomputation
    Tensor* bias;       // e_score_correction_bias or null
  };
  std::vector<LayerLoad>& loads();
  void reset_load();
  void update_bias(float speed);  // after each optimizer step, from the counts since reset_load

  // FLOPs of matmuls and attention for one token of context `length` (forward): for bench and progress.
  double forward_flops_per_token(double mean_context) const;
  // Bytes of weights that decoding one token reads, head included: in the form that is computed on (packed or not). Norms and
  // the token's row of the table, a millionth of it, are left out.
  int64_t weight_bytes_per_token() const;
  int64_t mtp_weight_bytes_per_token() const;  // the module's and the head's

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
