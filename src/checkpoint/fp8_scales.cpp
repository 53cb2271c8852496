#include "checkpoint/fp8_scales.h"

#include "base/error.h"
#include "base/utf8.h"
#include "tensor/format/fp8_block.h"

namespace fathom {

const SafetensorsDirectory::Located& fp8_scales(const SafetensorsDirectory& files, const std::string& weight) {
  const auto& matrix = files.tensors().at(weight);
  const auto refuse = [&](const std::string& what) {
    fail_usage("checkpoint", "tensor '" + printable(weight) + "' in " + matrix.file->path() + " is F8_E4M3" + what);
  };
  const std::string name = weight + kFp8ScaleEnd;
  const std::vector<int64_t>& shape = matrix.entry->shape;
  if (shape.size() != 2) refuse(" and no matrix: its shape is " + shape_text(shape));
  const auto scales = files.tensors().find(name);
  if (scales == files.tensors().end()) refuse(", but '" + printable(name) + "' is missing");
  const auto blocks = [](int64_t size) { return (size + kFp8Block - 1) / kFp8Block; };
  const std::vector<int64_t> expected = {blocks(shape[0]), blocks(shape[1])};
  const SafetensorsFile::Entry& found = *scales->second.entry;
  if (found.dtype != DType::kF32 || found.shape != expected)
    fail_usage("checkpoint", "tensor '" + printable(name) + "' in " + scales->second.file->path() + " is " +
                                 std::string(dtype_name(found.dtype)) + " " + shape_text(found.shape) + "; expected is F32 " +
                                 shape_text(expected) + ", one for every block of 128 x 128");
  return scales->second;
}

}  // namespace fathom
