// What this machine can do at most, measured: multiply-add rates by kind and read bandwidth. Every speed figure of the
// project is a share of these, measured in the same run.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

enum class PeakKind { kF32Fma, kBf16Dot, kInt8Dot, kAmxBf16, kAmxInt8 };
std::string_view peak_name(PeakKind kind);  // what people call it: "f32 FMA", …
std::vector<PeakKind> supported_peaks();    // by processor, not by isa()

// 10^12 operations a second (a multiply-add is two) of `threads` threads together, from registers. About 0.1 s.
// kF32Fma uses the widest vectors of the processor.
double measure_peak(PeakKind kind, int threads);
// The rate that a GEMM on isa() cannot exceed: f32 FMA (also for bf16 on rungs that widen), VDPBF16PS or AMX. All threads.
// Measured once in a process.
double gemm_peak(bool bf16);
// The same over rows of int8, 10^12 operations a second: VPDPBUSD or AMX, else that of f32 FMA, whose width VPMADDWD shares.
double int8_peak();

// Bytes a second that `threads` threads read together, each its own `bytes_each`, again and again.
double measure_read_bandwidth(int64_t bytes_each, int threads);
// From memory, all threads, buffers beyond the last-level cache; measured once in a process.
double memory_bandwidth();
int64_t cache_bytes(int level);  // data or unified cache of this processor; 0 where unknown

}  // namespace fathom
