#include "cli/bench_speculate.h"

#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/bench_model.h"
#include "cli/command.h"
#include "cli/model_options.h"

namespace fathom {
namespace {

Json to_json(const SpeculateBenchResult& r) {
  return {{"plain_tokens_per_s", r.plain_tokens_per_s},
          {"tokens_per_s", r.tokens_per_s},
          {"gain", r.gain},
          {"least_gain", r.least_gain},
          {"most_gain", r.most_gain},
          {"allowed_gain", r.allowed_gain},
          {"share_of_allowed", r.gain / r.allowed_gain},
          {"tokens_per_step", r.tokens_per_step},
          {"plain_step_gb", r.plain_step_bytes / 1e9},
          {"step_gb", r.step_bytes / 1e9},
          {"draft_gb", r.draft_bytes / 1e9},
          {"plain_experts_per_step", r.plain_experts},
          {"experts_per_step", r.experts},
          {"draft_share_of_time", r.draft_share},
          {"drafted", r.drafted},
          {"accepted", r.accepted},
          {"others", r.others}};
}

void print(const SpeculateBenchResult& r) {
  std::printf("%-8s %10s %12s %10s %10s %14s\n", "", "tokens/s", "tokens/step", "GB/step", "drafts GB", "experts/step");
  std::printf("%-8s %10.2f %12.2f %10.4f %10s %14.1f\n", "without", r.plain_tokens_per_s, 1.0, r.plain_step_bytes / 1e9, "",
              r.plain_experts);
  std::printf("%-8s %10.2f %12.2f %10.4f %10.4f %14.1f\n", "with", r.tokens_per_s, r.tokens_per_step, r.step_bytes / 1e9,
              r.draft_bytes / 1e9, r.experts);
  std::printf(
      "gain %.3f (%.3f to %.3f); the bytes allow %.3f: %.1f %% of it; drafts take %.1f %% of the time; others %.1f %%\n",
      r.gain, r.least_gain, r.most_gain, r.allowed_gain, 100 * r.gain / r.allowed_gain, 100 * r.draft_share, 100 * r.others);
  std::printf("guesses right, by position:");
  for (size_t j = 0; j < kMaxDraft && r.drafted[j] > 0; ++j)
    std::printf(" %.1f %% of %lld%s", 100 * static_cast<double>(r.accepted[j]) / static_cast<double>(r.drafted[j]),
                static_cast<long long>(r.drafted[j]), j + 1 < kMaxDraft && r.drafted[j + 1] > 0 ? "," : "");
  std::printf(r.drafted[0] > 0 ? "\n" : " none made\n");
}

}  // namespace

void BenchSpeculateCommand::add(CommandLine& command) {
  command_ =
      &command.add_subcommand("speculate", "decoding with speculation beside without, and the gain that the bytes allow");
  model_.add(*command_);
  speculation_.kind = "mtp";
  speculation_.add(*command_);
  command_
      ->add_option("--force-acceptance", options_.force_acceptance,
                   "each guess is right with this probability, whatever the drafter says (it works all the same)")
      .range(0.0, 1.0);
  command_->add_option("--prompt", prompt_, "text to go on from (a model with a tokenizer); without it random ids");
  command_->add_option("--prompt-tokens", options_.prompt_tokens, "random ids before the first token")
      .range(1, int64_t{1} << 20)
      .show_default();
  command_->add_option("--temperature", options_.temperature, "0: the likeliest token").range(0.0, 100.0).show_default();
  command_->add_option("--tokens", options_.tokens, "tokens to decode").range(1, int64_t{1} << 20).show_default();
  command_->add_option("--batch", options_.batch, "sequences at once").range(1, 1024).show_default();
  command_->add_option("--runs", options_.runs, "timed pairs of runs; the median counts").range(1, 1000).show_default();
  command_->add_flag("--json", json_, "one JSON object on stdout");
  add_threads_option(*command_);
}

int BenchSpeculateCommand::run() const {
  SpeculateBenchOptions options = options_;
  options.speculation = speculation_.parse();
  BenchModel source = model_.find();
  if (options.speculation.kind == SpeculationConfig::Kind::kMtp && source.config.num_nextn_predict_layers == 0) {
    if (source.files || !source.config.is_mla())
      fail_usage("bench", "'" + printable(model_.model) + "' has no MTP module; give --speculate ngram or draft:MODEL");
    source.config.num_nextn_predict_layers = 1;  // random weights: a shape can have one
  }
  if (!prompt_.empty()) {
    const auto tokenizer = source.files ? source.files->tokenizer() : std::nullopt;
    if (!tokenizer) fail_usage("bench", "--prompt needs a model with a tokenizer; '" + printable(model_.model) + "' has none");
    options.prompt = tokenizer->encode(prompt_, Tokenizer::Specials::kRecognise, tokenizer->wants_bos());
    options.num_valid = num_valid_tokens(source.config, &*tokenizer);
  }
  Decoder model = model_.open(source, json_);
  std::optional<Decoder> draft;
  if (options.speculation.kind == SpeculationConfig::Kind::kModel)
    options.speculation.draft_model =
        &draft.emplace(find_bench_model(speculation_.draft_directory()).open(model_.numerics(), model_.format()));
  if (!json_) {
    std::printf("speculate %s, draft tokens %s", speculation_.kind.c_str(), speculation_.draft_tokens.c_str());
    if (options.force_acceptance >= 0) std::printf(", %.0f %% right by force", 100 * options.force_acceptance);
    std::printf("; batch %lld, %lld tokens, %d pairs of runs\n", static_cast<long long>(options.batch),
                static_cast<long long>(options.tokens), options.runs);
  }
  const SpeculateBenchResult result = bench_speculate(model, options);
  if (json_) {
    Json j = model_.to_json(source, model);
    j.update(to_json(result));
    j["speculate"] = speculation_.kind;
    j["draft_tokens"] = speculation_.draft_tokens;
    j["force_acceptance"] = options.force_acceptance >= 0 ? Json(options.force_acceptance) : Json(nullptr);
    j["batch"] = options.batch;
    j["tokens"] = options.tokens;
    j["runs"] = options.runs;
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    print(result);
  }
  return 0;
}

}  // namespace fathom
