#include "text/chat_format.h"

#include "base/error.h"
#include "base/utf8.h"

namespace fathom {
namespace {

const char kUser[] = "<｜User｜>", kAssistant[] = "<｜Assistant｜>", kThink[] = "<think>", kEndThink[] = "</think>";

std::string trimmed(const std::string& text) {
  const char* blank = " \t\r\n";
  const size_t begin = text.find_first_not_of(blank);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

}  // namespace

const std::vector<std::string>& deepseek_r1_control_tokens() {
  static const std::vector<std::string> tokens = {
      "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", kUser, kAssistant, kThink, kEndThink};
  return tokens;
}

const std::string& deepseek_r1_chat_template() {
  static const std::string source =
      "{{ bos_token }}{% set ns = namespace(system='') %}"
      "{% for m in messages if m['role'] == 'system' %}"
      "{% set ns.system = ns.system + ('' if loop.first else '\\n\\n') + m['content'] %}{% endfor %}{{ ns.system }}"
      "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
      "{% elif m['role'] == 'assistant' %}"
      "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1].lstrip('\\n') + eos_token }}{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}";
  return source;
}

std::pair<std::string, std::string> split_reasoning(const std::string& text) {
  const size_t end = text.rfind(kEndThink);
  if (end == std::string::npos) return {"", text};
  std::string reasoning = text.substr(0, end);
  if (const size_t begin = reasoning.find(kThink); begin != std::string::npos && trimmed(reasoning.substr(0, begin)).empty())
    reasoning = reasoning.substr(begin + sizeof kThink - 1);
  return {trimmed(reasoning), trimmed(text.substr(end + sizeof kEndThink - 1))};
}

ChatFormat::ChatFormat(const Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      bos_(tokenizer.bos_id()),
      eos_(tokenizer.eos_id()),
      user_(tokenizer.id_of(kUser)),
      assistant_(tokenizer.id_of(kAssistant)),
      think_begin_(tokenizer.id_of(kThink)),
      think_end_(tokenizer.id_of(kEndThink)) {
  std::string missing;
  for (const auto& [id, name] : {std::pair{bos_, "bos"}, {eos_, "eos"}, {user_, kUser}, {assistant_, kAssistant}})
    if (id < 0) missing += (missing.empty() ? "" : ", ") + std::string(name);
  if (!missing.empty())
    fail_usage("chat", "the tokenizer has no " + missing +
                           "; the DeepSeek-R1 conversation needs them: use `generate` with a plain prompt, or a model of that "
                           "family");
}

void ChatFormat::add_text(const std::string& text, std::vector<int32_t>& ids) const {
  const auto more = tokenizer_.encode(text, Tokenizer::Specials::kAsText);
  ids.insert(ids.end(), more.begin(), more.end());
}

void ChatFormat::add_tag(int32_t id, const char* text, std::vector<int32_t>& ids) const {
  if (id >= 0)
    ids.push_back(id);
  else
    add_text(text, ids);
}

void ChatFormat::add_start(std::span<const ChatMessage> messages, std::vector<int32_t>& ids) const {
  ids.push_back(bos_);
  std::string system;
  bool first = true;
  for (const ChatMessage& m : messages) {
    if (m.role == "system") {
      system += (first ? "" : "\n\n") + m.content;
      first = false;
    } else if (m.role != "user" && m.role != "assistant") {
      fail_usage("chat", "the role '" + printable(m.role) + "' is not known; system, user and assistant are");
    }
  }
  add_text(system, ids);
}

std::vector<int32_t> ChatFormat::prompt(std::span<const ChatMessage> messages, bool think) const {
  std::vector<int32_t> ids;
  add_start(messages, ids);
  for (const ChatMessage& m : messages) {
    if (m.role == "user") {
      ids.push_back(user_);
      add_text(m.content, ids);
    } else if (m.role == "assistant") {
      ids.push_back(assistant_);
      add_text(split_reasoning(m.content).second, ids);
      ids.push_back(eos_);
    }
  }
  ids.push_back(assistant_);
  if (think) {
    add_tag(think_begin_, kThink, ids);
    add_text("\n", ids);
  }
  return ids;
}

std::vector<int32_t> ChatFormat::completion(const std::string& reasoning, const std::string& content, bool think) const {
  std::vector<int32_t> ids;
  if (think) {
    add_text(reasoning + "\n", ids);
    add_tag(think_end_, kEndThink, ids);
    add_text("\n\n", ids);
  }
  add_text(content, ids);
  ids.push_back(eos_);
  return ids;
}

ChatFormat::Conversation ChatFormat::conversation(std::span<const ChatMessage> messages) const {
  Conversation out;
  add_start(messages, out.ids);
  for (size_t i = 0; i < messages.size(); ++i) {
    const ChatMessage& m = messages[i];
    if (m.role == "system") continue;
    out.trained.resize(out.ids.size(), 0);
    if (m.role == "user") {
      out.ids.push_back(user_);
      add_text(m.content, out.ids);
      continue;
    }
    auto [reasoning, content] = split_reasoning(m.content);
    if (!m.reasoning.empty()) reasoning = m.reasoning;
    // Only the last turn shows its thinking; a turn that lost it must not be learned from.
    const bool last = i + 1 == messages.size(), think = last && !reasoning.empty();
    out.ids.push_back(assistant_);
    if (think) {
      add_tag(think_begin_, kThink, out.ids);
      add_text("\n", out.ids);
    }
    out.trained.resize(out.ids.size(), 0);
    const auto answer = completion(reasoning, content, think);
    out.ids.insert(out.ids.end(), answer.begin(), answer.end());
    out.trained.resize(out.ids.size(), think || reasoning.empty());
  }
  out.trained.resize(out.ids.size(), 0);
  return out;
}

}  // namespace fathom
