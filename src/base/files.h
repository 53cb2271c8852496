// Files: whole reads, memory maps, atomic writes. Every failure is an Error that names the path and the system's reason.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapping_guard.h"

namespace fathom {

std::string read_file(const std::string& path, int64_t max_bytes = int64_t{1} << 30);
bool file_exists(const std::string& path);
bool is_directory(const std::string& path);
void make_directories(const std::string& path);
std::vector<std::string> list_directory(const std::string& path);  // names, sorted
void remove_tree(const std::string& path);

// Atomic: temporary name in the same folder, write, fsync, rename, fsync of the folder. An interrupted write leaves the old
// file.
void write_file_atomic(const std::string& path, std::string_view bytes);
// The same for streamed content.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();  // without commit(): the temporary file is removed
  void write(const void* data, int64_t bytes);
  int64_t written() const { return written_; }
  uint32_t crc32() const { return crc_; }  // of all bytes so far (zlib's CRC-32)
  void commit();

 private:
  static constexpr int64_t kBuffer = 1 << 20;
  void write_through(const char* data, int64_t bytes);
  std::string path_, temporary_, buffer_;
  int fd_ = -1;
  int64_t written_ = 0;
  uint32_t crc_ = 0;
};
// A directory that appears whole or not at all: filled under a temporary name, then renamed over `path`
// (an existing one is swapped out and removed).
void write_directory_atomic(const std::string& path, const std::function<void(const std::string& temporary)>& fill);
// Goes from `path` in one instant (renamed, then removed): what is seen under `path` is always whole.
void remove_directory_atomic(const std::string& path);
// Removes what killed processes left of atomic writes in `directory`: temporary names whose process is gone.
void remove_stale_temporaries(const std::string& directory);
uint32_t crc32_of_file(const std::string& path);

// A read-only memory map of a whole file. Should the file shrink meanwhile, the process ends with an error that names it.
class MappedFile : public std::enable_shared_from_this<MappedFile> {
 public:
  static std::shared_ptr<MappedFile> open(const std::string& path);
  // Keeps the map alive; when the last copy goes, this process gives back the pages of these bytes. The system's page cache
  // keeps them, and reading them again is always right.
  std::shared_ptr<void> lend(const std::byte* begin, int64_t bytes);
  ~MappedFile();
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  std::string path_;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
  std::optional<MappingGuard> guard_;
};

}  // namespace fathom
