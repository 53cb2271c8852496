// The rows of one forward: packed sequences (or chunks of them), one after the other.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace fathom {

struct Batch {
  std::vector<int32_t> ids;        // [T]
  std::vector<int32_t> positions;  // [T] position of each row in its own sequence; consecutive inside a segment
  std::vector<int64_t> begins;     // [S+1] rows [begins[s], begins[s+1]) are segment s; attention does not cross segments
  int64_t num_rows() const { return static_cast<int64_t>(ids.size()); }
  int64_t num_segments() const { return static_cast<int64_t>(begins.size()) - 1; }

  Batch() : begins{0} {}
  // Appends a segment whose first row stands at `first_position`.
  void add(std::span<const int32_t> segment_ids, int32_t first_position = 0) {
    ids.insert(ids.end(), segment_ids.begin(), segment_ids.end());
    for (size_t i = 0; i < segment_ids.size(); ++i) positions.push_back(first_position + static_cast<int32_t>(i));
    begins.push_back(static_cast<int64_t>(ids.size()));
  }
};

}  // namespace fathom
