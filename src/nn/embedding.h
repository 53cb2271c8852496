// The token table; where weights are tied it is the head too.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "nn/profile.h"
#include "ops/embedding/embedding.h"

namespace fathom {

class Embedding {
 public:
  Embedding(const std::string& name, int64_t vocab, int64_t hidden) {
    table.name = name + ".weight";
    table.shape = {vocab, hidden};
    table.decay = true;
  }
  Tensor forward(std::span<const int32_t> ids) const {  // [T, d] F32
    ProfileScope scope("embedding");
    Tensor y = Tensor::empty({static_cast<int64_t>(ids.size()), table.shape[1]}, DType::kF32);
    embedding_forward(ids, table.value, y);
    return y;
  }
  void backward(std::span<const int32_t> ids, const Tensor& dy) { embedding_backward(ids, dy, table.grad_to_add()); }

  Parameter table;
};

}  // namespace fathom
