#include "cli/info_machine.h"

#include <algorithm>
#include <cstdio>

#include "base/machine.h"
#include "base/progress.h"
#include "cli/info_model.h"
#include "cli/number_text.h"
#include "kernels/matmul/packed.h"
#include "model/weight_groups.h"

namespace fathom {
namespace {

// How the weights of linear layers are held in memory and computed on; a further format is a further row. Widths that a
// format's blocks do not divide take fallback_format(). All other matrices are held in `plain`; norms, biases and the router in
// F32 (nn/parameter.h: always_f32). From Q8_0 on: a GGUF file as it is, or --weights on a plain one.
struct Format {
  const char* name;
  WeightFormat linear;
  DType plain;            // also of the cache
  bool only_if_released;  // no command of this program makes it from other types
};
constexpr Format kFormats[] = {
    {"f32", WeightFormat::kPlain, DType::kF32, false},
    {"bf16", WeightFormat::kPlain, DType::kBF16, false},
    {"fp8", WeightFormat::kFp8Block, DType::kBF16, true},
    {"int8", WeightFormat::kInt8Row, DType::kBF16, false},
    {"q8_0", WeightFormat::kQ8_0, DType::kBF16, false},
    {"q6_k", WeightFormat::kQ6_K, DType::kBF16, false},
    {"q4_k", WeightFormat::kQ4_K, DType::kBF16, false},
    {"q4_0", WeightFormat::kQ4_0, DType::kBF16, false},
    {"int4-g32", WeightFormat::kInt4Group32, DType::kBF16, false},
    {"int4-g128", WeightFormat::kInt4Group128, DType::kBF16, false},
};

// Of one tensor of a group.
int64_t bytes_of(const WeightGroup& g, const Format& f) {
  const int64_t elements = g.rows * g.columns;
  switch (g.kind) {
    case WeightKind::kLinear:
      if (const WeightFormat format = fallback_format(f.linear, g.columns); format != WeightFormat::kPlain)
        return (g.rows + kPanel - 1) / kPanel * block_panel_bytes(format, g.columns);
      return elements * dtype_bytes(f.plain);
    case WeightKind::kEmbedding:
    case WeightKind::kHead:
    case WeightKind::kMtpProjection:
      return elements * dtype_bytes(f.plain);
    case WeightKind::kRouter:
    case WeightKind::kRouterBias:
    case WeightKind::kNorm:
    case WeightKind::kBias:
      return elements * 4;
    case WeightKind::kCopy:
      return 0;
  }
  return 0;
}

std::string gib(int64_t bytes) { return format_bytes(static_cast<double>(bytes)); }
std::string rate(std::optional<double> per_second) {
  if (!per_second) return "-";
  char text[32];
  std::snprintf(text, sizeof text, *per_second >= 100 ? "%.0f" : *per_second >= 10 ? "%.1f" : "%.2f", *per_second);
  return text;
}

}  // namespace

std::vector<FormatPlan> format_plans(const ModelConfig& c, int64_t context) {
  std::vector<FormatPlan> plans;
  for (const Format& f : kFormats) {
    if (f.only_if_released && !c.quantization.is_fp8_blocks()) continue;
    FormatPlan plan;
    plan.name = f.name;
    plan.cache_bytes = cache_bytes_per_token(c, f.plain) * context;
    for (const WeightGroup& g : weight_groups(c)) {
      const int64_t bytes = bytes_of(g, f);
      plan.weight_bytes += bytes * g.tensors;
      plan.active_bytes += bytes * g.read;
      // A tied head is computed on as a packed copy of the table (decoder.cpp: packed_tied_head).
      if (g.kind == WeightKind::kEmbedding && c.tie_word_embeddings) plan.weight_bytes += bytes;
    }
    plans.push_back(std::move(plan));
  }
  return plans;
}

MachinePlan MachinePlan::of(const ModelConfig& config, int64_t context) {
  MachinePlan plan;
  plan.context = context;
  plan.memory_bytes = memory_total_bytes();
  plan.caches_bytes = fathom::caches_bytes();
  plan.latents = config.is_mla();
  plan.processor = processor_name();
  plan.processors = num_processors();
  plan.measured = kept_measurement(&plan.not_measured);
  plan.formats = format_plans(config, context);
  return plan;
}

std::optional<double> MachinePlan::speed(const FormatPlan& f, bool full) const {
  const int64_t bytes = f.active_bytes + (full ? f.cache_bytes : 0);
  if (!measured || bytes <= caches_bytes) return std::nullopt;
  return measured->read_bytes_per_second / static_cast<double>(bytes);
}

Json MachinePlan::to_json() const {
  Json json = {{"processor", processor}, {"processors", processors}, {"memory_bytes", memory_bytes}};
  if (measured)
    json["read_bandwidth"] = {{"bytes_per_second", measured->read_bytes_per_second},
                              {"threads", measured->threads},
                              {"date", measured->date},
                              {"file", measurement_path()}};
  else
    json["read_bandwidth"] = nullptr, json["hint"] = not_measured + ": run `fathom doctor` to see speeds";
  json["context"] = context;
  json["formats"] = Json::array();
  for (const FormatPlan& f : formats) {
    Json j = {{"weights", f.name},
              {"weight_bytes", f.weight_bytes},
              {"active_weight_bytes", f.active_bytes},
              {"cache_bytes", f.cache_bytes},
              {"fits", fits(f)}};
    for (const bool full : {false, true}) {
      const std::optional<double> most = speed(f, full);
      j[full ? "max_tokens_per_second_full_context" : "max_tokens_per_second"] = most ? Json(*most) : Json(nullptr);
    }
    json["formats"].push_back(std::move(j));
  }
  return json;
}

void MachinePlan::print() const {
  const auto line = [&](const char* weights, const std::string& memory, const std::string& cache, const std::string& both,
                        const char* fit, const std::string& read, const std::string& most, const std::string& most_full) {
    std::printf("  %-7s %11s %11s %12s   %-4s %14s", weights, memory.c_str(), cache.c_str(), both.c_str(), fit, read.c_str());
    if (measured) std::printf(" %18s %14s", most.c_str(), most_full.c_str());
    std::printf("\n");
  };
  std::printf("\nOn this machine (%s, %d %s, %s of memory), one sequence of %s tokens%s:\n", processor.c_str(), processors,
              processors == 1 ? "processor" : "processors", gib(memory_bytes).c_str(), with_commas(context).c_str(),
              latents ? ", latents cached" : "");
  line("weights", "in memory", "+ cache", "= together", "fits", "a token reads", "tokens/s at most", "context full");
  for (const FormatPlan& f : formats)
    line(f.name.c_str(), gib(f.weight_bytes), gib(f.cache_bytes), gib(f.weight_bytes + f.cache_bytes), fits(f) ? "yes" : "no",
         gib(f.active_bytes), rate(speed(f, false)), rate(speed(f, true)));
  if (!measured) {
    std::printf("speeds: %s; run `fathom doctor` to see them here\n", not_measured.c_str());
    return;
  }
  std::printf("from %.1f GB/s that %d %s read (fathom doctor, %s)", measured->read_bytes_per_second / 1e9, measured->threads,
              measured->threads == 1 ? "thread" : "threads", measured->date.c_str());
  if (std::any_of(formats.begin(), formats.end(), [&](const FormatPlan& f) { return !speed(f, false); }))
    std::printf("; -: small enough for the processor's caches");
  std::printf("\n");
}

}  // namespace fathom
