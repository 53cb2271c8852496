#include "runs/run_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "base/rng.h"
#include "base/test_folder.h"

namespace fathom {
namespace {

TEST(RunStore, KeepsWhatWasAdded) {
  TestFolder folder;
  const std::string path = folder / "run.db";
  {
    RunStore store = RunStore::open(path);
    store.set_info("seed", "1");
    store.set_info("seed", "2");
    store.transaction([&] {
      store.add_metrics(1, {{"loss", 0.1}, {"lr", 1e-300}});
      store.add_sample(1, 0, std::string("a\0b\xff", 4), "é", -0.5, "wrong answer");
    });
    store.add_metrics(2, {{"loss", NAN}, {"inf", INFINITY}});
    store.add_metrics(2, {{"inf", -INFINITY}});
    store.add_event(2, "note", "second step");
    store.sync();
  }
  RunStore store = RunStore::open(path);  // the schema stands already
  EXPECT_EQ(store.info(), (std::map<std::string, std::string>{{"seed", "2"}}));
  EXPECT_EQ(store.metric_names(), (std::vector<std::string>{"loss", "lr", "inf"}));
  const auto loss = store.metric("loss");
  ASSERT_EQ(loss.size(), 2u);
  EXPECT_EQ(loss[0].value, 0.1);
  EXPECT_TRUE(loss[1].step == 2 && std::isnan(loss[1].value));
  EXPECT_EQ(store.metric("inf")[0].value, -INFINITY);
  EXPECT_EQ(store.metric("lr")[0].value, 1e-300);
  EXPECT_TRUE(store.metric("absent").empty());
  ASSERT_EQ(store.samples(1).size(), 1u);
  EXPECT_EQ(store.samples(1)[0].prompt, std::string("a\0b\xff", 4));
  EXPECT_EQ(store.samples(-1).size(), 1u);
  EXPECT_TRUE(store.samples(2).empty());
  ASSERT_EQ(store.events().size(), 1u);
  EXPECT_EQ(store.events()[0].text, "second step");
}

TEST(RunStore, TruncatesLaterSteps) {
  TestFolder folder;
  RunStore store = RunStore::open(folder / "run.db");
  for (int64_t step = 1; step <= 5; ++step) {
    store.add_metrics(step, {{"loss", static_cast<double>(step)}});
    store.add_sample(step, 0, "p", "c", 1, "");
    store.add_event(step, "e", "");
  }
  store.add_metrics(5, {{"only late", 1}});
  store.truncate_after(3);
  EXPECT_EQ(store.metric("loss").size(), 3u);
  EXPECT_EQ(store.samples(-1).size(), 3u);
  EXPECT_EQ(store.events().size(), 3u);
  EXPECT_EQ(store.metric_names(), std::vector<std::string>{"loss"});
}

TEST(RunStore, AFailedTransactionLeavesNothing) {
  TestFolder folder;
  RunStore store = RunStore::open(folder / "run.db");
  EXPECT_EQ(error_of([&] {
              store.transaction([&] {
                store.add_metrics(1, {{"loss", 1}});
                fail("test", "half way");
              });
            }),
            "[test] half way");
  EXPECT_TRUE(store.metric("loss").empty());
  store.add_metrics(1, {{"loss", 2}});
  EXPECT_EQ(store.metric("loss")[0].value, 2);
}

TEST(RunStore, ReadsWhileAnotherWrites) {
  TestFolder folder;
  RunStore writer = RunStore::open(folder / "run.db");
  writer.add_metrics(1, {{"loss", 1}});
  RunStore reader = RunStore::open_read_only(folder / "run.db");
  writer.transaction([&] {
    writer.add_metrics(2, {{"loss", 2}});
    EXPECT_EQ(reader.metric("loss").size(), 1u);  // the unfinished step is not seen
  });
  EXPECT_EQ(reader.metric("loss").size(), 2u);
  EXPECT_NE(error_of([&] { reader.add_metrics(3, {{"loss", 3}}); }), "");
}

TEST(RunStore, ErrorsNameThePath) {
  TestFolder folder;
  EXPECT_NE(error_of([&] { RunStore::open_read_only(folder / "none.db"); }).find("none.db' does not exist"), std::string::npos);
  EXPECT_NE(error_of([&] { RunStore::open(folder / "no/such/run.db"); }).find("no/such/run.db"), std::string::npos);
  write_file_atomic(folder / "text.db", std::string(2000, 'x'));
  EXPECT_NE(error_of([&] { RunStore::open_read_only(folder / "text.db"); }).find("not a database"), std::string::npos);
  EXPECT_NE(error_of([&] { RunStore::open(folder / "text.db"); }).find("not a database"), std::string::npos);
  write_file_atomic(folder / "empty.db", "");
  EXPECT_NE(error_of([&] { RunStore::open_read_only(folder / "empty.db"); }).find("no run store"), std::string::npos);
  // A store that was cut: an error, no crash.
  { RunStore::open(folder / "run.db").add_metrics(1, {{"loss", 1}}); }
  const std::string bytes = read_file(folder / "run.db");
  Rng rng(3, RngStream::kTest);
  for (int i = 0; i < 50; ++i) {
    std::string bad = bytes.substr(0, 1 + rng.next_below(bytes.size()));
    for (int k = 0; k < 20; ++k) bad[rng.next_below(bad.size())] = static_cast<char>(rng.next_below(256));
    write_file_atomic(folder / "bad.db", bad);
    error_of([&] {
      RunStore store = RunStore::open_read_only(folder / "bad.db");
      store.metric("loss"), store.info(), store.events(), store.samples(-1);
    });
  }
}

// kill -9 at any instant: whole steps stand, and no gap.
TEST(RunStore, SurvivesKills) {
  TestFolder folder;
  Rng rng(4, RngStream::kTest);
  int64_t total = 0;
  for (int kill = 0; kill < 20; ++kill) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      RunStore store = RunStore::open(folder / "run.db");
      for (int64_t step = total + 1;; ++step) {
        store.transaction([&] {
          store.add_metrics(step, {{"a", static_cast<double>(step)}, {"b", static_cast<double>(step)}});
          store.add_sample(step, 0, "p", "c", 0, "");
        });
        if (::write(pipe[1], &step, sizeof step) != sizeof step) ::_exit(1);
      }
    }
    ::close(pipe[1]);
    int64_t announced = 0;  // the child has begun; what it announces must stand
    ASSERT_EQ(::read(pipe[0], &announced, sizeof announced), static_cast<ssize_t>(sizeof announced));
    ::usleep(static_cast<useconds_t>(rng.next_below(15000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    while (::read(pipe[0], &announced, sizeof announced) == static_cast<ssize_t>(sizeof announced)) {
    }
    ::close(pipe[0]);
    RunStore store = RunStore::open(folder / "run.db");
    const auto a = store.metric("a"), b = store.metric("b");
    ASSERT_EQ(a.size(), b.size());
    ASSERT_EQ(a.size(), store.samples(-1).size());
    for (size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i].step, static_cast<int64_t>(i) + 1);
    ASSERT_GE(static_cast<int64_t>(a.size()), announced);
    total = static_cast<int64_t>(a.size());
  }
  EXPECT_GE(total, 20);
}

}  // namespace
}  // namespace fathom
