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

}  // namespace fathom
