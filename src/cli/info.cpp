// fathom info: what a model directory, a file of weights or a bare config.json holds, and what this machine could do with it.
#include <algorithm>
#include <cstdio>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "checkpoint/model_files.h"
#include "checkpoint/published_tensors.h"
#include "cli/command.h"
#include "cli/info_contents.h"
#include "cli/info_machine.h"
#include "cli/info_model.h"
#include "cli/info_text.h"
#include "cli/model_options.h"
#include "cli/number_text.h"

namespace fathom {
namespace {

constexpr int64_t kUsualContext = 32768;  // what R1 was evaluated with: a long thought and its answer

// All that is known of the target; parts that it does not have are empty.
struct Described {
  std::optional<ModelConfig> config;
  std::string unsupported;  // why a well-formed GGUF file is no model here
  FileContents contents;
  std::optional<TextInfo> text;
};

std::string gguf_hint(const std::string& directory) {
  for (const std::string& name : list_directory(directory))
    if (name.ends_with(".gguf")) return "; for the GGUF file in it give " + printable(directory + "/" + name);
  return "; is it a model directory?";
}

Described describe_directory(const ModelFiles& files) {
  Described d;
  const std::string& path = files.path();
  if (file_exists(path + "/config.json")) d.config = files.config();
  if (SafetensorsDirectory::exists(path))
    for (const auto& file : files.tensors().files()) d.contents.add(*file);
  if (!d.config && d.contents.files == 0)
    fail_usage("info", "'" + printable(path) + "' holds neither config.json nor model.safetensors" + gguf_hint(path));
  return d;
}

Described describe_gguf(const ModelFiles& files) {
  Described d;
  d.contents.add(files.gguf_file());
  try {
    d.config = files.config();
  } catch (const Error& e) {
    d.unsupported = e.what();
  }
  return d;
}

Described describe(const std::string& target) {
  if (is_directory(target) || is_gguf_file(target)) {
    const ModelFiles files(target);
    Described d = files.is_gguf() ? describe_gguf(files) : describe_directory(files);
    d.text = TextInfo::of(files);
    return d;
  }
  if (!file_exists(target))
    fail_usage("info",
               "there is no '" + printable(target) + "'; give a model directory, config.json, FILE.safetensors or FILE.gguf");
  Described d;
  if (target.ends_with(".json"))
    d.config = ModelConfig::from_file(target);
  else
    d.contents.add(SafetensorsFile::open(target));
  return d;
}

}  // namespace

int command_info(int argc, char** argv) {
  CommandLine command(
      "What a model is: parameters, checkpoint, cache, context, tokenizer, chat template; what its files hold; in which "
      "formats "
      "this machine could hold it and how fast it could decode at most. A bare config.json is enough for all but the files. "
      "Speeds come from the read bandwidth that `fathom doctor` measured last on this machine; nothing is measured here.",
      "fathom info");
  std::string target;
  int64_t context = 0;
  bool json_output = false, list = false, list_metadata = false;
  command.add_option("TARGET", target, "model directory, config.json, FILE.safetensors or FILE.gguf").required();
  command
      .add_option("--context", context,
                  "tokens that the cache is sized for (default: 32768, or the model's context if shorter)")
      .range(1, int64_t{1} << 31);
  command.add_flag("--tensors", list, "list every tensor");
  command.add_flag("--metadata", list_metadata, "list the files' metadata");
  command.add_flag("--json", json_output, "one JSON object on stdout");
  if (const auto code = command.parse(argc, argv)) return *code;

  const Described d = describe(target);
  std::optional<MachinePlan> plan;
  if (d.config) {
    if (context > d.config->max_position_embeddings)
      fail_usage("info", "--context " + std::to_string(context) + " is beyond the model's " +
                             std::to_string(d.config->max_position_embeddings) + " positions (max_position_embeddings)");
    if (context > std::numeric_limits<int64_t>::max() / cache_forms(*d.config).back().bytes_per_token)
      fail_usage("info", "the cache of --context " + std::to_string(context) + " tokens has more than 2^63 bytes");
    plan = MachinePlan::of(*d.config, context > 0 ? context : std::min(kUsualContext, d.config->max_position_embeddings));
  }
  if (json_output) {
    Json json = {{"source", printable(target, 4096)}};
    if (d.config) model_to_json(*d.config, json);
    if (!d.unsupported.empty()) json["unsupported"] = printable(d.unsupported, 1000);
    if (d.contents.files > 0) json.update(d.contents.to_json(list));
    if (d.text) d.text->to_json(json);
    if (plan) json["machine"] = plan->to_json();
    std::printf("%s\n", json.dump().c_str());
  } else {
    if (d.config) print_model(*d.config, d.contents.files == 0);
    if (!d.unsupported.empty())
      std::printf("model        none that is supported here: %s\n", printable(d.unsupported, 400).c_str());
    if (d.text) d.text->print(d.config ? d.config->vocab_size : 0);
    if (d.contents.files > 0) d.contents.print(list_metadata);
    if (d.config && d.contents.format == "safetensors")
      if (const int64_t n = published_size(*d.config).tensors; n != static_cast<int64_t>(d.contents.tensors.size()))
        std::printf("             config.json describes %s tensors (copies of a tied head or for MTP may be left out)\n",
                    with_commas(n).c_str());
    if (plan) plan->print();
    if (list && d.contents.files > 0) d.contents.print_tensors();
  }
  flush_stdout();
  return 0;
}

}  // namespace fathom
