// Weights that are packed out of the file that holds them, without a copy in between.
#pragma once
#include <functional>
#include <optional>
#include <span>

#include "model/decoder.h"

namespace fathom {

// One published tensor as its file holds it; nothing where it has to be converted.
using StoredPart = std::function<std::optional<WeightPart>(const NamedTensor&)>;

// Before allocate(), for inference: gives each linear layer's weight, and the token table, its `stored` parts where `part_of`
// knows all of them. The table must be BF16 or of the compute type. `wanted`: named_tensors() without copies.
void attach_stored_weights(Decoder& model, std::span<const NamedTensor> wanted, const StoredPart& part_of);

}  // namespace fathom
