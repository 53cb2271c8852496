// Learning rate as a pure function of tokens, so that a change of batch size or a resume changes nothing.
// Warm-up is linear over the tokens up to and with this step ((s+1)/warmup for constant batches); what follows looks at the
// tokens before this step: its first step has the peak.
//   constant: peak.   linear, cosine: from peak to min_lr at total_tokens.
//   wsd (warm-up, stable, decay; report §4.2 has this form): peak until total - decay_tokens, then down to min_lr.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/config.h"

namespace fathom {

struct LrSchedule {
  std::string schedule = "constant", decay_shape = "cosine";
  double lr = 3e-4, min_lr = 0;
  int64_t warmup_tokens = 0, decay_tokens = 0;

  void fields(ConfigFields& f) {
    f.field("schedule", schedule, "shape of the learning rate over tokens", {"constant", "linear", "cosine", "wsd"});
    f.field("lr", lr, "peak learning rate", 0, 10);
    f.field("min_lr", min_lr, "learning rate at the end of linear, cosine and wsd", 0, 10);
    f.field("warmup_tokens", warmup_tokens, "linear warm-up from 0 over this many tokens", 0);
    f.field("decay_tokens", decay_tokens, "wsd: length of the decay at the end", 0);
    f.field("decay_shape", decay_shape, "wsd: shape of the decay", {"linear", "cosine", "sqrt"});
  }
  // The step consumes tokens (before, after] of `total` (0: unknown, constant only).
  double at(int64_t tokens_before, int64_t tokens_after, int64_t total_tokens) const;
  void validate(int64_t total_tokens) const;  // Error (usage) where the parts do not fit the total
};

// A value that changes at given shares of the run: [share, value, share, value, …], shares ascending from 0.
// "mtp_weight: [0, 0.3, 0.67, 0.1]" is the report's lambda (§4.2). Empty: 0.
struct StepSchedule {
  static void validate(const std::string& field, const std::vector<double>& pairs);
  static double at(const std::vector<double>& pairs, int64_t tokens, int64_t total_tokens);
};

}  // namespace fathom
