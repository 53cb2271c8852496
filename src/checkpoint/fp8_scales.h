// The block scales that stand beside the F8_E4M3 matrices of a release in FP8 blocks (architecture.md §1.3).
#pragma once
#include <string>

#include "checkpoint/safetensors.h"

namespace fathom {

inline constexpr char kFp8ScaleEnd[] = "_scale_inv";  // of their names, behind the weight's

// The scales of the F8_E4M3 tensor `weight` of `files`: F32, one for every block of 128 x 128, ragged ones included. Error
// (usage) that names the tensor where `weight` is no matrix, or its scales are missing or of another type or shape.
const SafetensorsDirectory::Located& fp8_scales(const SafetensorsDirectory& files, const std::string& weight);

}  // namespace fathom
