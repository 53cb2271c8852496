// Which tokens are kept: those down to a border, found without sorting.
#pragma once
#include <cstdint>
#include <optional>

namespace fathom {

constexpr int64_t kSamplingLong = 4096;     // tokens of which a sample is taken first
constexpr float kSamplingBeyond = 0x1p41f;  // above every v

// Tokens in the order of their ids: v as sampling_cpu.h has it, and their ids (null: 0, 1, …).
struct SamplingTokens {
  const float* v = nullptr;
  const int32_t* ids = nullptr;
  int64_t n = 0;
  int32_t id(int64_t i) const { return ids ? ids[i] : static_cast<int32_t>(i); }
};

// Token i is kept where v[i] >= low, or behind `last` where v[i] >= high: the better ones by weight, on ties by id.
struct SamplingBorder {
  float low = 1, high = 1;  // whole numbers
  int64_t last = INT64_MAX;
  bool keeps(float v, int64_t i) const { return v >= (i <= last ? low : high); }
};

// The smallest float that is at least `weight`: v reaches it just where floor(v) reaches `weight`.
float float_at_least(int64_t weight);
// The border at the token with which the best ones' sum reaches `goal`, from 1; each counts its weight, or with `count` one.
// None where all that have weight stay below together. whole: the sum of all weights. Scratch space stays with the thread.
std::optional<SamplingBorder> find_border(const SamplingTokens& tokens, int64_t goal, bool count, int64_t whole);
// Those that are kept, written to v and ids: room for tokens.n + kSamplingRoom; may be the tokens' own.
SamplingTokens kept_tokens(const SamplingTokens& tokens, const SamplingBorder& border, float* v, int32_t* ids);
// Their weight by blocks of kSamplingBlock: sums [ceil(n / kSamplingBlock)].
void kept_sums(const SamplingTokens& tokens, const SamplingBorder& border, int64_t* sums);

}  // namespace fathom
