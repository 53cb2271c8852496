#include "train/train_data.h"

#include "base/log.h"
#include "data/record.h"

namespace fathom {

TrainRows to_rows(std::span<const PackedSequence> sequences) {
  TrainRows rows;
  for (const PackedSequence& s : sequences) {
    for (size_t d = 0; d + 1 < s.begins.size(); ++d)
      rows.batch.add(
          std::span(s.ids).subspan(static_cast<size_t>(s.begins[d]), static_cast<size_t>(s.begins[d + 1] - s.begins[d])));
    rows.targets.insert(rows.targets.end(), s.targets.begin(), s.targets.end());
  }
  return rows;
}

TrainData::TrainData(const TrainRecipe& recipe, const Tokenizer& tokenizer) {
  const DataSection& data = recipe.data;
  train_ = TokenDataset::from_files(data.train, &tokenizer);
  TokenDataset validation;
  if (!data.validation.empty()) {
    validation = TokenDataset::from_files(data.validation, &tokenizer);
  } else if (data.held_out > 0) {
    auto parts = train_.split(data.held_out);
    train_ = std::move(parts.first);
    validation = std::move(parts.second);
  }
  const Packing packing = packing_of(recipe.packing());
  const uint64_t seed = static_cast<uint64_t>(recipe.seed);
  if (validation.num_tokens() > 0)
    validation_ = SequencePacker(validation, data.context, packing, seed, /*shuffle=*/false).rest_of_epoch();
  packer_ = std::make_unique<SequencePacker>(train_, data.context, packing, seed);
  log_info("data: " + std::to_string(train_.num_tokens()) + " tokens in " + std::to_string(train_.num_documents()) +
           " documents to train on, " + std::to_string(validation.num_tokens()) + " tokens for validation");
}

std::vector<PackedSequence> TrainData::next(int64_t count) {
  std::vector<PackedSequence> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(packer_->next());
  return out;
}

std::vector<std::string> tokenizer_texts(const DataSection& data) {
  std::vector<std::string> texts;
  read_records(data.train, [&texts](Record&& record) {
    if (record.kind == Record::Kind::kText) texts.push_back(std::move(record.text));
    for (ChatMessage& m : record.messages) {
      texts.push_back(std::move(m.content));
      if (!m.reasoning.empty()) texts.push_back("\n" + m.reasoning + "\n");
    }
  });
  return texts;
}

}  // namespace fathom
