// Packed weights kept in a file (--packed-cache): a later load maps them and packs nothing.
//
//   "FATHOMPK"  u32 version  u32 CRC-32 of the JSON  u64 bytes of the JSON  JSON  zeros to 4096  data, each matrix at 128
//   JSON: {"numerics", "sources": [{"name", "size", "mtime_ns", "sample"}], "data_bytes",
//          "matrices": [{"n", "k", "offset", "bytes", "sum", "pieces": [[format, rows]]}]}
//
// A file belongs to the weights and the numerics that it names: every source's size, time of change and a sum over its first
// and last bytes and blocks in between; rung, compute type, MLA formula, weight format. Its own bytes are summed when it is
// opened, all of them: that is the first of the two passes over the weights before the first token.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "checkpoint/packed_identity.h"
#include "nn/packed_store.h"

namespace fathom {

constexpr uint32_t kPackedCacheVersion =
    4;  // of the file, of every layout in kernels/matmul/block_format.h, and of their order

// Keeps what is packed, and writes it.
class PackedWriter : public PackedStore {
 public:
  PackedMatrix next(std::span<const WeightPart> parts, const std::function<PackedMatrix()>& pack) override;
  // Atomic. Error where it cannot be written.
  void write(const std::string& path, const PackedIdentity& identity) const;

 private:
  std::vector<PackedMatrix> matrices_;
};

// Gives what a file holds. Errors name the file and why it cannot be used: truncated, corrupt, of other weights or numerics.
class PackedReader : public PackedStore {
 public:
  PackedReader(const std::string& path, const PackedIdentity& identity);
  PackedMatrix next(std::span<const WeightPart> parts, const std::function<PackedMatrix()>& pack) override;
  void check_end() const;  // Error where the file holds more than was asked for

 private:
  struct Kept {
    int64_t k = 0;
    Activations activations = Activations::k16Bit;
    std::vector<PackedMatrix::Rows> pieces;
    std::shared_ptr<const std::byte> data;
  };
  std::string path_;
  Compute compute_ = Compute::kF32;
  std::vector<Kept> kept_;
  size_t at_ = 0;
};

}  // namespace fathom
