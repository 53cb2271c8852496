// What a recipe's data section gives: packed sequences to train on, one after the other behind a cursor, and those of the
// validation.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/sequence_packer.h"
#include "nn/batch.h"
#include "train/recipe.h"

namespace fathom {

// The rows of a forward.
struct TrainRows {
  Batch batch;
  std::vector<int32_t> targets;
};
TrainRows to_rows(std::span<const PackedSequence> sequences);

class TrainData {
 public:
  TrainData(const TrainRecipe& recipe, const Tokenizer& tokenizer);
  std::vector<PackedSequence> next(int64_t count);
  const std::vector<PackedSequence>& validation() const { return validation_; }
  const DataCursor& cursor() const { return packer_->cursor(); }
  void seek(const DataCursor& cursor) { packer_->seek(cursor); }

 private:
  TokenDataset train_;
  std::vector<PackedSequence> validation_;
  std::unique_ptr<SequencePacker> packer_;  // refers to train_
};

// The training texts as they are, for training a tokenizer.
std::vector<std::string> tokenizer_texts(const DataSection& data);

}  // namespace fathom
