// The ids of pieces seen lately: one slot per hash, a newer piece takes an older one's place.
#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace fathom {

class PieceCache {
 public:
  static constexpr size_t kMaxBytes = 23, kMaxIds = 8;
  static uint64_t hash(std::string_view piece) {  // FNV-1a, mixed
    uint64_t h = 0xCBF29CE484222325u;
    for (const char c : piece) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return h ^ h >> 29;
  }
  // Appends the ids; false where the piece is not there.
  bool append(std::string_view piece, uint64_t hash, std::vector<int32_t>& out) const {
    const Slot& slot = slots_[hash % slots_.size()];
    if (slot.length != piece.size() || std::memcmp(slot.bytes, piece.data(), piece.size()) != 0) return false;
    out.insert(out.end(), slot.ids, slot.ids + slot.num_ids);
    return true;
  }
  void put(std::string_view piece, uint64_t hash, const int32_t* ids, size_t n) {
    if (n > kMaxIds) return;
    Slot& slot = slots_[hash % slots_.size()];
    slot.length = static_cast<uint8_t>(piece.size());
    slot.num_ids = static_cast<uint8_t>(n);
    std::memcpy(slot.bytes, piece.data(), piece.size());
    std::memcpy(slot.ids, ids, n * sizeof *ids);
  }

 private:
  struct Slot {
    uint8_t length = 0, num_ids = 0;  // length 0: empty
    char bytes[kMaxBytes];
    int32_t ids[kMaxIds];
  };
  std::vector<Slot> slots_ = std::vector<Slot>(1 << 14);
};

}  // namespace fathom
