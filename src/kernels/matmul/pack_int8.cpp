#include "kernels/matmul/pack_int8.h"

#include <cstring>

#include "tensor/format/block_bytes.h"

namespace fathom {

namespace {

// A group's header, from the block's.
void lay_header(WeightFormat format, const uint8_t* header, int64_t group, uint8_t* out) {
  switch (format) {
    case WeightFormat::kQ4_K:
      std::memcpy(out, header + (4 + group) * kPanel, kPanel);
      std::memcpy(out + kPanel, header + (8 + group) * kPanel, kPanel);
      break;
    case WeightFormat::kQ6_K:
      std::memcpy(out, header + (2 + 2 * group) * kPanel, 2 * kPanel);
      break;
    case WeightFormat::kInt4Group32:
      std::memcpy(out, header + group * kPanel * 4, kPanel * 4);
      break;
    case WeightFormat::kInt4Group128:
      std::memcpy(out, header, kPanel * 4);
      break;
    default:
      const Int8Layout layout = int8_layout(format);
      const uint8_t* scales = header + group * kPanel * 2;
      if (layout.header) std::memcpy(out, scales, kPanel * 2);
      if (layout.has_min) std::memcpy(out + kPanel * 2, scales + 4 * kPanel * 2, kPanel * 2);
  }
}

}  // namespace

uint8_t* lay_int8_block(WeightFormat format, const uint8_t* header, const uint8_t (*codes)[kBlockK], int64_t k,
                        uint8_t* factors, uint8_t* out) {
  const Int8Layout layout = int8_layout(format);
  if (layout.factors) std::memcpy(factors, header, static_cast<size_t>(layout.factors));
  const int64_t high = layout.code_bits - 4;  // bits above a nibble
  for (int64_t k0 = 0; k0 < k; k0 += layout.group) {
    lay_header(format, header, k0 / layout.group, out);
    out += layout.header;
    uint8_t* upper = out + layout.group * kPanel / 2;
    if (layout.code_bits < 8) std::memset(upper, 0, static_cast<size_t>(layout.group * kPanel * high / 8));
    for (int64_t column = 0; column < kPanel; ++column) {
      const uint8_t* from = codes[column] + k0;
      if (layout.code_bits == 8) {  // signed: + 128
        for (int64_t i = 0; i < layout.group; i += 4) {
          const uint32_t quad = load_u32(from + i) ^ 0x80808080u;
          std::memcpy(out + i / 4 * kPanelRow + column * 4, &quad, 4);
        }
        continue;
      }
      for (int64_t i = 0; i < layout.group; i += 8) {
        const uint32_t quads = (load_u32(from + i) & 0x0f0f0f0f) | (load_u32(from + i + 4) & 0x0f0f0f0f) << 4;
        std::memcpy(out + i / 8 * kPanelRow + column * 4, &quads, 4);
      }
      for (int64_t i = 0; high && i < layout.group; i += 4) {
        const int64_t vector = i / 4 * 2 + column / 16, together = 8 / high;
        uint8_t* to = upper + vector / together * 64 + column % 16 * 4;
        const uint32_t bits = load_u32(to) | (load_u32(from + i) >> 4 & 0x0f0f0f0f) << (vector % together * high);
        std::memcpy(to, &bits, 4);
      }
    }
    out += layout.group * kPanel * layout.code_bits / 8;
  }
  return out;
}

}  // namespace fathom
