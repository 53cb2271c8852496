#include "eval/eval_text.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "data/line_reader.h"
#include "data/record.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

std::vector<int32_t> encode(const std::string& text, const Tokenizer& tokenizer) {
  return tokenizer.encode(text, Tokenizer::Specials::kAsText, tokenizer.wants_bos());
}

}  // namespace

TokenDataset read_eval_text(const std::string& path, const Tokenizer& tokenizer) {
  const std::string text = read_text(path);
  if (text.empty()) fail_usage("eval", path + ": the text is empty");
  TokenDataset out;
  out.add(encode(text, tokenizer));
  return out;
}

TokenDataset read_eval_jsonl(const std::string& path, const Tokenizer& tokenizer) {
  TokenDataset out;
  std::optional<ChatTemplate> chat;
  LineReader lines(path);
  for (std::string_view line; lines.next(line);) {
    if (line.find_first_not_of(" \t") == line.npos) continue;
    const Record record = parse_record(line, [&](const std::string& what) { lines.refuse(what); });
    if (record.kind == Record::Kind::kText) {
      if (!record.text.empty()) out.add(encode(record.text, tokenizer));
      continue;
    }
    if (std::none_of(record.messages.begin(), record.messages.end(), [](const auto& m) { return m.role == "assistant"; }))
      lines.refuse("there is no assistant turn (no completion): nothing to count");
    if (!chat) chat.emplace(tokenizer);
    const auto conversation = chat->conversation(record.messages);
    out.add(conversation.ids, conversation.trained);
  }
  if (out.num_tokens() == 0) fail_usage("eval", path + ": there is no text in it");
  return out;
}

}  // namespace fathom
