// Writes a GGUF v3 file tensor by tensor: names, types and shapes are laid down first, so memory is what the caller writes.
// It is filled under PATH.partial; PATH.partial.journal counts the tensors that are whole and on disk, so that a killed
// conversion goes on behind them. commit() gives the file its name.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/gguf_metadata.h"
#include "checkpoint/gguf_names.h"

namespace fathom {

class GgufWriter {
 public:
  // `fingerprint` tells what the tensors are made from: an unfinished file of the same plan, metadata and fingerprint is
  // continued, any other one is begun anew.
  GgufWriter(const std::string& path, const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& plans,
             const std::string& fingerprint);
  ~GgufWriter();  // without commit(): what was written stays, to be continued
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  size_t next() const { return next_; }  // index of the tensor that is to be written
  void write(const void* data, int64_t bytes);
  void end_tensor();  // CHECKs that it is whole
  void commit();
  int64_t data_bytes() const { return data_bytes_; }

 private:
  void lock();
  void flush();
  void journal();
  std::string path_, partial_, journal_;
  std::vector<int64_t> sizes_;
  int64_t alignment_ = 32, data_bytes_ = 0, in_tensor_ = 0, unsynced_ = 0;
  size_t next_ = 0, durable_ = 0;
  std::string buffer_, identity_;
  int fd_ = -1;
};

}  // namespace fathom
