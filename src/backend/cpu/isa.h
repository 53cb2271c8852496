// Which instructions this process uses, chosen once at start: the best rung the processor has, or FATHOM_ISA's.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

// The ladder. kAvx512Vnni shares the float and bf16 kernels of kAvx512 (it has its own 8-bit ones).
enum class Isa : int { kPortable = 0, kAvx2 = 1, kAvx512 = 2, kAvx512Vnni = 3, kAvx512Bf16 = 4, kAmx = 5 };

std::string_view isa_name(Isa isa);  // portable avx2 avx512 avx512_vnni avx512_bf16 amx: the values of FATHOM_ISA
bool isa_supported(Isa isa);         // by processor and kernel (AMX asks for its tile state here)
std::vector<Isa> supported_isas();   // rising
std::string isa_note(Isa isa);       // for people: what the rung uses, or what this machine lacks for it
Isa best_isa();                      // see isa.cpp: a processor whose VDPBF16PS is slower than its FMA stays below kAvx512Bf16
Isa isa();                           // the one in use; throws Error for an unknown or unsupported FATHOM_ISA
void set_isa_for_test(Isa isa);

// Kernels come as tables, one a compiled rung; picks the entry for isa(). Rungs that a kernel was not compiled for
// fall to the next lower one in the table: the table says so, not the caller.
template <class Fn>
struct IsaTable {
  Fn portable, avx2, avx512, avx512bf16 = nullptr, amx = nullptr;
  Fn pick() const {
    switch (isa()) {
      case Isa::kAmx:
        if (amx) return amx;
        [[fallthrough]];
      case Isa::kAvx512Bf16:
        if (avx512bf16) return avx512bf16;
        [[fallthrough]];
      case Isa::kAvx512Vnni:
      case Isa::kAvx512:
        return avx512;
      case Isa::kAvx2:
        return avx2;
      case Isa::kPortable:
        break;
    }
    return portable;
  }
};

}  // namespace fathom

// Declares `signature` (a function type name `name`) in every rung's namespace, for a *_cpu.cpp that defines it once.
#define FATHOM_DECLARE_RUNGS3(declaration) \
  namespace fathom::portable {             \
  declaration;                             \
  }                                        \
  namespace fathom::avx2 {                 \
  declaration;                             \
  }                                        \
  namespace fathom::avx512 {               \
  declaration;                             \
  }
#define FATHOM_DECLARE_RUNGS4(declaration) \
  FATHOM_DECLARE_RUNGS3(declaration)       \
  namespace fathom::avx512bf16 {           \
  declaration;                             \
  }
