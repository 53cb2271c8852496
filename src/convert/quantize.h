// Quantising a whole model: a conversion whose target has fewer bits, and what it cost the weights.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "convert/convert.h"

namespace fathom {

struct QuantizeScheme {
  const char* name;
  ConvertOptions::Format format;  // a directory in compressed-tensors' layout, or a GGUF file
  const char* dtype;              // of ConvertOptions
  bool calibrated = false;        // GPTQ: codes fitted to a text; else the nearest ones
};
std::span<const QuantizeScheme> quantize_schemes();
std::vector<std::string> quantize_scheme_names();

// How far the weights of `to` that are quantised are from those of `from`, as root mean squares, difference to original.
struct QuantizationError {
  int64_t tensors = 0, values = 0;
  double relative = 0;
  std::string worst;  // the tensor with the largest, and that
  double worst_relative = 0;
};
// Reads both once, in chunks, under the tensors' published names; tensors whose original is all zeros are left out. Error
// (usage) where a shape differs. Multi-threaded; stops early, with what it has, where a stop is requested.
QuantizationError compare_weights(const ModelSource& from, const ModelSource& to);

struct QuantizeReport {
  ConvertReport converted;
  int64_t bytes_before = 0;  // of the source's tensors
  bool quantised_before = false;
  QuantizationError error;
};
// `options`: format and dtype are the scheme's; with a calibration text where the scheme wants one, and only there. Error
// (usage) where the scheme is not known.
QuantizeReport quantize_model(ConvertOptions options, const std::string& scheme);

}  // namespace fathom
