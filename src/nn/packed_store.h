// What a model's packed weights come from, or go to: prepack() asks for one after another, always in the same order.
#pragma once
#include <functional>
#include <span>

#include "kernels/matmul/packed.h"

namespace fathom {

class PackedStore {
 public:
  virtual ~PackedStore() = default;
  // The next packed weight, of these parts: the one that is kept, else what pack() makes.
  virtual PackedMatrix next(std::span<const WeightPart> parts, const std::function<PackedMatrix()>& pack) = 0;
};

}  // namespace fathom
