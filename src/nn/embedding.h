// The token table; where weights are tied it is the head too.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "nn/profile.h"
#include "ops/embedding/embedding.h"
#include "tensor/format/dequantize.h"

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
    if (is_stored_in_blocks()) {
      const WeightPart& part = table.stored[0];
      for (size_t t = 0; t < ids.size(); ++t) {
        CHECK(ids[t] >= 0 && ids[t] < table.shape[0]);
        dequantize_row(part.type, part.values.raw() + ids[t] * part.values.row_stride(), table.shape[1],
                       y.row<float>(static_cast<int64_t>(t)));
      }
      return y;
    }
    embedding_forward(ids, table.value, y);
    return y;
  }
  void backward(std::span<const int32_t> ids, const Tensor& dy) {
    ProfileScope scope("backward.embedding");
    embedding_backward(ids, dy, table.grad_to_add());
  }

  // A quantised table is looked up where it is stored, row by row.
  bool is_stored_in_blocks() const { return !table.stored.empty() && table.stored[0].values.dtype() == DType::kU8; }

  Parameter table;
};

}  // namespace fathom
