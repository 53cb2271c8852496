#include "model/model_config_quantization.h"

#include "base/check.h"
#include "base/utf8.h"
#include "model/model_config_fields.h"

namespace fathom {
namespace {

constexpr char kPrefix[] = "quantization_config.";

struct Scheme {  // a format of compressed-tensors that is read and written
  WeightFormat weights;
  const char* format;
  int64_t num_bits;
  const char* strategy;
  int64_t group_size;  // 0: none
};
constexpr Scheme kSchemes[] = {{WeightFormat::kInt8Row, "int-quantized", 8, "channel", 0},
                               {WeightFormat::kInt4Group32, "pack-quantized", 4, "group", 32},
                               {WeightFormat::kInt4Group128, "pack-quantized", 4, "group", 128}};

std::string in_quotes(const std::string& text) { return "'" + printable(text) + "'"; }

// One object of compressed-tensors' config, of which every field is either as expected or the reason why it is not read.
class Reader {
 public:
  Reader(const Json& object, const std::string& source, const std::string& prefix, std::string& unsupported)
      : fields_(object, source, prefix), prefix_(prefix), unsupported_(unsupported) {}
  const Fields& fields() const { return fields_; }
  void refuse(const std::string& name, const std::string& found, const std::string& expected) const {
    if (unsupported_.empty()) unsupported_ = prefix_ + name + " is " + found + "; read is " + expected;
  }
  // Absent, null, false, or empty: the field asks for nothing.
  void expect_none(const char* name, const char* expected) const {
    const Json* v = fields_.find(name);
    if (v && !(v->is_boolean() && !v->get<bool>()) && !((v->is_object() || v->is_array() || v->is_string()) && v->empty()))
      refuse(name, printable(Fields::shorten(*v)), expected);
  }

 private:
  const Fields fields_;
  std::string prefix_;
  std::string& unsupported_;
};

// Of one config group: its weights' scheme. kPlain where it is refused.
WeightFormat read_group(const Json& group, const std::string& name, const std::string& source, std::string format,
                        std::string& unsupported) {
  const std::string prefix = std::string(kPrefix) + "config_groups." + printable(name) + ".";
  const Reader r(group, source, prefix, unsupported);
  r.fields().text("format", format);
  r.expect_none("input_activations", "null: activations keep 16 or 32 bits");
  r.expect_none("output_activations", "null");
  const Json* weights = r.fields().object("weights");
  if (!weights) {
    r.refuse("weights", "missing", "an object with num_bits, type, strategy");
    return WeightFormat::kPlain;
  }
  const Reader w(*weights, source, prefix + "weights.", unsupported);
  int64_t num_bits = 8, group_size = 0;
  std::string type = "int", strategy;
  bool symmetric = true;
  w.fields().integer("num_bits", num_bits);
  w.fields().integer("group_size", group_size);
  w.fields().text("type", type);
  w.fields().text("strategy", strategy);
  w.fields().boolean("symmetric", symmetric);
  if (strategy.empty()) strategy = group_size > 0 ? "group" : group_size == -1 ? "channel" : "tensor";
  if (type != "int") w.refuse("type", in_quotes(type), "'int'");
  if (!symmetric) w.refuse("symmetric", "false (zero points)", "true");
  w.expect_none("dynamic", "false");
  w.expect_none("block_structure", "null");
  for (const Scheme& scheme : kSchemes) {
    if (format != scheme.format || (scheme.weights == WeightFormat::kInt4Group32 && group_size != 32)) continue;
    if (num_bits != scheme.num_bits) w.refuse("num_bits", std::to_string(num_bits), std::to_string(scheme.num_bits));
    if (strategy != scheme.strategy) w.refuse("strategy", in_quotes(strategy), "'" + std::string(scheme.strategy) + "'");
    if (scheme.group_size > 0 && group_size != scheme.group_size)
      w.refuse("group_size", std::to_string(group_size), "32 or 128");
    return scheme.weights;
  }
  Reader(group, source, kPrefix, unsupported).refuse("format", in_quotes(format), "'int-quantized' or 'pack-quantized'");
  return WeightFormat::kPlain;
}

void read_compressed_tensors(const Json& object, const std::string& source, ModelConfig::Quantization& q) {
  const Reader r(object, source, kPrefix, q.unsupported);
  std::string format = "dense";
  r.fields().text("format", format);
  r.expect_none("kv_cache_scheme", "null");
  r.expect_none("sparsity_config", "null");
  r.expect_none("transform_config", "null");
  const Json* groups = r.fields().object("config_groups");
  if (!groups || groups->empty()) {
    r.refuse("config_groups", "missing or empty", "an object with one group");
  } else {
    bool first = true;
    for (const auto& [name, group] : groups->members()) {
      if (!group.is_object()) {
        r.refuse("config_groups." + printable(name), printable(Fields::shorten(group)), "an object with weights and targets");
        continue;
      }
      const WeightFormat weights = read_group(group, name, source, format, q.unsupported);
      if (!first && weights != q.weights)
        r.refuse("config_groups." + printable(name), "of another scheme than the group before", "one scheme for all groups");
      q.weights = weights;
      first = false;
    }
  }
  if (!q.unsupported.empty()) q.weights = WeightFormat::kPlain;
}

}  // namespace

ModelConfig::Quantization read_quantization(const Json& object, const std::string& source) {
  ModelConfig::Quantization q;
  const Fields f(object, source, kPrefix);
  f.text("quant_method", q.quant_method, true);
  if (q.is_compressed_tensors()) {
    read_compressed_tensors(object, source, q);
    return q;
  }
  f.text("fmt", q.fmt);
  if (const Json* block = f.array("weight_block_size"))
    for (const Json& size : *block) {
      if (!size.is_number_integer()) f.bad("weight_block_size", "must be whole numbers, is " + Fields::shorten(*block));
      q.weight_block_size.push_back(size.get<int64_t>());
    }
  return q;
}

Json compressed_tensors_config(WeightFormat weights, const std::vector<std::string>& ignore) {
  for (const Scheme& scheme : kSchemes) {
    if (scheme.weights != weights) continue;
    const Json of_weights = {{"num_bits", scheme.num_bits},
                             {"type", "int"},
                             {"symmetric", true},
                             {"strategy", scheme.strategy},
                             {"group_size", scheme.group_size > 0 ? Json(scheme.group_size) : Json(nullptr)},
                             {"dynamic", false}};
    Json config = {{"quant_method", "compressed-tensors"}, {"format", scheme.format}, {"quantization_status", "compressed"}};
    config["config_groups"]["group_0"] = {{"targets", {"Linear"}},
                                          {"format", scheme.format},
                                          {"weights", of_weights},
                                          {"input_activations", nullptr},
                                          {"output_activations", nullptr}};
    config["ignore"] = ignore;
    config["kv_cache_scheme"] = nullptr;
    return config;
  }
  CHECK(false && "a format that compressed-tensors has");
  return {};
}

}  // namespace fathom
