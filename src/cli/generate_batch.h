// Offline generation: prompts from a JSONL file through the engine, results into another, which a later call continues.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_files.h"
#include "cli/model_options.h"
#include "cli/speculation_options.h"
#include "ops/sampling/sampling.h"
#include "text/tokenizer.h"

namespace fathom {

// A line of the input is an object with one of prompt (text; with --chat a message), prompt_ids and messages, and optionally id
// (text or a number; else the line's number), metadata (handed through), max_tokens, seed, logit_bias and sampling_fields().
// Padding of the vocabulary is not drawn. Blank lines count and have no result. A line of the output holds id, line (the
// input's number), metadata, and prompt_tokens and what completion_json gives, or error; in the order of the input's lines. The
// draws of a line depend on its number and its seed alone: not on other lines, nor on where a run was stopped.
struct GenerateBatchOptions {
  std::string input, output;
  bool as_done = false;  // results as they are done, not in the input's order: none waits for an earlier line's
  bool show_special = false;
  int64_t max_tokens = 256, max_sequences = 64, top_logprobs = 0;
  PromptOptions prompt;     // --chat, --system, --no-think
  SamplingParams sampling;  // what lines do not say
  std::vector<int32_t> stop_ids;
  uint64_t seed = 0;
  double step_ms = 0;      // EngineConfig::step_seconds
  std::string step_trace;  // an SVG of the first steps goes here; empty: none
};

// Goes on behind the results that the output holds. 0: every line has a result; 1: some are errors, or Ctrl-C ended it. Reads
// as many lines ahead as keep the engine full; results that wait for an earlier line's are bounded too.
int generate_batch(const ModelFiles& files, const ModelOptions& model_options, const std::optional<Tokenizer>& tokenizer,
                   Speculation& speculation, const GenerateBatchOptions& options);

}  // namespace fathom
