// One training example as users bring it: a text file, or a line of JSONL with {"text"}, {"prompt", "completion"} or
// {"messages"}.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"

namespace fathom {

struct Record {
  enum class Kind { kText, kConversation } kind = Kind::kText;
  std::string text;
  // Prompt and completion are a conversation of two turns; a record without an assistant turn is a prompt only.
  std::vector<ChatMessage> messages;
};

// In order, one at a time. Error with file and line for a line that is no record, and for files without any record.
void read_records(const std::vector<std::string>& paths, const std::function<void(Record&&)>& take);
Record parse_record(std::string_view line, const std::function<void(const std::string&)>& refuse);

}  // namespace fathom
