#include "text/chat_template.h"

#include <algorithm>

#include "base/check.h"
#include "base/error.h"
#include "base/utf8.h"
#include "text/jinja_json.h"
#include "text/jinja_template.h"
#include "text/unicode.h"

namespace fathom {
namespace {

const char kThink[] = "<think>", kEndThink[] = "</think>";

std::string trimmed(const std::string& text) {
  const char* blank = " \t\r\n";
  const size_t begin = text.find_first_not_of(blank);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

// A message for the template; its texts are marked as data.
jinja::Value message_value(const ChatMessage& message, jinja::Mark mark) {
  const auto dict = std::make_shared<jinja::Dict>();
  const auto set = [&](const char* key, const std::string& text, jinja::Mark m) {
    dict->set(jinja::Value(std::string(key)), jinja::Value(jinja::Text(replace_invalid_utf8(text), m)));
  };
  set("role", message.role, jinja::kData);
  set("content", message.content, mark);
  if (!message.reasoning.empty()) set("reasoning_content", message.reasoning, jinja::kData);
  return jinja::Value(dict);
}

RenderedChat with_spans(const jinja::Text& text) {
  RenderedChat out;
  out.text = text.bytes();
  const std::string& marks = text.marks();
  for (size_t begin = 0; begin < marks.size();) {
    const size_t end = std::min(marks.find_first_not_of(marks[begin], begin), marks.size());
    if (marks[begin] != jinja::kTemplate) out.data.push_back({begin, end, marks[begin]});
    begin = end;
  }
  return out;
}

// Whether the template's own end of the text has opened <think> and not closed it.
bool ends_inside_think(const RenderedChat& rendered) {
  const size_t own = rendered.data.empty() ? 0 : rendered.data.back().end;
  const std::string_view end = std::string_view(rendered.text).substr(own);
  const size_t open = end.rfind(kThink), close = end.rfind(kEndThink);
  return open != std::string_view::npos && (close == std::string_view::npos || close < open);
}

}  // namespace

struct ChatTemplate::Impl {
  const Tokenizer& tokenizer;
  jinja::Template main;
  std::optional<jinja::Template> with_tools;

  RenderedChat render(jinja::Value messages, const ChatOptions& options) const;
  void add_encoded(const RenderedChat& rendered, size_t begin, size_t end, std::vector<int32_t>& ids) const;
  void add_trained(const RenderedChat& rendered, Conversation& out) const;
  RenderedChat render_marked(std::span<const ChatMessage> messages, const ChatOptions& options) const;
  std::string end_of_turn(const RenderedChat& rendered) const;
};

ChatTemplate::ChatTemplate(const Tokenizer& tokenizer, const std::string& source, const std::string& name)
    : impl_(new Impl{tokenizer, jinja::Template(source, name), std::nullopt}) {}
ChatTemplate::ChatTemplate(const Tokenizer& tokenizer) {
  const std::string& source = tokenizer.chat_template();
  const std::string& tools = tokenizer.chat_template("tool_use");
  if (source.empty())
    fail_usage("chat",
               "the model has no chat template (chat_template in tokenizer_config.json, chat_template.jinja or "
               "chat_template.json): it continues texts; use `generate` with a plain prompt");
  impl_.reset(new Impl{tokenizer, jinja::Template(source, "the model's chat template"), std::nullopt});
  if (!tools.empty()) impl_->with_tools.emplace(tools, "the model's chat template tool_use");
}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

RenderedChat ChatTemplate::Impl::render(jinja::Value messages, const ChatOptions& options) const {
  using jinja::Value;
  jinja::Dict context;
  const auto set = [&](const char* key, Value value) { context.set(Value(std::string(key)), std::move(value)); };
  set("tools", Value(jinja::None{}));
  set("documents", Value(jinja::None{}));
  set("add_generation_prompt", Value(options.add_generation_prompt));
  for (const auto& [key, text] : tokenizer.named_tokens()) set(key.c_str(), Value(text));
  if (options.thinking)
    for (const char* key : {"enable_thinking", "thinking"}) set(key, Value(*options.thinking));
  if (!options.variables.empty()) {
    const Value variables = jinja::value_of_json(options.variables, "the template's variables", jinja::kData);
    if (!variables.dict()) fail_usage("chat", "the template's variables are no JSON object");
    for (const auto& [key, value] : (*variables.dict())->items) context.set(key, value);
  }
  if (!options.tools.empty()) set("tools", jinja::value_of_json(options.tools, "tools", jinja::kData));
  set("messages", std::move(messages));
  jinja::RenderOptions render_options;
  if (options.now) {
    render_options.now = *options.now;
  } else {
    const std::time_t now = std::time(nullptr);
    ::localtime_r(&now, &render_options.now);
  }
  return with_spans((!options.tools.empty() && with_tools ? *with_tools : main).render(context, render_options));
}

RenderedChat ChatTemplate::render(std::span<const ChatMessage> messages, const ChatOptions& options) const {
  std::vector<jinja::Value> values;
  for (const ChatMessage& m : messages) values.push_back(message_value(m, jinja::kData));
  return impl_->render(jinja::make_list(std::move(values)), options);
}

RenderedChat ChatTemplate::render_json(const std::string& messages, const ChatOptions& options) const {
  jinja::Value value = jinja::value_of_json(messages, "messages", jinja::kData);
  if (!value.list()) fail_usage("chat", "the messages are no JSON array");
  return impl_->render(std::move(value), options);
}

std::vector<int32_t> ChatTemplate::encode(const RenderedChat& rendered) const {
  return impl_->tokenizer.encode(rendered.text, rendered.data);
}

ChatPrompt ChatTemplate::prompt(std::span<const ChatMessage> messages, const ChatOptions& options) const {
  const RenderedChat rendered = render(messages, options);
  return {encode(rendered), ends_inside_think(rendered)};
}

// The part [begin, end) of a rendered text, for itself.
void ChatTemplate::Impl::add_encoded(const RenderedChat& rendered, size_t begin, size_t end, std::vector<int32_t>& ids) const {
  std::vector<TextSpan> spans;
  for (const TextSpan& s : rendered.data)
    if (s.begin < end && s.end > begin) spans.push_back({std::max(s.begin, begin) - begin, std::min(s.end, end) - begin});
  const bool continues = begin > 0 && !ids.empty() && !tokenizer.is_added(ids.back());
  const auto more = tokenizer.encode(std::string_view(rendered.text).substr(begin, end - begin), spans, continues);
  ids.insert(ids.end(), more.begin(), more.end());
}

// Assistant turns to learn from are encoded for themselves, as the model makes them behind a prompt; the token that ends
// the turn is learned with them.
void ChatTemplate::Impl::add_trained(const RenderedChat& rendered, Conversation& out) const {
  size_t done = 0;
  const auto add_own = [&](size_t end) {
    const size_t first = out.ids.size();
    const bool behind_answer = !out.trained.empty() && out.trained.back();
    add_encoded(rendered, done, end, out.ids);
    out.trained.resize(out.ids.size(), 0);
    const auto added = std::find_if(out.ids.begin() + static_cast<std::ptrdiff_t>(first), out.ids.end(),
                                    [&](int32_t id) { return tokenizer.is_added(id); });
    if (behind_answer && added != out.ids.end())
      std::fill(out.trained.begin() + static_cast<std::ptrdiff_t>(first), out.trained.begin() + (added - out.ids.begin()) + 1,
                uint8_t{1});
  };
  for (const TextSpan& span : rendered.data) {
    if (span.label != jinja::kAnswer) continue;
    if (span.begin > done) add_own(span.begin);
    add_encoded(rendered, span.begin, span.end, out.ids);
    out.trained.resize(out.ids.size(), 1);
    done = span.end;
  }
  if (done < rendered.text.size()) add_own(rendered.text.size());
}

// Assistant turns without their thinking, those that may be learned marked so.
RenderedChat ChatTemplate::Impl::render_marked(std::span<const ChatMessage> messages, const ChatOptions& options) const {
  std::vector<jinja::Value> values;
  for (const ChatMessage& m : messages) {
    auto [reasoning, content] = split_reasoning(m.content);
    const bool assistant = m.role == "assistant", whole = reasoning.empty() && m.reasoning.empty();
    values.push_back(
        message_value({m.role, assistant ? content : m.content, ""}, assistant && whole ? jinja::kAnswer : jinja::kData));
  }
  return render(jinja::make_list(std::move(values)), options);
}

// What the template writes behind the last message's content, up to its first control token.
std::string ChatTemplate::Impl::end_of_turn(const RenderedChat& rendered) const {
  const size_t end = rendered.data.empty() ? 0 : rendered.data.back().end;
  std::string out;
  for (const int32_t id : tokenizer.encode(std::string_view(rendered.text).substr(end), std::span<const TextSpan>())) {
    out += tokenizer.token_bytes(id);
    if (tokenizer.is_added(id)) return out;
  }
  fail_usage("chat", "the chat template ends an assistant's turn without a control token, so there is no end to learn");
}

ChatTemplate::Conversation ChatTemplate::conversation(std::span<const ChatMessage> messages) const {
  CHECK(!messages.empty());
  Conversation out;
  ChatOptions options;
  options.add_generation_prompt = false;
  const RenderedChat whole = impl_->render_marked(messages, options);
  const ChatMessage& last = messages.back();
  auto [reasoning, content] = split_reasoning(last.content);
  if (!last.reasoning.empty()) reasoning = last.reasoning;
  if (last.role != "assistant" || reasoning.empty()) {
    impl_->add_trained(whole, out);
    return out;
  }
  // The thinking is not in the history that templates write: it is the completion of the prompt before it.
  options.add_generation_prompt = true;
  options.thinking = true;
  RenderedChat rendered = impl_->render_marked(messages.first(messages.size() - 1), options);
  const bool opened = ends_inside_think(rendered);
  impl_->add_trained(rendered, out);
  RenderedChat answer;
  const auto add = [&](const std::string& text, bool data) {
    if (data) answer.data.push_back({answer.text.size(), answer.text.size() + text.size(), jinja::kAnswer});
    answer.text += text;
  };
  if (!opened) add(std::string(kThink) + "\n", false);
  add(replace_invalid_utf8(reasoning) + "\n", true);
  add(std::string(kEndThink) + "\n\n", false);
  if (!content.empty()) add(replace_invalid_utf8(content), true);
  add(impl_->end_of_turn(whole), false);
  impl_->add_encoded(answer, 0, answer.text.size(), out.ids);
  out.trained.resize(out.ids.size(), 1);
  return out;
}

const std::vector<std::string>& deepseek_r1_control_tokens() {
  static const std::vector<std::string> tokens = {
      "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>", "<｜User｜>", "<｜Assistant｜>", kThink, kEndThink};
  return tokens;
}

const std::string& deepseek_r1_chat_template() {
  static const std::string source =
      "{{ bos_token }}{% set ns = namespace(system='') %}"
      "{% for m in messages if m['role'] == 'system' %}"
      "{% set ns.system = ns.system + ('' if loop.first else '\\n\\n') + m['content'] %}{% endfor %}{{ ns.system }}"
      "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
      "{% elif m['role'] == 'assistant' %}"
      "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1].lstrip('\\n') + eos_token }}"
      "{% elif m['role'] != 'system' %}"
      "{{ raise_exception(\"the role '\" + m['role'] + \"' is not known; system, user and assistant are\") }}"
      "{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}"
      "{% if enable_thinking is not defined or enable_thinking %}{{ '<think>\\n' }}{% endif %}{% endif %}";
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

}  // namespace fathom
