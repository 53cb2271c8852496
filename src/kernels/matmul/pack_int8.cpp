#include "kernels/matmul/pack_int8.h"

#include <cstring>

#include "tensor/format/block_bytes.h"

namespace fathom {

uint8_t* lay_int8_block(WeightFormat format, const uint8_t* header, const uint8_t (*codes)[kBlockK], int64_t k, uint8_t* out) {
  const Int8Layout layout = int8_layout(format);
  for (int64_t k0 = 0; k0 < k; k0 += layout.group) {
    const uint8_t* scales = header + k0 / layout.group * kPanel * 2;
    if (layout.header) std::memcpy(out, scales, kPanel * 2);
    if (layout.has_min) std::memcpy(out + kPanel * 2, scales + 4 * kPanel * 2, kPanel * 2);
    out += layout.header;
    for (int64_t column = 0; column < kPanel; ++column) {
      const uint8_t* from = codes[column] + k0;
      if (layout.code_bits == 8) {  // signed: + 128
        for (int64_t i = 0; i < layout.group; i += 4) {
          const uint32_t quad = load_u32(from + i) ^ 0x80808080u;
          std::memcpy(out + i / 4 * kPanelRow + column * 4, &quad, 4);
        }
      } else {
        for (int64_t i = 0; i < layout.group; i += 8) {
          const uint32_t quads = load_u32(from + i) | load_u32(from + i + 4) << 4;
          std::memcpy(out + i / 8 * kPanelRow + column * 4, &quads, 4);
        }
      }
    }
    out += layout.group * kPanel * layout.code_bits / 8;
  }
  return out;
}

}  // namespace fathom
