#include "data/line_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"

namespace fathom {
namespace {

struct CloseFile {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

class PlainSource : public ByteSource {
 public:
  PlainSource(File file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  size_t read(char* to, size_t bytes) override {
    const size_t n = std::fread(to, 1, bytes, file_.get());
    if (n < bytes && std::ferror(file_.get())) fail("data", path_ + ": reading failed: " + std::strerror(errno));
    return n;
  }

 private:
  File file_;
  std::string path_;
};

class GzipSource : public ByteSource {
 public:
  explicit GzipSource(std::string path) : path_(std::move(path)), file_(gzopen(path_.c_str(), "rb")) {
    if (!file_) fail("data", path_ + ": cannot be opened: " + std::strerror(errno));
    gzbuffer(file_, 1 << 17);
  }
  ~GzipSource() override { gzclose(file_); }
  size_t read(char* to, size_t bytes) override {
    size_t got = 0;
    while (got < bytes) {
      const int n = gzread(file_, to + got, static_cast<unsigned>(std::min<size_t>(bytes - got, 1 << 30)));
      int code = Z_OK;
      const char* message = gzerror(file_, &code);
      if (n < 0 || (code != Z_OK && code != Z_STREAM_END))
        fail_usage("data", path_ + ": broken gzip: " + (code == Z_BUF_ERROR ? "it ends in the middle" : message));
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    return got;
  }

 private:
  std::string path_;
  gzFile file_;
};

class ZstdSource : public ByteSource {
 public:
  ZstdSource(File file, std::string path)
      : raw_(std::move(file), path),
        path_(std::move(path)),
        stream_(ZSTD_createDStream()),
        in_bytes_(ZSTD_DStreamInSize(), '\0') {
    ZSTD_initDStream(stream_);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }
  size_t read(char* to, size_t bytes) override {
    ZSTD_outBuffer out{to, bytes, 0};
    while (out.pos < out.size) {
      if (in_.pos == in_.size && !ended_) {
        in_ = {in_bytes_.data(), raw_.read(in_bytes_.data(), in_bytes_.size()), 0};
        ended_ = in_.size < in_bytes_.size();
      }
      const size_t before_in = in_.pos, before_out = out.pos;
      const size_t left = ZSTD_decompressStream(stream_, &out, &in_);
      if (ZSTD_isError(left)) fail_usage("data", path_ + ": broken zstd: " + ZSTD_getErrorName(left));
      const bool idle = in_.pos == before_in && out.pos == before_out;
      if (!idle) unfinished_ = left != 0;
      if (idle && ended_ && in_.pos == in_.size) {
        if (unfinished_) fail_usage("data", path_ + ": broken zstd: it ends in the middle");
        break;
      }
    }
    return out.pos;
  }

 private:
  PlainSource raw_;
  std::string path_;
  ZSTD_DStream* stream_;
  std::string in_bytes_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  bool ended_ = false, unfinished_ = true;
};

[[noreturn]] void refuse_utf8(const std::string& path, std::string_view text, int64_t bad) {
  const auto line = 1 + std::count(text.begin(), text.begin() + bad, '\n');
  const size_t start = bad == 0 ? text.npos : text.rfind('\n', static_cast<size_t>(bad) - 1);
  const auto column = bad - (start == text.npos ? -1 : static_cast<int64_t>(start));
  fail_usage("data", path + ":" + std::to_string(line) + ": not UTF-8 at byte " + std::to_string(column) + " of the line ('" +
                         printable(text.substr(static_cast<size_t>(bad), 4)) + "'); convert the file");
}

}  // namespace

std::unique_ptr<ByteSource> ByteSource::open(const std::string& path) {
  if (is_directory(path)) fail_usage("data", path + " is a folder; give a file");
  File file(std::fopen(path.c_str(), "rb"));
  if (!file) fail_usage("data", path + ": cannot be opened: " + std::strerror(errno));
  unsigned char magic[4] = {};
  const size_t n = std::fread(magic, 1, 4, file.get());
  std::rewind(file.get());
  if (n >= 2 && magic[0] == 0x1F && magic[1] == 0x8B) return std::make_unique<GzipSource>(path);
  if (n == 4 && magic[0] == 0x28 && magic[1] == 0xB5 && magic[2] == 0x2F && magic[3] == 0xFD)
    return std::make_unique<ZstdSource>(std::move(file), path);
  return std::make_unique<PlainSource>(std::move(file), path);
}

LineReader::LineReader(const std::string& path, size_t max_line_bytes)
    : path_(path), source_(ByteSource::open(path)), max_line_bytes_(max_line_bytes) {}

void LineReader::refuse(const std::string& what) const {
  fail_usage("data", path_ + ":" + std::to_string(line_number_) + ": " + what);
}

bool LineReader::next(std::string_view& line) {
  constexpr size_t kChunk = 1 << 18;
  size_t end = buffer_.find('\n', at_);
  while (end == std::string::npos && !ended_) {
    buffer_.erase(0, at_);
    at_ = 0;
    const size_t old = buffer_.size();
    if (old > max_line_bytes_) {
      ++line_number_;
      refuse("the line is longer than " + std::to_string(max_line_bytes_) + " bytes");
    }
    buffer_.resize(old + kChunk);
    const size_t n = source_->read(buffer_.data() + old, kChunk);
    buffer_.resize(old + n);
    ended_ = n < kChunk;
    end = buffer_.find('\n', old);
  }
  if (end == std::string::npos) end = buffer_.size();
  if (at_ >= buffer_.size()) return false;
  line = std::string_view(buffer_).substr(at_, end - at_);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  at_ = end + 1;
  ++line_number_;
  if (line.size() > max_line_bytes_) refuse("the line is longer than " + std::to_string(max_line_bytes_) + " bytes");
  if (const int64_t bad = first_invalid_utf8(line); bad >= 0)
    refuse("not UTF-8 at byte " + std::to_string(bad + 1) + " of the line; convert the file");
  return true;
}

std::string read_text(const std::string& path, size_t max_bytes) {
  constexpr size_t kChunk = 1 << 20;
  const auto source = ByteSource::open(path);
  std::string text;
  for (size_t n = kChunk; n == kChunk;) {
    const size_t old = text.size();
    if (old > max_bytes) fail_usage("data", path + ": larger than " + std::to_string(max_bytes) + " bytes; split it");
    text.resize(old + kChunk);
    n = source->read(text.data() + old, kChunk);
    text.resize(old + n);
  }
  if (const int64_t bad = first_invalid_utf8(text); bad >= 0) refuse_utf8(path, text, bad);
  return text;
}

std::vector<std::string> expand_paths(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    if (!is_directory(path)) {
      out.push_back(path);
      continue;
    }
    const size_t before = out.size();
    for (const std::string& name : list_directory(path))
      if (name[0] != '.' && !is_directory(path + "/" + name)) out.push_back(path + "/" + name);
    if (out.size() == before) fail_usage("data", path + ": the folder has no files");
  }
  return out;
}

bool is_jsonl(const std::string& path) {
  std::string_view name = path;
  for (const std::string_view packed : {".gz", ".zst"})
    if (name.ends_with(packed)) name.remove_suffix(packed.size());
  return name.ends_with(".jsonl");
}

}  // namespace fathom
