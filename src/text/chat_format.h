// DeepSeek-R1's conversation as token ids (architecture.md 2.6). Message text never becomes a control token: it is encoded
// with no added token recognised, and only this code places control tokens.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
  std::string reasoning;  // assistant: the thinking, without its tags
};
// "<think>r</think>c" -> (r, c), both without the white space at the tags; without "</think>": ("", text).
std::pair<std::string, std::string> split_reasoning(const std::string& text);

class ChatFormat {
 public:
  // Keeps a reference to the tokenizer. Error (usage) naming the control tokens that the tokenizer lacks.
  explicit ChatFormat(const Tokenizer& tokenizer);

  // bos, system texts, <|User|>q<|Assistant|>a eos ...; then <|Assistant|><think>\n, from where the model goes on.
  // Of earlier assistant turns only what follows their last </think> is kept. think false: ends at <|Assistant|>.
  std::vector<int32_t> prompt(std::span<const ChatMessage> messages, bool think = true) const;
  // What the model is to say after prompt(): reasoning \n</think>\n\n content eos; with think false: content eos.
  std::vector<int32_t> completion(const std::string& reasoning, const std::string& content, bool think = true) const;

  // A whole conversation to learn from. trained[i]: ids[i] is to be predicted (assistant turns that are shown whole).
  struct Conversation {
    std::vector<int32_t> ids;
    std::vector<uint8_t> trained;
  };
  Conversation conversation(std::span<const ChatMessage> messages) const;

  int32_t eos_id() const { return eos_; }

 private:
  void add_text(const std::string& text, std::vector<int32_t>& ids) const;
  void add_tag(int32_t id, const char* text, std::vector<int32_t>& ids) const;
  void add_start(std::span<const ChatMessage> messages, std::vector<int32_t>& ids) const;
  const Tokenizer& tokenizer_;
  int32_t bos_, eos_, user_, assistant_, think_begin_, think_end_;  // think: -1 where the tag is plain text
};

// The same conversation as a Jinja template, for tokenizer_config.json of the models that this project trains.
const std::string& deepseek_r1_chat_template();
// The control tokens that ChatFormat needs, in the order in which tokenizers trained here number them:
// bos, eos, pad, user, assistant, think, end of think.
const std::vector<std::string>& deepseek_r1_control_tokens();

}  // namespace fathom
