// fathom convert: Hugging Face directory <-> GGUF.
#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "convert/convert.h"

namespace fathom {

int command_convert(int argc, char** argv) {
  CommandLine command(
      "Convert a model: a Hugging Face directory or a GGUF file into either of them. Needs little memory; a conversion that "
      "was "
      "stopped or killed goes on when the same command is given again.",
      "fathom convert");
  command.footer(
      "Examples: fathom convert DIR model.gguf --to gguf --dtype q4_k\n"
      "          fathom convert model.gguf DIR --to hf\n"
      "          fathom convert FP8-DIR DIR --to hf --dtype bf16");
  ConvertOptions options;
  std::string format;
  double shard_gb = 5;
  bool no_mtp = false, json = false;
  command.add_option("FROM", options.from, "model directory or FILE.gguf").required();
  command.add_option("TO", options.to, "what is made; it must not exist yet").required();
  command.add_option("--to", format, "hf (a directory with safetensors) or gguf").required().one_of({"hf", "gguf"});
  command
      .add_option(
          "--dtype", options.dtype,
          "f32, f16, bf16; hf also int8, int4-g32, int4-g128 (linear layers' weights, as compressed-tensors); gguf also q8_0, "
          "q4_0, q4_1, q5_0, q4_k, q6_k "
          "(default: as the source; quantised sources become bf16, but a directory copied to a directory keeps every byte)")
      .one_of({"f32", "f16", "bf16", "int8", "int4-g32", "int4-g128", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k", "q6_k"});
  command.add_option("--shard-gb", shard_gb, "hf: size of a safetensors file at most, in GB")
      .range(0.001, 1000.0)
      .show_default();
  command.add_flag("--no-mtp", no_mtp, "gguf: leave the MTP layer out");
  command.add_flag("--json", json, "one JSON object on stdout: tensors, bytes, seconds, warnings");
  add_threads_option(command);
  if (const auto code = command.parse(argc, argv)) return *code;
  options.format = format == "gguf" ? ConvertOptions::Format::kGguf : ConvertOptions::Format::kHuggingFace;
  options.shard_bytes = static_cast<int64_t>(shard_gb * 1e9);
  options.mtp = !no_mtp;

  install_stop_handler("\nstopping; the same command goes on from here\n");
  const double start = now_seconds();
  const ConvertReport report = convert_model(options);
  const double seconds = now_seconds() - start;
  if (report.stopped) {
    log_warning("stopped; the same command goes on from here");
    return 1;
  }
  if (json) {
    Json result = {{"tensors", report.tensors}, {"bytes", report.bytes}, {"seconds", seconds}, {"warnings", report.warnings}};
    std::printf("%s\n", result.dump().c_str());
  } else {
    std::printf("%s: %lld tensors, %s in %s\n", printable(options.to, 4096).c_str(), static_cast<long long>(report.tensors),
                format_bytes(static_cast<double>(report.bytes)).c_str(), format_duration(seconds).c_str());
  }
  return 0;
}

}  // namespace fathom
