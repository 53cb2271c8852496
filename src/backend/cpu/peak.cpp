#include "backend/cpu/peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>
#if defined(__linux__)
#include <unistd.h>
#endif

#include "backend/cpu/isa.h"
#include "base/check.h"
#include "base/thread_pool.h"
#include "tensor/storage.h"

#define FATHOM_DECLARE_PEAK(rung)                   \
  namespace fathom::rung {                          \
  float peak_f32(int64_t rounds);                   \
  int peak_f32_chains();                            \
  float read_floats(const float* p, int64_t count); \
  }
FATHOM_DECLARE_PEAK(portable)
FATHOM_DECLARE_PEAK(avx2)
FATHOM_DECLARE_PEAK(avx512)
namespace fathom::avx512bf16 {
float peak_bf16(int64_t rounds);
float peak_int8(int64_t rounds);
}  // namespace fathom::avx512bf16
namespace fathom::amx {
float peak_amx(int64_t rounds, bool int8);
}

namespace fathom {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
std::atomic<float> sink{0};

// fn() on the first `threads` threads of the pool at once; returns the seconds from the first start to the last end.
template <class Fn>
double timed(int threads, Fn&& fn) {
  if (threads == 1) {
    const double start = now();
    fn(0);
    return now() - start;
  }
  std::vector<double> starts(threads, 1e300), ends(threads, 0);
  parallel_region([&](int thread, int) {
    if (thread >= threads) return;
    starts[thread] = now();
    fn(thread);
    ends[thread] = now();
  });
  return *std::max_element(ends.begin(), ends.end()) - *std::min_element(starts.begin(), starts.end());
}

// The loop and its operations a round for one kind, on the widest unit of the processor.
struct Loop {
  float (*run)(int64_t rounds);
  double operations;  // a round
};
Loop loop_of(PeakKind kind) {
  switch (kind) {
    case PeakKind::kF32Fma:
      if (isa_supported(Isa::kAvx512)) return {avx512::peak_f32, avx512::peak_f32_chains() * 32.0};
      if (isa_supported(Isa::kAvx2)) return {avx2::peak_f32, avx2::peak_f32_chains() * 32.0};
      return {portable::peak_f32, portable::peak_f32_chains() * 32.0};
    case PeakKind::kBf16Dot:
      return {avx512bf16::peak_bf16, 16 * 64.0};
    case PeakKind::kInt8Dot:
      return {avx512bf16::peak_int8, 16 * 128.0};
    case PeakKind::kAmxBf16:
      return {[](int64_t n) { return amx::peak_amx(n, false); }, 4 * 16384.0};
    case PeakKind::kAmxInt8:
      return {[](int64_t n) { return amx::peak_amx(n, true); }, 4 * 32768.0};
  }
  CHECK(false);
}

}  // namespace

std::string_view peak_name(PeakKind kind) {
  switch (kind) {
    case PeakKind::kF32Fma:
      return "f32 FMA";
    case PeakKind::kBf16Dot:
      return "bf16 VDPBF16PS";
    case PeakKind::kInt8Dot:
      return "int8 VPDPBUSD";
    case PeakKind::kAmxBf16:
      return "bf16 AMX";
    case PeakKind::kAmxInt8:
      return "int8 AMX";
  }
  return "?";
}
std::vector<PeakKind> supported_peaks() {
  std::vector<PeakKind> all = {PeakKind::kF32Fma};
  if (isa_supported(Isa::kAvx512Bf16)) all.push_back(PeakKind::kBf16Dot);
  if (isa_supported(Isa::kAvx512Vnni)) all.push_back(PeakKind::kInt8Dot);
  if (isa_supported(Isa::kAmx)) all.push_back(PeakKind::kAmxBf16), all.push_back(PeakKind::kAmxInt8);
  return all;
}

double measure_peak(PeakKind kind, int threads) {
  const Loop loop = loop_of(kind);
  threads = std::min(threads, num_threads());
  // Rounds for about 4 ms: short enough to fall between interruptions, long enough to time.
  int64_t rounds = 1000;
  for (;;) {
    const double t = timed(1, [&](int) { sink.store(loop.run(rounds), std::memory_order_relaxed); });
    if (t > 2e-3) break;
    rounds *= 2;
  }
  double best = 1e300;
  const double until = now() + 0.1;
  do best = std::min(best, timed(threads, [&](int) { sink.store(loop.run(rounds), std::memory_order_relaxed); }));
  while (now() < until);
  return loop.operations * static_cast<double>(rounds) * threads / best / 1e12;
}

double gemm_peak(bool bf16) {
  const bool amx = isa() == Isa::kAmx, dot = isa() == Isa::kAvx512Bf16;
  if (bf16 && amx) {
    static const double peak = measure_peak(PeakKind::kAmxBf16, num_threads());
    return peak;
  }
  if (bf16 && dot) {
    static const double peak = measure_peak(PeakKind::kBf16Dot, num_threads());
    return peak;
  }
  static const double peak = measure_peak(PeakKind::kF32Fma, num_threads());
  return peak;
}

double int8_peak() {
  if (isa() < Isa::kAvx512Vnni) return gemm_peak(false);
  static const double peak = measure_peak(isa() == Isa::kAmx ? PeakKind::kAmxInt8 : PeakKind::kInt8Dot, num_threads());
  return peak;
}

double measure_read_bandwidth(int64_t bytes_each, int threads) {
  constexpr IsaTable<float (*)(const float*, int64_t)> table = {portable::read_floats, avx2::read_floats, avx512::read_floats};
  const auto read = table.pick();
  threads = std::min(threads, num_threads());
  bytes_each = std::max<int64_t>(4096, bytes_each / 4096 * 4096);
  std::vector<std::shared_ptr<std::byte>> buffers(threads);
  for (auto& b : buffers) b = allocate_storage(bytes_each);
  timed(threads, [&](int thread) { std::memset(buffers[thread].get(), 0, bytes_each); });  // the reader touches its pages first
  const int64_t passes = std::max<int64_t>(1, (int64_t{64} << 20) / bytes_each);
  double best = 1e300;
  const double until = now() + 0.15;
  do {
    best = std::min(best, timed(threads, [&](int thread) {
                      for (int64_t i = 0; i < passes; ++i)
                        sink.store(read(reinterpret_cast<const float*>(buffers[thread].get()), bytes_each / 4),
                                   std::memory_order_relaxed);
                    }));
  } while (now() < until);
  buffers.clear();
  return static_cast<double>(passes * bytes_each * threads) / best;
}

double memory_bandwidth() {
  static const double bandwidth = [] {
    const int64_t total = std::clamp<int64_t>(2 * cache_bytes(3), int64_t{512} << 20, int64_t{2} << 30);
    const double b = measure_read_bandwidth(total / num_threads(), num_threads());
    trim_storage_cache();
    return b;
  }();
  return bandwidth;
}

int64_t cache_bytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string dir = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int found = 0;
    std::string type, size;
    if (!(std::ifstream(dir + "level") >> found)) break;
    std::ifstream(dir + "type") >> type;
    std::ifstream(dir + "size") >> size;
    if (found == level && type != "Instruction" && !size.empty())
      return std::atoll(size.c_str()) * (size.back() == 'M' ? 1 << 20 : 1 << 10);
  }
  return 0;
}

}  // namespace fathom
