// FP8 blocks into panels: bytes move, none changes; every column of a panel gets the scale of its block.
#include <emmintrin.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/matmul/kernel.h"
#include "kernels/matmul/packed.h"

namespace fathom {
namespace {

// 16 rows of 16 bytes -> their transpose, `stride` bytes from row to row.
void transpose16(const uint8_t* const rows[16], uint8_t* out, int64_t stride) {
  __m128i a[16], b[16];
  for (int i = 0; i < 16; ++i) a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
  // Each round interleaves row i with row i + 8: after four, row and column have changed places.
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 8; ++i) {
      b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
      b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
    }
    std::memcpy(a, b, sizeof a);
  }
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * stride), a[i]);
}
// Whether one of n bytes is 0x7f or 0xff.
bool any_nan(const uint8_t* p, int64_t n) {
  const __m128i nan = _mm_set1_epi8(0x7f);
  __m128i found = _mm_setzero_si128();
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    found =
        _mm_or_si128(found, _mm_cmpeq_epi8(_mm_and_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + i)), nan), nan));
  bool any = _mm_movemask_epi8(found) != 0;
  for (; i < n; ++i) any |= (p[i] & 0x7f) == 0x7f;
  return any;
}

// One row of a panel: where it stands in its part.
struct Lane {
  const WeightPart* part;
  int64_t row;
  const uint8_t* bytes() const {  // of k = 0
    const uint8_t* base = reinterpret_cast<const uint8_t*>(part->values.raw());
    return part->transposed ? base + row : base + row * part->values.row_stride();
  }
  float scale(int64_t k) const {
    const int64_t block_row = (part->first_row + (part->transposed ? k : row)) / kFp8Block,
                  block_column = (part->transposed ? row : k) / kFp8Block;
    return part->scales.row<float>(block_row)[block_column];
  }
};

// k in [k0, k0 + kc) of up to 32 lanes to [k][32]; the caller zeroed what is not written.
void pack_bytes(const Lane* lanes, int64_t count, int64_t k0, int64_t kc, uint8_t* out) {
  if (lanes[0].part->transposed) {  // a memory row is one k; lanes of a panel lie beside each other
    const int64_t ld = lanes[0].part->values.row_stride();
    for (int64_t k = 0; k < kc; ++k)
      std::memcpy(out + k * kPanel, lanes[0].bytes() + (k0 + k) * ld, static_cast<size_t>(count));
    return;
  }
  for (int64_t half = 0; half < count; half += 16) {
    const int64_t rows = std::min<int64_t>(16, count - half);
    int64_t k = 0;
    if (rows == 16) {
      for (; k + 16 <= kc; k += 16) {
        const uint8_t* p[16];
        for (int i = 0; i < 16; ++i) p[i] = lanes[half + i].bytes() + k0 + k;
        transpose16(p, out + k * kPanel + half, kPanel);
      }
    }
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = k; j < kc; ++j) out[j * kPanel + half + i] = lanes[half + i].bytes()[k0 + j];
  }
}

}  // namespace

PackedMatrix PackedMatrix::pack_fp8(std::span<const WeightPart> parts) {
  std::vector<int64_t> begins{0};
  for (const WeightPart& part : parts) {
    CHECK(part.is_fp8() && part.values.rank() == 2 && part.scales.rank() == 2 && part.scales.dtype() == DType::kF32);
    CHECK(part.blocks_fit() && (!part.transposed || parts.size() == 1));
    CHECK_EQ(part.k(), parts[0].k());
    begins.push_back(begins.back() + part.rows());
  }
  const int64_t n = begins.back(), k = parts[0].k(), panel_bytes = fp8_panel_bytes(k);
  PackedMatrix p;
  p.format_ = WeightFormat::kFp8Block;
  p.allocate(n, k, panel_bytes);
  std::atomic<bool> nan{false};
  parallel_for((n + kPanel - 1) / kPanel, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, panel_bytes)),
               [&](int64_t begin, int64_t end) {
                 bool bad = false;
                 for (int64_t i = begin; i < end; ++i) {
                   uint8_t* out = reinterpret_cast<uint8_t*>(p.storage_.get()) + i * panel_bytes;
                   const int64_t row = i * kPanel, count = std::min(kPanel, n - row);
                   Lane lanes[kPanel];
                   size_t part = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), row) - begins.begin()) - 1;
                   for (int64_t r = 0; r < count; ++r) {
                     while (row + r >= begins[part + 1]) ++part;
                     lanes[r] = {&parts[part], row + r - begins[part]};
                   }
                   for (int64_t k0 = 0; k0 < k; k0 += kFp8Block) {
                     const int64_t kc = std::min(kFp8Block, k - k0), padded = (kc + 31) / 32 * 32;
                     float scales[kPanel] = {};
                     for (int64_t r = 0; r < count; ++r) scales[r] = lanes[r].scale(k0) / kFp8Widened;
                     for (const float s : scales) bad |= !std::isfinite(s);
                     std::memcpy(out, scales, sizeof scales);
                     out += kFp8ScaleBytes;
                     if (kc < padded || count < kPanel) std::memset(out, 0, static_cast<size_t>(padded * kPanel));
                     pack_bytes(lanes, count, k0, kc, out);
                     bad |= any_nan(out, padded * kPanel);
                     out += padded * kPanel;
                   }
                 }
                 if (bad) nan.store(true, std::memory_order_relaxed);
               });
  p.has_nan_ = nan.load();
  return p;
}

}  // namespace fathom
