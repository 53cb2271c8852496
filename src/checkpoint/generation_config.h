// generation_config.json as far as config.json knows it: the special ids. Include only from .cpp files (JSON).
#pragma once
#include "base/json.h"
#include "model/model_config.h"

namespace fathom {

inline Json generation_config(const ModelConfig& config) {
  Json json = Json::object();
  if (config.bos_token_id >= 0) json["bos_token_id"] = config.bos_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids[0];
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  if (config.pad_token_id >= 0) json["pad_token_id"] = config.pad_token_id;
  return json;
}

}  // namespace fathom
