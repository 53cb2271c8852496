#include "text/tokenizer_file.h"

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/utf8.h"

namespace fathom {
namespace {

constexpr int64_t kMaxBytes = int64_t{256} << 20;
constexpr int64_t kMaxId = 1 << 24;

const char kGpt2Pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// A value with the path by which errors name it.
class Node {
 public:
  Node(const Json* value, const std::string& source, std::string path)
      : value_(value), source_(source), path_(std::move(path)) {}

  bool present() const { return value_ && !value_->is_null(); }
  Node at(const char* key) const {
    if (present() && !value_->is_object()) wrong("an object");
    const Json* member = nullptr;
    if (present())
      if (const auto found = value_->find(key); found != value_->end()) member = &*found;
    return {member, source_, path_.empty() ? key : path_ + "." + key};
  }
  template <class Body>
  void each(Body&& body) const {  // of an array
    if (!present() || !value_->is_array()) wrong("an array");
    size_t i = 0;
    for (const Json& item : *value_) body(Node(&item, source_, path_ + "[" + std::to_string(i++) + "]"));
  }
  template <class Body>
  void each_member(Body&& body) const {
    if (!present() || !value_->is_object()) wrong("an object");
    for (const auto& [key, item] : value_->items()) body(key, Node(&item, source_, path_ + "." + key));
  }
  bool is_string() const { return present() && value_->is_string(); }
  bool is_array() const { return present() && value_->is_array(); }
  std::string string() const {
    if (!is_string()) wrong("a string");
    return value_->get<std::string>();
  }
  std::string string_or(const std::string& fallback) const { return present() ? string() : fallback; }
  bool boolean_or(bool fallback) const {
    if (!present()) return fallback;
    if (!value_->is_boolean()) wrong("true or false");
    return value_->get<bool>();
  }
  int32_t id() const {
    if (!present() || !value_->is_number_integer()) wrong("a token id");
    if (value_->is_number_unsigned() ? value_->get<uint64_t>() > kMaxId : true)
      refuse("the token id " + value_->dump() + " is outside 0.." + std::to_string(kMaxId));
    return value_->get<int32_t>();
  }
  [[noreturn]] void wrong(const std::string& wanted) const {
    refuse(present() ? wanted + " is expected, not " + printable(value_->dump(), 60) : "missing; " + wanted + " is expected");
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail_usage("tokenizer", source_ + ": " + (path_.empty() ? "" : printable(path_) + ": ") + what);
  }

 private:
  const Json* value_;
  const std::string& source_;
  std::string path_;
};

void read_normalizer(const Node& node, TokenizerSpec& spec) {
  if (!node.present()) return;
  const std::string type = node.at("type").string();
  if (type == "NFC")
    spec.nfc = true;
  else if (type == "Sequence")
    node.at("normalizers").each([&](const Node& item) { read_normalizer(item, spec); });
  else
    node.refuse("normalizer '" + printable(type) + "' is not supported; NFC is");
}

std::string quoted(const std::string& text) {  // as a pattern that matches exactly it
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}#-/ ").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// Returns whether the ByteLevel step was seen.
bool read_pre_tokenizer(const Node& node, TokenizerSpec& spec, bool byte_level) {
  const std::string type = node.at("type").string();
  if (type == "Sequence") {
    node.at("pretokenizers").each([&](const Node& item) { byte_level = read_pre_tokenizer(item, spec, byte_level); });
    return byte_level;
  }
  if (byte_level) node.refuse("'" + printable(type) + "' behind ByteLevel is not supported");
  if (type == "ByteLevel") {
    if (node.at("add_prefix_space").boolean_or(true)) node.refuse("add_prefix_space is not supported");
    if (node.at("use_regex").boolean_or(true)) spec.patterns.emplace_back(kGpt2Pattern);
    return true;
  }
  if (type == "Digits") {
    spec.patterns.emplace_back(node.at("individual_digits").boolean_or(false) ? "\\p{N}" : "\\p{N}+");
    return false;
  }
  if (type != "Split") node.refuse("pre-tokenizer '" + printable(type) + "' is not supported; Split, Digits and ByteLevel are");
  if (node.at("behavior").string() != "Isolated") node.refuse("only behaviour Isolated is supported");
  if (node.at("invert").boolean_or(false)) node.refuse("invert is not supported");
  const Node pattern = node.at("pattern");
  spec.patterns.push_back(pattern.at("Regex").present() ? pattern.at("Regex").string() : quoted(pattern.at("String").string()));
  return false;
}

void read_post_processor(const Node& node, TokenizerSpec& spec) {
  if (!node.present()) return;
  const std::string type = node.at("type").string();
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "Sequence") return node.at("processors").each([&](const Node& item) { read_post_processor(item, spec); });
  if (type != "TemplateProcessing") node.refuse("post-processor '" + printable(type) + "' is not supported");
  bool text_seen = false;
  node.at("single").each([&](const Node& item) {
    if (item.at("Sequence").present()) {
      text_seen = true;
      return;
    }
    if (text_seen) item.refuse("tokens behind the text are not supported");
    spec.template_prefix.push_back(item.at("SpecialToken").at("id").string());
  });
}

void read_model(const Node& model, TokenizerSpec& spec) {
  if (const std::string type = model.at("type").string_or("BPE"); type != "BPE")
    model.refuse("model '" + printable(type) + "' is not supported; byte-level BPE is");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.at(key).present() && !model.at(key).string().empty()) model.at(key).refuse("not supported in byte-level BPE");
  for (const char* key : {"dropout", "unk_token"})
    if (model.at(key).present()) model.at(key).refuse("not supported in byte-level BPE");
  if (model.at("byte_fallback").boolean_or(false)) model.refuse("byte_fallback (SentencePiece) is not supported");
  spec.ignore_merges = model.at("ignore_merges").boolean_or(false);
  model.at("vocab").each_member([&](const std::string& token, const Node& id) { spec.vocab.emplace_back(token, id.id()); });
  model.at("merges").each([&](const Node& merge) {
    if (merge.is_string()) {
      const std::string both = merge.string();
      const size_t space = both.find(' ');
      if (space == std::string::npos || space == 0 || space + 1 == both.size() ||
          both.find(' ', space + 1) != std::string::npos)
        merge.refuse("two tokens with one blank between are expected");
      spec.merges.emplace_back(both.substr(0, space), both.substr(space + 1));
      return;
    }
    std::vector<std::string> parts;
    merge.each([&](const Node& part) { parts.push_back(part.string()); });
    if (parts.size() != 2) merge.refuse("two tokens are expected");
    spec.merges.emplace_back(std::move(parts[0]), std::move(parts[1]));
  });
}

// "<s>" or {"content": "<s>"}.
std::string token_text(const Node& node) {
  if (!node.present()) return "";
  return node.is_string() ? node.string() : node.at("content").string();
}

// A template, or several with names.
void read_templates(const Node& node, TokenizerSpec& spec) {
  if (!node.present()) return;
  spec.chat_templates.clear();
  if (!node.is_array()) return spec.chat_templates.emplace_back("default", node.string()), void();
  node.each(
      [&](const Node& item) { spec.chat_templates.emplace_back(item.at("name").string(), item.at("template").string()); });
}

}  // namespace

TokenizerSpec parse_tokenizer_json(const std::string& text, const std::string& source) {
  const Json json = parse_json(text, source);
  const Node root(&json, source, "");
  if (!json.is_object()) root.wrong("an object");
  TokenizerSpec spec;
  read_normalizer(root.at("normalizer"), spec);
  if (!root.at("pre_tokenizer").present() || !read_pre_tokenizer(root.at("pre_tokenizer"), spec, false))
    root.at("pre_tokenizer").refuse("no ByteLevel step: only byte-level BPE is supported");
  read_post_processor(root.at("post_processor"), spec);
  if (const Node decoder = root.at("decoder"); decoder.present() && decoder.at("type").string() != "ByteLevel")
    decoder.refuse("decoder '" + printable(decoder.at("type").string()) + "' is not supported; ByteLevel is");
  read_model(root.at("model"), spec);
  if (root.at("added_tokens").present())
    root.at("added_tokens").each([&](const Node& node) {
      AddedToken token;
      token.id = node.at("id").id();
      token.content = node.at("content").string();
      token.special = node.at("special").boolean_or(false);
      token.single_word = node.at("single_word").boolean_or(false);
      token.lstrip = node.at("lstrip").boolean_or(false);
      token.rstrip = node.at("rstrip").boolean_or(false);
      token.normalized = node.at("normalized").boolean_or(!token.special);
      spec.added_tokens.push_back(std::move(token));
    });
  return spec;
}

void parse_tokenizer_config(const std::string& text, const std::string& source, TokenizerSpec& spec) {
  const Json json = parse_json(text, source);
  const Node root(&json, source, "");
  if (!json.is_object()) root.wrong("an object");
  spec.bos_token = token_text(root.at("bos_token"));
  spec.eos_token = token_text(root.at("eos_token"));
  spec.pad_token = token_text(root.at("pad_token"));
  spec.unk_token = token_text(root.at("unk_token"));
  spec.add_bos_token = root.at("add_bos_token").boolean_or(false);
  read_templates(root.at("chat_template"), spec);
}

void read_chat_template(const std::string& directory, TokenizerSpec& spec) {
  if (const std::string path = directory + "/chat_template.jinja"; file_exists(path)) {
    std::erase_if(spec.chat_templates, [](const auto& t) { return t.first == "default"; });
    spec.chat_templates.emplace_back("default", read_file(path, kMaxBytes));
  } else if (const std::string old = directory + "/chat_template.json"; file_exists(old)) {
    const Json json = read_json_file(old);
    const Node root(&json, old, "");
    if (!json.is_object()) root.wrong("an object");
    read_templates(root.at("chat_template"), spec);
  }
}

TokenizerSpec read_tokenizer_json(const std::string& path) { return parse_tokenizer_json(read_file(path, kMaxBytes), path); }
void read_tokenizer_config(const std::string& path, TokenizerSpec& spec) {
  parse_tokenizer_config(read_file(path, kMaxBytes), path, spec);
}

}  // namespace fathom
