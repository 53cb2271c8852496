// A trainable tensor and its gradient; and the published names of its parts.
#pragma once
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

// Several published tensors may share one Parameter (gate_proj and up_proj, q_a and kv_a, q/k/v, the experts of a bank):
// a fused GEMM then reads one operand, and the checkpoint sees the parts.
struct Parameter {
  std::string name;    // unique in the model: the first published part's name
  Tensor value;        // F32 in training (the master), F32 or BF16 in inference
  Tensor grad;         // F32, same shape; empty until training needs it
  bool decay = false;  // weight decay: rank >= 2 in the checkpoint
  bool trainable = true;  // false: e_score_correction_bias (updated by rule, saved with the weights)
};

// A published tensor: a view into a Parameter, [out, in] as in the checkpoint.
struct NamedTensor {
  std::string name;
  Tensor value;
  Tensor grad;  // empty where not trained
};

}  // namespace fathom
