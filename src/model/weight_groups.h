// The weights of a model by kind and shape, from its configuration alone. A group stands for all tensors of one kind and shape,
// so the 91,991 tensors of DeepSeek-V3 are some thirty groups; their names: checkpoint/published_tensors.h.
#pragma once
#include <cstdint>
#include <vector>

#include "model/model_config.h"

namespace fathom {

enum class WeightKind : uint8_t {
  kEmbedding,      // the token table; where weights are tied it is the head too
  kHead,           // not there where weights are tied
  kLinear,         // what a release in FP8 holds as blocks: projections of attention, FFN and experts
  kMtpProjection,  // eh_proj: a linear layer that such a release leaves in BF16
  kRouter,
  kRouterBias,  // e_score_correction_bias: F32 in every release
  kNorm,
  kBias,
  kCopy,  // the MTP layer's embedding and head: in the files, never in memory (architecture.md §2.1)
};

struct WeightGroup {
  WeightKind kind;
  int64_t rows, columns;  // of each tensor, as published: [rows, columns], or [rows] with columns 1
  int64_t tensors;        // how many
  int64_t read;           // of these, how many the main model reads for one token
  bool mtp;               // the MTP layer's

  __int128 elements() const { return __int128{rows} * columns * tensors; }
  __int128 elements_read() const { return __int128{rows} * columns * read; }
};
std::vector<WeightGroup> weight_groups(const ModelConfig& config);

}  // namespace fathom
