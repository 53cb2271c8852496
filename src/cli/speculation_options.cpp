#include "cli/speculation_options.h"

#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "base/utf8.h"
#include "checkpoint/hf_directory.h"

namespace fathom {

void SpeculationOptions::add(CommandLine& command) {
  command
      .add_option(
          "--speculate", kind,
          "guess tokens and compute several in one step; the text stays the same: mtp (the model's own MTP module), ngram "
          "(what followed these tokens before), draft:DIR (a small model with the same tokenizer) or off")
      .show_default();
  command
      .add_option(
          "--draft-tokens", draft_tokens,
          "guesses in a step, 1 to " + std::to_string(kMaxDraft) + "; auto: as many as pay, by measured time and success")
      .show_default();
}

std::string SpeculationOptions::draft_directory() const { return kind.starts_with("draft:") ? kind.substr(6) : ""; }

SpeculationConfig SpeculationOptions::parse() const {
  SpeculationConfig config;
  if (kind == "ngram")
    config.kind = SpeculationConfig::Kind::kNgram;
  else if (kind == "mtp")
    config.kind = SpeculationConfig::Kind::kMtp;
  else if (!draft_directory().empty())
    config.kind = SpeculationConfig::Kind::kModel;
  else if (kind != "off")
    fail_usage("cli", "--speculate '" + printable(kind) + "' is none of mtp, ngram, draft:DIR, off");
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

Speculation::Speculation(const SpeculationOptions& options, const ModelConfig& model, const std::optional<Tokenizer>& tokenizer)
    : config(options.parse()) {
  if (config.kind == SpeculationConfig::Kind::kMtp && model.num_nextn_predict_layers == 0)
    fail_usage("cli", "--speculate mtp: this model has no MTP module (num_nextn_predict_layers is 0); ngram needs none");
  if (config.kind != SpeculationConfig::Kind::kModel) return;
  const std::string directory = options.draft_directory();
  draft_files_.emplace(directory);
  const auto theirs = draft_files_->tokenizer();
  if (!tokenizer || !theirs) return;  // ids alone: the engine compares the vocabularies' sizes
  bool same = tokenizer->vocab_size() == theirs->vocab_size();
  for (int32_t id = 0; same && id < static_cast<int32_t>(tokenizer->vocab_size()); ++id)
    same = tokenizer->token_bytes(id) == theirs->token_bytes(id);
  if (!same)
    fail_usage("cli", "--speculate draft: '" + printable(directory) +
                          "' has another tokenizer than the model; take a draft model of the same family");
}

void Speculation::load(const Numerics& numerics) {
  if (!draft_files_) return;
  draft_ = std::make_unique<Decoder>(load_model(*draft_files_, numerics, /*training=*/false));
  config.draft_model = draft_.get();
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
