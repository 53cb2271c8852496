#include "base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

namespace fathom {
namespace {

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(Rng, PhiloxKnownAnswers) {
  using A4 = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (A4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}), (A4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (A4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, EveryCoordinateGivesOtherNumbers) {
  std::set<uint64_t> seen;
  const uint64_t high = uint64_t{1} << 40;
  int places = 0;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, high})
    for (const RngStream stream : {RngStream::kInit, RngStream::kSample})
      for (const uint64_t step : {uint64_t{0}, uint64_t{1}, high})
        for (const uint64_t sequence : {uint64_t{0}, uint64_t{1}})
          for (const uint64_t position : {uint64_t{0}, uint64_t{1}, high}) {
            Rng rng(seed, stream, step, sequence, position), again(seed, stream, step, sequence, position);
            for (int draw = 0; draw < 5; ++draw) {
              const uint64_t x = rng.next_u64();
              EXPECT_EQ(x, again.next_u64());
              seen.insert(x);
              ++places;
            }
          }
  EXPECT_EQ(static_cast<int>(seen.size()), places);
}

TEST(Rng, BelowIsUniformAndBounded) {
  Rng rng(3, RngStream::kTest);
  std::vector<int> hits(6, 0);
  for (int i = 0; i < 60000; ++i) ++hits[rng.next_below(6)];
  for (const int h : hits) EXPECT_NEAR(h, 10000, 5 * std::sqrt(60000 * 5.0 / 36));  // 5 standard deviations
  EXPECT_EQ(rng.next_below(1), 0u);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(rng.next_below(~uint64_t{0}), ~uint64_t{0});
}

TEST(Rng, FloatsAndNormalsHaveTheirMoments) {
  Rng rng(4, RngStream::kTest);
  const int n = 200000;
  double sum = 0, normal1 = 0, normal2 = 0, normal4 = 0;
  for (int i = 0; i < n; ++i) {
    const float u = rng.next_float(), z = rng.next_normal();
    ASSERT_TRUE(u >= 0 && u < 1 && std::isfinite(z));
    sum += u, normal1 += z, normal2 += double{z} * z, normal4 += double{z} * z * z * z;
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(normal1 / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(normal2 / n, 1, 5 * std::sqrt(2.0 / n));
  EXPECT_NEAR(normal4 / n, 3, 5 * std::sqrt(96.0 / n));
}

// Equal to libm's Box-Muller within rounding, at the ends of the range too.
TEST(Rng, NormalsAreBoxMuller) {
  Rng rng(5, RngStream::kTest), raw(5, RngStream::kTest);
  for (int i = 0; i < 100000; ++i) {
    const double u = (raw.next_u32() + 1.0) * 0x1p-32, v = raw.next_u32() * 0x1p-32;
    const double expected = std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v);
    ASSERT_NEAR(rng.next_normal(), expected, 1e-7 * std::max(1.0, std::fabs(expected))) << u << " " << v;
  }
}

// These bits must be the same on every machine and compiler: initial weights depend on them.
TEST(Rng, FixedValues) {
  Rng rng(1234, RngStream::kInit, 5, 6, 7);
  EXPECT_EQ(rng.next_normal(), -0x1.98d7c8p-2f);
  EXPECT_EQ(rng.next_float(), 0x1.3bcf3ap-1f);
  EXPECT_EQ(rng.next_u64(), 0x10d4ac9953c899e8u);
}

}  // namespace
}  // namespace fathom
