// Models with random weights, so that a shape can be measured without a checkpoint. Four shapes have names:
//   qwen1.5b  DeepSeek-R1-Distill-Qwen-1.5B: 28 layers, hidden 1536, 12 heads over 2, vocabulary 151,936 (1.78 G parameters)
//   v2lite    DeepSeek-V2-Lite: 27 layers, hidden 2048, MLA without q_lora, 64 experts top 6 + 2 shared (15.7 G, 2.7 G active)
//   v3mini    DeepSeek-V3 in small: 16 layers, hidden 1024, MLA, 64 experts top 8 + 1 shared, 8 groups (1.67 G, 0.32 G active)
//   qwen-draft  a small model of qwen1.5b's vocabulary, to guess for it: 4 layers, hidden 512, 8 heads over 2 (0.09 G, tied)
#pragma once
#include <string>
#include <vector>

#include "model/decoder.h"

namespace fathom {

std::vector<std::string> named_shapes();
ModelConfig named_shape(const std::string& name);  // Error (usage) with the names there are

// Ready to infer: packed, values dropped. Weights are normal with std 0.02, gains 1, biases of linear layers like weights, the
// router's correction 0. They are slices of one pool, so this costs little more than packing and no more memory than the
// packed weights and the largest parameter.
// `format`: of the linear layers' weights; kPlain: the compute type. A width that the format's blocks do not divide takes
// fallback_format(); the router and the token table stay plain.
Decoder random_model(const ModelConfig& config, const Numerics& numerics, WeightFormat format = WeightFormat::kPlain);

}  // namespace fathom
