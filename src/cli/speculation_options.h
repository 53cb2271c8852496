// --speculate and --draft-tokens of the commands that generate, and what they say of it at the end.
#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "base/json.h"
#include "infer/engine.h"

namespace fathom {

struct SpeculationOptions {
  std::string kind = "off", draft_tokens = "auto";
  void add(CLI::App& app);
  SpeculationConfig resolve() const;  // Error (usage) where it cannot be
};

// Null without speculation: {drafted, accepted} by position, and the rows and seconds that guesses took.
Json speculation_json(const SpeculationConfig& config, const EngineStats& stats);
// "; 1.83 tokens a step, guesses right 83 %, 61 %"; empty without speculation.
std::string speculation_text(const SpeculationConfig& config, const EngineStats& stats);

}  // namespace fathom
