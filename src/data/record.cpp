#include "data/record.h"

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "data/line_reader.h"

namespace fathom {
namespace {

using Refuse = std::function<void(const std::string&)>;

std::string text_of(const Json& value, const std::string& name, const Refuse& refuse) {
  if (!value.is_string()) refuse("\"" + name + "\" must be a string");
  return value.get<std::string>();
}

std::vector<ChatMessage> messages_of(const Json& value, const std::string& name, const Refuse& refuse) {
  if (!value.is_array() || value.empty()) refuse("\"" + name + "\" must be a list of messages, not empty");
  std::vector<ChatMessage> out;
  for (const Json& item : value) {
    if (!item.is_object()) refuse("\"" + name + "\" must hold objects with role and content");
    ChatMessage message;
    for (const auto& [key, field] : item.members()) {
      if (key == "role")
        message.role = text_of(field, "role", refuse);
      else if (key == "content")
        message.content = text_of(field, "content", refuse);
      else if (key == "reasoning_content" && !field.is_null())
        message.reasoning = text_of(field, "reasoning_content", refuse);
      else if (key == "tool_calls" && !field.is_null())
        refuse("tool calls are not supported");
    }
    if (message.role != "system" && message.role != "user" && message.role != "assistant")
      refuse("a message has the role '" + printable(message.role) + "'; system, user and assistant are known");
    out.push_back(std::move(message));
  }
  return out;
}

}  // namespace

Record parse_record(std::string_view line, const Refuse& refuse) {
  Json json;
  try {
    json = parse_json(line, "record");
  } catch (const Error& e) {
    const std::string what = e.what();  // "[json] record:1: what"
    const size_t at = what.find("record:1: ");
    refuse("no JSON: " + (at == std::string::npos ? what : what.substr(at + 10)));
  }
  if (!json.is_object()) refuse("an object is expected, with text, prompt and completion, or messages");
  Record record;
  if (json.contains("text")) {
    record.text = text_of(json["text"], "text", refuse);
    return record;
  }
  record.kind = Record::Kind::kConversation;
  if (json.contains("messages")) {
    record.messages = messages_of(json["messages"], "messages", refuse);
    return record;
  }
  if (!json.contains("prompt")) {
    std::string keys;
    for (const auto& [key, value] : json.members()) keys += (keys.empty() ? "" : ", ") + printable(key, 40);
    refuse("none of text, prompt and messages is there, only: " + (keys.empty() ? "nothing" : printable(keys, 200)));
  }
  const Json& prompt = json["prompt"];
  if (prompt.is_array())
    record.messages = messages_of(prompt, "prompt", refuse);
  else
    record.messages.push_back({"user", text_of(prompt, "prompt", refuse), ""});
  if (json.contains("completion")) {
    const Json& completion = json["completion"];
    if (completion.is_array())
      for (ChatMessage& message : messages_of(completion, "completion", refuse)) record.messages.push_back(std::move(message));
    else
      record.messages.push_back({"assistant", text_of(completion, "completion", refuse), ""});
  }
  return record;
}

void read_records(const std::vector<std::string>& paths, const std::function<void(Record&&)>& take) {
  const std::vector<std::string> files = expand_paths(paths);
  if (files.empty()) fail_usage("data", "no data files are given");
  int64_t records = 0;
  for (const std::string& path : files) {
    if (!is_jsonl(path)) {
      Record record;
      record.text = read_text(path);
      if (record.text.empty()) continue;
      ++records;
      take(std::move(record));
      continue;
    }
    LineReader lines(path);
    for (std::string_view line; lines.next(line);) {
      if (line.find_first_not_of(" \t") == line.npos) continue;
      take(parse_record(line, [&](const std::string& what) { lines.refuse(what); }));
      ++records;
    }
  }
  if (records == 0) fail_usage("data", files[0] + (files.size() > 1 ? " and the others" : "") + ": the data set is empty");
}

}  // namespace fathom
