// What all modules of one forward share: numerics, rows, rotation angles, cache.
#pragma once
#include "kernels/matmul/packed.h"
#include "nn/batch.h"
#include "nn/kv_cache.h"
#include "nn/packed_store.h"
#include "ops/attention/kv_record.h"
#include "ops/rope/rope.h"

namespace fathom {

enum class MlaFormula : uint8_t { kExpanded, kAbsorbed };  // equal on paper, not in bits: a strict run uses one

// How weights are packed for the forward role.
struct PackOptions {
  Compute compute = Compute::kF32;
  MlaFormula mla = MlaFormula::kExpanded;
  WeightFormat weights = WeightFormat::kPlain;    // linear layers' plain weights are quantised to it; kPlain: as they are
  Activations activations = Activations::k16Bit;  // kInt8: linear layers multiply with rows of int8
  PackedStore* store = nullptr;                   // null: all are packed here
};

// What fixtures and learners look at, by MoE layer.
struct RouterProbe {
  std::vector<Tensor> expert_ids, expert_weights, router_logits;
};

// What forwards read of the routed experts' weights, summed over layers: what more rows cost in a model with experts.
struct ExpertReads {
  int64_t experts = 0;  // that had rows
  int64_t bytes = 0;
};

// Present in training forwards: loads are counted, the balance loss joins the backward.
struct TrainingTerms {
  float balance_alpha = 0, balance_scale = 1;
  double balance_sum = 0;  // over MoE layers, of the unscaled loss
  int balance_layers = 0;
};

struct ForwardContext {
  Compute compute = Compute::kF32;
  MlaFormula mla = MlaFormula::kExpanded;
  KvType kv_type = KvType::kPlain;  // how keys and values are kept, and so seen, with a cache or without
  const Batch* batch = nullptr;
  RopeAngles angles;        // of batch->positions
  KvView* cache = nullptr;  // null: the batch holds whole sequences, which attend to themselves

  RouterProbe* probe = nullptr;
  TrainingTerms* training = nullptr;
  ExpertReads* reads = nullptr;

  DType activation() const { return compute_dtype(compute); }
  int64_t rows() const { return batch->num_rows(); }
};

}  // namespace fathom
