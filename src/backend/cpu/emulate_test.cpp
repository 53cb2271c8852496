// The emulators against the instructions, bit for bit, where this machine has them.
#include "backend/cpu/emulate.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/rng.h"
#include "base/thread_pool.h"

namespace fathom::avx512bf16 {
void dot2_for_test(const uint32_t* a, const uint32_t* b, float* sums);
}
namespace fathom::amx {
void tile_dot_for_test(const uint32_t* a, const uint32_t* b, float* sums);
void tile_dot_int8_for_test(const uint32_t* a, const uint32_t* b, int quads, uint32_t* sums);
}  // namespace fathom::amx
namespace fathom::portable {
void dot2_for_test(const uint32_t* a, const uint32_t* b, float* sums);
void tile_dot_for_test(const uint32_t* a, const uint32_t* b, float* sums);
void tile_dot_int8_for_test(const uint32_t* a, const uint32_t* b, int quads, uint32_t* sums);
}  // namespace fathom::portable

namespace fathom {
namespace {

// Normal values, any bits (no NaN or infinity), and many denormals and zeros.
uint32_t random_bf16(Rng& rng, int kind) {
  uint32_t h = rng.next_u32() & 0xffffu;
  if (kind == 0) return (h & 0x807fu) | ((120 + rng.next_below(14)) << 7);
  if (kind == 1) return ((h >> 7) & 0xffu) == 0xffu ? h ^ 0x4000u : h;
  return (h & 0x807fu) | (rng.next_below(3) == 0 ? 0 : (40 + rng.next_below(60)) << 7);
}
float random_sum(Rng& rng, int kind) {
  uint32_t u = rng.next_u32();
  if (kind == 0) u = (u & 0x807fffffu) | ((115u + static_cast<uint32_t>(rng.next_below(20))) << 23);
  if (kind == 1 && ((u >> 23) & 0xffu) == 0xffu) u ^= 0x40000000u;
  if (kind == 2) u = (u & 0x807fffffu) | (static_cast<uint32_t>(rng.next_below(30)) << 23);
  return std::bit_cast<float>(u);
}
bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

TEST(Emulate, DotIsTheInstruction) {
  if (!isa_supported(Isa::kAvx512Bf16)) GTEST_SKIP() << "no VDPBF16PS on this machine";
  flush_denormals();
  for (int kind = 0; kind < 3; ++kind) {
    Rng rng(kind, RngStream::kTest);
    for (int round = 0; round < 20000; ++round) {
      uint32_t a[16], b[16];
      float hardware[16], emulated[16], vocabulary[16];
      for (int i = 0; i < 16; ++i) {
        a[i] = random_bf16(rng, kind) | random_bf16(rng, kind) << 16;
        b[i] = random_bf16(rng, kind) | random_bf16(rng, kind) << 16;
        hardware[i] = vocabulary[i] = random_sum(rng, kind);
        emulated[i] = emulate_dot2(hardware[i], a[i], b[i]);
      }
      avx512bf16::dot2_for_test(a, b, hardware);
      portable::dot2_for_test(a, b, vocabulary);
      for (int i = 0; i < 16; ++i) {
        ASSERT_TRUE(same(hardware[i], emulated[i])) << "kind " << kind << ": " << hardware[i] << " and " << emulated[i];
        ASSERT_TRUE(same(vocabulary[i], emulated[i]));
      }
    }
  }
}

TEST(Emulate, TileIsTheInstruction) {
  flush_denormals();
  for (int kind = 0; kind < 3; ++kind) {
    Rng rng(kind, RngStream::kTest, 1);
    for (int round = 0; round < 20; ++round) {
      uint32_t a[256], b[256];
      float hardware[256], emulated[256], vocabulary[256];
      for (int i = 0; i < 256; ++i) {
        a[i] = random_bf16(rng, kind) | random_bf16(rng, kind) << 16;
        b[i] = random_bf16(rng, kind) | random_bf16(rng, kind) << 16;
        hardware[i] = vocabulary[i] = random_sum(rng, kind);
      }
      for (int m = 0; m < 16; ++m)
        for (int n = 0; n < 16; ++n) emulated[m * 16 + n] = emulate_tile_dot(hardware[m * 16 + n], a + m * 16, b + n, 16, 16);
      portable::tile_dot_for_test(a, b, vocabulary);
      for (int i = 0; i < 256; ++i) ASSERT_TRUE(same(vocabulary[i], emulated[i]));
      if (!isa_supported(Isa::kAmx)) continue;
      amx::tile_dot_for_test(a, b, hardware);
      for (int i = 0; i < 256; ++i)
        ASSERT_TRUE(same(hardware[i], emulated[i])) << "kind " << kind << ": " << hardware[i] << " and " << emulated[i];
    }
  }
  if (!isa_supported(Isa::kAmx)) GTEST_SKIP() << "no AMX on this machine: the vocabulary was tested against the emulator only";
}

TEST(Emulate, Int8TileIsTheInstruction) {
  Rng rng(1, RngStream::kTest, 2);
  for (int round = 0; round < 40; ++round) {
    const int quads = round % 2 ? 16 : 8;
    uint32_t a[256], b[256], hardware[256], emulated[256], vocabulary[256];
    for (int i = 0; i < 256; ++i) {
      a[i] = round < 4 ? 0x7f81807fu : rng.next_u32();  // the largest magnitudes of either sign
      b[i] = round < 4 ? 0xffff80ffu : rng.next_u32();
      hardware[i] = vocabulary[i] = rng.next_u32();
    }
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n) {
        emulated[m * 16 + n] = emulate_tile_dot_int8(hardware[m * 16 + n], a + m * 16, b + n, 16, quads);
        uint32_t sum = hardware[m * 16 + n];  // the same, a byte at a time
        for (int k = 0; k < 4 * quads; ++k)
          sum += static_cast<uint32_t>(static_cast<int>(reinterpret_cast<const int8_t*>(a + m * 16)[k]) *
                                       reinterpret_cast<const uint8_t*>(b + k / 4 * 16 + n)[k % 4]);
        ASSERT_EQ(emulated[m * 16 + n], sum);
      }
    portable::tile_dot_int8_for_test(a, b, quads, vocabulary);
    ASSERT_EQ(std::memcmp(vocabulary, emulated, sizeof emulated), 0);
    if (!isa_supported(Isa::kAmx)) continue;
    amx::tile_dot_int8_for_test(a, b, quads, hardware);
    ASSERT_EQ(std::memcmp(hardware, emulated, sizeof emulated), 0);
  }
  if (!isa_supported(Isa::kAmx)) GTEST_SKIP() << "no AMX on this machine: the vocabulary was tested against the emulator only";
}

TEST(Peak, IsPositiveAndScalesInType) {
  set_num_threads(1);
  for (PeakKind kind : supported_peaks()) EXPECT_GT(measure_peak(kind, 1), 1e-4) << peak_name(kind);
  EXPECT_GT(measure_read_bandwidth(1 << 20, 1), 1e8);
}

}  // namespace
}  // namespace fathom
