#include "convert/convert.h"

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"

namespace fathom {

std::string config_for(const std::string& config_json, const std::string& torch_dtype, bool keep_mtp) {
  Json json = parse_json(config_json, "config.json");
  bool changed = false;
  const char* key = json.contains("dtype") && !json.contains("torch_dtype") ? "dtype" : "torch_dtype";
  if (!torch_dtype.empty() && (!json.contains(key) || json.at(key) != torch_dtype)) json[key] = torch_dtype, changed = true;
  if (json.contains("quantization_config")) json.erase("quantization_config"), changed = true;
  if (!keep_mtp && json.contains("num_nextn_predict_layers") && json.at("num_nextn_predict_layers") != 0)
    json["num_nextn_predict_layers"] = 0, changed = true;
  return changed ? json.dump(2) + "\n" : config_json;
}

void check_values(const std::string& tensor, const float* values, int64_t n, float largest, const char* type) {
  float top = 0, sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float a = std::fabs(values[i]);
    top = a > top ? a : top;
    sum += a - a;  // NaN where a value is not finite
  }
  if (sum != sum)
    fail_usage("convert", "tensor '" + printable(tensor) + "' holds NaN or infinity, which " + type + " cannot hold");
  if (top > largest)
    fail_usage("convert",
               "tensor '" + printable(tensor) + "' holds " + std::to_string(top) + ", which is too large for " + type);
}

ConvertReport convert_model(const ConvertOptions& options) {
  if (file_exists(options.to) || is_directory(options.to))
    fail_usage("convert", "'" + printable(options.to) + "' exists; remove it or give another name");
  const auto source = ModelSource::open(options.from);
  return options.format == ConvertOptions::Format::kGguf ? convert_to_gguf(*source, options)
                                                         : convert_to_directory(*source, options);
}

}  // namespace fathom
