#include "backend/cpu/isa.h"

#include <atomic>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/error.h"

namespace fathom {
namespace {

constexpr Isa kAll[] = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Bf16, Isa::kAmx};

struct Cpu {
  bool avx2 = false, avx512 = false, vnni = false, bf16 = false, amx = false;
  bool bf16_half_rate =
      false;  // VDPBF16PS issues at half the rate of an f32 FMA, so the widening kernels are as fast or faster
};

#if defined(__x86_64__)
Cpu detect() {
  Cpu c;
  unsigned a, b, cx, d;
  if (!__get_cpuid(1, &a, &b, &cx, &d) || !(cx & (1u << 27))) return c;  // OSXSAVE
  const bool fma = cx & (1u << 12), f16c = cx & (1u << 29);
  const unsigned base_model = (a >> 4) & 15u, family = (a >> 8) & 15u, model = base_model | ((a >> 12) & 0xf0u);
  unsigned lo, hi;
  __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  const bool ymm = (lo & 0x6u) == 0x6u, zmm = (lo & 0xe6u) == 0xe6u, tiles = (lo & 0x60000u) == 0x60000u;
  unsigned max_leaf = 0, vendor = 0, vendor_c = 0, vendor_d = 0;
  __get_cpuid(0, &max_leaf, &vendor, &vendor_c, &vendor_d);
  if (!__get_cpuid_count(7, 0, &a, &b, &cx, &d)) return c;
  c.avx2 = ymm && fma && f16c && (b & (1u << 5));
  c.avx512 = c.avx2 && zmm && (b & (1u << 16)) && (b & (1u << 17)) && (b & (1u << 30)) && (b & (1u << 31));
  c.vnni = c.avx512 && (cx & (1u << 11));
  const bool vbmi = cx & (1u << 1);  // all with bf16 have it but Cooper Lake, which runs as avx512_vnni
  const bool amx_flags = (d & (1u << 22)) && (d & (1u << 24)) && (d & (1u << 25));
  unsigned a1, b1, c1, d1;
  if (__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) c.bf16 = c.vnni && vbmi && (a1 & (1u << 5));
  if (c.bf16 && amx_flags && tiles) c.amx = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
  // Intel's server cores from Sapphire Rapids on have AMX for bf16 and run VDPBF16PS at half rate (measured: 0.086 against
  // 0.176 TFLOP/s a core for f32 FMA on model 207). Where a hypervisor hides AMX, FMA on widened values is the faster form.
  const bool intel = vendor == 0x756e6547u /* "Genu" */;
  c.bf16_half_rate = intel && family == 6 && (model == 0x8f || model == 0xcf || model == 0xad || model == 0xae);
  return c;
}
#else
Cpu detect() { return {}; }
#endif

const Cpu& cpu() {
  static const Cpu c = detect();
  return c;
}

Isa choose() {
  const char* wanted = std::getenv("FATHOM_ISA");
  if (!wanted || !*wanted) return best_isa();
  for (Isa isa : kAll)
    if (isa_name(isa) == wanted) {
      if (!isa_supported(isa))
        fail_usage("isa",
                   "FATHOM_ISA=" + std::string(wanted) + " is not supported by this machine; run `fathom doctor` for what is");
      return isa;
    }
  fail_usage("isa", "FATHOM_ISA=" + std::string(wanted) +
                        " is no instruction set; use one of portable, avx2, avx512, avx512_vnni, avx512_bf16, amx");
}

std::atomic<int> current{-1};

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Vnni:
      return "avx512_vnni";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}
bool isa_supported(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return true;
    case Isa::kAvx2:
      return cpu().avx2;
    case Isa::kAvx512:
      return cpu().avx512;
    case Isa::kAvx512Vnni:
      return cpu().vnni;
    case Isa::kAvx512Bf16:
      return cpu().bf16;
    case Isa::kAmx:
      return cpu().amx;
  }
  return false;
}
std::vector<Isa> supported_isas() {
  std::vector<Isa> all;
  for (Isa isa : kAll)
    if (isa_supported(isa)) all.push_back(isa);
  return all;
}
std::string isa_note(Isa isa) {
  const bool ok = isa_supported(isa);
  switch (isa) {
    case Isa::kPortable:
      return "plain C++, fused multiply-adds through the C library";
    case Isa::kAvx2:
      return ok ? "f32 FMA on 8 lanes; bf16 by 16-bit integers" : "the processor or the system lacks AVX2, FMA or F16C";
    case Isa::kAvx512:
      return ok ? "f32 FMA on 16 lanes; bf16 by 16-bit integers" : "the processor or the system lacks AVX-512 F, BW, DQ or VL";
    case Isa::kAvx512Vnni:
      return ok ? "as avx512, with 8-bit dot products" : "the processor lacks AVX-512 VNNI";
    case Isa::kAvx512Bf16:
      if (!ok) return "the processor lacks AVX-512 BF16";
      return cpu().bf16_half_rate ? "VDPBF16PS; at half rate on this processor, so not chosen by itself"
                                  : "VDPBF16PS over pairs of k";
    case Isa::kAmx:
      return ok ? "TDPBF16PS tiles" : "the processor has no AMX, or the system or hypervisor hides it";
  }
  return "";
}
Isa best_isa() {
  if (cpu().amx) return Isa::kAmx;
  if (cpu().bf16 && !cpu().bf16_half_rate) return Isa::kAvx512Bf16;
  if (cpu().vnni) return Isa::kAvx512Vnni;
  if (cpu().avx512) return Isa::kAvx512;
  return cpu().avx2 ? Isa::kAvx2 : Isa::kPortable;
}
Isa isa() {
  int value = current.load(std::memory_order_relaxed);
  if (value < 0) {
    value = static_cast<int>(choose());
    current.store(value, std::memory_order_relaxed);
  }
  return static_cast<Isa>(value);
}
void set_isa_for_test(Isa isa) { current.store(static_cast<int>(isa), std::memory_order_relaxed); }

}  // namespace fathom
