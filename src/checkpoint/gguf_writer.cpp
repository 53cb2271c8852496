#include "checkpoint/gguf_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/check.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"

namespace fathom {
namespace {

constexpr size_t kBuffer = 4 << 20;
constexpr int64_t kSyncBytes = int64_t{256} << 20;  // between two lines of the journal

template <class T>
void append(std::string& to, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  to.append(bytes, sizeof(T));
}
void append_text(std::string& to, const std::string& text) {
  append<uint64_t>(to, text.size());
  to += text;
}
int64_t padded(int64_t bytes, int64_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

[[noreturn]] void fail_at(const std::string& path, const char* what) {
  fail("gguf", "'" + path + "' cannot be " + what + ": " + std::strerror(errno));
}

}  // namespace

GgufWriter::GgufWriter(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans,
                       const std::string& fingerprint)
    : path_(path), partial_(path + ".partial"), journal_(path + ".partial.journal") {
  std::string header = "GGUF";
  append<uint32_t>(header, 3);
  append<uint64_t>(header, plans.size());
  append<uint64_t>(header, metadata.pairs().size());
  for (const auto& [key, value] : metadata.pairs()) {
    append_text(header, key);
    header += value;
  }
  for (const GgufTensorPlan& plan : plans) {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < plan.shape.size(); ++i) rows *= plan.shape[i];
    append_text(header, plan.name);
    append<uint32_t>(header, static_cast<uint32_t>(plan.shape.size()));
    for (size_t i = plan.shape.size(); i-- > 0;) append<uint64_t>(header, static_cast<uint64_t>(plan.shape[i]));
    append<uint32_t>(header, static_cast<uint32_t>(plan.type));
    append<uint64_t>(header, static_cast<uint64_t>(data_bytes_));
    sizes_.push_back(rows * ggml_row_bytes(plan.type, plan.shape.back()));
    data_bytes_ += padded(sizes_.back(), alignment_);
  }
  header.resize(static_cast<size_t>(padded(static_cast<int64_t>(header.size()), alignment_)), '\0');

  char line[64];
  const std::string all = header + fingerprint;
  std::snprintf(line, sizeof line, "fathom-convert 1 %zu %08lx\n", header.size(),
                ::crc32(0, reinterpret_cast<const Bytef*>(all.data()), static_cast<uInt>(all.size())));
  identity_ = line;
  if (file_exists(partial_) && file_exists(journal_)) {
    const std::string told = read_file(journal_, 1 << 20);
    size_t done = 0;
    if (told.compare(0, identity_.size(), identity_) == 0 && std::sscanf(told.c_str() + identity_.size(), "%zu", &done) == 1 &&
        done <= plans.size() && told.back() == '\n') {
      int64_t end = static_cast<int64_t>(header.size());
      for (size_t i = 0; i < done; ++i) end += padded(sizes_[i], alignment_);
      struct stat info {};
      if (::stat(partial_.c_str(), &info) == 0 && info.st_size >= end) {
        fd_ = ::open(partial_.c_str(), O_WRONLY | O_CLOEXEC);
        lock();
        if (fd_ < 0 || ::ftruncate(fd_, end) != 0 || ::lseek(fd_, end, SEEK_SET) != end) fail_at(partial_, "continued");
        next_ = durable_ = done;
        log_info("'" + partial_ + "': going on after " + std::to_string(done) + " of " + std::to_string(plans.size()) +
                 " tensors");
        return;
      }
    }
  }
  ::unlink(journal_.c_str());
  fd_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) fail_at(partial_, "written");
  lock();
  if (::ftruncate(fd_, 0) != 0) fail_at(partial_, "written");
  buffer_ = header;
  flush();
}

void GgufWriter::lock() {
  if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0)
    fail("gguf", "'" + partial_ + "' is being written by another process; wait for it");
}

GgufWriter::~GgufWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void GgufWriter::flush() {
  for (size_t at = 0; at < buffer_.size();) {
    const ssize_t n = ::write(fd_, buffer_.data() + at, buffer_.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_at(partial_, "written");
    at += static_cast<size_t>(n);
  }
  unsynced_ += static_cast<int64_t>(buffer_.size());
  buffer_.clear();
}

// The data is on disk before the journal says so.
void GgufWriter::journal() {
  flush();
  if (::fdatasync(fd_) != 0) fail_at(partial_, "written");
  write_file_atomic(journal_, identity_ + std::to_string(next_) + "\n");
  durable_ = next_;
  unsynced_ = 0;
}

void GgufWriter::write(const void* data, int64_t bytes) {
  CHECK(next_ < sizes_.size() && in_tensor_ + bytes <= sizes_[next_]);
  buffer_.append(static_cast<const char*>(data), static_cast<size_t>(bytes));
  in_tensor_ += bytes;
  if (buffer_.size() >= kBuffer) flush();
}

void GgufWriter::end_tensor() {
  CHECK(next_ < sizes_.size() && in_tensor_ == sizes_[next_]);
  buffer_.append(static_cast<size_t>(padded(in_tensor_, alignment_) - in_tensor_), '\0');
  in_tensor_ = 0;
  ++next_;
  if (unsynced_ + static_cast<int64_t>(buffer_.size()) >= kSyncBytes) journal();
}

void GgufWriter::commit() {
  CHECK(next_ == sizes_.size());
  flush();
  if (::fsync(fd_) != 0 || ::close(fd_) != 0) fail_at(partial_, "written");
  fd_ = -1;
  if (::rename(partial_.c_str(), path_.c_str()) != 0) fail_at(path_, "named");
  ::unlink(journal_.c_str());
}

}  // namespace fathom
