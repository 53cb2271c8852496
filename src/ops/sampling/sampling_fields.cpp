#include "ops/sampling/sampling_fields.h"

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>

namespace fathom {
namespace {

#define FATHOM_SAMPLING_FIELD(field, low, high, whole, help)                                                                  \
  {                                                                                                                           \
#field, low, high, whole, help,                                                                                           \
        [](const SamplingParams& p) -> double { return p.field; },                                                            \
                                                                [](SamplingParams & p,                                        \
                                                                   double x) { p.field = static_cast<decltype(p.field)>(x); } \
  }
constexpr SamplingField kFields[] = {
    FATHOM_SAMPLING_FIELD(temperature, 0, 100, false,
                          "0: always the likeliest token (default: generation_config.json, else 1)"),
    FATHOM_SAMPLING_FIELD(top_k, 0, std::numeric_limits<int32_t>::max(), true, "draw among the K likeliest; 0: off"),
    FATHOM_SAMPLING_FIELD(top_p, 0, 1, false, "draw among the likeliest that together have probability P; 1: off"),
    FATHOM_SAMPLING_FIELD(min_p, 0, 1, false, "drop tokens below P times the likeliest one's probability; 0: off"),
    FATHOM_SAMPLING_FIELD(typical_p, 0, 1, false,
                          "keep those whose information lies nearest to the entropy, of together probability P; 1: off"),
    FATHOM_SAMPLING_FIELD(repetition_penalty, 0.01, 100, false,
                          "divide positive logits of tokens that the text holds by it, multiply negative ones; 1: off"),
    FATHOM_SAMPLING_FIELD(presence_penalty, -100, 100, false, "taken from the logits of tokens that the answer holds; 0: off"),
    FATHOM_SAMPLING_FIELD(frequency_penalty, -100, 100, false, "the same, for every time that it holds them; 0: off"),
};
#undef FATHOM_SAMPLING_FIELD

}  // namespace

bool SamplingField::holds(double value) const {
  const auto as_held = [](double x) { return static_cast<double>(static_cast<float>(x)); };
  if (!std::isfinite(value) || (whole && std::floor(value) != value)) return false;
  return whole ? low <= value && value <= high : as_held(low) <= as_held(value) && as_held(value) <= as_held(high);
}

std::string SamplingField::range() const {
  char text[80];
  std::snprintf(text, sizeof text, "a %snumber from %.10g to %.10g", whole ? "whole " : "", low, high);
  return text;
}

std::span<const SamplingField> sampling_fields() { return kFields; }

}  // namespace fathom
