// libFuzzer: any bytes are a file of packed weights or an Error; what it holds can be read to the last byte.
// The first byte says what follows: 0 the file; 1 two bytes of a length, a header of that length, and the data behind it,
// around which a right preamble is put, so that the header's fields are reached without guessing its checksum.
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "base/error.h"
#include "checkpoint/packed_cache.h"

namespace {

void append(std::string& to, const void* from, size_t bytes) { to.append(static_cast<const char*>(from), bytes); }

std::string framed(const uint8_t* data, size_t size) {
  uint16_t wanted;
  std::memcpy(&wanted, data, sizeof wanted);
  const uint64_t length = std::min<uint64_t>(wanted, size - sizeof wanted);
  const uint8_t* header = data + sizeof wanted;
  const uint32_t version = fathom::kPackedCacheVersion, crc = static_cast<uint32_t>(::crc32_z(0, header, length));
  std::string file = "FATHOMPK";
  append(file, &version, sizeof version);
  append(file, &crc, sizeof crc);
  append(file, &length, sizeof length);
  append(file, header, length);
  file.resize((file.size() + 4095) / 4096 * 4096);
  append(file, header + length, size - sizeof wanted - length);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string bytes =
      data[0] == 1 ? framed(data + 1, size - 1) : std::string(reinterpret_cast<const char*>(data) + 1, size - 1);
  static const int fd = ::memfd_create("packed", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, 0) != 0 || ::pwrite(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    __builtin_trap();
  fathom::PackedIdentity identity;
  identity.numerics = "fuzz";
  uint64_t sum = 0;
  try {
    fathom::PackedReader reader("/proc/self/fd/" + std::to_string(fd), identity);
    // A model whose weights have the sizes that the seeds have.
    for (const int64_t rows : {2, 3, 1}) {
      fathom::WeightPart part;
      part.values = fathom::Tensor::empty({rows, 4}, fathom::DType::kF32);
      const fathom::PackedMatrix m = reader.next({&part, 1}, nullptr);
      for (int64_t i = 0; i < m.bytes(); ++i) sum += static_cast<uint64_t>(m.data()[i]);
    }
    reader.check_end();
  } catch (const fathom::Error&) {
  }
  static volatile uint64_t sink;
  sink = sum;
  return 0;
}
