#include "base/rng.h"

#include <bit>
#include <cmath>

#include "base/check.h"

namespace fathom {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> ctr, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * ctr[0], p1 = uint64_t{0xCD9E8D57u} * ctr[2];
    ctr = {static_cast<uint32_t>(p1 >> 32) ^ ctr[1] ^ key[0], static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ ctr[3] ^ key[1], static_cast<uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return ctr;
}

// (seed, stream, step) are hashed into the key, so that 64-bit steps and sequences fit beside the draw's number.
Rng::Rng(uint64_t seed, RngStream stream, uint64_t step, uint64_t sequence, uint64_t position) {
  const std::array<uint32_t, 2> seed_key = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  const auto mixed = philox4x32({static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), static_cast<uint32_t>(stream),
                                 static_cast<uint32_t>(position >> 32)},
                                seed_key);
  key_ = {mixed[0], mixed[1]};
  ctr_ = {static_cast<uint32_t>(sequence), static_cast<uint32_t>(sequence >> 32), static_cast<uint32_t>(position), 0};
}

uint32_t Rng::next_u32() {
  if (used_ == 4) {
    out_ = philox4x32(ctr_, key_);
    ++ctr_[3];
    used_ = 0;
  }
  return out_[used_++];
}
uint64_t Rng::next_u64() {
  const uint64_t low = next_u32();
  return low | (static_cast<uint64_t>(next_u32()) << 32);
}
uint64_t Rng::next_below(uint64_t n) {
  CHECK(n > 0);
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % n;  // a multiple of n: what lies above would favour small values
  for (;;) {
    const uint64_t x = next_u64();
    if (x < limit) return x % n;
  }
}
float Rng::next_float() { return static_cast<float>(next_u32() >> 8) * 0x1p-24f; }

// Box-Muller over our own logarithm and cosine: +, *, / and sqrt are exact to the bit on every machine, a libm is not.
namespace {

// ln(x) for a normal x > 0: x = m * 2^e with m in [sqrt(1/2), sqrt(2)); ln(m) = 2 artanh(z), z = (m - 1) / (m + 1), |z| <
// 0.172.
double natural_log(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double z = (m - 1) / (m + 1), z2 = z * z;
  double sum = 0;
  for (int k = 21; k >= 1; k -= 2) sum = sum * z2 + 1.0 / k;  // z^23 / 23 < 2^-62
  return 2 * z * sum + exponent * 0.6931471805599453;
}

// cos(2 pi t) for t in [0, 1): reduced to an eighth of a turn, then Taylor.
double cos_turn(double t) {
  const int quarter = static_cast<int>(t * 4 + 0.5);          // nearest quarter turn: 0..4
  const double x = (t - quarter * 0.25) * 6.283185307179586;  // |x| <= pi / 4
  const double x2 = x * x;
  double c = 0, s = 0;
  for (int k = 16; k >= 2; k -= 2) {  // 1 - x^2/2! (1 - x^2/(3*4) (...)); the same for sin(x) / x
    c = 1 - x2 / ((k - 1) * k) * (k == 16 ? 1 : c);
    s = 1 - x2 / (k * (k + 1)) * (k == 16 ? 1 : s);
  }
  switch (quarter & 3) {
    case 0:
      return c;
    case 1:
      return -s * x;
    case 2:
      return -c;
    default:
      return s * x;
  }
}

}  // namespace

float Rng::next_normal() {
  const double u = (static_cast<double>(next_u32()) + 1.0) * 0x1p-32, v = static_cast<double>(next_u32()) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * natural_log(u)) * cos_turn(v));
}

}  // namespace fathom
