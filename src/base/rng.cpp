#include "base/rng.h"

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
                                 static_cast<uint32_t>(position >> 32)}, seed_key);
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
float Rng::next_normal() {
  const double u = (static_cast<double>(next_u32()) + 1.0) * 0x1p-32, v = static_cast<double>(next_u32()) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

}  // namespace fathom
