#include "ops/sampling/nucleus.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "kernels/rungs.h"
#include "ops/sampling/border.h"
#include "ops/sampling/sampling_cpu.h"

namespace fathom {
namespace {

struct Range {
  float low, high;
};
// Where the border lies probably: v of about low, below high; whole numbers.
Range guess_range(const SamplingRow& row, float top_p) {
  constexpr int64_t kSample = 256;
  float x[kSample], v[kSample];
  int64_t sums[kSample / kSamplingBlock + 1];
  for (int64_t i = 0; i < kSample; ++i) x[i] = row.x[i * row.n / kSample];
  FATHOM_PICK3(sampling_weigh)(x, kSample, row.maximum, row.inverse_temperature, 1.f, v, sums);
  std::sort(v, v + kSample, std::greater<float>());
  double all = 0, sum = 0;
  for (const float w : v) all += w;
  int64_t place = 0;
  while (place < kSample && (sum += v[place]) < top_p * all) ++place;
  const auto error = 4 + static_cast<int64_t>(3 * std::sqrt(static_cast<double>(place)));  // three standard deviations or more
  // Tokens below rest / n sum to less than rest; half of it leaves room for a sample that holds too much.
  const double rest = (1 - static_cast<double>(top_p)) * all / kSample / 2;
  const auto whole = [](double w) { return std::clamp(float_at_least(static_cast<int64_t>(w)), 1.f, kSamplingBeyond); };
  return {whole(std::max<double>(rest, place + error < kSample ? v[place + error] : 0)),
          place >= error ? whole(v[place - error]) : kSamplingBeyond};
}

struct NucleusScratch {
  std::vector<float> v;
  std::vector<int32_t> ids;
  std::vector<int64_t> sums, candidate_sums;
};

}  // namespace

std::optional<Drawn> draw_nucleus(const SamplingRow& row, float top_p, float uniform) {
  static thread_local NucleusScratch scratch;
  if (row.n < kSamplingLong) return std::nullopt;
  const Range range = guess_range(row, top_p);
  if (range.low >= range.high) return std::nullopt;
  const int64_t blocks = (row.n + kSamplingBlock - 1) / kSamplingBlock;
  float* v = at_least(scratch.v, row.n + kSamplingRoom);
  int32_t* ids = at_least(scratch.ids, row.n + kSamplingRoom);
  int64_t *sums = at_least(scratch.sums, blocks), *candidate_sums = at_least(scratch.candidate_sums, blocks);
  int64_t whole = 0;
  const int64_t count = FATHOM_PICK3(sampling_split)(row.x, row.n, row.maximum, row.inverse_temperature, range.low, range.high,
                                                     &whole, sums, v, ids);
  const SamplingTokens candidates{v, ids, count};
  kept_sums(candidates, {}, candidate_sums);
  const int64_t above = total_of(sums, row.n), among = total_of(candidate_sums, count), goal = nucleus_goal(top_p, whole);
  if (above >= goal || above + among < goal) return std::nullopt;
  SamplingBorder border = find_border(candidates, goal - above, false, among).value();
  const int64_t last = border.last < count ? ids[border.last] : border.last;
  const SamplingTokens kept = kept_tokens(candidates, border, v, ids);
  border.last = last;
  int64_t total = above;
  for (int64_t i = 0; i < kept.n; ++i) {
    const auto weight = static_cast<int64_t>(v[i]);
    sums[ids[i] / kSamplingBlock] += weight;
    total += weight;
  }

  const int64_t target = draw_target(uniform, total);
  int64_t cumulated = 0, block = 0, sum;
  while (cumulated + sums[block] <= target) cumulated += sums[block++];
  float of_block[kSamplingBlock];
  const int64_t begin = block * kSamplingBlock, size = std::min(kSamplingBlock, row.n - begin);
  FATHOM_PICK3(sampling_weigh)(row.x + begin, size, row.maximum, row.inverse_temperature, 1.f, of_block, &sum);
  for (int64_t i = 0; i < size; ++i)
    if (border.keeps(of_block[i], begin + i))
      if (cumulated += static_cast<int64_t>(of_block[i]); cumulated > target)
        return Drawn{static_cast<int32_t>(begin + i), total};
  CHECK(false);
  return std::nullopt;
}

}  // namespace fathom
