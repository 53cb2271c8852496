// The tensors of a published checkpoint, from config.json alone: names, shapes, order.
#pragma once
#include <string>
#include <vector>

#include "model/model_config.h"

namespace fathom {

struct PublishedTensor {
  std::string name;
  std::vector<int64_t> shape;
};
// With the MTP layers and their copies of embedding and head; without a tied head.
std::vector<PublishedTensor> published_tensors(const ModelConfig& config);
// Tensors that a published file may hold twice: the tied head, and the MTP layer's copies of embedding and head
// (architecture.md §2.1). The name of the original, "" where `name` is no such copy.
std::string published_original(const std::string& name, const ModelConfig& config);

}  // namespace fathom
