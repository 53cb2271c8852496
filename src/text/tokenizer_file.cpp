#include "text/tokenizer_file.h"

#include <bitset>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/byte_map.h"
#include "text/unicode.h"

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
    return {present() ? value_->find(key) : nullptr, source_, path_.empty() ? key : path_ + "." + key};
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
    for (const auto& [key, item] : value_->members()) body(key, Node(&item, source_, path_ + "." + key));
  }
  bool is_zero() const { return present() && value_->is_number() && value_->get<double>() == 0; }
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
  bool boolean() const {
    if (!present() || !value_->is_boolean()) wrong("true or false");
    return value_->get<bool>();
  }
  int64_t count() const {
    if (!present() || !value_->is_number_unsigned() || value_->get<uint64_t>() > kMaxId)
      wrong("a whole number from 0 to " + std::to_string(kMaxId));
    return value_->get<int64_t>();
  }
  std::string character() const {
    const std::string text = string();
    const char* p = text.data();
    if (!text.empty()) next_code_point(p);
    if (text.empty() || p != text.data() + text.size()) wrong("one character");
    return text;
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

std::string quoted(const std::string& text) {  // as a pattern that matches exactly it
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}#-/ ").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// {"String": …} or {"Regex": …}; returns whether it is a regular expression.
bool read_pattern(const Node& node, std::string& pattern) {
  const bool regex = node.at("Regex").present();
  pattern = node.at(regex ? "Regex" : "String").string();
  return regex;
}

void read_normalizer(const Node& node, std::vector<NormalizerStep>& steps) {
  if (!node.present()) return;
  const std::string type = node.at("type").string();
  if (type == "Sequence") return node.at("normalizers").each([&](const Node& item) { read_normalizer(item, steps); });
  NormalizerStep step;
  for (const auto& [name, form] : {std::pair{"NFC", NormalForm::kNfc},
                                   {"NFD", NormalForm::kNfd},
                                   {"NFKC", NormalForm::kNfkc},
                                   {"NFKD", NormalForm::kNfkd}})
    if (type == name) {
      step.kind = NormalizerStep::kForm;
      step.form = form;
      steps.push_back(step);
      return;
    }
  if (type == "Lowercase") {
    step.kind = NormalizerStep::kLowercase;
  } else if (type == "StripAccents") {
    step.kind = NormalizerStep::kStripAccents;
  } else if (type == "Strip") {
    step.kind = NormalizerStep::kStrip;
    step.left = node.at("strip_left").boolean();
    step.right = node.at("strip_right").boolean();
  } else if (type == "Prepend") {
    step.kind = NormalizerStep::kPrepend;
    step.content = node.at("prepend").string();
  } else if (type == "Replace") {
    step.kind = NormalizerStep::kReplace;
    step.regex = read_pattern(node.at("pattern"), step.pattern);
    step.content = node.at("content").string();
  } else {
    node.refuse("normalizer '" + printable(type) +
                "' is not supported; NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace and Sequence are");
  }
  steps.push_back(step);
}

SplitBehaviour read_behaviour(const Node& node) {
  const std::string name = node.string();
  for (const auto& [known, behaviour] : {std::pair{"Isolated", SplitBehaviour::kIsolated},
                                         {"Removed", SplitBehaviour::kRemoved},
                                         {"Contiguous", SplitBehaviour::kContiguous},
                                         {"MergedWithPrevious", SplitBehaviour::kMergedWithPrevious},
                                         {"MergedWithNext", SplitBehaviour::kMergedWithNext}})
    if (name == known) return behaviour;
  node.refuse("behaviour '" + printable(name) +
              "' is not known; Isolated, Removed, Contiguous, MergedWithPrevious and MergedWithNext are");
}

// prepend_scheme of a Metaspace: always, first or never. Older files say add_prefix_space false for never, and must then say
// both.
std::string read_prepend_scheme(const Node& node) {
  const std::string scheme = node.at("prepend_scheme").string_or("always");
  if (scheme != "always" && scheme != "first" && scheme != "never")
    node.at("prepend_scheme").refuse("'" + printable(scheme) + "' is not known; always, first and never are");
  if (!node.at("add_prefix_space").boolean_or(true) && scheme != "never")
    node.at("add_prefix_space").refuse("false does not agree with prepend_scheme '" + scheme + "'");
  return scheme;
}

void read_pre_tokenizer(const Node& node, std::vector<PreTokenizerStep>& steps) {
  if (!node.present()) return;
  const std::string type = node.at("type").string();
  if (type == "Sequence") return node.at("pretokenizers").each([&](const Node& item) { read_pre_tokenizer(item, steps); });
  const auto split = [&](const std::string& pattern, SplitBehaviour behaviour, bool invert = false, bool regex = true) {
    PreTokenizerStep step{PreTokenizerStep::kSplit, pattern};
    step.regex = regex;
    step.behaviour = behaviour;
    step.invert = invert;
    steps.push_back(step);
  };
  const auto prefix = [&](const std::string& text, bool first_only) {
    PreTokenizerStep step{PreTokenizerStep::kPrefix};
    step.text = text;
    step.first_only = first_only;
    steps.push_back(step);
  };
  if (type == "ByteLevel") {
    if (node.at("add_prefix_space").boolean_or(true)) prefix(" ", false);
    if (node.at("use_regex").boolean_or(true)) split(kGpt2Pattern, SplitBehaviour::kIsolated);
    steps.push_back({PreTokenizerStep::kBytes});
  } else if (type == "Digits") {
    split(node.at("individual_digits").boolean_or(false) ? "\\p{N}" : "\\p{N}+", SplitBehaviour::kIsolated);
  } else if (type == "Whitespace") {  // \w of Unicode's TR 18, which PCRE2's is not
    const std::string word = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}";
    split("[" + word + "]+|[^" + word + "\\p{White_Space}]+", SplitBehaviour::kRemoved, /*invert=*/true);
  } else if (type == "WhitespaceSplit") {
    split("\\s", SplitBehaviour::kRemoved);
  } else if (type == "Punctuation") {
    const Node behaviour = node.at("behavior");
    split("[\\p{P}!-/:-@\\[-`{-~]", behaviour.present() ? read_behaviour(behaviour) : SplitBehaviour::kIsolated);
  } else if (type == "Metaspace") {
    const std::string replacement = node.at("replacement").character(), scheme = read_prepend_scheme(node);
    PreTokenizerStep blanks{PreTokenizerStep::kReplaceBlanks};
    blanks.text = replacement;
    steps.push_back(blanks);
    if (scheme != "never") prefix(replacement, scheme == "first");
    if (node.at("split").boolean_or(true)) split(replacement, SplitBehaviour::kMergedWithNext, false, /*regex=*/false);
  } else if (type == "Split") {
    std::string pattern;
    const bool regex = read_pattern(node.at("pattern"), pattern);
    split(pattern, read_behaviour(node.at("behavior")), node.at("invert").boolean_or(false), regex);
  } else {
    node.refuse("pre-tokenizer '" + printable(type) +
                "' is not supported; ByteLevel, Digits, Metaspace, Punctuation, Split, Whitespace, WhitespaceSplit and "
                "Sequence are");
  }
}

void read_decoder(const Node& node, std::vector<DecoderStep>& steps) {
  const std::string type = node.at("type").string();
  if (type == "Sequence") return node.at("decoders").each([&](const Node& item) { read_decoder(item, steps); });
  DecoderStep step;
  if (type == "ByteLevel") {
    step.kind = DecoderStep::kByteLevel;
  } else if (type == "ByteFallback") {
    step.kind = DecoderStep::kByteFallback;
  } else if (type == "Fuse") {
    step.kind = DecoderStep::kFuse;
  } else if (type == "Replace") {
    step.kind = DecoderStep::kReplace;
    step.regex = read_pattern(node.at("pattern"), step.pattern);
    step.content = node.at("content").string();
  } else if (type == "Strip") {
    step.kind = DecoderStep::kStrip;
    step.content = node.at("content").character();
    step.start = node.at("start").count();
    step.stop = node.at("stop").count();
  } else if (type == "Metaspace") {
    step.kind = DecoderStep::kMetaspace;
    step.content = node.at("replacement").character();
    step.prefixed = read_prepend_scheme(node) != "never";
  } else {
    node.refuse("decoder '" + printable(type) +
                "' is not supported; ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip and Sequence are");
  }
  steps.push_back(step);
}

void read_post_processor(const Node& node, TokenizerSpec& spec) {
  if (!node.present()) return;
  const std::string type = node.at("type").string();
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "Sequence") return node.at("processors").each([&](const Node& item) { read_post_processor(item, spec); });
  std::vector<int32_t> before, behind;  // a later processor's tokens go around those of an earlier one
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const char* key : {"cls", "sep"}) {
      std::vector<int32_t>& out = key == std::string_view("cls") ? before : behind;
      size_t i = 0;
      node.at(key).each([&](const Node& item) {
        if (i++ == 1) out.push_back(item.id());
      });
      if (i != 2) node.at(key).wrong("a token and its id");
    }
  } else if (type == "TemplateProcessing") {
    bool text_seen = false;
    node.at("single").each([&](const Node& item) {
      if (item.at("Sequence").present()) {
        if (text_seen) item.refuse("the text stands there a second time, which is not supported");
        text_seen = true;
        return;
      }
      const std::string name = item.at("SpecialToken").at("id").string();
      const Node special = node.at("special_tokens").at(name.c_str());
      special.at("ids").each([&](const Node& id) { (text_seen ? behind : before).push_back(id.id()); });
    });
    if (!text_seen) node.at("single").refuse("the text does not stand in it");
  } else {
    node.refuse("post-processor '" + printable(type) +
                "' is not supported; BertProcessing, ByteLevel, RobertaProcessing, TemplateProcessing and Sequence are");
  }
  spec.prefix.insert(spec.prefix.begin(), before.begin(), before.end());
  spec.suffix.insert(spec.suffix.end(), behind.begin(), behind.end());
}

void read_model(const Node& model, TokenizerSpec& spec) {
  if (const std::string type = model.at("type").string_or("BPE"); type != "BPE")
    model.refuse("model '" + printable(type) + "' is not supported; BPE is");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (model.at(key).present() && !model.at(key).string().empty()) model.at(key).refuse("is not supported");
  if (const Node dropout = model.at("dropout"); dropout.present() && !dropout.is_zero())
    dropout.refuse("is not supported: encoding would be random");
  spec.unk = model.at("unk_token").string_or("");
  spec.fuse_unk = model.at("fuse_unk").boolean_or(false);
  spec.byte_fallback = model.at("byte_fallback").boolean_or(false);
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

bool TokenizerSpec::is_byte_level() const {
  if (pre_tokenizers.empty() || pre_tokenizers.back().kind != PreTokenizerStep::kBytes || !unk.empty() || byte_fallback)
    return false;
  if (has_decoder && !(decoders.size() == 1 && decoders[0].kind == DecoderStep::kByteLevel)) return false;
  for (size_t i = 0; i + 1 < pre_tokenizers.size(); ++i) {
    const PreTokenizerStep& step = pre_tokenizers[i];
    if (step.kind != PreTokenizerStep::kSplit || step.behaviour != SplitBehaviour::kIsolated || step.invert) return false;
  }
  return true;
}

std::vector<std::string> TokenizerSpec::patterns() const {
  std::vector<std::string> out;
  for (const PreTokenizerStep& step : pre_tokenizers)
    if (step.kind == PreTokenizerStep::kSplit) out.push_back(step.regex ? step.pattern : quoted(step.pattern));
  return out;
}

bool TokenizerSpec::has_only_nfc() const {
  return normalizers.size() == 1 && normalizers[0].kind == NormalizerStep::kForm && normalizers[0].form == NormalForm::kNfc;
}

std::string TokenizerSpec::token_text(int32_t id) const {
  for (const AddedToken& token : added_tokens)
    if (token.id == id) return token.content;
  for (const auto& [text, known] : vocab)
    if (known == id) return text;
  return "";
}

TokenizerSpec parse_tokenizer_json(const std::string& text, const std::string& source) {
  const Json json = parse_json(text, source);
  const Node root(&json, source, "");
  if (!json.is_object()) root.wrong("an object");
  TokenizerSpec spec;
  read_normalizer(root.at("normalizer"), spec.normalizers);
  read_pre_tokenizer(root.at("pre_tokenizer"), spec.pre_tokenizers);
  read_post_processor(root.at("post_processor"), spec);
  if (const Node decoder = root.at("decoder"); decoder.present()) {
    spec.has_decoder = true;
    read_decoder(decoder, spec.decoders);
  }
  read_model(root.at("model"), spec);
  // Bytes that all have a token need nothing for what is unknown.
  if (!spec.pre_tokenizers.empty() && spec.pre_tokenizers.back().kind == PreTokenizerStep::kBytes) {
    std::bitset<256> seen;
    for (const auto& [token, id] : spec.vocab)
      if (const auto bytes = characters_to_bytes(token); bytes && bytes->size() == 1)
        seen.set(static_cast<unsigned char>((*bytes)[0]));
    if (seen.all()) spec.unk.clear(), spec.byte_fallback = false;
  }
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
  if (!spec.chat_templates.empty()) spec.chat_template_from = "tokenizer_config.json";
}

void read_chat_template(const std::string& directory, TokenizerSpec& spec) {
  if (const std::string path = directory + "/chat_template.jinja"; file_exists(path)) {
    std::erase_if(spec.chat_templates, [](const auto& t) { return t.first == "default"; });
    spec.chat_templates.emplace_back("default", read_file(path, kMaxBytes));
    spec.chat_template_from = "chat_template.jinja";
  } else if (const std::string old = directory + "/chat_template.json"; file_exists(old)) {
    const Json json = read_json_file(old);
    const Node root(&json, old, "");
    if (!json.is_object()) root.wrong("an object");
    if (!root.at("chat_template").present()) return;
    read_templates(root.at("chat_template"), spec);
    spec.chat_template_from = "chat_template.json";
  }
}

TokenizerSpec read_tokenizer_json(const std::string& path) { return parse_tokenizer_json(read_file(path, kMaxBytes), path); }
void read_tokenizer_config(const std::string& path, TokenizerSpec& spec) {
  parse_tokenizer_config(read_file(path, kMaxBytes), path, spec);
}

}  // namespace fathom
