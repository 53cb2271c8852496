#include "tensor/dtype.h"

#include "base/check.h"

namespace fathom {
namespace {
struct Row {
  DType dtype;
  std::string_view name;
  int64_t bytes;
};
constexpr Row kTable[] = {{DType::kF32, "F32", 4},   {DType::kF64, "F64", 8},        {DType::kF16, "F16", 2},
                          {DType::kBF16, "BF16", 2}, {DType::kF8E4M3, "F8_E4M3", 1}, {DType::kF8E5M2, "F8_E5M2", 1},
                          {DType::kI64, "I64", 8},   {DType::kI32, "I32", 4},        {DType::kI16, "I16", 2},
                          {DType::kI8, "I8", 1},     {DType::kU8, "U8", 1},          {DType::kBool, "BOOL", 1}};
const Row& row(DType dtype) {
  for (const Row& r : kTable)
    if (r.dtype == dtype) return r;
  CHECK(false && "unknown dtype");
  return kTable[0];
}
}  // namespace

int64_t dtype_bytes(DType dtype) { return row(dtype).bytes; }
std::string_view dtype_name(DType dtype) { return row(dtype).name; }
bool dtype_from_name(std::string_view name, DType* dtype) {
  for (const Row& r : kTable)
    if (r.name == name) {
      *dtype = r.dtype;
      return true;
    }
  return false;
}
}  // namespace fathom
