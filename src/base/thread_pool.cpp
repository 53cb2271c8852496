#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"

namespace fathom {
namespace {

thread_local bool inside_region = false;

int default_threads() {
  for (const char* name : {"FATHOM_THREADS", "OMP_NUM_THREADS"})
    if (const char* value = std::getenv(name))
      if (const int n = std::atoi(value); n > 0) return std::min(n, 1024);
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  }
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }
  int threads() const { return threads_; }

  void run(detail::RegionFn fn, void* context) {
    if (threads_ == 1 || inside_region) {
      fn(context, 0, 1);
      return;
    }
    std::lock_guard one_region(region_mutex_);  // regions of different host threads take turns
    fn_ = fn;
    context_ = context;
    running_.store(threads_ - 1, std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex_);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleepers_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    inside_region = true;
    fn(context, 0, threads_);
    inside_region = false;
    for (int spin = 0; running_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < 20000) pause();
      else std::this_thread::yield();
    }
  }

 private:
  void work(int index) {
    flush_denormals();
    pin(index);
    inside_region = true;
    uint64_t seen = 0;
    for (;;) {
      int spin = 0;
      while (generation_.load(std::memory_order_acquire) == seen && spin < 20000) {
        pause();
        ++spin;
      }
      if (generation_.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex_);
        sleepers_.fetch_add(1);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        sleepers_.fetch_sub(1);
      }
      ++seen;
      if (stop_.load(std::memory_order_acquire)) return;
      fn_(context_, index, threads_);
      running_.fetch_sub(1, std::memory_order_release);
    }
  }
  // Worker i goes to the i-th processor that the process may use.
  static void pin(int index) {
    cpu_set_t allowed, one;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    const int count = CPU_COUNT(&allowed);
    if (count < 2) return;
    int want = index % count;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed) || want-- > 0) continue;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      pthread_setaffinity_np(pthread_self(), sizeof one, &one);
      return;
    }
  }

  const int threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_, region_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> running_{0}, sleepers_{0};
  std::atomic<bool> stop_{false};
  detail::RegionFn fn_ = nullptr;
  void* context_ = nullptr;
};

std::mutex pool_mutex;
std::unique_ptr<Pool>& pool_slot() {
  static std::unique_ptr<Pool> pool;
  return pool;
}
Pool& pool() {
  std::lock_guard lock(pool_mutex);
  auto& slot = pool_slot();
  if (!slot) {
    flush_denormals();
    slot = std::make_unique<Pool>(default_threads());
  }
  return *slot;
}

}  // namespace

void flush_denormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040u);
#endif
}
int num_threads() { return pool().threads(); }
void set_num_threads(int threads) {
  CHECK(threads >= 1);
  std::lock_guard lock(pool_mutex);
  flush_denormals();
  auto& slot = pool_slot();
  if (slot && slot->threads() == threads) return;
  slot.reset();
  slot = std::make_unique<Pool>(threads);
}

namespace detail {

void run_region(RegionFn fn, void* context) { pool().run(fn, context); }

void run_range(RangeFn fn, void* context, int64_t n, int64_t grain) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (n <= grain || inside_region) {
    fn(context, 0, n);
    return;
  }
  std::atomic<int64_t> next{0};
  parallel_region([&](int, int) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      fn(context, begin, std::min(n, begin + grain));
    }
  });
}

}  // namespace detail
}  // namespace fathom
