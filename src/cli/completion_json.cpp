#include "cli/completion_json.h"

#include <algorithm>

#include "cli/model_options.h"
#include "ops/attention/attention.h"

namespace fathom {
namespace {}  // namespace

const char* finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    case FinishReason::kDeadline:
      return "deadline";
  }
  return "";
}

std::string completion_text(const Tokenizer& tokenizer, const Completion& completion, bool show_special) {
  std::span<const int32_t> ids = completion.ids;
  if (completion.reason == FinishReason::kStop && !show_special) ids = ids.first(ids.size() - 1);
  std::string bytes;
  for (const int32_t id : ids) bytes += shown_bytes(tokenizer, id, show_special);
  Utf8Stream utf8;
  const std::string whole = utf8.push(bytes);
  return whole + utf8.flush();
}

Json completion_json(const Completion& completion, const std::optional<Tokenizer>& tokenizer, bool show_special) {
  Json json;
  json["token_ids"] = completion.ids;
  json["text"] = tokenizer ? Json(completion_text(*tokenizer, completion, show_special)) : Json(nullptr);
  json["logprobs"] = completion.logps;
  json["finish_reason"] = finish_reason_name(completion.reason);
  for (const std::vector<TokenLogp>& position : completion.top_logprobs) {
    Json top = Json::array();
    for (const TokenLogp& t : position) {
      top.push_back({{"token_id", t.id}, {"logprob", t.logp}});
      if (tokenizer) top.back()["text"] = token_text(tokenizer, t.id);
    }
    json["top_logprobs"].push_back(std::move(top));
  }
  return json;
}

EngineConfig engine_config_for(const Decoder& model, int64_t positions, int64_t count) {
  const int64_t each = (positions + kKeyBlock - 1) / kKeyBlock + 1;
  const int64_t block_bytes = model.num_cache_layers() * kKeyBlock * model.cache_row_bytes();
  EngineConfig config;
  config.cache_blocks = std::clamp<int64_t>(kCacheBytes / block_bytes, each, each * count);
  return config;
}

}  // namespace fathom
