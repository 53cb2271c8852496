#include "cli/info_text.h"

#include <cstdio>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "cli/number_text.h"
#include "text/jinja_template.h"

namespace fathom {

void TextInfo::take(const Tokenizer& t) {
  kind = t.kind();
  vocab_size = t.vocab_size();
  for (int32_t id = 0; id < t.vocab_size(); ++id) {
    added_tokens += t.is_added(id);
    special_tokens += t.is_added(id) && t.is_special(id);
  }
  adds_bos = t.wants_bos();
  for (const auto& [name, text] : t.named_tokens()) named_tokens.emplace_back(name, t.id_of(text));
  if (t.chat_template().empty()) return;
  template_from = t.chat_template_from();
  try {
    jinja::Template(t.chat_template(), "the chat template");
  } catch (const Error& e) {
    template_problem = e.what();
  }
}

TextInfo TextInfo::of(const ModelFiles& files) {
  TextInfo info;
  try {
    const auto tokenizer = files.tokenizer();
    info.present = tokenizer.has_value();
    if (tokenizer) info.take(*tokenizer);
    if (!info.template_from.empty() && files.is_gguf()) info.template_from = "tokenizer.chat_template";
    if (!tokenizer && !files.is_gguf() && file_exists(files.path() + "/tokenizer.model"))
      info.problem = "tokenizer.model is not read; save it as tokenizer.json";
  } catch (const Error& e) {
    info.present = true;
    info.problem = e.what();
  }
  return info;
}

void TextInfo::to_json(Json& json) const {
  json["tokenizer"] = {{"present", present}};
  json["chat_template"] = {{"present", !template_from.empty()}};
  Json& t = json["tokenizer"];
  if (!problem.empty()) t["problem"] = printable(problem, 1000);
  if (!present || !problem.empty()) return;
  t["kind"] = kind;
  t["vocab_size"] = vocab_size;
  t["added_tokens"] = added_tokens;
  t["special_tokens"] = special_tokens;
  t["adds_bos"] = adds_bos;
  t["named_tokens"] = Json::object();
  for (const auto& [name, id] : named_tokens) t["named_tokens"][name] = id;
  if (template_from.empty()) return;
  json["chat_template"]["from"] = template_from;
  if (!template_problem.empty()) json["chat_template"]["problem"] = printable(template_problem, 1000);
}

void TextInfo::print(int64_t rows) const {
  if (!problem.empty()) {
    std::printf("tokenizer    cannot be used: %s\n", printable(problem, 400).c_str());
    return;
  }
  if (!present) {
    std::printf("tokenizer    none: prompts are given as token ids\n");
    return;
  }
  std::printf("tokenizer    %s, %s ids", kind.c_str(), with_commas(vocab_size).c_str());
  if (rows > vocab_size) std::printf(" (%s rows of the table are padding)", with_commas(rows - vocab_size).c_str());
  if (rows > 0 && rows < vocab_size)
    std::printf(" (the model has %s rows only: is it another model's?)", with_commas(rows).c_str());
  std::printf(", %s added tokens, %s of them special", with_commas(added_tokens).c_str(), with_commas(special_tokens).c_str());
  for (const auto& [name, id] : named_tokens) std::printf("; %s %d", name.substr(0, name.find('_')).c_str(), id);
  std::printf("\n");
  if (template_from.empty())
    std::printf("chat         no chat template: `fathom chat` is not possible\n");
  else if (!template_problem.empty())
    std::printf("chat         the template in %s cannot be used: %s\n", template_from.c_str(),
                printable(template_problem, 400).c_str());
  else
    std::printf("chat         template from %s\n", template_from.c_str());
}

}  // namespace fathom
