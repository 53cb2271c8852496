#include "base/progress.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <vector>

#include "base/log.h"
#include "base/test_folder.h"
#include "base/utf8.h"

namespace fathom {
namespace {

TEST(Progress, FormatsForPeople) {
  EXPECT_EQ(format_duration(0.05), "0.05 s");
  EXPECT_EQ(format_duration(3.14), "3.1 s");
  EXPECT_EQ(format_duration(9.97), "10 s");
  EXPECT_EQ(format_duration(125), "2 min 5 s");
  EXPECT_EQ(format_duration(59.7), "1 min 0 s");
  EXPECT_EQ(format_duration(7260), "2 h 1 min");
  EXPECT_EQ(format_duration(90000), "1 d 1 h");
  EXPECT_EQ(format_duration(NAN), "?");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(3.7 * 1024 * 1024 * 1024), "3.7 GiB");
}

TEST(Progress, AFileSeesFewLines) {
  testing::internal::CaptureStderr();
  Progress progress("train", 1000, "steps");
  for (int i = 0; i <= 1000; ++i) progress.update(i, "loss 2.5");
  progress.finish("done in no time");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text.find("train  0/1000 steps  0 %  loss 2.5\n"), 0u) << text;
  EXPECT_NE(text.find("train  1000/1000 steps  100 %"), std::string::npos) << text;
  EXPECT_NE(text.find("done in no time\n"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
}

TEST(Progress, CurveHasLabelsAndTheRightShape) {
  std::vector<double> x, y;
  for (int i = 0; i < 500; ++i) x.push_back(i), y.push_back(8 - i * 0.01);
  y[100] = NAN;
  const std::string text = draw_curve("loss", x.data(), y.data(), 500, 60, 8);
  EXPECT_EQ(first_invalid_utf8(text), -1);
  std::vector<std::string> lines;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    lines.push_back(text.substr(at, end - at));
  ASSERT_EQ(lines.size(), 11u) << text;
  EXPECT_NE(lines[0].find("loss"), std::string::npos);
  EXPECT_EQ(lines[1].find("    8 ┤"), 0u) << text;
  EXPECT_EQ(lines[8].find(" 3.01 ┤"), 0u) << text;
  // A falling line: its first dot is in the first row, its last in the last row.
  EXPECT_NE(lines[1].find("\u2808"[0]), std::string::npos);
  EXPECT_LT(lines[1].size(), lines[8].size());
  EXPECT_NE(lines[10].find("499"), std::string::npos);
  EXPECT_EQ(draw_curve("loss", x.data(), y.data(), 0), "loss: no values yet\n");
  EXPECT_EQ(draw_curve("loss", &y[100], &y[100], 1), "loss: no values yet\n");
  const double huge[] = {-1e308, 1e308}, at[] = {0, 1};
  EXPECT_NE(draw_curve("huge", at, huge, 2).find("1e+308"), std::string::npos);
}

TEST(Stop, FirstSignalAsksSecondEnds) {
  const pid_t child = ::fork();
  if (child == 0) {
    install_stop_handler("");
    if (stop_requested()) ::_exit(1);
    ::raise(SIGINT);
    if (!stop_requested()) ::_exit(2);
    clear_stop_request();
    ::raise(SIGTERM);
    if (!stop_requested()) ::_exit(3);
    ::raise(SIGINT);
    ::_exit(4);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) << status;
}

TEST(Log, GoesToStderrAndTheFile) {
  TestFolder folder;
  testing::internal::CaptureStderr();
  const pid_t child = ::fork();  // the log file stays open in the process that asked for it
  if (child == 0) {
    log_to_file(folder / "run.log");
    log_info("first {not a format}");
    set_log_quiet(true);
    log_info("second");
    log_warning("third");
    ::_exit(error_of([&] { log_to_file(folder.path()); }).find(folder.path()) == std::string::npos);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "first {not a format}\nwarning: third\n");
  const std::string text = read_file(folder / "run.log");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  for (const char* part : {"info first {not a format}", "info second", "warning third"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace
}  // namespace fathom
