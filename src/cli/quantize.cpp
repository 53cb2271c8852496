// fathom quantize: a model with fewer bits a weight, and what that costs.
#include <algorithm>
#include <cstdio>
#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "convert/quantize.h"

namespace fathom {
namespace {

Json to_json(const QuantizeReport& report, const std::string& scheme, double seconds) {
  const QuantizationError& error = report.error;
  const CalibrationReport& calibration = report.converted.calibration;
  return {{"scheme", scheme},
          {"tensors", report.converted.tensors},
          {"bytes_before", report.bytes_before},
          {"bytes", report.converted.bytes},
          {"seconds", seconds},
          {"quantised_tensors", error.tensors},
          {"quantised_values", error.values},
          {"relative_error", error.relative},
          {"worst_tensor", error.worst},
          {"worst_relative_error", error.worst_relative},
          {"calibrated_tensors", calibration.weights},
          {"output_error_ratio", calibration.weights > 0 ? Json(calibration.error_ratio()) : Json(nullptr)},
          {"rows_kept_nearest", calibration.nearest_rows},
          {"calibrated_rows", calibration.rows},
          {"source_was_quantised", report.quantised_before},
          {"warnings", report.converted.warnings}};
}

// The texts as the model's own tokenizer reads them.
Calibration read_calibration(const std::string& from, const std::vector<std::string>& texts, int64_t context, int64_t tokens) {
  const ModelFiles files(from);
  const auto tokenizer = files.tokenizer();
  if (!tokenizer) fail_usage("quantize", "'" + printable(from) + "' has no tokenizer; a calibration text cannot be encoded");
  Calibration calibration;
  calibration.text = TokenDataset::from_files(texts, &*tokenizer);
  calibration.context = std::min<int64_t>(context, files.config().max_position_embeddings);
  calibration.tokens = tokens;
  return calibration;
}

}  // namespace

int command_quantize(int argc, char** argv) {
  CommandLine command(
      "Quantise a model: fewer bits a weight, in a layout that other programs read too. GGUF types make a GGUF file; integers "
      "make a Hugging Face directory in compressed-tensors' layout. Embedding and head keep more bits (docs/QUANTIZING.md). "
      "Says "
      "the size before and after, and how far the weights moved: the root mean square of the differences over that of the "
      "weights. Needs little memory; a run that was stopped or killed goes on when the same command is given again. Schemes in "
      "-gptq fit the integers to a text: they need memory for the model and for what its layers see, and time to read the "
      "text.",
      "fathom quantize");
  command.footer(
      "Examples: fathom quantize DIR DIR-int8 --scheme int8\n"
      "          fathom quantize DIR model.gguf --scheme q4_k\n"
      "          fathom quantize DIR DIR-int4 --scheme int4-g128-gptq --calibrate text.jsonl");
  ConvertOptions options;
  std::string scheme;
  std::vector<std::string> texts;
  Calibration defaults;
  int64_t tokens = defaults.tokens, context = defaults.context;
  double shard_gb = 5;
  bool no_mtp = false, json = false;
  command.add_option("FROM", options.from, "model directory or FILE.gguf").required();
  command.add_option("TO", options.to, "what is made, a directory or FILE.gguf by the scheme; it must not exist yet")
      .required();
  command
      .add_option("--scheme", scheme,
                  "how: int8, int4-g32, int4-g128 and each of them with -gptq, q8_0, q6_k, q5_0, q4_k, q4_1, q4_0")
      .required()
      .one_of(quantize_scheme_names());
  const Option calibrate = command.add_option(
      "--calibrate", texts,
      "-gptq: texts like those that the model will meet (plain, JSONL, gzip, zstd); an eighth of them judges the result");
  command.add_option("--calibration-tokens", tokens, "of the texts that are read, taken evenly from all of them")
      .range(16, int64_t{1} << 32)
      .needs(calibrate)
      .show_default();
  command.add_option("--calibration-context", context, "tokens that the model sees at once")
      .range(2, int64_t{1} << 20)
      .needs(calibrate)
      .show_default();
  command.add_option("--shard-gb", shard_gb, "a directory: size of a safetensors file at most, in GB")
      .range(0.001, 1000.0)
      .show_default();
  command.add_flag("--no-mtp", no_mtp, "GGUF: leave the MTP layer out");
  command.add_flag("--json", json, "one JSON object on stdout: sizes, errors, seconds, warnings");
  add_threads_option(command);
  if (const auto code = command.parse(argc, argv)) return *code;
  options.shard_bytes = static_cast<int64_t>(shard_gb * 1e9);
  options.mtp = !no_mtp;

  std::optional<Calibration> calibration;
  if (!texts.empty()) options.calibration = &calibration.emplace(read_calibration(options.from, texts, context, tokens));

  install_stop_handler("\nstopping; the same command goes on from here\n");
  const double start = now_seconds();
  const QuantizeReport report = quantize_model(options, scheme);
  const double seconds = now_seconds() - start;
  if (report.converted.stopped) {
    log_warning("stopped; the same command goes on from here");
    return 1;
  }
  if (json) {
    std::printf("%s\n", to_json(report, scheme, seconds).dump().c_str());
    return 0;
  }
  const auto size = [](int64_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  const QuantizationError& error = report.error;
  std::printf("%s: %lld tensors in %s\n", printable(options.to, 4096).c_str(), static_cast<long long>(report.converted.tensors),
              format_duration(seconds).c_str());
  std::printf(
      "size    %s, before %s (%.0f %%)\n", size(report.converted.bytes).c_str(), size(report.bytes_before).c_str(),
      100 * static_cast<double>(report.converted.bytes) / static_cast<double>(std::max<int64_t>(1, report.bytes_before)));
  if (error.tensors == 0) {
    std::printf("error   none: no weight could be quantised to this scheme\n");
    return 0;
  }
  std::printf("error   %.3g %% of the weights (root mean squares, %lld tensors); most %.3g %% in %s\n", 100 * error.relative,
              static_cast<long long>(error.tensors), 100 * error.worst_relative, printable(error.worst).c_str());
  if (const CalibrationReport& fitted = report.converted.calibration; fitted.weights > 0)
    std::printf(
        "outputs %.1f %% of the squared error that the nearest codes make, on held-out text (mean of %lld tensors; "
        "%lld of %lld rows keep the nearest)\n",
        100 * fitted.error_ratio(), static_cast<long long>(fitted.weights), static_cast<long long>(fitted.nearest_rows),
        static_cast<long long>(fitted.rows));
  return 0;
}

}  // namespace fathom
