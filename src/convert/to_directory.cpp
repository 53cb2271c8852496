#include <cstring>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/published_tensors.h"
#include "checkpoint/safetensors_shard.h"
#include "convert/convert.h"
#include "model/model_config_quantization.h"
#include "tensor/format/bf16.h"
#include "tensor/format/f16.h"
#include "tensor/format/int_group.h"

namespace fathom {
namespace {

constexpr int64_t kGrainValues = 1 << 16;       // of one thread's part of a chunk
constexpr char kPlanFile[] = "convert.fathom";  // in an unfinished directory: what it is made from

DType dtype_named(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  fail_usage("convert", "--dtype " + printable(name) +
                            " is no type of a Hugging Face directory here; f32, f16, bf16, int8, int4-g32 and int4-g128 are");
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

// A tensor of the directory: `item` as `dtype`, or a part of its quantised form.
struct Planned {
  const ModelSource::Item* item;
  DType dtype;
  enum class Part { kValues, kCodes, kScales, kShape } part = Part::kValues;
  WeightFormat weights = WeightFormat::kPlain;

  bool int8() const { return weights == WeightFormat::kInt8Row; }
  int64_t group() const { return int8() ? item->shape[1] : block_layout(weights).group; }  // of values with one scale
  ShardEntry entry() const {
    switch (part) {
      case Part::kValues:
        break;
      case Part::kCodes:
        if (!int8()) return {item->name + "_packed", dtype, {item->shape[0], item->shape[1] / 8}};
        break;
      case Part::kScales:
        return {item->name + "_scale", dtype, {item->shape[0], item->shape[1] / group()}};
      case Part::kShape:
        return {item->name + "_shape", dtype, {2}};
    }
    return {item->name, dtype, item->shape};
  }
};
std::vector<Planned> quantised_parts(const ModelSource::Item& item, WeightFormat weights) {
  using Part = Planned::Part;
  if (weights == WeightFormat::kInt8Row)
    return {{&item, DType::kI8, Part::kCodes, weights}, {&item, DType::kF16, Part::kScales, weights}};
  return {{&item, DType::kI32, Part::kCodes, weights},
          {&item, DType::kF16, Part::kScales, weights},
          {&item, DType::kI64, Part::kShape, weights}};
}

struct Plan {
  std::vector<Planned> tensors;
  std::string config_json;
};

// The format of a directory's weights that --dtype asks for; kPlain: a type of values.
WeightFormat quantised_format(const std::string& dtype) {
  const WeightFormat format = weight_format_from_name(dtype).value_or(WeightFormat::kPlain);
  return format == WeightFormat::kInt8Row || is_int4(format) ? format : WeightFormat::kPlain;
}

// config.json's quantization_config where the linear layers' weights become `weights`: what is a matrix and not one of them is
// named as left out, and so is `plain`.
std::string quantised_config(const std::string& config_json, WeightFormat weights, const ModelConfig& config,
                             const std::vector<std::string>& plain) {
  std::vector<std::string> ignore = {"lm_head"};
  if (config.n_routed_experts > 0) ignore.push_back("re:.*\\.mlp\\.gate$");
  if (config.num_nextn_predict_layers > 0) ignore.insert(ignore.end(), {"re:.*\\.eh_proj$", "re:.*\\.shared_head\\.head$"});
  for (const std::string& weight : plain) ignore.push_back(weight.substr(0, weight.rfind(".weight")));
  Json json = parse_json(config_json, "config.json");
  json["quantization_config"] = compressed_tensors_config(weights, ignore);
  return json.dump(2) + "\n";
}

Plan plan_tensors(const ModelSource& source, const ConvertOptions& options, std::vector<std::string>& warnings) {
  Plan plan;
  bool quantised = false;
  for (const auto& item : source.items()) quantised |= item.quantised;
  const WeightFormat weights = quantised_format(options.dtype);
  const bool quantising = weights != WeightFormat::kPlain;
  if (!source.is_gguf() && (options.dtype.empty() || (quantising && weights == source.config().quantization.weights))) {
    for (const auto& item : source.items())
      if (item.stored) plan.tensors.push_back({&item, item.dtype});
    plan.config_json = source.config_json;
    return plan;
  }
  source.check_readable();
  const bool plain_as_stored = options.dtype.empty() && !quantised;  // of a GGUF file
  // GGUF holds vectors and the router in F32 whatever the checkpoint had: without --dtype they return to its type where no
  // bit is lost.
  const std::string stored = source.config().torch_dtype;
  const DType target = !options.dtype.empty() && !quantising ? dtype_named(options.dtype)
                       : quantised                           ? DType::kBF16
                       : stored == "float32"                 ? DType::kF32
                       : stored == "float16"                 ? DType::kF16
                                                             : DType::kBF16;
  if (options.dtype.empty() && quantised) log_info("--dtype is not given: bf16, as the source is quantised");
  const std::string torch_dtype = torch_name(target);
  std::map<std::string, std::vector<int64_t>> linear;  // and their shapes
  std::vector<std::string> plain;                      // linear ones whose rows are no whole groups
  if (quantising)
    for (const PublishedTensor& tensor : published_tensors(source.config()))
      if (tensor.linear) linear[tensor.name] = tensor.shape;
  for (const auto& item : source.items()) {
    const auto* whole = item.part_of.empty() ? nullptr : source.find(item.part_of);
    if (whole && whole->quantised) continue;
    if (const auto expected = linear.find(item.name); expected != linear.end()) {
      if (item.shape != expected->second)
        fail_usage("convert", "tensor '" + printable(item.name) + "' has shape " + shape_text(item.shape) +
                                  "; config.json expects " + shape_text(expected->second));
      if (item.shape[1] % k_multiple(weights) == 0) {
        for (const Planned& part : quantised_parts(item, weights)) plan.tensors.push_back(part);
        continue;
      }
      plain.push_back(item.name);
    }
    DType dtype = item.quantised || is_float(item.dtype) ? target : item.dtype;
    if (item.name.ends_with("e_score_correction_bias")) dtype = DType::kF32;  // small beside its differences (spec §2.1)
    if (plain_as_stored && item.dtype == DType::kF32 && dtype != DType::kF32 && !fits(source, item, dtype)) {
      dtype = DType::kF32;
      warnings.push_back("tensor '" + item.name + "' stays F32: its values are no " + torch_dtype);
    }
    plan.tensors.push_back({&item, dtype});
  }
  if (quantising && plain.size() == linear.size())
    fail_usage("convert", "no weight of '" + options.from + "' has rows of whole groups for " + options.dtype +
                              " (widths such as " + std::to_string(source.find(plain[0])->shape[1]) + "); choose another type");
  plan.config_json = config_for(source.config_json, torch_dtype, true);
  if (quantising) plan.config_json = quantised_config(plan.config_json, weights, source.config(), plain);
  if (!plain.empty())
    warnings.push_back(std::to_string(plain.size()) + " of " + std::to_string(linear.size()) + " weights cannot be " +
                       options.dtype + " (rows of no whole groups) and stay " + torch_dtype + ": " + plain[0] +
                       (plain.size() > 1 ? ", ..." : ""));
  return plan;
}

void check_integers(const Planned& planned, const float* values, int64_t n) {
  check_values(planned.item->name, values, n, planned.int8() ? kInt8Largest : kInt4Largest, "integers with scales in F16");
}
f16 scale_of(const Planned& planned, const float* group) {
  return planned.int8() ? int8_scale(group, planned.group()) : int4_scale(group, planned.group());
}

// Rows [0, n) of `values` in their type and part; `to` is that many rows.
void encode_rows(const Planned& planned, const float* values, int64_t n, int64_t width, std::byte* to) {
  const int64_t count = n * width;
  if (planned.part != Planned::Part::kValues) {
    const bool int8 = planned.int8();
    const int64_t group = planned.group();
    check_integers(planned, values, count);
    for (int64_t i = 0; i < count / group; ++i, values += group) {
      const f16 scale = scale_of(planned, values);
      if (planned.part == Planned::Part::kScales)
        std::memcpy(to + i * 2, &scale.bits, 2);
      else if (int8)
        quantize_int8(values, group, scale, reinterpret_cast<int8_t*>(to) + i * group);
      else
        quantize_int4(values, group, scale, reinterpret_cast<uint8_t*>(to) + i * group / 2);
    }
    return;
  }
  if (planned.dtype == DType::kF32) {
    std::memcpy(to, values, static_cast<size_t>(count) * 4);
    return;
  }
  const bool half = planned.dtype == DType::kF16;
  if (half) check_values(planned.item->name, values, count, 65504, "F16");
  uint16_t* bits = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < count; ++i) bits[i] = half ? to_f16(values[i]).bits : to_bf16(values[i]).bits;
}

// Codes [n, width] of rows as the file holds them: int8 as they are, int4 plus 8, two a byte, the low one first.
void encode_codes(const Tensor& codes, bool int8, std::byte* to) {
  const int8_t* from = codes.data<int8_t>();
  if (int8) {
    std::memcpy(to, from, static_cast<size_t>(codes.numel()));
    return;
  }
  for (int64_t i = 0; i < codes.numel() / 2; ++i)
    to[i] = static_cast<std::byte>((from[2 * i] + 8) | (from[2 * i + 1] + 8) << 4);
}

// The codes of a weight, fitted by `rounding` under the scales that the nearest codes have. False: a stop was requested.
bool write_calibrated(const ModelSource& source, const Planned& planned, CalibratedRounding& rounding,
                      SafetensorsShard& shard) {
  const ModelSource::Item& item = *planned.item;
  if (!rounding.begin(item.name)) return false;
  const int64_t width = item_width(item), rows = item_rows(item), group = planned.group(),
                chunk = std::max<int64_t>(1, kChunkValues / width);
  const bool int8 = planned.int8();
  const IntLayout layout = {group, int8 ? kInt8Lowest : kInt4Lowest, int8 ? kInt8Highest : kInt4Highest};
  Tensor values = Tensor::empty({std::min(rows, chunk), width}, DType::kF32);
  Tensor codes = Tensor::empty(values.shape(), DType::kI8);
  std::vector<f16> scales;
  std::vector<std::byte> bytes;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t n = std::min(rows - begin, chunk), row_bytes = planned.entry().bytes() / rows;
    Tensor w = values.slice_rows(0, n), c = codes.slice_rows(0, n);
    scales.resize(static_cast<size_t>(n * width / group));
    bytes.resize(static_cast<size_t>(n * row_bytes));
    parallel_for(n, std::max<int64_t>(1, kGrainValues / width), [&](int64_t first, int64_t last) {
      source.read_rows(item, begin + first, begin + last, w.row<float>(first));
      check_integers(planned, w.row<float>(first), (last - first) * width);
      for (int64_t i = first * width; i < last * width; i += group)
        scales[static_cast<size_t>(i / group)] = scale_of(planned, w.data<float>() + i);
    });
    rounding.round(w, scales, layout, c);
    encode_codes(c, int8, bytes.data());
    shard.write(bytes.data(), static_cast<int64_t>(bytes.size()));
  }
  rounding.end();
  return true;
}

void write_tensor(const ModelSource& source, const Planned& planned, SafetensorsShard& shard) {
  const ModelSource::Item& item = *planned.item;
  if (planned.part == Planned::Part::kValues && planned.dtype == item.dtype && item.stored) {
    const Tensor tensor = source.read(item);
    if (tensor.bytes() > 0) shard.write(tensor.raw(), tensor.bytes());
    return;
  }
  if (planned.part == Planned::Part::kShape) {
    const int64_t shape[2] = {item.shape[0], item.shape[1]};
    shard.write(shape, sizeof shape);
    return;
  }
  const int64_t width = item_width(item), rows = item_rows(item),
                chunk = std::max<int64_t>(1, kChunkValues / std::max<int64_t>(1, width)),
                row_bytes = planned.entry().bytes() / std::max<int64_t>(1, rows);
  std::vector<float> values;
  std::vector<std::byte> bytes;
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk), n = end - begin;
    values.resize(static_cast<size_t>(n * width));
    bytes.resize(static_cast<size_t>(n * row_bytes));
    parallel_for(n, std::max<int64_t>(1, kGrainValues / std::max<int64_t>(1, width)), [&](int64_t first, int64_t last) {
      float* from = values.data() + first * width;
      source.read_rows(item, begin + first, begin + last, from);
      encode_rows(planned, from, last - first, width, bytes.data() + first * row_bytes);
    });
    shard.write(bytes.data(), static_cast<int64_t>(bytes.size()));
  }
}

}  // namespace

ConvertReport convert_to_directory(const ModelSource& source, const ConvertOptions& options) {
  ConvertReport report;
  const Plan plan = plan_tensors(source, options, report.warnings);
  if (source.is_gguf() && source.tokenizer.tokenizer_json.empty())
    report.warnings.push_back("the GGUF file has no tokenizer: none is written");
  for (const std::string& warning : report.warnings) log_warning(warning);

  std::vector<ShardEntry> entries;
  std::map<std::string, const Planned*> by_name;
  for (const Planned& planned : plan.tensors) {
    entries.push_back(planned.entry());
    by_name[entries.back().name] = &planned;
  }
  const ShardPlan files = plan_shards(entries, options.shard_bytes);
  std::optional<CalibratedRounding> rounding;
  if (options.calibration) {
    std::vector<std::string> weights;
    for (const auto& shard : files.shards)
      for (const ShardEntry& entry : shard)
        if (const Planned& planned = *by_name.at(entry.name); planned.part == Planned::Part::kCodes)
          weights.push_back(planned.item->name);
    if (weights.empty())
      fail_usage("convert", "'" + printable(options.from) + "' is " + options.dtype + " already: nothing to calibrate");
    rounding.emplace(source.files(), *options.calibration, std::move(weights));
  }

  const std::string partial = options.to + ".partial", plan_path = partial + "/" + kPlanFile;
  std::string identity = source.fingerprint + "\n" + (rounding ? rounding->identity() + "\n" : "");
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
        const Planned& planned = *by_name.at(entry.name);
        if (!rounding || planned.part != Planned::Part::kCodes) {
          write_tensor(source, planned, shard);
        } else if (!write_calibrated(source, planned, *rounding, shard)) {
          report.stopped = true;
          return report;
        }
        done += entry.bytes();
      }
      shard.commit();
    }
    report.tensors += static_cast<int64_t>(files.shards[i].size());
  }
  report.bytes = done;
  if (rounding) report.calibration = rounding->report();
  if (const std::string index = files.index_json(); !index.empty())
    write_file_atomic(partial + "/model.safetensors.index.json", index);
  write_file_atomic(partial + "/config.json", plan.config_json);
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
