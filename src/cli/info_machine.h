// fathom info: in which formats this machine can hold a model, and how fast it can decode at most. Include only from .cpp files
// (JSON).
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/measured_machine.h"
#include "model/model_config.h"

namespace fathom {

// One sequence of `context` tokens with its weights in one format. Decoding reads every active weight and the whole cache once
// a token, so bytes / bandwidth bounds its speed (batches share the weights' part).
struct FormatPlan {
  std::string name;          // of the weights: f32, bf16, fp8
  int64_t weight_bytes = 0;  // in memory, as this program packs them; with the MTP layer
  int64_t active_bytes = 0;  // of weights, read for one token
  int64_t cache_bytes = 0;   // of `context` tokens, in the smallest form
};
std::vector<FormatPlan> format_plans(const ModelConfig& config, int64_t context);

struct MachinePlan {
  int64_t context = 0, memory_bytes = 0, caches_bytes = 0;
  bool latents = false;  // in the cache
  std::string processor;
  int processors = 0;
  std::optional<MachineMeasurement> measured;
  std::string not_measured;  // why not
  std::vector<FormatPlan> formats;

  static MachinePlan of(const ModelConfig& config, int64_t context);
  bool fits(const FormatPlan& f) const { return memory_bytes > 0 && f.weight_bytes + f.cache_bytes <= memory_bytes; }
  // Tokens a second at most, at the first token or with the context full. Nothing where no bandwidth was measured, or where
  // all that is read may lie in the processor's caches.
  std::optional<double> speed(const FormatPlan& f, bool full) const;
  Json to_json() const;
  void print() const;
};

}  // namespace fathom
