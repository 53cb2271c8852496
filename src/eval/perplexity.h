// Perplexity of a model on a text, and how far its predictions lie from a baseline's: KL(baseline || model) per token, share
// of equal first choices, ratio of perplexities. Both models see the same windows in one pass; logits live for 64 MiB of rows
// at a time. Log-probabilities come from the one log-sum-exp (kernels/log_sum_exp.h).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "eval/estimate.h"
#include "eval/eval_windows.h"
#include "model/decoder.h"

namespace fathom {

struct PerplexityOptions {
  WindowOptions windows;
  int32_t bos_id = -1;               // put in front of windows inside a document; -1: nothing is
  std::vector<int64_t> token_bytes;  // bytes of text by id, 0 for special tokens; empty: no bits per byte
  int64_t max_tokens = 0;            // stop after the forward in which so many are reached; 0: all
};

struct Comparison {                  // with the baseline, over the same tokens
  Estimate baseline_nll, log_ratio;  // nats per token: the baseline's; model's minus baseline's (its exp: perplexity ratio)
  Estimate kl;                       // KL(baseline || model), nats per token
  Estimate same_top;                 // share of tokens at which both have the same first choice
  double max_kl = 0;
};
struct Perplexity {
  int64_t documents = 0, windows = 0, tokens = 0;  // that were counted
  int64_t bytes = 0;                               // of text that the counted tokens stand for
  int64_t blocks = 0;                              // what intervals are made of: documents, or stretches of kBlockTokens
  bool complete = true;                            // false: stop() asked for the end
  Estimate nll;                                    // nats per token
  std::optional<Comparison> comparison;
};

// Documents are the blocks of an interval where there are kMinBlocks of them, else stretches of a document of so many tokens.
constexpr int64_t kBlockTokens = 256;

// on_progress(tokens counted, tokens that there are, nats per token so far) after every forward; stop() true ends early, with
// what was counted. Error (usage) where vocabularies differ, where the text has an id outside, or nothing is counted.
Perplexity measure_perplexity(Decoder& model, Decoder* baseline, const TokenDataset& text, const PerplexityOptions& options,
                              const std::function<void(int64_t, int64_t, double)>& on_progress,
                              const std::function<bool()>& stop);

}  // namespace fathom
