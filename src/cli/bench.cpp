// fathom bench: the ops against the machine's peak; prefill and decode, alone, batched and shared; training steps; the
// tokenizer.
#include <cstdio>
#include <sstream>
#include <string>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "bench/op_bench.h"
#include "bench/tokenizer_bench.h"
#include "bench/train_bench.h"
#include "cli/bench_batched.h"
#include "cli/bench_infer.h"
#include "cli/bench_speculate.h"
#include "cli/command.h"
#include "data/record.h"
#include "nn/profile.h"

namespace fathom {
namespace {

int bench_ops(const std::string& filter, double budget_s, bool json) {
  Json results = Json::array();
  const double f32 = gemm_peak(false), bf16 = gemm_peak(true), memory = memory_bandwidth();
  if (!json) {
    std::printf("isa %s, %d threads; peak f32 %.3f TFLOP/s, bf16 %.3f TFLOP/s; memory %.1f GB/s\n\n",
                std::string(isa_name(isa())).c_str(), num_threads(), f32, bf16, memory / 1e9);
    std::printf("%-58s %11s %9s %8s  %s\n", "case", "time", "TFLOP/s", "GB/s", "share of the limit");
  }
  for (const OpCase& c : all_op_cases()) {
    if (c.name.find(filter) == std::string::npos) continue;
    const OpResult r = run_op_case(c, budget_s);
    results.push_back({{"name", r.name},
                       {"seconds", r.seconds},
                       {"tera_flops", r.tera_flops},
                       {"gb_per_s", r.gigabytes},
                       {"share", r.share},
                       {"limit", r.memory_bound ? "memory" : "arithmetic"}});
    if (!json) {
      std::printf("%-58s %8.1f us %9.3f %8.1f  %5.1f %% of %s\n", r.name.c_str(), r.seconds * 1e6, r.tera_flops, r.gigabytes,
                  100 * r.share, r.memory_bound ? "memory" : "arithmetic");
      std::fflush(stdout);
    }
  }
  if (results.empty()) fail_usage("bench", "no case matches '" + filter + "'; run `fathom bench ops` for all");
  if (json) {
    const Json j = {{"isa", isa_name(isa())},       {"threads", num_threads()},        {"peak_f32_tera_flops", f32},
                    {"peak_bf16_tera_flops", bf16}, {"memory_gb_per_s", memory / 1e9}, {"cases", results}};
    std::printf("%s\n", j.dump(2).c_str());
  }
  return 0;
}

int bench_train(const std::string& models, TrainBenchOptions options, bool json) {
  Json results = Json::array();
  if (!json) {
    std::printf("isa %s, %d threads; seq %lld x batch %lld, AdamW, clipping; share of the %s peak %.3f TFLOP/s\n\n",
                std::string(isa_name(isa())).c_str(), num_threads(), static_cast<long long>(options.sequence),
                static_cast<long long>(options.batch), options.f32 ? "f32" : "bf16", gemm_peak(!options.f32));
    std::printf("%-22s %10s %9s %9s %9s %7s %10s %8s\n", "model", "parameters", "step", "tokens/s", "TFLOP/s", "share",
                "peak memory", "loss");
  }
  std::stringstream list(models);
  for (std::string name; std::getline(list, name, ',');) {
    for (const bool extras : {false, true}) {
      options.model = name;
      options.extras = extras;
      if (extras && train_bench_config(name, true).num_nextn_predict_layers == 0) continue;
      const TrainBenchResult r = run_train_bench(options);
      results.push_back({{"model", r.model},
                         {"mtp_and_balance", r.extras},
                         {"compute", r.f32 ? "f32" : "bf16"},
                         {"parameters", r.parameters},
                         {"active_parameters", r.active},
                         {"steps", r.steps},
                         {"step_s", r.step_s},
                         {"first_step_s", r.first_step_s},
                         {"tokens_per_s", r.tokens_per_s},
                         {"tera_flops", r.tera_flops},
                         {"share_of_peak", r.peak_share},
                         {"peak_memory_mib", r.peak_bytes / 1048576},
                         {"first_loss", r.first_loss},
                         {"last_loss", r.last_loss}});
      if (!json) {
        std::printf("%-22s %8.1f M %7.3f s %9.0f %9.3f %5.1f %% %7.0f MiB %8.3f\n",
                    (name + (extras ? " + MTP, balance" : "")).c_str(), static_cast<double>(r.parameters) / 1e6, r.step_s,
                    r.tokens_per_s, r.tera_flops, 100 * r.peak_share, r.peak_bytes / 1048576, r.last_loss);
        std::fflush(stdout);
      }
      if (!r.profile.empty()) std::fprintf(json ? stderr : stdout, "\n%s\n", r.profile.c_str());
    }
  }
  if (json) {
    const Json j = {{"isa", isa_name(isa())},       {"threads", num_threads()}, {"peak_tera_flops", gemm_peak(!options.f32)},
                    {"sequence", options.sequence}, {"batch", options.batch},   {"models", results}};
    std::printf("%s\n", j.dump(2).c_str());
  }
  return 0;
}

struct TokenizerBenchOptions {
  std::string text, directory;
  int64_t megabytes = 20;
  int runs = 3;
};
int bench_tokenizer(const TokenizerBenchOptions& options, bool json) {
  std::vector<std::string> texts;
  if (options.text.empty())
    texts = sample_texts(options.megabytes * 1000000);
  else
    read_records({options.text}, [&](Record&& record) {
      if (record.kind == Record::Kind::kText) texts.push_back(std::move(record.text));
      for (ChatMessage& m : record.messages) texts.push_back(std::move(m.content));
    });
  const Tokenizer tokenizer =
      options.directory.empty() ? sample_tokenizer(texts, 8192) : Tokenizer::from_directory(options.directory);
  Json results = Json::array();
  if (!json)
    std::printf("%zu texts; tokenizer of %d ids%s\n\n%8s %10s %10s %8s %10s\n", texts.size(), tokenizer.vocab_size(),
                options.directory.empty() ? ", trained on the text" : "", "threads", "MB/s", "Mtokens/s", "spread", "tokens");
  for (const bool all : {false, true}) {
    if (all && num_threads() == 1) continue;
    const TokenizerBenchResult r = run_tokenizer_bench(tokenizer, texts, all, options.runs);
    results.push_back({{"threads", r.threads},
                       {"mb_per_s", r.mb_per_s},
                       {"best_mb_per_s", r.best_mb_per_s},
                       {"mtokens_per_s", r.mtokens_per_s},
                       {"spread", r.spread},
                       {"bytes", r.bytes},
                       {"tokens", r.tokens}});
    if (!json)
      std::printf("%8d %10.1f %10.2f %6.1f %% %10lld\n", r.threads, r.mb_per_s, r.mtokens_per_s, 100 * r.spread,
                  static_cast<long long>(r.tokens));
  }
  if (json) {
    const Json j = {{"text", options.text.empty() ? Json(nullptr) : Json(options.text)},
                    {"tokenizer", options.directory.empty() ? Json(nullptr) : Json(options.directory)},
                    {"texts", texts.size()},
                    {"vocab_size", tokenizer.vocab_size()},
                    {"results", results}};
    std::printf("%s\n", j.dump(2).c_str());
  }
  return 0;
}

}  // namespace

int command_bench(int argc, char** argv) {
  CommandLine command{"Benchmarks: time, rate and share of the measured limit of this machine", "fathom bench"};
  command.require_subcommand();
  bool json = false;
  std::string filter;
  double budget_s = 0.1;
  CommandLine& ops = command.add_subcommand("ops", "each op's cases");
  ops.add_option("--filter", filter, "only cases whose name holds this text");
  ops.add_option("--seconds", budget_s, "time for each case").range(0.001, 60.0);
  ops.add_flag("--json", json, "one JSON object on stdout");
  add_threads_option(ops);
  BenchInferCommand infer;
  infer.add(command);
  BenchBatchedCommand batched;
  batched.add(command);
  BenchSpeculateCommand speculate;
  speculate.add(command);
  TrainBenchOptions train_options;
  std::string models = "small,medium,dense50m";
  CommandLine& train = command.add_subcommand("train", "one training step: forward, backward, clipping, AdamW");
  train.add_option("--model", models, "of small, medium, dense50m: one or several with commas");
  train.add_option("--seconds", train_options.seconds, "time for each row").range(0.001, 3600.0);
  train.add_flag("--f32", train_options.f32, "f32 compute instead of bf16");
  bool profile = false;
  train.add_flag("--profile", profile, "where the time goes, by op (to stderr with --json)");
  train.add_flag("--json", json, "one JSON object on stdout");
  add_threads_option(train);
  TokenizerBenchOptions tokenizer_options;
  CommandLine& tokenizer = command.add_subcommand("tokenizer", "text to tokens, on one thread and on all");
  tokenizer.add_option("--text", tokenizer_options.text, "text or JSONL ({\"text\"}); without it words are made up");
  tokenizer.add_option("--tokenizer", tokenizer_options.directory,
                       "directory with tokenizer.json; without it one of 8192 tokens is trained on the text");
  tokenizer.add_option("--mb", tokenizer_options.megabytes, "megabytes of text to make up").range(1, 1000).show_default();
  tokenizer.add_option("--runs", tokenizer_options.runs, "timed runs; the median counts").range(1, 1000).show_default();
  tokenizer.add_flag("--json", json, "one JSON object on stdout");
  add_threads_option(tokenizer);
  if (const auto code = command.parse(argc, argv)) return *code;
  if (infer.parsed()) return infer.run();
  if (batched.parsed()) return batched.run();
  if (speculate.parsed()) return speculate.run();
  if (tokenizer.parsed()) return bench_tokenizer(tokenizer_options, json);
  if (profile) profile_enable(true);
  if (train.parsed()) return bench_train(models, train_options, json);
  return bench_ops(filter, budget_s, json);
}

}  // namespace fathom
