// A file that shrinks while it is mapped turns reads behind its new end into SIGBUS. The guard turns that into the error which
// any other lost file gives: one line that names it, exit status 1. Nothing half written stays: results appear atomically.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fathom {

// While it lives, a fault in [data, data + bytes) ends the process with an error that names `path` (kept by the caller).
// The first one installs the handler; faults elsewhere go to whoever handled them before. More than 4,096 at a time: the rest
// is not guarded.
class MappingGuard {
 public:
  MappingGuard(const std::byte* data, int64_t bytes, const char* path);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

 private:
  int slot_ = -1;
};

// Bytes that were read for the last time for now: the whole pages among them leave memory if a guarded file is mapped there,
// and come again when they are read. Anything else is left alone.
void give_back_file_pages(const std::byte* data, int64_t bytes);

}  // namespace fathom
