// Weights that are packed out of the file that holds them, without a copy in between.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "model/decoder.h"

namespace fathom {

// named_tensors() without those that share another's memory (tied head, MTP's table and head): those are read, copies compared.
std::vector<NamedTensor> original_tensors(Decoder& model);

// One published tensor as its file holds it: one part (kv_b_proj: one, or two a head; see Parameter::stored), or none where it
// has to be converted.
using StoredParts = std::function<std::vector<WeightPart>(const NamedTensor&)>;

// Before allocate(), for inference: gives each linear layer's weight, and the token table, its `stored` parts where `parts_of`
// knows all of them. The table must be BF16, of the compute type, or in blocks. `wanted`: original_tensors().
void attach_stored_weights(Decoder& model, std::span<const NamedTensor> wanted, const StoredParts& parts_of);

}  // namespace fathom
