#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/safetensors.h"
#include "convert/convert.h"
#include "tensor/format/quantize.h"

namespace fathom {
namespace {

using Part = GgufTensorPlan::Part;

GgmlType type_named(const std::string& name) {
  const GgmlTypeInfo* info = find_ggml_type(std::string_view(name));
  if (!info || !can_quantize(info->type))
    fail_usage("convert",
               "--dtype " + printable(name) + " is not written; f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q4_k and q6_k are");
  return info->type;
}
// general.file_type: what most tensors are.
int64_t file_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return 0;
    case GgmlType::kF16:
      return 1;
    case GgmlType::kQ4_0:
      return 2;
    case GgmlType::kQ4_1:
      return 3;
    case GgmlType::kQ8_0:
      return 7;
    case GgmlType::kQ5_0:
      return 8;
    case GgmlType::kQ4_K:
      return 14;
    case GgmlType::kQ6_K:
      return 18;
    default:
      return 32;  // BF16
  }
}
bool is_block(GgmlType type) { return ggml_type_info(type).block > 1; }

// Vectors and the router stay F32, as every reader of GGUF expects. The head, and the MTP layer's copy of it, keeps more bits
// where the rest has four or five.
GgmlType type_for(const GgufTensorPlan& plan, GgmlType wanted, const ModelConfig& config, std::vector<std::string>& fallbacks) {
  if (plan.shape.size() < 2 || plan.name.find("ffn_gate_inp") != std::string::npos) return GgmlType::kF32;
  GgmlType type = wanted;
  const std::string original = published_original(plan.published[0], config),
                    main = original.empty() ? plan.published[0] : original;
  const bool head = main == (config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  const auto few = {GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ5_0, GgmlType::kQ4_K};
  if (head && std::find(few.begin(), few.end(), wanted) != few.end()) type = GgmlType::kQ6_K;
  const int64_t width = plan.shape.back();
  if (width % ggml_type_info(type).block == 0) return type;
  const GgmlType other = width % 32 == 0 ? GgmlType::kQ8_0 : GgmlType::kF16;
  fallbacks.push_back(plan.name + " (rows of " + std::to_string(width) + ") is " + ggml_type_info(other).name);
  return other;
}

// Row `row` of the GGUF tensor comes from this row of the published one.
int64_t published_row(const GgufTensorPlan& plan, int64_t row, int64_t rows) {
  if (plan.permuted_heads == 0) return row;
  const int64_t dim = rows / plan.permuted_heads, head = row / dim, j = row % dim;
  return head * dim + (j % 2 == 0 ? j / 2 : dim / 2 + j / 2);
}

class TensorWriter {
 public:
  TensorWriter(const ModelSource& source, GgufWriter& writer) : source_(source), writer_(writer) {}

  void write(const GgufTensorPlan& plan) {
    const ModelConfig& c = source_.config();
    if (plan.published.empty()) return divisors(plan);
    const int64_t nope = c.qk_nope_head_dim, v = c.v_head_dim, per_head = nope + v;
    for (const std::string& name : plan.published) {
      const ModelSource::Item& item = *source_.find(name);
      const int64_t width = item_width(item), rows = item_rows(item);
      if (plan.part == Part::kKeys) {
        std::vector<float> head(static_cast<size_t>(nope * width)), turned(head.size());
        for (int64_t h = 0; h < c.num_attention_heads; ++h) {
          source_.read_rows(item, h * per_head, h * per_head + nope, head.data());
          for (int64_t l = 0; l < width; ++l)
            for (int64_t i = 0; i < nope; ++i)
              turned[static_cast<size_t>(l * nope + i)] = head[static_cast<size_t>(i * width + l)];
          put(plan, width, nope, [&](int64_t begin, int64_t end, float* to) {
            std::copy_n(turned.data() + begin * nope, (end - begin) * nope, to);
          });
        }
      } else if (plan.part == Part::kValues) {
        put(plan, c.num_attention_heads * v, width, [&](int64_t begin, int64_t end, float* to) {
          for (int64_t r = begin; r < end; ++r, to += width) {
            const int64_t from = r / v * per_head + nope + r % v;
            source_.read_rows(item, from, from + 1, to);
          }
        });
      } else if (plan.permuted_heads > 0) {
        put(plan, rows, width, [&](int64_t begin, int64_t end, float* to) {
          for (int64_t r = begin; r < end; ++r, to += width) {
            const int64_t from = published_row(plan, r, rows);
            source_.read_rows(item, from, from + 1, to);
          }
        });
      } else {
        put(plan, rows, width, [&](int64_t begin, int64_t end, float* to) { source_.read_rows(item, begin, end, to); });
      }
    }
    writer_.end_tensor();
  }

 private:
  void divisors(const GgufTensorPlan& plan) {
    const std::vector<float> values = llama3_divisors(source_.config());
    CHECK(static_cast<int64_t>(values.size()) == plan.shape[0]);
    writer_.write(values.data(), plan.shape[0] * 4);
    writer_.end_tensor();
  }
  template <class Read>
  void put(const GgufTensorPlan& plan, int64_t rows, int64_t width, Read&& read) {
    const int64_t row_bytes = ggml_row_bytes(plan.type, width), chunk = std::max<int64_t>(1, kChunkValues / width);
    for (int64_t begin = 0; begin < rows; begin += chunk) {
      const int64_t n = std::min(chunk, rows - begin);
      bytes_.resize(static_cast<size_t>(n * row_bytes));
      values_.resize(static_cast<size_t>(n * width));
      const char* type = ggml_type_info(plan.type).name;
      const int64_t grain = std::max<int64_t>(1, 65536 / width);
      const bool exact = plan.type == GgmlType::kF32 || plan.type == GgmlType::kBF16;  // NaN and infinity included
      parallel_for(n, grain, [&](int64_t first, int64_t last) {
        float* values = values_.data() + first * width;
        read(begin + first, begin + last, values);
        if (!exact) check_values(plan.published[0], values, (last - first) * width, largest_value(plan.type), type);
        for (int64_t r = first; r < last; ++r)
          quantize_row(plan.type, values_.data() + r * width, width, bytes_.data() + r * row_bytes);
      });
      writer_.write(bytes_.data(), static_cast<int64_t>(bytes_.size()));
    }
  }
  const ModelSource& source_;
  GgufWriter& writer_;
  std::vector<float> values_;
  std::vector<std::byte> bytes_;
};

void check_complete(const ModelSource& source, const ModelConfig& config) {
  for (const PublishedTensor& tensor : published_tensors(config)) {
    const auto* item = source.find(tensor.name);
    if (!item) fail_usage("convert", "tensor '" + tensor.name + "' is missing; config.json asks for it");
    if (item->shape != tensor.shape)
      fail_usage("convert", "tensor '" + tensor.name + "' has shape " + shape_text(item->shape) + "; config.json expects " +
                                shape_text(tensor.shape));
  }
}

void add_sampling(const std::string& generation_json, GgufMetadata& m) {
  if (generation_json.empty()) return;
  const Json json = parse_json(generation_json, "generation_config.json");
  if (!json.is_object()) return;
  for (const auto& [name, key] : {std::pair{"temperature", "temp"}, {"top_p", "top_p"}, {"min_p", "min_p"}})
    if (json.contains(name) && json.at(name).is_number())
      m.f32(std::string("general.sampling.") + key, json.at(name).get<double>());
  if (json.contains("top_k") && json.at("top_k").is_number_integer() && json.at("top_k").get<int64_t>() > 0 &&
      json.at("top_k").get<int64_t>() < (int64_t{1} << 31))
    m.u32("general.sampling.top_k", json.at("top_k").get<int64_t>());
}

std::string base_name(std::string path) {
  while (!path.empty() && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

}  // namespace

ConvertReport convert_to_gguf(const ModelSource& source, const ConvertOptions& options) {
  ConvertReport report;
  source.check_readable();
  ModelConfig config = source.config();
  const bool fp8 =
      std::any_of(source.items().begin(), source.items().end(), [](const auto& i) { return i.dtype == DType::kF8E4M3; });
  std::string dtype = options.dtype;
  if (dtype.empty()) {
    const bool quantised = std::any_of(source.items().begin(), source.items().end(), [](const auto& i) { return i.quantised; });
    dtype = quantised ? "bf16" : config.torch_dtype == "float32" ? "f32" : config.torch_dtype == "float16" ? "f16" : "bf16";
    log_info("--dtype is not given: " + dtype + (quantised ? ", as the source is quantised" : ", as the source"));
  }
  const GgmlType wanted = type_named(dtype);
  if (config.num_nextn_predict_layers > 0 && !options.mtp) {
    report.warnings.push_back("the MTP layer (num_nextn_predict_layers " + std::to_string(config.num_nextn_predict_layers) +
                              ") is left out (--no-mtp)");
    config.num_nextn_predict_layers = 0;
  } else if (config.num_nextn_predict_layers > 0) {
    report.warnings.push_back(
        "the MTP layer (num_nextn_predict_layers " + std::to_string(config.num_nextn_predict_layers) +
        ") goes along as nextn tensors; programs older than those tensors refuse the file: --no-mtp leaves it out");
  }
  check_complete(source, config);

  // A tied checkpoint may hold the head a second time; names that the model does not use are not carried.
  std::vector<GgufTensorPlan> plans = gguf_tensors(config);
  if (const auto divisors = llama3_divisors(config); !divisors.empty()) {
    GgufTensorPlan plan;
    plan.name = "rope_freqs.weight";
    plan.shape = {static_cast<int64_t>(divisors.size())};
    plans.insert(plans.begin(), plan);
  }
  std::vector<std::string> fallbacks;
  int64_t matrices = 0;
  for (GgufTensorPlan& plan : plans) {
    plan.type = type_for(plan, wanted, config, fallbacks);
    matrices += plan.shape.size() > 1;
  }
  if (!fallbacks.empty()) {
    std::string line = std::to_string(fallbacks.size()) + " of " + std::to_string(matrices) + " matrices cannot be " + dtype +
                       " (rows of no whole blocks): " + fallbacks[0];
    for (size_t i = 1; i < fallbacks.size() && i < 3; ++i) line += ", " + fallbacks[i];
    report.warnings.push_back(line + (fallbacks.size() > 3 ? ", ..." : ""));
  }
  for (std::string& lost : lost_in_gguf(config)) report.warnings.push_back(std::move(lost));

  GgufMetadata metadata = gguf_config_metadata(config);
  metadata.string("general.type", "model");
  metadata.string("general.name", base_name(options.from));
  metadata.u32("general.file_type", file_type(wanted));
  if (is_block(wanted) || !fallbacks.empty()) metadata.u32("general.quantization_version", 2);
  add_sampling(source.generation_json, metadata);
  const std::string torch_dtype = wanted == GgmlType::kF32 ? "float32" : wanted == GgmlType::kF16 ? "float16" : "bfloat16";
  metadata.string("fathom.config", config_for(source.config_json, fp8 || !is_block(wanted) ? torch_dtype : "", options.mtp));
  if (!source.generation_json.empty()) metadata.string("fathom.generation_config", source.generation_json);
  if (!source.tokenizer.tokenizer_json.empty())
    metadata.append(gguf_tokenizer_metadata(source.tokenizer, config.vocab_size, report.warnings));
  else
    report.warnings.push_back(
        "the source has no tokenizer.json: the GGUF file has no tokenizer, and other programs may refuse it");
  // Ids that tokenizer_config.json does not name stand in config.json.
  if (!metadata.has("tokenizer.ggml.bos_token_id") && config.bos_token_id >= 0)
    metadata.u32("tokenizer.ggml.bos_token_id", config.bos_token_id);
  if (!metadata.has("tokenizer.ggml.eos_token_id") && !config.eos_token_ids.empty())
    metadata.u32("tokenizer.ggml.eos_token_id", config.eos_token_ids[0]);
  for (const std::string& warning : report.warnings) log_warning(warning);

  GgufWriter writer(options.to, metadata, plans, source.fingerprint);
  Progress progress("convert", writer.data_bytes() / kMiB + 1, "MiB");
  TensorWriter tensors(source, writer);
  int64_t done = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    int64_t rows = 1;
    for (size_t d = 0; d + 1 < plans[i].shape.size(); ++d) rows *= plans[i].shape[d];
    const int64_t bytes = rows * ggml_row_bytes(plans[i].type, plans[i].shape.back());
    if (i >= writer.next()) {
      if (i == writer.next() && i > 0) progress.update(done / kMiB, plans[i].name);
      if (stop_requested()) {
        report.stopped = true;
        return report;
      }
      tensors.write(plans[i]);
    }
    done += bytes;
    ++report.tensors;
    report.bytes += bytes;
  }
  progress.finish();
  writer.commit();
  return report;
}

}  // namespace fathom
