// The tensors of a published checkpoint, from config.json alone: names, shapes, order.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "model/model_config.h"
#include "tensor/dtype.h"

namespace fathom {

struct PublishedTensor {
  std::string name;
  std::vector<int64_t> shape;
  bool linear = false;  // a projection of attention, FFN or expert: what quantised releases quantise (WeightKind::kLinear)
};
// With the MTP layers and their copies of embedding and head; without a tied head.
std::vector<PublishedTensor> published_tensors(const ModelConfig& config);
// How much that is, without listing it: block scales of a release in FP8 and the MTP layer's copies are counted.
struct PublishedSize {
  int64_t tensors = 0, elements = 0, bytes = 0;
  std::map<DType, int64_t> bytes_by_dtype;
};
PublishedSize published_size(const ModelConfig& config);
// Tensors that a published file may hold twice: the tied head, and the MTP layer's copies of embedding and head
// (architecture.md §2.1). The name of the original, "" where `name` is no such copy.
std::string published_original(const std::string& name, const ModelConfig& config);

}  // namespace fathom
