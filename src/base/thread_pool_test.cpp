#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/test_folder.h"

namespace fathom {
namespace {

class ThreadPool : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_num_threads(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadPool, testing::Values(1, 2, 3, 8));

TEST_P(ThreadPool, RegionRunsOnceOnEveryThread) {
  for (int round = 0; round < 100; ++round) {
    std::vector<int> hits(static_cast<size_t>(GetParam()), 0);  // no atomics: TSan proves that the barrier orders them
    parallel_region([&](int thread, int threads) {
      EXPECT_EQ(threads, GetParam());
      ++hits[static_cast<size_t>(thread)];
    });
    for (const int h : hits) ASSERT_EQ(h, 1);
  }
}

TEST_P(ThreadPool, ForCoversEveryIndexOnce) {
  for (const int64_t n : {0, 1, 7, 1000, 4096})
    for (const int64_t grain : {1, 3, 64, 5000}) {
      std::vector<int> hits(static_cast<size_t>(n), 0);
      parallel_for(n, grain, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
      });
      for (const int h : hits) ASSERT_EQ(h, 1);
    }
}

TEST_P(ThreadPool, NestedRegionsRunOnTheCallerAlone) {
  std::atomic<int> inner{0};
  parallel_region([&](int, int) {
    if (GetParam() > 1) parallel_region([&](int thread, int threads) { inner += thread + threads - 1; });
    parallel_for(100, 1, [&](int64_t begin, int64_t end) { inner += static_cast<int>(end - begin); });
  });
  EXPECT_EQ(inner, 100 * GetParam());
}

TEST_P(ThreadPool, ExceptionsReachTheCaller) {
  for (int round = 0; round < 20; ++round) {
    const int thrower = round % GetParam();
    EXPECT_THROW(parallel_region([&](int thread, int) {
                   if (thread == thrower) throw std::runtime_error("worker");
                 }),
                 std::runtime_error);
    EXPECT_THROW(parallel_region([&](int, int) { throw std::runtime_error("all"); }), std::runtime_error);
    EXPECT_THROW(parallel_for(1000, 1,
                              [&](int64_t begin, int64_t) {
                                if (begin == 500) throw std::runtime_error("piece");
                              }),
                 std::runtime_error);
    // Inside a nested region too; and the pool works on afterwards.
    EXPECT_THROW(parallel_region([&](int thread, int) {
                   parallel_for(10, 1, [&](int64_t, int64_t) {
                     if (thread == thrower) throw std::runtime_error("nested");
                   });
                 }),
                 std::runtime_error);
    std::atomic<int> sum{0};
    parallel_region([&](int, int) { ++sum; });
    ASSERT_EQ(sum, GetParam());
  }
}

TEST_P(ThreadPool, SeveralHostThreadsTakeTurns) {
  std::vector<std::thread> hosts;
  std::vector<int64_t> sums(4, 0);
  for (size_t h = 0; h < sums.size(); ++h)
    hosts.emplace_back([&sums, h] {
      for (int round = 0; round < 20; ++round) {
        std::atomic<int64_t> sum{0};
        parallel_for(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
        sums[h] += sum;
      }
    });
  for (auto& host : hosts) host.join();
  for (const int64_t s : sums) EXPECT_EQ(s, 2000);
}

TEST_P(ThreadPool, EveryThreadFlushesDenormals) {
  std::thread([] {  // a host thread that never asked for it
    std::atomic<int> flushed{0};
    parallel_region([&](int, int) {
      volatile float smallest = 1.17549435e-38f, half = 0.5f;
      flushed += smallest * half == 0.0f;
    });
    EXPECT_EQ(flushed, GetParam());
  })
      .join();
}

TEST(ThreadPoolSize, CanChangeBetweenRegions) {
  for (const int threads : {1, 4, 2, 2, 5}) {
    set_num_threads(threads);
    EXPECT_EQ(num_threads(), threads);
    std::atomic<int> count{0};
    parallel_region([&](int, int) { ++count; });
    EXPECT_EQ(count, threads);
  }
}

TEST(ThreadPoolSize, WakesSleepingWorkers) {
  set_num_threads(3);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // longer than the workers spin
    std::atomic<int> count{0};
    parallel_region([&](int, int) { ++count; });
    EXPECT_EQ(count, 3);
  }
}

#ifndef FATHOM_SANITIZED  // TSan does not follow threads into a forked child
TEST(ThreadPoolSize, AForkedChildMakesItsOwnPool) {
  set_num_threads(3);
  const pid_t child = ::fork();
  if (child == 0) {
    std::atomic<int> count{0};
    set_num_threads(2);
    parallel_region([&](int, int) { ++count; });
    ::_exit(count);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 2);
}

TEST(ThreadPoolSize, AWrongEnvironmentIsAnError) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("FATHOM_THREADS", "many", 1);
    ::_exit(error_of([] { num_threads(); }).find("FATHOM_THREADS is 'many'") == std::string::npos);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}
#endif

}  // namespace
}  // namespace fathom
