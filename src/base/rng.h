// Counter-based randomness (Philox4x32-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// A number is a pure function of (seed, stream, step, sequence, position), never of threads or call order, so that
// resuming, batching and re-ordering cannot change it.
#pragma once
#include <array>
#include <cstdint>

namespace fathom {

// One name per use, so that no two uses draw the same numbers.
enum class RngStream : uint32_t { kInit = 1, kShuffle = 2, kSample = 3, kTask = 4, kTest = 5, kFim = 6, kEval = 7 };

// ctr: 128-bit counter; key: 64-bit key. 10 rounds.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> ctr, std::array<uint32_t, 2> key);

// Random numbers of one place in a run; draw with next_*: the counter's last word is the number of the draw.
class Rng {
 public:
  Rng(uint64_t seed, RngStream stream, uint64_t step = 0, uint64_t sequence = 0, uint64_t position = 0);
  uint32_t next_u32();
  uint64_t next_u64();
  uint64_t next_below(uint64_t n);  // uniform in [0, n), without bias; n > 0
  float next_float();               // uniform in [0, 1), 24 bits
  float next_normal();              // standard normal (Box-Muller)

 private:
  std::array<uint32_t, 4> ctr_;
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> out_;
  int used_ = 4;
};

}  // namespace fathom
