// fathom bench: the ops against the machine's peak.
#include <cstdio>
#include <string>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "bench/op_bench.h"
#include "cli/command.h"

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

}  // namespace

int command_bench(int argc, char** argv) {
  CLI::App app{"Benchmarks: time, rate and share of the measured limit of this machine", "fathom bench"};
  app.require_subcommand(1);
  bool json = false;
  std::string filter;
  double budget_s = 0.1;
  CLI::App* ops = app.add_subcommand("ops", "each op's cases");
  ops->add_option("--filter", filter, "only cases whose name holds this text");
  ops->add_option("--seconds", budget_s, "time for each case")->check(CLI::Range(0.001, 60.0));
  ops->add_flag("--json", json, "one JSON object on stdout");
  add_threads_option(*ops);
  if (const Parsed parsed = parse_command(app, argc, argv); parsed.done) return parsed.code;
  return bench_ops(filter, budget_s, json);
}

}  // namespace fathom
