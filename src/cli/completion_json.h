// A completion as the commands print it.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"
#include "infer/engine.h"
#include "text/tokenizer.h"

namespace fathom {

const char* finish_reason_name(FinishReason reason);
// The text without its stop token.
std::string completion_text(const Tokenizer& tokenizer, const Completion& completion, bool show_special);
// token_ids, text (null without a tokenizer), logprobs, finish_reason; top_logprobs where the request asked for them.
Json completion_json(const Completion& completion, const std::optional<Tokenizer>& tokenizer, bool show_special);
constexpr int64_t kCacheBytes = int64_t{2} << 30;  // what a cache may take unless told
// A cache in which `count` sequences of so many positions find room, as long as that is not more than kCacheBytes: some wait
// then, or are computed again. One always finds room.
EngineConfig engine_config_for(const Decoder& model, int64_t positions, int64_t count);

}  // namespace fathom
