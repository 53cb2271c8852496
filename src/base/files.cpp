#include "base/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/check.h"
#include "base/error.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) {
  switch (error) {
    case ENOENT:
      return "no such file or folder; check the path";
    case EACCES:
    case EPERM:
      return "permission denied; check the owner and the mode";
    case EROFS:
      return "the file system is read-only; choose another folder";
    case EISDIR:
      return "it is a folder; give a file";
    case ENOTDIR:
      return "a part of the path is a file, not a folder";
    case ENOSPC:
    case EDQUOT:
      return "no space left (" + std::string(std::strerror(error)) + "); free some space or choose another disk";
    case EFBIG:
      return "the file would be larger than the file system or `ulimit -f` allows";
    default:
      return std::strerror(error);
  }
}
// What a user named wrongly is bad input (exit 2); all else is a failure of the machine (exit 1).
[[noreturn]] void fail_read(const std::string& what, const std::string& path, int error) {
  const bool input = error == ENOENT || error == EACCES || error == EPERM || error == EISDIR || error == ENOTDIR ||
                     error == ELOOP || error == ENAMETOOLONG;
  throw Error(input ? Error::Kind::kUsage : Error::Kind::kFailed, "files",
              "cannot " + what + " '" + path + "': " + reason(error));
}
[[noreturn]] void fail_write(const std::string& what, const std::string& path, int error) {
  fail("files", "cannot " + what + " '" + path + "': " + reason(error));
}

// A file descriptor that is closed on every way out.
struct Descriptor {
  int fd = -1;
  explicit Descriptor(int f) : fd(f) {}
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

int open_retry(const std::string& path, int flags, mode_t mode = 0) {
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  return fd;
}

// Reads at most `bytes`; fewer only at the end of the file.
int64_t read_some(int fd, char* to, int64_t bytes, const std::string& path) {
  int64_t got = 0;
  while (got < bytes) {
    const ssize_t n = ::read(fd, to + got, static_cast<size_t>(bytes - got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_read("read", path, errno);
    if (n == 0) break;
    got += n;
  }
  return got;
}

std::string parent_of(const std::string& path) {
  std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}
// "a/b/" and "a/b" are the same target.
std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}
// Hidden, in the same folder, with the owner's process id, so that what a killed process left can be told and removed.
std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> counter{0};
  const fs::path p(path);
  return parent_of(path) + "/." + p.filename().string() + ".tmp-" + std::to_string(::getpid()) + "-" +
         std::to_string(counter++);
}

void sync_path(const std::string& path, int flags) {
  Descriptor file(open_retry(path, O_RDONLY | flags));
  if (file.fd < 0) fail_write("open for fsync", path, errno);
  // Some file systems cannot sync a folder (EINVAL): then there is nothing more to do.
  if (::fsync(file.fd) != 0 && errno != EINVAL) fail_write("fsync", path, errno);
}
void sync_directory(const std::string& path) { sync_path(path, O_DIRECTORY); }

void sync_tree(const std::string& path) {
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_symlink()) continue;
    if (entry.is_directory())
      sync_directory(entry.path().string());
    else if (entry.is_regular_file())
      sync_path(entry.path().string(), 0);
  }
  sync_directory(path);
}

}  // namespace

std::string read_file(const std::string& path, int64_t max_bytes) {
  Descriptor file(open_retry(path, O_RDONLY));
  if (file.fd < 0) fail_read("read", path, errno);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail_read("read", path, errno);
  if (S_ISDIR(info.st_mode)) fail_read("read", path, EISDIR);
  const auto too_large = [&](const std::string& size) {
    fail_usage("files", "'" + path + "' has " + size + " bytes; at most " + std::to_string(max_bytes) + " are read here");
  };
  if (S_ISREG(info.st_mode) && info.st_size > max_bytes) too_large(std::to_string(info.st_size));
  // A pipe or a device says 0 bytes; a file may grow: read on until the end.
  std::string text(static_cast<size_t>(std::max<int64_t>(info.st_size, 0)), '\0');
  int64_t got = read_some(file.fd, text.data(), static_cast<int64_t>(text.size()), path);
  if (got == static_cast<int64_t>(text.size())) {
    constexpr int64_t kChunk = 1 << 16;
    for (;;) {
      text.resize(static_cast<size_t>(got + kChunk));
      const int64_t n = read_some(file.fd, text.data() + got, kChunk, path);
      got += n;
      if (got > max_bytes) too_large("more than " + std::to_string(max_bytes));
      if (n < kChunk) break;
    }
  }
  text.resize(static_cast<size_t>(got));
  return text;
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && !S_ISDIR(info.st_mode);
}
bool is_directory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}
void make_directories(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_write("make the folder", path, error.value());
  if (!is_directory(path)) fail_write("make the folder", path, ENOTDIR);
}
std::vector<std::string> list_directory(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (!folder) fail_read("list the folder", path, errno);
  std::vector<std::string> names;
  for (errno = 0; dirent* entry = ::readdir(folder); errno = 0) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  const int error = errno;
  ::closedir(folder);
  if (error) fail_read("list the folder", path, error);
  std::sort(names.begin(), names.end());
  return names;
}
void remove_tree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail_write("remove", path, error.value());
}

AtomicFile::AtomicFile(const std::string& path) : path_(path) {
  if (path.empty()) fail_usage("files", "an empty path cannot be written; give a file name");
  struct stat info {};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) fail_write("write", path, EISDIR);
  if (exists && !S_ISREG(info.st_mode)) {  // a device or a pipe (/dev/stdout) is written through, never replaced
    fd_ = open_retry(path, O_WRONLY);
    if (fd_ < 0) fail_write("write", path, errno);
    return;
  }
  std::error_code error;
  if (const fs::path real = fs::canonical(path, error); !error) path_ = real.string();  // a link stays, its target is replaced
  if (exists && ::access(path_.c_str(), W_OK) != 0) fail_write("write", path, errno);
  temporary_ = temporary_name(path_);
  fd_ = open_retry(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (fd_ < 0) {
    const int code = errno;
    temporary_.clear();
    fail_write("write", path, code);
  }
  if (exists) (void)!::fchmod(fd_, info.st_mode & 07777);
  buffer_.reserve(kBuffer);
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write_through(const char* data, int64_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, data, static_cast<size_t>(std::min<int64_t>(bytes, 1 << 30)));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_write("write", path_, errno);
    data += n;
    bytes -= n;
  }
}

void AtomicFile::write(const void* data, int64_t bytes) {
  if (bytes <= 0) return;
  const char* from = static_cast<const char*>(data);
  crc_ = static_cast<uint32_t>(::crc32_z(crc_, reinterpret_cast<const Bytef*>(from), static_cast<size_t>(bytes)));
  written_ += bytes;
  if (static_cast<int64_t>(buffer_.size()) + bytes > kBuffer) {
    write_through(buffer_.data(), static_cast<int64_t>(buffer_.size()));
    buffer_.clear();
  }
  if (bytes >= kBuffer)
    write_through(from, bytes);
  else
    buffer_.append(from, static_cast<size_t>(bytes));
}

void AtomicFile::commit() {
  write_through(buffer_.data(), static_cast<int64_t>(buffer_.size()));
  buffer_.clear();
  if (!temporary_.empty() && ::fsync(fd_) != 0) fail_write("fsync", path_, errno);
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) fail_write("close", path_, errno);
  if (temporary_.empty()) return;
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write("rename into place", path_, errno);
  temporary_.clear();
  sync_directory(parent_of(path_));
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), static_cast<int64_t>(bytes.size()));
  file.commit();
}

void write_directory_atomic(const std::string& path, const std::function<void(const std::string&)>& fill) {
  const std::string target = without_trailing_slash(path);
  if (target.empty()) fail_usage("files", "an empty path cannot be written; give a folder name");
  if (file_exists(target)) fail_write("write the folder", target, ENOTDIR);
  const std::string parent = parent_of(target), temporary = temporary_name(target);
  make_directories(parent);
  if (::mkdir(temporary.c_str(), 0777) != 0) fail_write("make the folder", temporary, errno);
  try {
    fill(temporary);
    sync_tree(temporary);
    if (!is_directory(target)) {
      if (::rename(temporary.c_str(), target.c_str()) != 0) fail_write("rename into place", target, errno);
      sync_directory(parent);
      return;
    }
    // Swapped in one instant, so that a whole folder stands there at any time.
    if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) != 0) {
      if (errno != EINVAL && errno != ENOSYS) fail_write("rename into place", target, errno);
      // A file system without exchange: for an instant the old one stands only under the second temporary name.
      const std::string old = temporary_name(target);
      if (::rename(target.c_str(), old.c_str()) != 0) fail_write("rename", target, errno);
      if (::rename(temporary.c_str(), target.c_str()) != 0) {
        const int code = errno;
        (void)!::rename(old.c_str(), target.c_str());
        fail_write("rename into place", target, code);
      }
      sync_directory(parent);
      remove_tree(old);
      return;
    }
    sync_directory(parent);
    remove_tree(temporary);  // the old one
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void remove_directory_atomic(const std::string& path) {
  const std::string target = without_trailing_slash(path), gone = temporary_name(target);
  if (::rename(target.c_str(), gone.c_str()) != 0) fail_write("remove", target, errno);
  remove_tree(gone);
}

void remove_stale_temporaries(const std::string& directory) {
  for (const std::string& name : list_directory(directory)) {
    const size_t at = name.rfind(".tmp-");
    if (name[0] != '.' || at == std::string::npos) continue;
    const std::string tail = name.substr(at + 5);
    const size_t dash = tail.find('-');
    if (dash == std::string::npos || dash == 0 || dash > 9 || tail.find_first_not_of("0123456789-") != std::string::npos)
      continue;
    const pid_t owner = std::stoi(tail.substr(0, dash));
    if (owner == ::getpid() || ::kill(owner, 0) == 0 || errno != ESRCH) continue;
    remove_tree(directory + "/" + name);
  }
}

uint32_t crc32_of_file(const std::string& path) {
  Descriptor file(open_retry(path, O_RDONLY));
  if (file.fd < 0) fail_read("read", path, errno);
  std::vector<char> chunk(size_t{1} << 20);
  uLong crc = 0;
  for (;;) {
    const int64_t n = read_some(file.fd, chunk.data(), static_cast<int64_t>(chunk.size()), path);
    crc = ::crc32_z(crc, reinterpret_cast<const Bytef*>(chunk.data()), static_cast<size_t>(n));
    if (n < static_cast<int64_t>(chunk.size())) return static_cast<uint32_t>(crc);
  }
}

std::shared_ptr<MappedFile> MappedFile::open(const std::string& path) {
  Descriptor file(open_retry(path, O_RDONLY));
  if (file.fd < 0) fail_read("open", path, errno);
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail_read("open", path, errno);
  if (S_ISDIR(info.st_mode)) fail_read("open", path, EISDIR);
  if (!S_ISREG(info.st_mode)) fail_usage("files", "cannot map '" + path + "': it is no regular file");
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  mapped->path_ = path;
  mapped->size_ = info.st_size;
  if (info.st_size == 0) return mapped;
  void* data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail_read("map", path, errno);
  mapped->data_ = static_cast<const std::byte*>(data);
  mapped->guard_.emplace(mapped->data_, mapped->size_, mapped->path_.c_str());
  return mapped;
}
std::shared_ptr<void> MappedFile::lend(const std::byte* begin, int64_t bytes) {
  constexpr int64_t kWorthwhile = 256 << 10;  // less is not worth a system call
  if (bytes < kWorthwhile) return shared_from_this();
  CHECK(begin >= data_ && bytes <= size_ - (begin - data_));
  return {const_cast<std::byte*>(begin),
          [self = shared_from_this(), begin, bytes](void*) { give_back_file_pages(begin, bytes); }};
}
MappedFile::~MappedFile() {
  guard_.reset();
  if (data_) ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

}  // namespace fathom
