// AdamW over a model's parameters: one step clips by the global norm and updates everything, or, where a gradient is not
// finite, changes nothing. Decoupled decay touches parameters of rank >= 2 only (Parameter::decay).
#pragma once
#include <string>
#include <vector>

#include "base/config.h"
#include "nn/parameter.h"

namespace fathom {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.1, clip_norm = 1.0;
  std::string moments = "f32";

  void fields(ConfigFields& f) {
    f.field("beta1", beta1, "decay of the first moment", 0, 0.999999);
    f.field("beta2", beta2, "decay of the second moment", 0, 0.999999);
    f.field("eps", eps, "added to the root of the second moment", 0, 1);
    f.field("weight_decay", weight_decay, "decoupled decay of tensors of rank 2 and more", 0, 1);
    f.field("clip_norm", clip_norm, "largest global gradient norm; 0: no clipping", 0);
    f.field("moments", moments, "type of the moments", {"f32", "bf16"});
  }
};

class AdamW {
 public:
  // Parameters outlive the optimizer; their gradients must be allocated before step().
  AdamW(std::vector<Parameter*> parameters, const AdamWConfig& config);
  struct Result {
    bool finite = true;    // false: a NaN or infinity among the gradients; nothing was changed
    double grad_norm = 0;  // before clipping, of the scaled gradient
    double clip_scale = 1;
    std::string bad_parameter;  // the first with a gradient that is not finite
  };
  // Uses gradient * grad_scale. torch's clipping: g *= min(1, clip_norm / (norm + 1e-6)).
  Result step(double lr, double grad_scale = 1);

  int64_t steps_done() const { return steps_; }
  void set_steps_done(int64_t steps) { steps_ = steps; }
  // Name ("m.<parameter>", "v.<parameter>") and tensor: what a checkpoint holds beside the values.
  std::vector<std::pair<std::string, Tensor>> state() const;

 private:
  std::vector<Parameter*> parameters_;  // trainable ones
  std::vector<Tensor> m_, v_;
  AdamWConfig config_;
  int64_t steps_ = 0;
};

}  // namespace fathom
