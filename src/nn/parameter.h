// A trainable tensor and its gradient; and the published names of its parts.
#pragma once
#include <string>
#include <vector>

#include "kernels/matmul/packed.h"
#include "tensor/tensor.h"

namespace fathom {

// Several published tensors may share one Parameter (gate_proj and up_proj, q_a and kv_a, q/k/v, the experts of a bank):
// a fused GEMM then reads one operand, and the checkpoint sees the parts.
struct Parameter {
  std::string name;       // unique in the model: the first published part's name
  Tensor value;           // F32 in training (the master), F32 or BF16 in inference
  Tensor grad;            // F32, same shape; empty until training needs it
  bool decay = false;     // weight decay: rank >= 2 in the checkpoint
  bool trainable = true;  // false: e_score_correction_bias (updated by rule, saved with the weights)
  Shape shape;            // known before `value` is allocated
  // Inference: the published parts in order, as their file holds them; then no `value`. PackOptions consumes them, one by one,
  // so that a file's pages go back as they are read; the token table stays where it is stored. kv_b_proj, where MLA is
  // absorbed, may come as two parts a head: the keys' transposed [kv_lora, nope], and the values' [v, kv_lora].
  std::vector<WeightPart> stored;
  // Calibration: x^T x of the rows that a linear layer's weight multiplied, [in, in] F32, of a bank [E, in, in]. Where it is
  // defined, forwards add to it.
  Tensor input_gram;
  bool always_f32 = false;    // norms, biases, router: F32 in inference too
  bool grad_written = false;  // in this optimizer step: the first contribution assigns, later ones add

  // Whether the next gradient contribution adds (true) or assigns (false).
  bool accumulate() {
    const bool add = grad_written;
    grad_written = true;
    return add;
  }
  // For operations that can only add.
  Tensor& grad_to_add() {
    if (!accumulate()) grad.zero();
    return grad;
  }
};

// A published tensor: a view into a Parameter, [out, in] as in the checkpoint.
struct NamedTensor {
  std::string name;
  Tensor value;  // empty until the Parameter has one
  Tensor grad;   // empty where not trained
  Shape shape;   // known before `value`
  // Of a linear layer's weight, which may be computed on as it is stored: the Parameter, and which of its parts this is.
  const Parameter* owner = nullptr;
  int64_t part = 0;
};

// Rows [begin, end) of a Parameter of rank 1 or 2 under a published name.
inline NamedTensor named_rows(const Parameter& p, const std::string& name, int64_t begin, int64_t end) {
  NamedTensor t;
  t.name = name;
  if (p.value.defined()) t.value = p.value.slice_rows(begin, end);
  if (p.grad.defined()) t.grad = p.grad.slice_rows(begin, end);
  t.shape = p.shape.rank() == 1 ? Shape{end - begin} : Shape{end - begin, p.shape[1]};
  return t;
}
inline NamedTensor named_whole(const Parameter& p) {
  NamedTensor t;
  t.name = p.name;
  t.value = p.value;
  t.grad = p.grad;
  t.shape = p.shape;
  return t;
}

}  // namespace fathom
