// The numbers of SamplingParams by name: what the command line, files and requests call them, and what they may be.
#pragma once
#include <span>
#include <string>

#include "ops/sampling/sampling.h"

namespace fathom {

struct SamplingField {
  const char* name;
  double low, high;
  bool whole;  // a whole number
  const char* help;
  double (*get)(const SamplingParams&);
  void (*set)(SamplingParams&, double);
  // In [low, high] as SamplingParams hold it, and whole where it must be.
  bool holds(double value) const;
  std::string range() const;  // "a number from 0 to 100"
};
std::span<const SamplingField> sampling_fields();

constexpr float kLargestBias = 1000;  // of one entry of logit_bias, either sign

}  // namespace fathom
