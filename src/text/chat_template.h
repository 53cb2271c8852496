// A conversation as token ids, by the Jinja template that the model directory brings. What came in with the messages never
// becomes a control token: the template's result says of each byte where it comes from, and added tokens are recognised in
// the template's own text only.
#pragma once
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

struct ChatMessage {
  std::string role;  // system, user, assistant, …
  std::string content;
  std::string reasoning;  // assistant: the thinking, without its tags
};
// "<think>r</think>c" -> (r, c), both without the white space at the tags; without "</think>": ("", text).
std::pair<std::string, std::string> split_reasoning(const std::string& text);

struct ChatOptions {
  bool add_generation_prompt = true;
  std::optional<bool> thinking;  // enable_thinking and thinking, as templates call it; none: not set
  std::string tools;             // JSON array of tools that the model may call; empty: none
  std::string variables;         // JSON object of further variables for the template; empty: none
  std::optional<std::tm> now;    // what strftime_now sees; none: the clock
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> data;  // what came from messages, tools and variables, in order
};
struct ChatPrompt {
  std::vector<int32_t> ids;
  bool thinking = false;  // it ends inside <think>
};

class ChatTemplate {
 public:
  // Keeps a reference to the tokenizer. Error (usage) where it brings no template, or one that cannot be read.
  explicit ChatTemplate(const Tokenizer& tokenizer);
  // Another template; `name` stands in errors.
  ChatTemplate(const Tokenizer& tokenizer, const std::string& source, const std::string& name);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;

  RenderedChat render(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;
  // Messages as a JSON array, with all that templates know (tool_calls, parts of content, …).
  RenderedChat render_json(const std::string& messages, const ChatOptions& options = {}) const;
  std::vector<int32_t> encode(const RenderedChat& rendered) const;
  ChatPrompt prompt(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;

  // A whole conversation to learn from. trained[i]: ids[i] is to be predicted: the assistant's turns that are shown whole,
  // each with the token that ends it. Only the last turn shows its thinking; one that lost it must not be learned from.
  struct Conversation {
    std::vector<int32_t> ids;
    std::vector<uint8_t> trained;
  };
  Conversation conversation(std::span<const ChatMessage> messages) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The conversation of the models that are trained here, DeepSeek-R1's (architecture.md 2.6): bos, system texts,
// <｜User｜>q<｜Assistant｜>a eos …; then <｜Assistant｜><think>\n, from where the model goes on. Of earlier assistant turns
// only what follows their </think> is kept.
const std::string& deepseek_r1_chat_template();
// The control tokens that it needs, in the order in which tokenizers trained here number them:
// bos, eos, pad, user, assistant, think, end of think.
const std::vector<std::string>& deepseek_r1_control_tokens();

}  // namespace fathom
