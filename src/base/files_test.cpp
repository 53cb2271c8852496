#include "base/files.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/test_folder.h"

namespace fathom {
namespace {

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Files, WritesAndReadsBack) {
  TestFolder folder;
  write_file_atomic(folder / "a", "one");
  EXPECT_EQ(read_file(folder / "a"), "one");
  write_file_atomic(folder / "a", "");
  EXPECT_EQ(read_file(folder / "a"), "");
  const std::string large(3 << 20, 'x');
  write_file_atomic(folder / "a", large);
  EXPECT_EQ(read_file(folder / "a"), large);
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"a"});  // no temporary is left
  EXPECT_EQ(MappedFile::open(folder / "a")->bytes().size(), large.size());
}

TEST(Files, EveryErrorNamesPathAndReason) {
  TestFolder folder;
  const std::string missing = folder / "missing";
  EXPECT_TRUE(contains(error_of([&] { read_file(missing); }), "missing': no such file"));
  EXPECT_TRUE(contains(error_of([&] { MappedFile::open(missing); }), "missing': no such file"));
  EXPECT_TRUE(contains(error_of([&] { list_directory(missing); }), "missing': no such file"));
  EXPECT_TRUE(contains(error_of([&] { crc32_of_file(missing); }), "missing': no such file"));
  EXPECT_TRUE(contains(error_of([&] { read_file(folder.path()); }), "is a folder"));
  EXPECT_TRUE(contains(error_of([&] { MappedFile::open(folder.path()); }), "is a folder"));
  EXPECT_TRUE(contains(error_of([&] { write_file_atomic(folder / "no/such/file", "x"); }), "no such file"));
  EXPECT_TRUE(contains(error_of([&] { write_file_atomic(folder.path(), "x"); }), "is a folder"));
  write_file_atomic(folder / "file", "12345");
  EXPECT_TRUE(contains(error_of([&] { read_file(folder / "file", 4); }), "5 bytes; at most 4"));
  EXPECT_TRUE(contains(error_of([&] { make_directories(folder / "file/below"); }), "not a folder"));
  EXPECT_TRUE(contains(error_of([&] { read_file("/dev/zero", 1 << 20); }), "at most 1048576"));
}

TEST(Files, FullDiskIsAnErrorAndKeepsTheOldFile) {
  EXPECT_TRUE(contains(error_of([] { write_file_atomic("/dev/full", "x"); }), "no space left"));
  TestFolder folder;
  write_file_atomic(folder / "kept", "old");
  const pid_t child = ::fork();
  if (child == 0) {  // a limit on the size of a file stands for a disk that fills up half way
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string error = error_of([&] { write_file_atomic(folder / "kept", std::string(100000, 'x')); });
    ::_exit(contains(error, "kept") && contains(error, "larger than") ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(folder / "kept"), "old");
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);
}

TEST(Files, AtomicFileWithoutCommitLeavesTheOldFile) {
  TestFolder folder;
  write_file_atomic(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write("new", 3);
    EXPECT_EQ(file.written(), 3);
  }
  EXPECT_EQ(read_file(folder / "a"), "old");
  AtomicFile file(folder / "a");
  file.write("123456", 6);
  file.write("789", 3);
  EXPECT_EQ(file.crc32(), 0xCBF43926u);  // the published check value of CRC-32
  file.commit();
  EXPECT_EQ(crc32_of_file(folder / "a"), 0xCBF43926u);
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);
}

TEST(Files, LinksAndModesSurvive) {
  TestFolder folder;
  write_file_atomic(folder / "target", "old");
  ASSERT_EQ(::chmod((folder / "target").c_str(), 0600), 0);
  ASSERT_EQ(::symlink((folder / "target").c_str(), (folder / "link").c_str()), 0);
  write_file_atomic(folder / "link", "new");
  struct stat info {};
  ASSERT_EQ(::lstat((folder / "link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  ASSERT_EQ(::stat((folder / "target").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(read_file(folder / "target"), "new");
}

TEST(Files, DirectoryAppearsWholeOrNotAtAll) {
  TestFolder folder;
  const std::string path = folder / "checkpoint";
  const auto fill = [](const std::string& name) {
    return [name](const std::string& temporary) { write_file_atomic(temporary + "/" + name, "x"); };
  };
  write_directory_atomic(path, fill("first"));
  EXPECT_EQ(list_directory(path), std::vector<std::string>{"first"});
  write_directory_atomic(path + "/", fill("second"));
  EXPECT_EQ(list_directory(path), std::vector<std::string>{"second"});
  EXPECT_EQ(error_of([&] {
              write_directory_atomic(path, [&](const std::string& temporary) {
                write_file_atomic(temporary + "/third", "x");
                fail("test", "half way");
              });
            }),
            "[test] half way");
  EXPECT_EQ(list_directory(path), std::vector<std::string>{"second"});
  EXPECT_EQ(list_directory(folder.path()), std::vector<std::string>{"checkpoint"});
  write_file_atomic(folder / "file", "x");
  EXPECT_NE(error_of([&] { write_directory_atomic(folder / "file", fill("a")); }), "");
}

TEST(Files, RemovesWhatKilledProcessesLeft) {
  TestFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(folder / "a");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  AtomicFile own(folder / "b");
  EXPECT_EQ(list_directory(folder.path()).size(), 2u);
  remove_stale_temporaries(folder.path());
  EXPECT_EQ(list_directory(folder.path()).size(), 1u);  // this process still writes its own
}

TEST(Files, AFileThatShrinksWhileItIsMappedIsNamed) {
  TestFolder folder;
  write_file_atomic(folder / "other", std::string(100000, 'o'));
  write_file_atomic(folder / "weights", std::string(100000, 'w'));
  const auto other = MappedFile::open(folder / "other"), weights = MappedFile::open(folder / "weights");
  EXPECT_EXIT(
      {
        const auto closed = MappedFile::open(folder / "other");  // what comes and goes does not hide the others
        (void)closed;
        ASSERT_EQ(::truncate((folder / "weights").c_str(), 10), 0);
        volatile std::byte last = weights->bytes()[99999];
        (void)last;
        std::exit(0);
      },
      ::testing::ExitedWithCode(1), "weights' could not be read any further: it has become shorter");
}

}  // namespace
}  // namespace fathom
