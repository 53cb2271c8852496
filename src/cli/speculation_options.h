// --speculate and --draft-tokens of the commands that generate, and what they say of it at the end.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "base/json.h"
#include "checkpoint/model_files.h"
#include "cli/command_line.h"
#include "infer/engine.h"
#include "text/tokenizer.h"

namespace fathom {

struct SpeculationOptions {
  std::string kind = "off", draft_tokens = "auto";
  void add(CommandLine& command);
  // Names and numbers by themselves; `draft:` leaves its directory in draft_directory(). Error (usage) where it cannot be.
  SpeculationConfig parse() const;
  std::string draft_directory() const;  // empty unless `draft:`
};

// The same for a model that is about to be loaded, and its draft model.
struct Speculation {
  // Before the weights are read. Error (usage) where the model has no MTP module, or the draft model another tokenizer.
  Speculation(const SpeculationOptions& options, const ModelConfig& model, const std::optional<Tokenizer>& tokenizer);
  void load(const Numerics& numerics);  // the draft model's weights, where there is one

  SpeculationConfig config;

 private:
  std::optional<ModelFiles> draft_files_;
  std::unique_ptr<Decoder> draft_;
};

// Null without speculation: {drafted, accepted} by position, and the rows and seconds that guesses took.
Json speculation_json(const SpeculationConfig& config, const EngineStats& stats);
// "; 1.83 tokens a step, guesses right 83 %, 61 %"; empty without speculation.
std::string speculation_text(const SpeculationConfig& config, const EngineStats& stats);

}  // namespace fathom
