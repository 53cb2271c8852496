#include "base/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/check.h"
#include "base/error.h"
#include "base/numa.h"

namespace fathom {
namespace {

thread_local bool inside_region = false;

int processors() {  // that this process may run on
  if (const size_t allowed = allowed_processors().size()) return static_cast<int>(allowed);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// A wrong FATHOM_THREADS is an error; OMP_NUM_THREADS belongs to others and may hold a list: its first number counts.
int default_threads() {
  if (const char* value = std::getenv("FATHOM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(value, &end, 10);
    if (end == value || *end != '\0' || n < 1 || n > 1024)
      fail_usage("threads", std::string("FATHOM_THREADS is '") + value + "'; allowed: a whole number from 1 to 1024");
    return static_cast<int>(n);
  }
  if (const char* value = std::getenv("OMP_NUM_THREADS"))
    if (const int n = std::atoi(value); n > 0) return std::min(n, 1024);
  return processors();
}

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

class Pool {
 public:
  // More threads than processors: nobody spins (the others need the processor) and nobody is pinned.
  explicit Pool(int threads) : threads_(threads), spins_(threads <= processors() ? 20000 : 0) {
    if (threads > 1 && spins_ > 0) order_ = pinning_order(numa_topology(), allowed_processors());
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
    call(fn, context, 0);
    inside_region = false;
    for (int spin = 0; running_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < 20000)
        pause();
      else
        std::this_thread::yield();
    }
    // The workers are done with `context`: now the first exception of any of them reaches the caller.
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  }

 private:
  void call(detail::RegionFn fn, void* context, int index) {
    try {
      fn(context, index, threads_);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
    }
  }
  void work(int index) {
    flush_denormals();
    if (spins_ > 0) pin(index);
    inside_region = true;
    uint64_t seen = 0;
    for (;;) {
      int spin = 0;
      while (generation_.load(std::memory_order_acquire) == seen && spin < spins_) {
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
      call(fn_, context_, index);
      running_.fetch_sub(1, std::memory_order_release);
    }
  }
  // Worker i goes to the i-th processor of the order. The caller, worker 0, stays where the system puts it.
  void pin(int index) const {
    if (order_.size() < 2) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(order_[static_cast<size_t>(index) % order_.size()], &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
  }

  const int threads_, spins_;
  std::vector<int> order_;  // of processors; read by the workers that the constructor starts
  std::vector<std::thread> workers_;
  std::mutex mutex_, region_mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> running_{0}, sleepers_{0};
  std::atomic<bool> stop_{false};
  detail::RegionFn fn_ = nullptr;
  void* context_ = nullptr;
  std::exception_ptr error_;
};

// Never destroyed at exit: workers may still spin then, and statics that end may still compute.
std::atomic<Pool*> current_pool{nullptr};
std::mutex& pool_mutex() {
  static std::mutex* mutex = new std::mutex;
  return *mutex;
}
// A forked child has none of the workers: it makes its own pool.
void forget_pool() {
  current_pool.store(nullptr);
  inside_region = false;
}
Pool* make_pool(int threads) {
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_pool);
  (void)registered;
  return new Pool(threads);
}
Pool& pool() {
  if (Pool* made = current_pool.load(std::memory_order_acquire)) return *made;
  std::lock_guard lock(pool_mutex());
  if (!current_pool.load()) current_pool.store(make_pool(default_threads()), std::memory_order_release);
  return *current_pool.load();
}

}  // namespace

void flush_denormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040u);  // FTZ, DAZ
#elif defined(__aarch64__)
  uint64_t fpcr;
  __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
  __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (uint64_t{1} << 24)));  // FZ
#endif
}
int num_threads() { return pool().threads(); }
void set_num_threads(int threads) {
  CHECK(threads >= 1);
  CHECK(!inside_region);
  std::lock_guard lock(pool_mutex());
  Pool* old = current_pool.load();
  if (old && old->threads() == threads) return;
  current_pool.store(nullptr);
  delete old;
  current_pool.store(make_pool(threads), std::memory_order_release);
}

namespace detail {

void run_region(RegionFn fn, void* context) {
  flush_denormals();  // any thread may be worker 0
  pool().run(fn, context);
}

void run_range(RangeFn fn, void* context, int64_t n, int64_t grain) {
  if (n <= 0) return;
  grain = std::max<int64_t>(1, grain);
  if (n <= grain || inside_region) {
    flush_denormals();
    fn(context, 0, n);
    return;
  }
  std::atomic<int64_t> next{0};
  parallel_region([&](int, int) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      try {
        fn(context, begin, std::min(n, begin + grain));
      } catch (...) {
        next.store(n, std::memory_order_relaxed);  // the others need not begin another piece
        throw;
      }
    }
  });
}

}  // namespace detail
}  // namespace fathom
