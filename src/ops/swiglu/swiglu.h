// SwiGLU: act = scale_r * silu(gate) * up. The optional row scale is the router's weight: applied before the down
// projection it gives the same sum as after it, and its gradient needs no saved expert output.
#pragma once
#include "tensor/tensor.h"

namespace fathom {

// gate_up [R, 2I]: gate in columns [0, I), up in [I, 2I). F32 or BF16. row_scale [R] F32 or null. act [R, I] F32 or BF16.
void swiglu_forward(const Tensor& gate_up, const Tensor* row_scale, Tensor& act);
// From dact [R, I]: dgate_up [R, 2I] assigned (may be gate_up itself), act recomputed into `act` where not null (for the
// down projection's weight gradient; may be dact itself), drow_scale [R] F32 assigned where row_scale is given.
void swiglu_backward(const Tensor& dact, const Tensor& gate_up, const Tensor* row_scale, Tensor& dgate_up, Tensor* act,
                     Tensor* drow_scale);

}  // namespace fathom
