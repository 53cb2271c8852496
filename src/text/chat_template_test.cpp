#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "base/test_folder.h"
#include "text/pre_tokenizer.h"

namespace fathom {
namespace {

const char kText[] = "one and two are three, three and four are seven; be brief and think about easy sums\n\n";

Tokenizer tokenizer_with(const TestFolder& folder, const std::string& chat_template) {
  TokenizerTraining config;
  config.vocab_size = 320;
  config.special_tokens = deepseek_r1_control_tokens();
  config.special_tokens.insert(config.special_tokens.end(), {"<|im_start|>", "<|im_end|>"});
  config.bos_token = config.special_tokens[0];
  config.eos_token = config.special_tokens[1];
  config.pattern = PreTokenizer::qwen2();
  config.chat_template = chat_template;
  const std::string_view text = kText;
  train_tokenizer(std::span(&text, 1), config, folder.path());
  return Tokenizer::from_directory(folder.path());
}

const char kQwen[] =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string trained_text(const Tokenizer& t, const ChatTemplate::Conversation& c) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < c.ids.size(); ++i)
    if (c.trained[i]) ids.push_back(c.ids[i]);
  return t.decode(ids);
}

TEST(ChatTemplate, DeepSeekR1) {
  const TestFolder folder;
  const Tokenizer t = tokenizer_with(folder, deepseek_r1_chat_template());
  const ChatTemplate chat(t);
  const std::vector<ChatMessage> messages = {
      {"system", "Be brief.", ""},
      {"user", "1+1?", ""},
      {"assistant", "<think>\neasy\n</think>\n\n2", ""},
      {"user", "2+2?", ""},
  };
  const ChatPrompt prompt = chat.prompt(messages);
  EXPECT_TRUE(prompt.thinking);
  EXPECT_EQ(t.decode(prompt.ids),
            "<｜begin▁of▁sentence｜>Be "
            "brief.<｜User｜>1+1?<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜><think>\n");
  ChatOptions off;
  off.thinking = false;
  EXPECT_FALSE(chat.prompt(messages, off).thinking);
  EXPECT_TRUE(t.decode(chat.prompt(messages, off).ids).ends_with("2+2?<｜Assistant｜>"));

  auto whole = messages;
  whole.push_back({"assistant", "4", "add"});
  const auto conversation = chat.conversation(whole);
  ASSERT_EQ(conversation.trained.size(), conversation.ids.size());
  EXPECT_TRUE(std::equal(prompt.ids.begin(), prompt.ids.end(), conversation.ids.begin()));
  EXPECT_EQ(t.decode(conversation.ids), t.decode(prompt.ids) + "add\n</think>\n\n4<｜end▁of▁sentence｜>");
  // The first answer lost its thinking: only the last is learned.
  EXPECT_EQ(trained_text(t, conversation), "add\n</think>\n\n4<｜end▁of▁sentence｜>");
  EXPECT_EQ(conversation.ids.back(), t.eos_id());
  EXPECT_NE(std::find(conversation.ids.begin(), conversation.ids.end(), t.id_of("</think>")), conversation.ids.end());

  EXPECT_NE(error_of([&] { chat.prompt(std::vector<ChatMessage>{{"tool", "x", ""}}); }).find("'tool'"), std::string::npos);
  const TestFolder other;
  const Tokenizer plain = tokenizer_with(other, "");
  EXPECT_NE(error_of([&] { ChatTemplate c(plain); }).find("no chat template"), std::string::npos);
}

TEST(ChatTemplate, TurnsWithoutThinkingAreLearnedWithTheirEnd) {
  const std::vector<ChatMessage> messages = {
      {"user", "one", ""}, {"assistant", "two<|im_end|>", ""}, {"user", "three", ""}, {"assistant", "four", ""}};
  for (const std::string& source : {deepseek_r1_chat_template(), std::string(kQwen)}) {
    const TestFolder folder;
    const Tokenizer t = tokenizer_with(folder, source);
    const std::string end = source == kQwen ? "<|im_end|>" : "<｜end▁of▁sentence｜>";
    const auto c = ChatTemplate(t).conversation(messages);
    EXPECT_EQ(trained_text(t, c), "two<|im_end|>" + end + "four" + end);
    ChatOptions options;
    options.add_generation_prompt = false;
    const ChatTemplate chat(t);
    EXPECT_EQ(t.decode(c.ids), chat.render(messages, options).text);
    // What was in a message's text stays text, also where it is learned.
    EXPECT_EQ(std::count(c.ids.begin(), c.ids.end(), t.id_of("<|im_end|>")), source == kQwen ? 4 : 0);
  }
  // A template whose prompt does not open <think>: the tag is part of what is learned.
  const TestFolder folder;
  const Tokenizer t = tokenizer_with(folder, kQwen);
  const auto c = ChatTemplate(t).conversation(std::vector<ChatMessage>{{"user", "1+1", ""}, {"assistant", "2", "easy"}});
  EXPECT_EQ(t.decode(c.ids), "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n<think>\neasy\n</think>\n\n2<|im_end|>");
  EXPECT_EQ(trained_text(t, c), "<think>\neasy\n</think>\n\n2<|im_end|>");
}

TEST(ChatTemplate, TemplatesWithNamesAndFiles) {
  const TestFolder folder;
  tokenizer_with(folder, "config");
  const auto rendered = [&](const ChatOptions& options) {
    const Tokenizer t = Tokenizer::from_directory(folder.path());
    return ChatTemplate(t).render(std::vector<ChatMessage>{}, options).text;
  };
  ChatOptions tools;
  tools.tools = "[{\"name\": \"f\"}]";
  EXPECT_EQ(rendered({}), "config");
  const std::string config =
      "{\"chat_template\": [{\"name\": \"default\", \"template\": \"plain\"}, "
      "{\"name\": \"tool_use\", \"template\": \"{{ tools[0].name }}\"}]}";
  write_file_atomic(folder / "tokenizer_config.json", config);
  EXPECT_EQ(rendered({}), "plain");
  EXPECT_EQ(rendered(tools), "f");
  write_file_atomic(folder / "chat_template.json", "{\"chat_template\": \"of json\"}");
  EXPECT_EQ(rendered({}), "of json");
  write_file_atomic(folder / "chat_template.jinja", "of jinja{{ x }}");
  ChatOptions variables;
  variables.variables = "{\"x\": 1}";
  EXPECT_EQ(rendered(variables), "of jinja1");
}

}  // namespace
}  // namespace fathom
