// How tokens are drawn: the command line, else generation_config.json, else temperature 1.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/model_files.h"
#include "cli/command_line.h"
#include "ops/sampling/sampling_fields.h"
#include "text/tokenizer.h"

namespace fathom {

struct SamplingOptions {
  std::vector<std::pair<const SamplingField*, double>> given;
  std::string logit_bias;  // "ID:BIAS,ID:BIAS"
  uint64_t seed = 0;
  void add(CommandLine& command);
  struct Resolved {
    SamplingParams params;
    std::vector<int32_t> stop_ids;
  };
  Resolved resolve(const ModelFiles& files, const std::optional<Tokenizer>& tokenizer) const;
};

// Those of sampling_fields() that `json` holds, unless null. Error (usage) with `source` and the field.
void read_sampling_fields(const Json& json, const std::string& source, SamplingParams& params);
// {"ID": bias, …}, as OpenAI's API has it.
std::vector<TokenBias> logit_bias_of(const Json& json, const std::string& source, int64_t vocab_size);

}  // namespace fathom
