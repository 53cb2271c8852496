// fathom info: what the configuration of a model says. Include only from .cpp files (JSON).
#pragma once
#include <vector>

#include "base/json.h"
#include "model/decoder.h"
#include "model/model_config.h"
#include "tensor/dtype.h"

namespace fathom {

// A form that the cache of keys and values can take, and how it is asked for.
struct CacheForm {
  const char* what;  // "latents"
  DType dtype;       // of the activations, and of plain values
  KvType type;
  const char* options;  // of `fathom generate`
  int64_t bytes_per_token;
};
std::vector<CacheForm> cache_forms(const ModelConfig& config);  // the smallest first
// Bytes a token in the smallest form with values of `dtype`.
int64_t cache_bytes_per_token(const ModelConfig& config, DType dtype);

void model_to_json(const ModelConfig& config, Json& json);
// with_checkpoint: what the published files hold; for where there are none at hand.
void print_model(const ModelConfig& config, bool with_checkpoint);

}  // namespace fathom
