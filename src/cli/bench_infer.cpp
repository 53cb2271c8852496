#include "cli/bench_infer.h"

#include <algorithm>
#include <cstdio>

#include "backend/cpu/peak.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "bench/engine_run.h"
#include "bench/infer_bench.h"
#include "bench/process_stats.h"
#include "cli/command.h"
#include "nn/profile.h"

namespace fathom {
namespace {

Json to_json(const InferBenchRow& r) {
  return {{"test", r.decode ? "decode" : "prefill"},
          {"tokens", r.tokens},
          {"depth", r.depth},
          {"runs", r.runs},
          {"tokens_per_s", r.tokens_per_s},
          {"spread", r.spread},
          {"tera_flops", r.tera_flops},
          {"share_of_peak", r.peak_share},
          {"gb_per_token", r.bytes_per_token / 1e9},
          {"cache_gb_per_token", r.cache_bytes_per_token / 1e9},
          {"gb_per_s", r.gb_per_s},
          {"share_of_bandwidth", r.bandwidth_share},
          {"others", r.others}};
}

void print_row(const InferBenchRow& r) {
  std::printf("%-14s %6lld %9.2f %6.1f %% %8.3f %6.1f %%",
              ((r.decode ? "decode " : "prefill ") + std::to_string(r.tokens)).c_str(), static_cast<long long>(r.depth),
              r.tokens_per_s, 100 * r.spread, r.tera_flops, 100 * r.peak_share);
  if (r.decode)
    std::printf(" %8.4f %8.1f %6.1f %%", r.bytes_per_token / 1e9, r.gb_per_s, 100 * r.bandwidth_share);
  else
    std::printf(" %26s", "");
  std::printf(" %5.1f %%\n", 100 * r.others);
  std::fflush(stdout);
}

}  // namespace

void BenchInferCommand::add(CommandLine& command) {
  prefill_ = &command.add_subcommand("prefill", "a prompt to its first token, through the engine");
  decode_ = &command.add_subcommand("decode", "one token after another, through the engine");
  depth_ = &command.add_subcommand("depth", "both behind ever longer contexts, and what the cache's bytes explain");
  for (CommandLine* subcommand : {prefill_, decode_, depth_}) {
    model_.add(*subcommand);
    subcommand->add_option("--runs", runs_, "timed runs; the median counts").range(1, 1000).show_default();
    subcommand->add_flag("--json", json_, "one JSON object on stdout");
    subcommand->add_flag("--profile", profile_, "where the time goes, by op (to stderr with --json)");
    subcommand->add_option("--trace", trace_, "write the last row's ops as Chrome trace events to this file");
    add_threads_option(*subcommand);
  }
  prefill_->add_option("--tokens", prefill_tokens_, "length of the prompt").range(1, kMaxBenchTokens).show_default();
  decode_->add_option("--tokens", decode_tokens_, "tokens to generate").range(1, kMaxBenchTokens).show_default();
  depth_->add_option("--prefill", prefill_tokens_, "length of the prompt").range(1, kMaxBenchTokens).show_default();
  depth_->add_option("--tokens", decode_tokens_, "tokens to generate").range(1, kMaxBenchTokens).show_default();
  for (CommandLine* subcommand : {prefill_, decode_})
    subcommand->add_option("--depth", at_, "tokens in the cache before").range(0, kMaxBenchTokens).show_default();
  depth_->add_option("--depth", depths_, "tokens in the cache before, with commas")
      .delimiter(',')
      .range(0, kMaxBenchTokens)
      .show_default();
}

int BenchInferCommand::run() const {
  const BenchModel source = model_.find();
  const int64_t tokens = std::max(decode_->parsed() ? 0 : prefill_tokens_, prefill_->parsed() ? 0 : decode_tokens_);
  check_bench_positions(source.config, (depth_->parsed() ? *std::max_element(depths_.begin(), depths_.end()) : at_) + tokens);
  model_.peak();  // measured once in a process, and not a part of loading
  memory_bandwidth();
  reset_peak_resident();
  const double begin = now_seconds();
  Decoder model = model_.open(source, json_);
  const double load_s = now_seconds() - begin, load_bytes = peak_resident_bytes();
  reset_peak_resident();
  if (!json_) {
    std::printf("\n");
    std::printf("%-14s %6s %9s %8s %8s %8s %8s %8s %8s %7s\n", "test", "depth", "tokens/s", "spread", "TFLOP/s", "share",
                "GB/token", "GB/s", "share", "others");
  }
  if (profile_ || !trace_.empty()) profile_enable(true);
  profile_trace(!trace_.empty());

  std::vector<InferBenchRow> rows;
  const auto measure = [&](bool decode, int64_t tokens, int64_t depth) {
    rows.push_back(decode ? bench_decode(model, tokens, depth, runs_) : bench_prefill(model, tokens, depth, runs_));
    if (!json_) print_row(rows.back());
    if (profile_) std::fprintf(json_ ? stderr : stdout, "\n%s\n", profile_table("step").c_str());
  };
  if (prefill_->parsed()) measure(false, prefill_tokens_, at_);
  if (decode_->parsed()) measure(true, decode_tokens_, at_);
  if (depth_->parsed()) {
    for (const int64_t depth : depths_) measure(false, prefill_tokens_, depth);
    for (const int64_t depth : depths_) measure(true, decode_tokens_, depth);
  }
  if (!trace_.empty()) write_file_atomic(trace_, profile_trace_json());

  Json results = Json::array();
  const InferBenchRow* first = nullptr;  // decode at the first depth: what the others are compared with
  if (!json_ && depth_->parsed()) std::printf("\n");
  for (const InferBenchRow& r : rows) {
    results.push_back(to_json(r));
    if (!depth_->parsed() || !r.decode) continue;
    if (!first) first = &r;
    const double slower = first->tokens_per_s / r.tokens_per_s, bytes = r.bytes_per_token / first->bytes_per_token;
    results.back()["slower"] = slower;
    results.back()["slower_by_bytes"] = bytes;
    if (!json_ && first != &r)
      std::printf("decode at %lld: %.2f times slower than at %lld; its bytes explain %.2f\n", static_cast<long long>(r.depth),
                  slower, static_cast<long long>(first->depth), bytes);
  }
  const double run_bytes = peak_resident_bytes();
  if (json_) {
    Json j = model_.to_json(source, model);
    j["load_s"] = load_s;
    j["peak_memory_load_mib"] = load_bytes / kMiB;
    j["peak_memory_run_mib"] = run_bytes / kMiB;
    j["rows"] = results;
    std::printf("%s\n", j.dump(2).c_str());
  } else {
    std::printf("peak resident memory: %.0f MiB to load, %.0f MiB to run\n", load_bytes / kMiB, run_bytes / kMiB);
  }
  return 0;
}

}  // namespace fathom
