// The one pool of the process: pinned workers, spin-then-sleep barrier. Its size is --threads, else FATHOM_THREADS,
// else OMP_NUM_THREADS, else the processors this process may run on. Workers are pinned one a processor, spread over NUMA nodes
// and cores (pinning_order in base/numa.h). Every worker flushes denormals (FTZ, DAZ). The caller is worker 0. Regions do not
// nest: a region started inside a region runs on the caller alone. Regions of several host threads take turns. An exception in
// any worker ends that worker's part; the first one reaches the caller when all are done.
#pragma once
#include <cstdint>
#include <type_traits>

namespace fathom {

int num_threads();
void set_num_threads(int threads);  // not while a region runs; restarts the workers
void flush_denormals();             // FTZ and DAZ for the calling thread (main and every thread that computes)

namespace detail {
using RegionFn = void (*)(void* context, int thread, int threads);
void run_region(RegionFn fn, void* context);
using RangeFn = void (*)(void* context, int64_t begin, int64_t end);
void run_range(RangeFn fn, void* context, int64_t n, int64_t grain);
}  // namespace detail

// fn(thread, threads) once on every thread; returns when all are done.
template <class Fn>
void parallel_region(Fn&& fn) {
  using F = std::remove_reference_t<Fn>;
  detail::run_region([](void* c, int thread, int threads) { (*static_cast<F*>(c))(thread, threads); },
                     const_cast<void*>(static_cast<const void*>(&fn)));
}

// fn(begin, end) over [0, n) in pieces of `grain` handed out dynamically; results must not depend on who takes which piece.
// n <= grain runs on the caller without a barrier.
template <class Fn>
void parallel_for(int64_t n, int64_t grain, Fn&& fn) {
  using F = std::remove_reference_t<Fn>;
  detail::run_range([](void* c, int64_t begin, int64_t end) { (*static_cast<F*>(c))(begin, end); },
                    const_cast<void*>(static_cast<const void*>(&fn)), n, grain);
}

}  // namespace fathom
