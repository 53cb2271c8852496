#include "ops/sampling/border.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "kernels/rungs.h"
#include "ops/sampling/sampling_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kFew = 64;  // candidates that are sorted

struct Candidate {
  int64_t weight;
  int64_t i;
};

SamplingBorder border_at(const Candidate& worst) {
  return {float_at_least(worst.weight), float_at_least(worst.weight + 1), worst.i};
}

// Whole numbers from low to high, each the same number of times the one before.
void spread_pivots(float low, float high, float* pivots) {
  const double ratio = std::pow(static_cast<double>(high) / static_cast<double>(low), 1.0 / kSamplingPivots);
  double at = low;
  for (int j = 0; j < kSamplingPivots; ++j, at *= ratio)
    pivots[j] = std::min(high, float_at_least(static_cast<int64_t>(std::ceil(at))));
}

// Less than every other time, by a sample.
bool rarely_reaches(const float* v, int64_t n, float low) {
  constexpr int64_t kSample = 128;
  int64_t reaches = 0;
  for (int64_t i = 0; i < kSample; ++i) reaches += v[i * n / kSample] >= low;
  return reaches < kSample / 2;
}

// low, and two between which the border lies probably, by a sample of the tokens.
void guess_pivots(const float* v, int64_t n, int64_t goal, bool count, int64_t whole, float low, float high, float* pivots) {
  constexpr int64_t kSample = 256, kError = 24;  // of the border's place in the sample: three standard deviations, at most
  float sample[kSample];
  for (int64_t i = 0; i < kSample; ++i) sample[i] = v[i * n / kSample];
  std::sort(sample, sample + kSample, [](float a, float b) { return a > b; });
  int64_t place = 0;
  if (count) {
    place = goal * kSample / n;
  } else {
    double sum = 0, all = 0;
    for (const float x : sample) all += x;
    const double part = all * static_cast<double>(goal) / static_cast<double>(whole);
    while (place < kSample && (sum += sample[place]) < part) ++place;
  }
  const auto pivot = [&](float x) { return std::clamp(float_at_least(static_cast<int64_t>(x)), low, high); };
  pivots[0] = low;
  pivots[1] = place + kError < kSample ? pivot(sample[place + kError]) : low;
  pivots[2] = place >= kError ? pivot(sample[place - kError]) : high;
}

}  // namespace

float float_at_least(int64_t weight) {
  const float f = static_cast<float>(weight);
  return static_cast<double>(f) < static_cast<double>(weight) ? std::nextafter(f, std::numeric_limits<float>::infinity()) : f;
}

// The border lies in [low, high); what is above is summed already. Each round cuts that range at pivots, keeps the piece in
// which the sum reaches its goal, and the candidates in it. What is found does not depend on where the pivots lie.
std::optional<SamplingBorder> find_border(const SamplingTokens& tokens, int64_t goal, bool count, int64_t whole) {
  static thread_local std::vector<float> room_v;
  static thread_local std::vector<int32_t> room_i;
  if (static_cast<int64_t>(room_v.size()) < tokens.n + kSamplingRoom)
    room_v.resize(tokens.n + kSamplingRoom), room_i.resize(tokens.n + kSamplingRoom);
  // Tokens below (whole - goal) / n sum to no more than whole - goal: the border is not among them.
  float low = 1, high = kSamplingBeyond;
  if (!count && whole > goal) low = std::max(1.f, std::nextafter(float_at_least((whole - goal) / tokens.n), 0.f));
  low = std::floor(low);
  const float* v = tokens.v;
  const int32_t* indices = nullptr;
  int64_t n = tokens.n, above = 0;
  const auto keep = [&] {
    n = FATHOM_PICK3(sampling_select)(v, indices, 0, n, low, high, room_v.data(), room_i.data());
    v = room_v.data();
    indices = room_i.data();
  };
  if (!count && n >= kSamplingLong && rarely_reaches(v, n, low)) keep();
  for (bool first = true;; first = false) {
    const bool one_weight = high <= float_at_least(static_cast<int64_t>(low) + 1);
    if (!first && (n <= kFew || one_weight)) break;
    float pivots[kSamplingPivots];
    const bool few = first && n >= kSamplingLong;
    if (few)
      guess_pivots(v, n, goal, count, whole, low, high, pivots);
    else
      spread_pivots(low, high, pivots);
    const int num_pivots = few ? kSamplingFewPivots : kSamplingPivots;
    int64_t sums[kSamplingPivots];
    FATHOM_PICK3(sampling_pivots)(v, n, count, few, pivots, sums);
    if (above + sums[0] < goal) return std::nullopt;  // in the first round, or never
    int j = num_pivots - 1;
    while (above + sums[j] < goal) --j;
    low = pivots[j];
    if (j + 1 < num_pivots) high = pivots[j + 1], above += sums[j + 1];
    keep();
  }
  if (high <= float_at_least(static_cast<int64_t>(low) + 1)) {  // all alike: the lower ids
    const auto weight = static_cast<int64_t>(v[0]), each = count ? 1 : weight;
    const int64_t needed = (goal - above + each - 1) / each;
    CHECK(1 <= needed && needed <= n);
    return border_at({weight, indices[needed - 1]});
  }
  Candidate candidates[kFew];
  for (int64_t i = 0; i < n; ++i) candidates[i] = {static_cast<int64_t>(v[i]), indices[i]};
  std::sort(candidates, candidates + n,
            [](const Candidate& a, const Candidate& b) { return a.weight > b.weight || (a.weight == b.weight && a.i < b.i); });
  for (int64_t i = 0; i < n; ++i) {
    above += count ? 1 : candidates[i].weight;
    if (above >= goal) return border_at(candidates[i]);
  }
  CHECK(false);
  return std::nullopt;
}

SamplingTokens kept_tokens(const SamplingTokens& tokens, const SamplingBorder& border, float* v, int32_t* ids) {
  const auto select = FATHOM_PICK3(sampling_select);
  const int64_t split = border.last < tokens.n ? border.last + 1 : tokens.n;
  const int64_t head = select(tokens.v, tokens.ids, 0, split, border.low, kSamplingBeyond, v, ids);
  const int64_t tail = select(tokens.v + split, tokens.ids ? tokens.ids + split : nullptr, static_cast<int32_t>(split),
                              tokens.n - split, border.high, kSamplingBeyond, v + head, ids + head);
  return {v, ids, head + tail};
}

void kept_sums(const SamplingTokens& tokens, const SamplingBorder& border, int64_t* sums) {
  const auto sum = FATHOM_PICK3(sampling_sums);
  const int64_t n = tokens.n, split = border.last < n ? border.last + 1 : n;
  const int64_t head = split == n ? n : split / kSamplingBlock * kSamplingBlock;
  sum(tokens.v, head, border.low, sums);
  if (head == n) return;
  const int64_t tail = std::min(n, head + kSamplingBlock);  // the block of the border lies between
  int64_t& mixed = sums[head / kSamplingBlock];
  mixed = 0;
  for (int64_t i = head; i < tail; ++i) mixed += border.keeps(tokens.v[i], i) ? static_cast<int64_t>(tokens.v[i]) : 0;
  sum(tokens.v + tail, n - tail, border.high, sums + tail / kSamplingBlock);
}

}  // namespace fathom
