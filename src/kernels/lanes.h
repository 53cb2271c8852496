// Walking a row in groups of 16 lanes with the same body for whole groups and for the ragged end. For *_cpu.cpp files.
#pragma once
#include "backend/cpu/simd.h"

namespace fathom::FATHOM_RUNG {

struct Whole {};
struct Ragged {
  int n;
};  // the first n lanes exist; loads give 0 elsewhere

template <class T>
FATHOM_INLINE F32 load(const T* p, Whole) {
  return load(p);
}
template <class T>
FATHOM_INLINE F32 load(const T* p, Ragged g) {
  return load_n(p, g.n);
}
// The same with -infinity in lanes that do not exist: what a maximum passes over and exp() makes 0.
FATHOM_INLINE F32 load_or_none(const float* p, Whole) { return load(p); }
FATHOM_INLINE F32 load_or_none(const float* p, Ragged g) {
  float t[16];
  for (int i = 0; i < 16; ++i) t[i] = i < g.n ? p[i] : -__builtin_inff();
  return load(t);
}
template <class T>
FATHOM_INLINE void store(T* p, F32 a, Whole) {
  store(p, a);
}
template <class T>
FATHOM_INLINE void store(T* p, F32 a, Ragged g) {
  store_n(p, a, g.n);
}

// Elements of a type known at run time: where memory binds, a predicted branch a group costs nothing, and one instance of a
// kernel does instead of one for every combination of types.
struct AnyRow {
  void* p;
  bool is_bf16;
};
FATHOM_INLINE AnyRow row_at(const void* p, bool is_bf16, int64_t offset) {
  char* c = static_cast<char*>(const_cast<void*>(p));
  return {c ? c + offset * (is_bf16 ? 2 : 4) : nullptr, is_bf16};
}
template <class Group>
FATHOM_INLINE F32 load(AnyRow r, int64_t i, Group g) {
  return r.is_bf16 ? load(static_cast<const bf16*>(r.p) + i, g) : load(static_cast<const float*>(r.p) + i, g);
}
template <class Group>
FATHOM_INLINE void store(AnyRow r, int64_t i, F32 a, Group g) {
  if (r.is_bf16)
    store(static_cast<bf16*>(r.p) + i, a, g);
  else
    store(static_cast<float*>(r.p) + i, a, g);
}

#if FATHOM_RUNG_LEVEL >= 1
#define FATHOM_LANES_INLINE __attribute__((always_inline))
#else
#define FATHOM_LANES_INLINE
#endif

// body(i, group) for i = 0, 16, 32 … below n.
template <class Body>
FATHOM_INLINE void for_lanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(i, Whole{});
  if (i < n) body(i, Ragged{static_cast<int>(n - i)});
}

// sum of term(i, group) over a row: four chains of 16 lanes (groups 4j, 4j+1, 4j+2, 4j+3; the rest goes to the first, the
// ragged end to the second), then one tree. The order depends on n alone. term must be 0 in lanes that do not exist.
template <class Term>
FATHOM_INLINE float sum_lanes(int64_t n, Term&& term) {
  F32 a = zero(), b = zero(), c = zero(), d = zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = term(i, Whole{}, a);
    b = term(i + kLanes, Whole{}, b);
    c = term(i + 2 * kLanes, Whole{}, c);
    d = term(i + 3 * kLanes, Whole{}, d);
  }
  for (; i + kLanes <= n; i += kLanes) a = term(i, Whole{}, a);
  if (i < n) b = term(i, Ragged{static_cast<int>(n - i)}, b);
  return reduce_add((a + b) + (c + d));
}

}  // namespace fathom::FATHOM_RUNG
