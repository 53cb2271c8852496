#include "cli/sampling_options.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

// The number that all of `text` is; not a number otherwise.
double number_of(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return text.empty() || *end != 0 ? std::numeric_limits<double>::quiet_NaN() : value;
}

TokenBias token_bias(const std::string& id, double bias, const std::string& source, int64_t vocab_size) {
  const bool digits = !id.empty() && id.size() <= 9 && id.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || std::stoll(id) >= vocab_size)
    fail_usage("cli", source + ": '" + printable(id, 40) + "' is no token id of the vocabulary; ids go from 0 to " +
                          std::to_string(vocab_size - 1));
  if (!(std::fabs(bias) <= kLargestBias))
    fail_usage("cli", source + ": the bias of token " + id + " must be a number from -1000 to 1000");
  return {static_cast<int32_t>(std::stoll(id)), static_cast<float>(bias)};
}

std::vector<TokenBias> parse_logit_bias(const std::string& text, int64_t vocab_size) {
  std::vector<TokenBias> biases;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size()), colon = text.find(':', at);
    if (colon == std::string::npos || colon > end)
      fail_usage("cli", "--logit-bias: '" + printable(text.substr(at, end - at), 40) + "' is not ID:BIAS");
    biases.push_back(token_bias(text.substr(at, colon - at), number_of(text.substr(colon + 1, end - colon - 1)), "--logit-bias",
                                vocab_size));
    at = end + 1;
  }
  return biases;
}

}  // namespace

void read_sampling_fields(const Json& json, const std::string& source, SamplingParams& params) {
  for (const SamplingField& f : sampling_fields()) {
    if (!json.contains(f.name) || json.at(f.name).is_null()) continue;
    const Json& value = json.at(f.name);
    if (!value.is_number() || !f.holds(value.get<double>()))
      fail_usage("cli", source + ": " + f.name + " is " + printable(value.dump(), 40) + "; it must be " + f.range());
    f.set(params, value.get<double>());
  }
}

std::vector<TokenBias> logit_bias_of(const Json& json, const std::string& source, int64_t vocab_size) {
  if (!json.is_object()) fail_usage("cli", source + ": logit_bias must be an object of ids and biases");
  std::vector<TokenBias> biases;
  for (const auto& [id, bias] : json.members())
    biases.push_back(
        token_bias(id, bias.is_number() ? bias.get<double>() : std::numeric_limits<double>::quiet_NaN(), source, vocab_size));
  return biases;
}

void SamplingOptions::add(CommandLine& command) {
  for (const SamplingField& f : sampling_fields()) {
    std::string name = std::string("--") + f.name;
    std::replace(name.begin(), name.end(), '_', '-');
    const auto take = [this, &f](double value) { given.emplace_back(&f, value); };
    if (f.whole)
      command
          .add_integer_function(
              name, [take](int64_t n) { take(static_cast<double>(n)); }, f.help)
          .range(static_cast<int64_t>(f.low), static_cast<int64_t>(f.high));
    else
      command.add_number_function(name, take, f.help).range(f.low, f.high);
  }
  command.add_option("--logit-bias", logit_bias, "ID:BIAS,ID:BIAS: added to the logits of these tokens");
  command.add_option("--seed", seed, "same seed, same text").show_default();
}

SamplingOptions::Resolved SamplingOptions::resolve(const ModelFiles& files, const std::optional<Tokenizer>& tokenizer) const {
  const ModelConfig& config = files.config();
  Resolved resolved;
  SamplingParams& params = resolved.params;
  resolved.stop_ids = config.eos_token_ids;
  if (tokenizer && tokenizer->eos_id() >= 0) resolved.stop_ids.push_back(tokenizer->eos_id());
  const std::string path = files.path() + ", generation_config.json", text = files.generation_json();
  if (!text.empty()) {
    const Json json = parse_json(text, path);
    if (!json.is_object()) fail_usage("cli", path + ": not a JSON object");
    auto has = [&](const char* field) { return json.contains(field) && !json.at(field).is_null(); };
    read_sampling_fields(json, path, params);
    if (has("do_sample") && json.at("do_sample") == false) params.temperature = 0;
    if (has("eos_token_id")) {
      const Json& eos = json.at("eos_token_id");
      for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
        if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= config.vocab_size)
          fail_usage("cli", path + ": eos_token_id " + printable(id.dump()) + " is no id of the vocabulary");
        resolved.stop_ids.push_back(id.get<int32_t>());
      }
    }
  }
  std::sort(resolved.stop_ids.begin(), resolved.stop_ids.end());
  resolved.stop_ids.erase(std::unique(resolved.stop_ids.begin(), resolved.stop_ids.end()), resolved.stop_ids.end());
  for (const auto& [field, value] : given) field->set(params, value);
  if (!logit_bias.empty()) params.logit_bias = parse_logit_bias(logit_bias, config.vocab_size);
  return resolved;
}

}  // namespace fathom
