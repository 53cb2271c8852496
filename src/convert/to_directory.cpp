#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/safetensors_shard.h"
#include "convert/convert.h"
#include "tensor/format/bf16.h"
#include "tensor/format/f16.h"

namespace fathom {
namespace {

constexpr int64_t kChunkValues = 1 << 20;
constexpr int64_t kMiB = 1 << 20;
constexpr char kPlanFile[] = "convert.fathom";  // in an unfinished directory: what it is made from

DType dtype_named(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  fail_usage("convert", "--dtype " + printable(name) + " is no type of a Hugging Face directory here; f32, f16 and bf16 are");
}
const char* torch_name(DType dtype) { return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16"; }
bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF8E4M3;
}

// Whether all values of an F32 tensor are bfloat16's (or float16's).
bool fits(const ModelSource& source, const ModelSource::Item& item, DType dtype) {
  std::vector<float> row(static_cast<size_t>(item_width(item)));
  for (int64_t r = 0; r < item_rows(item); ++r) {
    source.read_rows(item, r, r + 1, row.data());
    for (const float x : row)
      if ((dtype == DType::kBF16 ? to_float(to_bf16(x)) : to_float(to_f16(x))) != x) return false;
  }
  return true;
}

struct Planned {
  const ModelSource::Item* item;
  DType dtype;
};

std::vector<Planned> plan_tensors(const ModelSource& source, const ConvertOptions& options, std::string& torch_dtype,
                                  std::vector<std::string>& warnings) {
  std::vector<Planned> plan;
  bool quantised = false;
  for (const auto& item : source.items()) quantised |= item.quantised;
  const bool as_stored = options.dtype.empty() && !(source.is_gguf() && quantised);
  if (as_stored && !source.is_gguf()) {
    for (const auto& item : source.items()) plan.push_back({&item, item.dtype});
    return plan;
  }
  // GGUF holds vectors and the router in F32 whatever the checkpoint had: without --dtype they return to its type where no
  // bit is lost.
  const std::string stored = source.config().torch_dtype;
  const DType target = !options.dtype.empty() ? dtype_named(options.dtype)
                       : quantised            ? DType::kBF16
                       : stored == "float32"  ? DType::kF32
                       : stored == "float16"  ? DType::kF16
                                              : DType::kBF16;
  if (options.dtype.empty() && quantised) log_info("--dtype is not given: bf16, as the source is quantised");
  torch_dtype = torch_name(target);
  for (const auto& item : source.items()) {
    if (!item.scale_of.empty() && source.find(item.scale_of)) continue;  // multiplied into their tensor
    DType dtype = is_float(item.dtype) ? target : item.dtype;
    if (item.name.ends_with("e_score_correction_bias")) dtype = DType::kF32;  // small beside its differences (spec §2.1)
    if (as_stored && item.dtype == DType::kF32 && dtype != DType::kF32 && !fits(source, item, dtype)) {
      dtype = DType::kF32;
      warnings.push_back("tensor '" + item.name + "' stays F32: its values are no " + torch_dtype);
    }
    plan.push_back({&item, dtype});
  }
  return plan;
}

void write_tensor(const ModelSource& source, const Planned& planned, SafetensorsShard& shard) {
  const ModelSource::Item& item = *planned.item;
  if (planned.dtype == item.dtype && !(source.is_gguf() && item.quantised)) {
    const Tensor tensor = source.read(item);
    if (tensor.bytes() > 0) shard.write(tensor.raw(), tensor.bytes());
    return;
  }
  const int64_t width = item_width(item), rows = item_rows(item),
                chunk = std::max<int64_t>(1, kChunkValues / std::max<int64_t>(1, width));
  std::vector<float> values;
  std::vector<uint16_t> half;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk), n = (end - begin) * width;
    values.resize(static_cast<size_t>(n));
    source.read_rows(item, begin, end, values.data());
    if (planned.dtype == DType::kF32) {
      shard.write(values.data(), n * 4);
      continue;
    }
    if (planned.dtype == DType::kF16) check_values(item.name, values.data(), n, 65504, "F16");
    half.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i)
      half[static_cast<size_t>(i)] = planned.dtype == DType::kBF16 ? to_bf16(values[static_cast<size_t>(i)]).bits
                                                                   : to_f16(values[static_cast<size_t>(i)]).bits;
    shard.write(half.data(), n * 2);
  }
}

}  // namespace

ConvertReport convert_to_directory(const ModelSource& source, const ConvertOptions& options) {
  ConvertReport report;
  std::string torch_dtype;
  const std::vector<Planned> plan = plan_tensors(source, options, torch_dtype, report.warnings);
  if (source.is_gguf() && source.tokenizer.tokenizer_json.empty())
    report.warnings.push_back("the GGUF file has no tokenizer: none is written");
  for (const std::string& warning : report.warnings) log_warning(warning);

  std::vector<ShardEntry> entries;
  std::map<std::string, const Planned*> by_name;
  for (const Planned& planned : plan) {
    entries.push_back({planned.item->name, planned.dtype, planned.item->shape});
    by_name[entries.back().name] = &planned;
  }
  const ShardPlan files = plan_shards(entries, options.shard_bytes);

  const std::string partial = options.to + ".partial", plan_path = partial + "/" + kPlanFile;
  std::string identity = source.fingerprint + "\n";
  for (size_t i = 0; i < files.shards.size(); ++i)
    for (const ShardEntry& entry : files.shards[i])
      identity += files.file_name(i) + " " + entry.name + " " + std::string(dtype_name(entry.dtype)) + " " +
                  std::to_string(entry.bytes()) + "\n";
  if (!file_exists(plan_path) || read_file(plan_path) != identity) {
    if (is_directory(partial)) remove_tree(partial);
    make_directories(partial);
    write_file_atomic(plan_path, identity);
  } else {
    remove_stale_temporaries(partial);
    log_info("'" + partial + "': going on with an unfinished conversion");
  }

  Progress progress("convert", files.total_bytes / kMiB + 1, "MiB");
  int64_t done = 0;
  for (size_t i = 0; i < files.shards.size(); ++i) {
    const std::string path = partial + "/" + files.file_name(i);
    const bool there = file_exists(path);  // shards appear whole
    if (there) {
      for (const ShardEntry& entry : files.shards[i]) done += entry.bytes();
    } else {
      SafetensorsShard shard(path, files.shards[i], source.metadata);
      for (const ShardEntry& entry : files.shards[i]) {
        if (stop_requested()) {
          report.stopped = true;
          return report;
        }
        progress.update(done / kMiB, entry.name);
        write_tensor(source, *by_name.at(entry.name), shard);
        done += entry.bytes();
      }
      shard.commit();
    }
    report.tensors += static_cast<int64_t>(files.shards[i].size());
  }
  report.bytes = done;
  if (const std::string index = files.index_json(); !index.empty())
    write_file_atomic(partial + "/model.safetensors.index.json", index);
  write_file_atomic(partial + "/config.json",
                    torch_dtype.empty() ? source.config_json : config_for(source.config_json, torch_dtype, true));
  for (const std::string& path : source.small_files)
    write_file_atomic(partial + path.substr(path.rfind('/')), read_file(path, int64_t{1} << 30));
  if (source.is_gguf()) {
    write_file_atomic(partial + "/generation_config.json", source.generation_json);
    if (!source.tokenizer.tokenizer_json.empty())
      write_file_atomic(partial + "/tokenizer.json", source.tokenizer.tokenizer_json);
    if (!source.tokenizer.tokenizer_config.empty())
      write_file_atomic(partial + "/tokenizer_config.json", source.tokenizer.tokenizer_config);
    if (!source.tokenizer.chat_template.empty() &&
        source.tokenizer.tokenizer_config.find("\"chat_template\"") == std::string::npos)
      write_file_atomic(partial + "/chat_template.jinja", source.tokenizer.chat_template);
  }
  progress.finish();
  remove_tree(plan_path);
  if (std::rename(partial.c_str(), options.to.c_str()) != 0)
    fail("convert", "'" + partial + "' cannot be named '" + options.to + "'");
  return report;
}

}  // namespace fathom
