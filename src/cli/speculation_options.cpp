#include "cli/speculation_options.h"

#include <cstdio>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {

void SpeculationOptions::add(CLI::App& app) {
  app.add_option("--speculate", kind,
                 "guess tokens and compute several in one step; the text stays the same: ngram (what followed these tokens "
                 "before) or off")
      ->capture_default_str();
  app.add_option(
         "--draft-tokens", draft_tokens,
         "guesses in a step, 1 to " + std::to_string(kMaxDraft) + "; auto: as many as pay, by measured time and success")
      ->capture_default_str();
}

SpeculationConfig SpeculationOptions::resolve() const {
  SpeculationConfig config;
  if (kind == "ngram")
    config.kind = SpeculationConfig::Kind::kNgram;
  else if (kind != "off")
    fail_usage("cli", "--speculate '" + printable(kind) + "' is none of ngram, off");
  if (draft_tokens != "auto") {
    const int n = draft_tokens.size() <= 2 && draft_tokens.find_first_not_of("0123456789") == std::string::npos
                      ? std::atoi(draft_tokens.c_str())
                      : 0;
    if (n < 1 || n > kMaxDraft)
      fail_usage("cli", "--draft-tokens '" + printable(draft_tokens) + "' is neither auto nor a number from 1 to " +
                            std::to_string(kMaxDraft));
    config.draft_tokens = n;
  }
  return config;
}

Json speculation_json(const SpeculationConfig& config, const EngineStats& stats) {
  if (!config.on()) return nullptr;
  Json drafted = Json::array(), accepted = Json::array();
  for (size_t j = 0; j < kMaxDraft && stats.drafted[j] > 0; ++j) {
    drafted.push_back(stats.drafted[j]);
    accepted.push_back(stats.accepted[j]);
  }
  return {{"drafted", drafted},
          {"accepted", accepted},
          {"draft_rows", stats.draft_rows},
          {"decode_rows", stats.decode_rows},
          {"draft_seconds", stats.draft_seconds}};
}

std::string speculation_text(const SpeculationConfig& config, const EngineStats& stats) {
  if (!config.on()) return "";
  int64_t right = 0;
  for (const int64_t n : stats.accepted) right += n;
  char text[64];
  std::snprintf(text, sizeof text, "; %.2f tokens a step",
                stats.decode_rows > 0 ? 1 + static_cast<double>(right) / static_cast<double>(stats.decode_rows) : 1.0);
  std::string line = text;
  if (stats.drafted[0] == 0) return line + ", no guess made";
  line += ", guesses right";
  for (size_t j = 0; j < kMaxDraft && stats.drafted[j] > 0; ++j) {
    std::snprintf(text, sizeof text, "%s %.0f %%", j == 0 ? "" : ",",
                  100 * static_cast<double>(stats.accepted[j]) / static_cast<double>(stats.drafted[j]));
    line += text;
  }
  return line;
}

}  // namespace fathom
