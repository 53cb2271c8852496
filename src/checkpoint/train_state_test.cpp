#include "checkpoint/train_state.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "base/rng.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"

namespace fathom {
namespace {

Tensor filled(int64_t n, float value) {
  Tensor t = Tensor::empty({n}, DType::kF32);
  for (int64_t i = 0; i < n; ++i) t.data<float>()[i] = value;
  return t;
}
std::string save(const std::string& directory, int64_t step, int keep, int64_t n = 1000) {
  const float value = static_cast<float>(step);
  StateScalars scalars;
  scalars.integers["step"] = step;
  return save_checkpoint(
      directory, step, {{"m", filled(n, value), DType::kF32}, {"v", filled(n, -value), DType::kF32}}, scalars,
      [&](const std::string& folder) {
        write_file_atomic(folder + "/config.json", "{\"step\": " + std::to_string(step) + "}");
      },
      keep);
}
void expect_whole(const LoadedCheckpoint& c, int64_t n = 1000) {
  EXPECT_EQ(c.scalars.integer("step"), c.step);
  const Tensor m = c.tensor("m"), v = c.tensor("v");
  ASSERT_EQ(m.numel(), n);
  for (int64_t i = 0; i < n; ++i)
    ASSERT_TRUE(m.data<float>()[i] == static_cast<float>(c.step) && v.data<float>()[i] == -static_cast<float>(c.step));
  EXPECT_EQ(read_file(c.path + "/config.json"), "{\"step\": " + std::to_string(c.step) + "}");
}

TEST(TrainState, ScalarsComeBackBitForBit) {
  flush_denormals();  // as the program runs: denormal values must survive all the same
  TestFolder folder;
  StateScalars out;
  out.integers = {{"low", INT64_MIN}, {"high", INT64_MAX}, {"zero", 0}};
  out.reals = {{"third", 1.0 / 3}, {"tiny", 5e-324}, {"negative zero", -0.0}, {"inf", -INFINITY},
               {"nan", NAN},       {"whole", 3.0},   {"big", 1e300}};
  out.texts = {{"recipe", "a: 1\n\"é\"\t"}, {"empty", ""}};
  save_checkpoint(folder.path(), 7, {}, out, nullptr, 0);
  const auto in = latest_checkpoint(folder.path());
  ASSERT_TRUE(in);
  EXPECT_EQ(in->scalars.integers, out.integers);
  EXPECT_EQ(in->scalars.texts, out.texts);
  for (const auto& [name, value] : out.reals) {
    const double back = in->scalars.real(name);
    EXPECT_TRUE(std::memcmp(&back, &value, 8) == 0 || (std::isnan(back) && std::isnan(value))) << name;
  }
  EXPECT_NE(error_of([&] { in->scalars.integer("absent"); }).find("no integer 'absent'"), std::string::npos);
  EXPECT_NE(error_of([&] { in->tensor("absent"); }).find("no tensor 'absent'"), std::string::npos);
}

TEST(TrainState, KeepsTheLastAndReplacesTheSameStep) {
  TestFolder folder;
  EXPECT_FALSE(latest_checkpoint(folder.path()));
  EXPECT_FALSE(latest_checkpoint(folder / "nothing"));
  for (int64_t step = 10; step <= 50; step += 10) save(folder.path(), step, 2);
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{40, 50}));
  save(folder.path(), 50, 2);
  save(folder.path(), 40, 2);  // taken back: the later one stays
  EXPECT_EQ(checkpoint_steps(folder.path()), (std::vector<int64_t>{40, 50}));
  expect_whole(*latest_checkpoint(folder.path()));
  EXPECT_EQ(list_directory(folder.path()).size(), 2u);
}

TEST(TrainState, DamagedOnesAreSkipped) {
  const auto damage = [](const std::string& what, const std::function<void(const std::string&)>& body) {
    TestFolder folder;
    save(folder.path(), 10, 0);
    const std::string path = save(folder.path(), 20, 0);
    body(path);
    EXPECT_NE(error_of([&] { load_checkpoint(path); }).find(path), std::string::npos) << what;
    testing::internal::CaptureStderr();
    const auto latest = latest_checkpoint(folder.path());
    const std::string warning = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(latest) << what;
    EXPECT_EQ(latest->step, 10) << what;
    EXPECT_NE(warning.find(path), std::string::npos) << what;
    expect_whole(*latest);
  };
  const auto flip = [](const std::string& file, size_t at) {
    std::string bytes = read_file(file);
    bytes[at % bytes.size()] ^= 1;
    write_file_atomic(file, bytes);
  };
  damage("a bit of a tensor", [&](const std::string& path) { flip(path + "/trainer/state.safetensors", 3000); });
  damage("a bit of a scalar", [&](const std::string& path) { flip(path + "/trainer/state.json", 20); });
  damage("a bit of the model", [&](const std::string& path) { flip(path + "/config.json", 9); });
  damage("a cut file",
         [&](const std::string& path) { ASSERT_EQ(::truncate((path + "/trainer/state.safetensors").c_str(), 100), 0); });
  damage("a missing file", [&](const std::string& path) { remove_tree(path + "/config.json"); });
  damage("no manifest", [&](const std::string& path) { remove_tree(path + "/trainer/manifest.json"); });
  damage("an empty manifest", [&](const std::string& path) { write_file_atomic(path + "/trainer/manifest.json", ""); });
  damage("another manifest",
         [&](const std::string& path) { write_file_atomic(path + "/trainer/manifest.json", "{\"content\": [1]}"); });
  damage("an empty folder", [&](const std::string& path) { remove_tree(path), make_directories(path); });
  // Every single bit of the manifest is covered.
  TestFolder folder;
  const std::string manifest = save(folder.path(), 20, 0) + "/trainer/manifest.json", good = read_file(manifest);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] ^= 1;
    if (std::isspace(static_cast<unsigned char>(good[at])))
      continue;  // "!" for a blank is no JSON; a newline for another is the same
    std::ofstream(manifest, std::ios::binary) << bytes;
    EXPECT_NE(error_of([&] { load_checkpoint(folder / "step-00000020"); }), "") << at << bytes.substr(at, 20);
  }
}

// A writer is killed at random instants; what stands is always a whole checkpoint, the last announced one or a later one.
TEST(TrainState, KilledWritersLeaveAWholeCheckpoint) {
  TestFolder folder;
  constexpr int64_t kFloats = 60000;
  Rng rng(2, RngStream::kTest);
  int64_t announced = 0;
  int killed_while_writing = 0;
  for (int kill = 0; kill < 25; ++kill) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe[0]);
      for (int64_t step = announced + 1;; ++step) {
        save(folder.path(), step, 2, kFloats);
        if (::write(pipe[1], &step, sizeof step) != sizeof step) ::_exit(1);
      }
    }
    ::close(pipe[1]);
    int64_t step = 0;
    ASSERT_EQ(::read(pipe[0], &step, sizeof step), static_cast<ssize_t>(sizeof step));  // the child has begun
    announced = step;
    ::usleep(static_cast<useconds_t>(rng.next_below(25000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(pipe[0], &step, sizeof step) == static_cast<ssize_t>(sizeof step)) announced = step;
    ::close(pipe[0]);
    for (const auto& name : list_directory(folder.path())) killed_while_writing += name[0] == '.';
    const auto latest = latest_checkpoint(folder.path());
    ASSERT_TRUE(latest);
    EXPECT_GE(latest->step, announced);
    EXPECT_LE(latest->step, announced + 1);
    expect_whole(*latest, kFloats);
    announced = latest->step;
    for (const int64_t s : checkpoint_steps(folder.path()))
      EXPECT_EQ(error_of([&] { load_checkpoint(checkpoint_path(folder.path(), s)); }), "");
  }
  EXPECT_GT(killed_while_writing, 2);  // the kills did hit writes
  save(folder.path(), announced + 1, 1, kFloats);
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);  // nothing of the killed ones is left
}

}  // namespace
}  // namespace fathom
