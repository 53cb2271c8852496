#include "data/token_dataset.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.h"
#include "base/error.h"
#include "data/record.h"
#include "text/chat_template.h"

namespace fathom {

void TokenDataset::add(std::span<const int32_t> ids, std::span<const uint8_t> trained) {
  CHECK(trained.empty() || trained.size() == ids.size());
  if (!trained.empty() && trained_.empty()) trained_.assign(ids_.size(), 1);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  if (!trained.empty())
    trained_.insert(trained_.end(), trained.begin(), trained.end());
  else if (!trained_.empty())
    trained_.resize(ids_.size(), 1);
  begins_.push_back(static_cast<int64_t>(ids_.size()));
}

TokenDataset TokenDataset::from_files(const std::vector<std::string>& paths, const Tokenizer* tokenizer) {
  TokenDataset out;
  std::optional<ChatTemplate> chat;
  int64_t number = 0;
  read_records(paths, [&](Record&& record) {
    ++number;
    if (record.kind == Record::Kind::kText) {
      if (record.text.empty()) return;
      std::vector<int32_t> ids;
      if (tokenizer) {
        ids = tokenizer->encode(record.text, Tokenizer::Specials::kAsText, tokenizer->wants_bos());
        // The tokenizer's files may put it there themselves.
        if (tokenizer->eos_id() >= 0 && (ids.empty() || ids.back() != tokenizer->eos_id())) ids.push_back(tokenizer->eos_id());
      } else {
        for (const char c : record.text) ids.push_back(static_cast<unsigned char>(c));
      }
      out.add(ids);
      return;
    }
    if (!tokenizer)
      fail_usage("data", "record " + std::to_string(number) +
                             " is a conversation; bytes alone cannot mark its turns: give a tokenizer");
    const auto is_assistant = [](const ChatMessage& m) { return m.role == "assistant"; };
    if (std::none_of(record.messages.begin(), record.messages.end(), is_assistant))
      fail_usage("data", "record " + std::to_string(number) + " has no assistant turn (no completion): nothing to learn from");
    if (!chat) chat.emplace(*tokenizer);
    const auto conversation = chat->conversation(record.messages);
    out.add(conversation.ids, conversation.trained);
  });
  if (out.num_tokens() == 0) fail_usage("data", "the data set is empty: " + std::to_string(number) + " records without text");
  return out;
}

void TokenDataset::add_range(const TokenDataset& from, int64_t document, size_t skip, size_t count) {
  const size_t start = from.begin(document) + skip;
  const auto trained = from.trained_.empty() ? std::span<const uint8_t>() : std::span(from.trained_).subspan(start, count);
  add(from.all_ids().subspan(start, count), trained);
}

std::pair<TokenDataset, TokenDataset> TokenDataset::split(double held_out) const {
  if (!(held_out > 0 && held_out < 1))
    fail_usage("data", "the held-out fraction " + std::to_string(held_out) + " is not in (0, 1)");
  std::pair<TokenDataset, TokenDataset> out;
  const bool inside = num_documents() == 1;
  const int64_t total = inside ? num_tokens() : num_documents();
  const auto kept = static_cast<int64_t>(std::floor(static_cast<double>(total) * (1 - held_out)));
  if (kept < 1 || kept >= total)
    fail_usage("data", "holding out " + std::to_string(held_out) + " of " + std::to_string(total) +
                           (inside ? " tokens" : " documents") + " leaves one side empty");
  if (inside) {
    out.first.add_range(*this, 0, 0, static_cast<size_t>(kept));
    out.second.add_range(*this, 0, static_cast<size_t>(kept), static_cast<size_t>(total - kept));
    return out;
  }
  for (int64_t d = 0; d < total; ++d) (d < kept ? out.first : out.second).add_range(*this, d, 0, size(d));
  return out;
}

}  // namespace fathom
