#include "checkpoint/packed_cache.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/sum_bytes.h"
#include "base/thread_pool.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr char kMagic[8] = {'F', 'A', 'T', 'H', 'O', 'M', 'P', 'K'};
constexpr int64_t kPreamble = 24, kPage = 4096, kAlign = 128, kMaxPackedHeader = int64_t{1} << 28;

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
Json to_json(const PackedIdentity& identity) {
  Json sources = Json::array();
  for (const auto& s : identity.sources)
    sources.push_back({{"name", s.name}, {"size", s.size}, {"mtime_ns", s.mtime_ns}, {"sample", sum_text(s.sample)}});
  return {{"numerics", identity.numerics}, {"sources", sources}};
}

}  // namespace

PackedMatrix PackedWriter::next(std::span<const WeightPart>, const std::function<PackedMatrix()>& pack) {
  matrices_.push_back(pack());
  return matrices_.back();
}

void PackedWriter::write(const std::string& path, const PackedIdentity& identity) const {
  const int64_t count = static_cast<int64_t>(matrices_.size());
  std::vector<uint64_t> sums(matrices_.size());
  parallel_for(count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const PackedMatrix& m = matrices_[static_cast<size_t>(i)];
      sums[static_cast<size_t>(i)] = sum_bytes(m.data(), m.bytes());
    }
  });
  Json matrices = Json::array();
  int64_t offset = 0;
  for (size_t i = 0; i < matrices_.size(); ++i) {
    const PackedMatrix& m = matrices_[i];
    Json pieces = Json::array();
    for (const auto& piece : m.pieces()) pieces.push_back({weight_format_name(piece.format), piece.n});
    matrices.push_back(
        {{"n", m.n()}, {"k", m.k()}, {"offset", offset}, {"bytes", m.bytes()}, {"sum", sum_text(sums[i])}, {"pieces", pieces}});
    matrices.back()["int8_activations"] = m.activations() == Activations::kInt8;
    offset += round_up(m.bytes(), kAlign);
  }
  Json header = to_json(identity);
  header["data_bytes"] = offset;
  header["matrices"] = std::move(matrices);
  const std::string text = header.dump();
  const uint32_t crc =
      static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<size_t>(text.size())));
  const uint64_t length = text.size();
  const std::string zeros(kPage, '\0');
  AtomicFile file(path);
  file.write(kMagic, sizeof kMagic);
  file.write(&kPackedCacheVersion, sizeof kPackedCacheVersion);
  file.write(&crc, sizeof crc);
  file.write(&length, sizeof length);
  file.write(text.data(), static_cast<int64_t>(text.size()));
  file.write(zeros.data(), round_up(file.written(), kPage) - file.written());
  for (const PackedMatrix& m : matrices_) {
    file.write(m.data(), m.bytes());
    file.write(zeros.data(), round_up(m.bytes(), kAlign) - m.bytes());
  }
  file.commit();
}

PackedReader::PackedReader(const std::string& path, const PackedIdentity& identity) : path_(path) {
  const auto refuse = [&](const std::string& why) { fail("checkpoint", "packed cache '" + printable(path) + "' " + why); };
  const auto file = MappedFile::open(path);
  const auto bytes = file->bytes();
  const int64_t size = static_cast<int64_t>(bytes.size());
  if (size < kPreamble) refuse("is truncated: " + std::to_string(size) + " bytes hold no header");
  uint32_t version, crc;
  uint64_t length;
  std::memcpy(&version, bytes.data() + 8, sizeof version);
  std::memcpy(&crc, bytes.data() + 12, sizeof crc);
  std::memcpy(&length, bytes.data() + 16, sizeof length);
  if (std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0) refuse("is corrupt: it does not begin as a packed cache");
  if (version != kPackedCacheVersion)
    refuse("is stale: its version is " + std::to_string(version) + ", this program's is " +
           std::to_string(kPackedCacheVersion));
  if (length > static_cast<uint64_t>(std::min(kMaxPackedHeader, size - kPreamble)))
    refuse("is truncated: a header of " + std::to_string(length) + " bytes does not fit " + std::to_string(size));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPreamble, length);
  if (static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size())) != crc)
    refuse("is corrupt: its header's checksum is wrong");

  // Checksummed, and yet from outside: a field that is missing or of another type is an Error as well.
  std::vector<std::pair<int64_t, uint64_t>> sums;  // bytes, sum
  try {
    const Json header = parse_json(text, path);
    const Json wanted = to_json(identity);
    if (header.at("numerics") != wanted.at("numerics"))
      refuse("is stale: packed for " + header.at("numerics").dump() + ", wanted is " + wanted.at("numerics").dump());
    if (header.at("sources") != wanted.at("sources")) refuse("is stale: the model's files have changed since");
    const int64_t data = round_up(kPreamble + static_cast<int64_t>(length), kPage), room = size - data;
    const int64_t promised = header.at("data_bytes").get<int64_t>();
    if (promised != room)
      refuse("is truncated: " + std::to_string(room) + " bytes of weights where its header says " + std::to_string(promised));
    compute_ = identity.compute;
    for (const Json& m : header.at("matrices")) {
      Kept kept;
      kept.k = m.at("k").get<int64_t>();
      kept.activations = m.at("int8_activations").get<bool>() ? Activations::kInt8 : Activations::k16Bit;
      for (const Json& piece : m.at("pieces")) {
        const auto format = weight_format_from_name(piece.at(0).get<std::string>());
        if (!format) refuse("is corrupt: it holds a weight of an unknown format");
        kept.pieces.push_back({*format, piece.at(1).get<int64_t>()});
      }
      const int64_t offset = m.at("offset").get<int64_t>(), count = m.at("bytes").get<int64_t>();
      if (offset < 0 || offset % kAlign != 0 || count < 0 || offset > room || count > room - offset ||
          PackedMatrix::bytes_of(kept.k, kept.pieces, compute_, kept.activations) != count)
        refuse("is corrupt: a weight's place or size is wrong");
      kept.data = {file, bytes.data() + data + offset};
      sums.emplace_back(count, std::stoull(m.at("sum").get<std::string>(), nullptr, 16));
      kept_.push_back(std::move(kept));
    }
  } catch (const JsonError& e) {
    refuse(std::string("is corrupt: ") + e.what());
  } catch (const std::logic_error& e) {  // stoull
    refuse(std::string("is corrupt: ") + e.what());
  }
  parallel_for(static_cast<int64_t>(kept_.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [count, sum] = sums[static_cast<size_t>(i)];
      if (sum_bytes(kept_[static_cast<size_t>(i)].data.get(), count) != sum)
        refuse("is corrupt: the checksum of weight " + std::to_string(i) + " is wrong");
    }
  });
}

PackedMatrix PackedReader::next(std::span<const WeightPart> parts, const std::function<PackedMatrix()>&) {
  int64_t rows = 0, kept_rows = 0;
  for (const WeightPart& part : parts) rows += part.rows();
  if (at_ < kept_.size())
    for (const auto& piece : kept_[at_].pieces) kept_rows += piece.rows;
  if (at_ >= kept_.size() || kept_rows != rows || kept_[at_].k != parts[0].k())
    fail("checkpoint", "packed cache '" + printable(path_) + "' is stale: its weight " + std::to_string(at_) +
                           " is not the one that this model packs there");
  const Kept& kept = kept_[at_++];
  return PackedMatrix::kept(kept.k, kept.pieces, compute_, kept.activations, kept.data);
}

void PackedReader::check_end() const {
  if (at_ != kept_.size())
    fail("checkpoint", "packed cache '" + printable(path_) + "' is stale: it holds " + std::to_string(kept_.size()) +
                           " weights, this model packs " + std::to_string(at_));
}

}  // namespace fathom
