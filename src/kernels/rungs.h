// Picks a kernel that a *_cpu.cpp file defines in the three f32 rungs.
#pragma once
#include "backend/cpu/isa.h"

#define FATHOM_PICK3(kernel)                                                                                       \
  (::fathom::IsaTable<decltype(&::fathom::portable::kernel)>{&::fathom::portable::kernel, &::fathom::avx2::kernel, \
                                                             &::fathom::avx512::kernel}                            \
       .pick())
