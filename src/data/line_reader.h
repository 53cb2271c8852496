// Text files, plain, gzip or zstd (told by their first bytes), streamed with bounds. Errors name the file and the line.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace fathom {

class ByteSource {  // decompressed bytes
 public:
  virtual ~ByteSource() = default;
  virtual size_t read(char* to, size_t bytes) = 0;  // fewer than asked for only at the end
  static std::unique_ptr<ByteSource> open(const std::string& path);
};

class LineReader {
 public:
  explicit LineReader(const std::string& path, size_t max_line_bytes = size_t{64} << 20);
  // The next line without its end (LF or CR LF); false at the end. Valid until the next call. Error where it is not UTF-8.
  bool next(std::string_view& line);
  int64_t line_number() const { return line_number_; }      // of the last line, from 1
  [[noreturn]] void refuse(const std::string& what) const;  // "path:line: what"

 private:
  std::string path_;
  std::unique_ptr<ByteSource> source_;
  size_t max_line_bytes_;
  std::string buffer_;
  size_t at_ = 0;
  bool ended_ = false;
  int64_t line_number_ = 0;
};

std::string read_text(const std::string& path, size_t max_bytes = size_t{4} << 30);  // UTF-8, else Error with the line
// Files as they are; of a folder, its files (not its folders) in the order of their names.
std::vector<std::string> expand_paths(const std::vector<std::string>& paths);
bool is_jsonl(const std::string& path);  // .jsonl, .jsonl.gz, .jsonl.zst

}  // namespace fathom
