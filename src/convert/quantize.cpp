#include "convert/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "checkpoint/safetensors.h"

namespace fathom {
namespace {

using Format = ConvertOptions::Format;
constexpr QuantizeScheme kSchemes[] = {
    {"int8", Format::kHuggingFace, "int8"},
    {"int4-g32", Format::kHuggingFace, "int4-g32"},
    {"int4-g128", Format::kHuggingFace, "int4-g128"},
    {"int8-gptq", Format::kHuggingFace, "int8", true},
    {"int4-g32-gptq", Format::kHuggingFace, "int4-g32", true},
    {"int4-g128-gptq", Format::kHuggingFace, "int4-g128", true},
    {"q8_0", Format::kGguf, "q8_0"},
    {"q6_k", Format::kGguf, "q6_k"},
    {"q5_0", Format::kGguf, "q5_0"},
    {"q4_k", Format::kGguf, "q4_k"},
    {"q4_1", Format::kGguf, "q4_1"},
    {"q4_0", Format::kGguf, "q4_0"},
};

struct Squares {
  double difference = 0, original = 0;
};
Squares squares_of(const ModelSource& from, const ModelSource& to, const ModelSource::Item& before,
                   const ModelSource::Item& after) {
  const int64_t width = item_width(before), rows = item_rows(before), grain = std::max<int64_t>(1, (1 << 16) / width),
                pieces = (rows + grain - 1) / grain;
  std::vector<Squares> sums(static_cast<size_t>(pieces));
  parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> a(static_cast<size_t>(grain * width)), b(a.size());
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * grain, last = std::min(rows, first + grain);
      from.read_rows(before, first, last, a.data());
      to.read_rows(after, first, last, b.data());
      Squares& s = sums[static_cast<size_t>(p)];
      for (int64_t i = 0; i < (last - first) * width; ++i) {
        const double x = static_cast<double>(a[static_cast<size_t>(i)]), d = static_cast<double>(b[static_cast<size_t>(i)]) - x;
        s.difference += d * d;
        s.original += x * x;
      }
    }
  });
  Squares all;
  for (const Squares& s : sums) all.difference += s.difference, all.original += s.original;
  return all;
}

}  // namespace

std::span<const QuantizeScheme> quantize_schemes() { return kSchemes; }
std::vector<std::string> quantize_scheme_names() {
  std::vector<std::string> names;
  for (const QuantizeScheme& scheme : kSchemes) names.push_back(scheme.name);
  return names;
}

QuantizationError compare_weights(const ModelSource& from, const ModelSource& to) {
  QuantizationError error;
  Squares all;
  Progress progress("compare", static_cast<int64_t>(to.items().size()), "tensors");
  int64_t done = 0;
  for (const auto& after : to.items()) {
    if (stop_requested()) break;
    progress.update(done++, after.name);
    const auto* before = after.quantised ? from.find(after.name) : nullptr;
    if (!before) continue;
    if (before->shape != after.shape)
      fail_usage("convert", "tensor '" + printable(after.name) + "' has shape " + shape_text(after.shape) + ", its original " +
                                shape_text(before->shape));
    const Squares s = squares_of(from, to, *before, after);
    if (s.original == 0) continue;
    all.difference += s.difference, all.original += s.original;
    ++error.tensors;
    error.values += item_rows(after) * item_width(after);
    if (const double relative = std::sqrt(s.difference / s.original); relative > error.worst_relative || error.worst.empty())
      error.worst = after.name, error.worst_relative = relative;
  }
  progress.finish();
  if (all.original > 0) error.relative = std::sqrt(all.difference / all.original);
  return error;
}

QuantizeReport quantize_model(ConvertOptions options, const std::string& scheme) {
  const auto* found = std::find_if(std::begin(kSchemes), std::end(kSchemes), [&](const auto& s) { return s.name == scheme; });
  if (found == std::end(kSchemes)) {
    std::string names;
    for (const QuantizeScheme& s : kSchemes) names += (names.empty() ? "" : ", ") + std::string(s.name);
    fail_usage("quantize", "--scheme " + printable(scheme) + " is not known; schemes are " + names);
  }
  options.format = found->format, options.dtype = found->dtype;
  if (found->calibrated && !options.calibration)
    fail_usage("quantize", "--scheme " + scheme + " fits its codes to a text; give --calibrate FILE");
  if (!found->calibrated && options.calibration)
    fail_usage("quantize", "--scheme " + scheme + " looks at no text; leave --calibrate out, or choose a scheme in -gptq");
  QuantizeReport report;
  const auto source = ModelSource::open(options.from);
  report.bytes_before = source->stored_bytes();
  report.quantised_before =
      std::any_of(source->items().begin(), source->items().end(), [](const auto& item) { return item.quantised; });
  if (report.quantised_before)
    log_warning("'" + options.from + "' is quantised already: its error stays, and the new one is measured against it");
  report.converted = convert_model(options);
  if (report.converted.stopped) return report;
  report.error = compare_weights(*source, *ModelSource::open(options.to));
  return report;
}

}  // namespace fathom
