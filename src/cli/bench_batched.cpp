#include "cli/bench_batched.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/progress.h"
#include "bench/engine_run.h"
#include "cli/command.h"
#include "nn/profile.h"
#include "ops/sampling/sampling_case.h"

namespace fathom {
namespace {

Json to_json(const BatchedBenchRow& r) {
  return {{"batch", r.batch},
          {"depth", r.depth},
          {"runs", r.runs},
          {"prompt_tokens_per_s", r.prompt_tokens_per_s},
          {"tokens_per_s", r.tokens_per_s},
          {"spread", r.spread},
          {"step_s", r.step_s},
          {"tera_flops", r.tera_flops},
          {"share_of_peak", r.peak_share},
          {"step_gb", r.step_bytes / 1e9},
          {"experts_per_step", r.step_experts},
          {"gb_per_s", r.gb_per_s},
          {"share_of_bandwidth", r.bandwidth_share},
          {"allowed_tokens_per_s", r.allowed_tokens_per_s},
          {"share_of_allowed", r.allowed_share},
          {"limit", r.memory_bound ? "memory" : "arithmetic"},
          {"schedule_share", r.schedule_share},
          {"sample_share", r.sample_share},
          {"others", r.others}};
}

void print_row(const BatchedBenchRow& r) {
  std::printf(
      "%6lld %10.1f %9.2f %6.1f %% %8.2f %8.3f %6.1f %% %8.3f %7.1f %6.1f %% %8.1f %6.1f %% of %-10s %6.2f %% %5.1f %%\n",
      static_cast<long long>(r.batch), r.prompt_tokens_per_s, r.tokens_per_s, 100 * r.spread, 1e3 * r.step_s, r.tera_flops,
      100 * r.peak_share, r.step_bytes / 1e9, r.gb_per_s, 100 * r.bandwidth_share, r.allowed_tokens_per_s,
      100 * r.allowed_share, r.memory_bound ? "memory" : "arithmetic", 100 * (r.schedule_share + r.sample_share),
      100 * r.others);
  std::fflush(stdout);
}

Json to_json(const ShareBenchResult& r, const ShareBenchOptions& o) {
  const Json none = nullptr;
  return {{"answers", o.answers},
          {"prompt_tokens", o.prompt_tokens},
          {"tokens", o.tokens},
          {"prompt_rows", r.prompt_rows},
          {"prompt_s", r.prompt_s},
          {"tokens_per_s", r.tokens_per_s},
          {"step_s", r.step_s},
          {"peak_cache_mib", r.peak_cache_bytes / kMiB},
          {"needed_cache_mib", r.needed_cache_bytes / kMiB},
          {"cache_over_needed", r.peak_cache_bytes / r.needed_cache_bytes},
          {"step_gb", r.step_bytes / 1e9},
          {"alone_tokens_per_s", o.compare ? Json(r.alone_tokens_per_s) : none},
          {"alone_peak_cache_mib", o.compare ? Json(r.alone_peak_cache_bytes / kMiB) : none},
          {"alone_step_gb", o.compare ? Json(r.alone_step_bytes / 1e9) : none},
          {"gain", o.compare ? Json(r.gain) : none},
          {"gain_by_bytes", o.compare ? Json(r.alone_step_bytes / r.step_bytes) : none},
          {"hit_tokens", o.hit_tokens},
          {"hit_s", o.hit_tokens > 0 ? Json(r.hit_s) : none},
          {"hit_step_s", o.hit_tokens > 0 ? Json(r.hit_step_s) : none},
          {"hit_steps", o.hit_tokens > 0 ? Json(r.hit_s / r.hit_step_s) : none},
          {"others", r.others}};
}

void print(const ShareBenchResult& r, const ShareBenchOptions& o) {
  std::printf("prompt: %lld rows computed for %lld answers to %lld tokens, %.2f s\n", static_cast<long long>(r.prompt_rows),
              static_cast<long long>(o.answers), static_cast<long long>(o.prompt_tokens), r.prompt_s);
  std::printf("cache: peak %.1f MiB; prompt and answers are %.1f MiB: %+.1f %%\n", r.peak_cache_bytes / kMiB,
              r.needed_cache_bytes / kMiB, 100 * (r.peak_cache_bytes / r.needed_cache_bytes - 1));
  std::printf("decode: %.2f tokens/s, %.2f ms and %.3f GB a step; others %.1f %%\n", r.tokens_per_s, 1e3 * r.step_s,
              r.step_bytes / 1e9, 100 * r.others);
  if (o.compare)
    std::printf("without sharing: %.2f tokens/s, %.3f GB a step, cache %.1f MiB; sharing gains %.2f, its bytes allow %.2f\n",
                r.alone_tokens_per_s, r.alone_step_bytes / 1e9, r.alone_peak_cache_bytes / kMiB, r.gain,
                r.alone_step_bytes / r.step_bytes);
  if (o.hit_tokens > 0)
    std::printf("hit of %lld tokens: first token after %.2f ms, %.2f of a decode step behind them (%.2f ms)\n",
                static_cast<long long>(o.hit_tokens), 1e3 * r.hit_s, r.hit_s / r.hit_step_s, 1e3 * r.hit_step_s);
}

}  // namespace

void BenchBatchedCommand::add(CommandLine& command) {
  batched_ = &command.add_subcommand("batched", "decoding of many sequences at once, and what arithmetic and bandwidth allow");
  share_ =
      &command.add_subcommand("share", "many answers to one prompt, beside not sharing; a prompt that is found in the cache");
  for (CommandLine* subcommand : {batched_, share_}) {
    model_.add(*subcommand);
    subcommand->add_flag("--json", json_, "one JSON object on stdout");
    add_threads_option(*subcommand);
  }
  batched_->add_option("--batch", batches_, "sequences at once, with commas").delimiter(',').range(1, 4096).show_default();
  batched_->add_option("--prompt", options_.prompt_tokens, "random tokens before each sequence's answer, its own")
      .range(1, kMaxBenchTokens)
      .show_default();
  batched_->add_option("--depth", options_.depth, "tokens before them that all sequences share (whole blocks of 64)")
      .range(0, kMaxBenchTokens)
      .show_default();
  batched_->add_option("--tokens", options_.tokens, "decoded by each sequence").range(1, kMaxBenchTokens).show_default();
  batched_->add_option("--runs", options_.runs, "timed runs; the median counts").range(1, 1000).show_default();
  batched_
      ->add_text_function(
          "--sampling",
          [this](const std::string& name) {
            for (const NamedSampling& s : bench_samplings())
              if (std::string_view(s.name).starts_with(name)) options_.sampling = s.params;
          },
          "how tokens are drawn; the table's column `sampler` is the share of a step that scheduling and drawing take: greedy, "
          "plain (temperature 1), top-p (0.95 at 0.6), top-k (50), min-p (0.05)")
      .one_of({"greedy", "plain", "top-p", "top-k", "min-p"})
      .show_default("greedy");
  batched_->add_flag("--profile", profile_, "where the time goes, by op (to stderr with --json)");
  share_->add_option("--answers", share_options_.answers, "to the prompt").range(1, 4096).show_default();
  share_->add_option("--prompt", share_options_.prompt_tokens, "random tokens of the prompt")
      .range(1, kMaxBenchTokens)
      .show_default();
  share_->add_option("--tokens", share_options_.tokens, "of each answer, drawn at temperature 1")
      .range(2, kMaxBenchTokens)
      .show_default();
  share_->add_flag("--no-compare", no_compare_,
                   "leave out the same without sharing, which computes the prompt for each answer");
  share_->add_option("--hit", share_options_.hit_tokens, "tokens of the prompt that is found; 0: none")
      .range(0, kMaxBenchTokens)
      .show_default();
  share_->add_option("--runs", share_options_.runs, "timed hits; the median counts").range(1, 1000).show_default();
}

int BenchBatchedCommand::run_batched() const {
  const BenchModel source = model_.find();
  check_bench_positions(source.config, options_.depth + options_.prompt_tokens + options_.tokens + 1);
  Decoder model = model_.open(source, json_);
  if (!json_) {
    std::printf("each: %lld shared tokens, %lld of its own, %lld decoded; %d runs\n\n", static_cast<long long>(options_.depth),
                static_cast<long long>(options_.prompt_tokens), static_cast<long long>(options_.tokens), options_.runs);
    std::printf("%6s %10s %9s %8s %8s %8s %8s %8s %7s %8s %8s %22s %8s %7s\n", "batch", "prompts/s", "tokens/s", "spread",
                "ms/step", "TFLOP/s", "share", "GB/step", "GB/s", "share", "allowed", "reached", "sampler", "others");
  }
  profile_enable(profile_);
  Json rows = Json::array();
  for (const int64_t batch : batches_) {
    const BatchedBenchRow row = bench_batched(model, batch, options_);
    rows.push_back(to_json(row));
    if (!json_) print_row(row);
    if (profile_) std::fprintf(json_ ? stderr : stdout, "\n%s\n", profile_table("step").c_str());
  }
  if (json_) {
    Json j = model_.to_json(source, model);
    j["prompt_tokens"] = options_.prompt_tokens;
    j["tokens"] = options_.tokens;
    j["rows"] = rows;
    std::printf("%s\n", j.dump(2).c_str());
  }
  return 0;
}

int BenchBatchedCommand::run_share() const {
  const BenchModel source = model_.find();
  ShareBenchOptions options = share_options_;
  options.compare = !no_compare_;
  check_bench_positions(source.config, std::max(options.prompt_tokens + options.tokens, options.hit_tokens + 16));
  Decoder model = model_.open(source, json_);
  const ShareBenchResult result = bench_share(model, options);
  if (json_) {
    Json j = model_.to_json(source, model);
    j.update(to_json(result, options));
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    print(result, options);
  }
  return 0;
}

}  // namespace fathom
