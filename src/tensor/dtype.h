// Element types by the names that safetensors and GGUF use.
#pragma once
#include <cstdint>
#include <string_view>

namespace fathom {

enum class DType : uint8_t { kF32, kF64, kF16, kBF16, kF8E4M3, kF8E5M2, kI64, kI32, kI16, kI8, kU8, kBool };

int64_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);  // safetensors' spelling: "F32", "BF16", "F8_E4M3", …
bool dtype_from_name(std::string_view name, DType* dtype);

}  // namespace fathom
