#include "checkpoint/gguf_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer_file.h"

namespace fathom {
namespace {

enum TokenType : int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr char kGpt2Pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
// DeepSeek-LLM and V2 (architecture.md §2.5): line ends; words of Latin, Greek, Cyrillic; punctuation; blanks at the end;
// CJK and Hangul; digits.
// It finds no fixed point for these literals.
// clang-format off
constexpr char kLetters[] =
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-"
    "Ἕἠ-"
    "ὅὈ-"
    "Ὅὐ-"
    "ὗὙὛὝὟ-"
    "ώᾀ-"
    "ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"
    "ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-"
    "ｚ𐐀-"
    "𐑏𐒰-"
    "𐓓𐓘-"
    "𐓻𐲀-"
    "𐲲𐳀-"
    "𐳲𑢠-𑣟𞤀-𞥃]+";
// clang-format on
constexpr char kPunctuation[] = "\\s?[!-/:-~！-／：-～‘-‟　-。]+";

struct Split {
  const char* name;  // tokenizer.ggml.pre; the first of its kind is the one that is written
  std::vector<std::string> patterns;
  bool nfc = false, ignore_merges = false;
};
const std::vector<Split>& splits() {
  static const std::vector<Split> all = {
      {"deepseek-v3", PreTokenizer::deepseek_v3()},
      {"qwen2", {PreTokenizer::qwen2()}, true},
      {"deepseek-r1-qwen", {PreTokenizer::qwen2()}, true},
      {"llama-bpe", {PreTokenizer::llama3()}, false, true},
      {"llama3", {PreTokenizer::llama3()}, false, true},
      {"llama-v3", {PreTokenizer::llama3()}, false, true},
      {"deepseek-llm", {"[\r\n]", kLetters, kPunctuation, "\\s+$", "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"}},
      {"deepseek-coder", {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}},
      {"smollm", {"\\p{N}", kGpt2Pattern}},
      {"gpt-2", {kGpt2Pattern}},
  };
  return all;
}

std::string quoted(std::string_view text) { return Json(std::string(text)).dump(); }

// Token ids that the metadata names, as texts; "" where there is none.
std::string token_of(const GgufFile& file, const std::vector<std::string_view>& tokens, const std::string& key) {
  const auto id = file.integer(key);
  if (!id || *id == -1) return "";
  if (*id < 0 || *id >= static_cast<int64_t>(tokens.size()))
    file.refuse(key, std::to_string(*id) + " is no id of tokenizer.ggml.tokens");
  return std::string(tokens[static_cast<size_t>(*id)]);
}

std::string tokenizer_json_of(const GgufFile& file, const std::vector<std::string_view>& tokens, const std::string& bos) {
  const std::string pre = file.text("tokenizer.ggml.pre").value_or("");
  const Split* split = nullptr;
  for (const Split& s : splits())
    if (pre == s.name) split = &s;
  if (!split) {
    std::string known;
    for (const Split& s : splits()) known += (known.empty() ? "" : ", ") + std::string(s.name);
    file.refuse("tokenizer.ggml.pre", pre.empty() ? "is missing: how text is split before BPE is not known"
                                                  : "'" + printable(pre) + "' is not supported; supported are " + known);
  }
  const auto types = file.integers("tokenizer.ggml.token_type");
  if (types && types->size() != tokens.size())
    file.refuse("tokenizer.ggml.token_type",
                std::to_string(types->size()) + " types for " + std::to_string(tokens.size()) + " tokens");
  const auto merges = file.texts("tokenizer.ggml.merges");
  if (!merges) file.refuse("tokenizer.ggml.merges", "is missing");

  std::string added, vocab;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t type = types ? (*types)[i] : kNormal;
    if (first_invalid_utf8(tokens[i]) >= 0)
      file.refuse("tokenizer.ggml.tokens", "token " + std::to_string(i) + " is not UTF-8");
    if (type == kUnused) continue;  // padding of the embedding table
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      if (tokens[i].empty()) file.refuse("tokenizer.ggml.tokens", "token " + std::to_string(i) + " is empty");
      added += (added.empty() ? "" : ",") + std::string("{\"id\":") + std::to_string(i) + ",\"content\":" + quoted(tokens[i]) +
               ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":" +
               (type == kUserDefined ? "false}" : "true}");
    } else if (type != kNormal) {
      file.refuse("tokenizer.ggml.token_type",
                  std::to_string(type) + " of token " + std::to_string(i) + " is not known in byte-level BPE");
    }
    vocab += (vocab.empty() ? "" : ",") + quoted(tokens[i]) + ":" + std::to_string(i);
  }
  std::string merge_list;
  for (const std::string_view merge : *merges) {
    if (first_invalid_utf8(merge) >= 0) file.refuse("tokenizer.ggml.merges", "'" + printable(merge) + "' is not UTF-8");
    merge_list += (merge_list.empty() ? "" : ",") + quoted(merge);
  }
  Json pre_tokenizers = Json::array();
  for (const std::string& pattern : split->patterns)
    pre_tokenizers.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  pre_tokenizers.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}});
  Json post = nullptr;
  if (!bos.empty())
    post = {{"type", "TemplateProcessing"},
            {"single",
             Json::array({{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}}, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}})},
            {"pair", Json::array({{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
                                  {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                                  {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}})},
            {"special_tokens",
             {{bos,
               {{"id", bos},
                {"ids", Json::array({*file.integer("tokenizer.ggml.bos_token_id")})},
                {"tokens", Json::array({bos})}}}}}};
  // Large lists are written by hand: an object of 100,000 members takes long to build in order.
  return std::string("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[") + added +
         "],\"normalizer\":" + (split->nfc ? "{\"type\":\"NFC\"}" : "null") +
         ",\"pre_tokenizer\":" + Json({{"type", "Sequence"}, {"pretokenizers", pre_tokenizers}}).dump() +
         ",\"post_processor\":" + post.dump() +
         ",\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}" +
         ",\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null," +
         "\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,\"ignore_merges\":" +
         (split->ignore_merges ? "true" : "false") + ",\"vocab\":{" + vocab + "},\"merges\":[" + merge_list + "]}}\n";
}

}  // namespace

std::optional<TokenizerFiles> tokenizer_from_gguf(const GgufFile& file) {
  const auto model = file.text("tokenizer.ggml.model");
  TokenizerFiles files;
  files.chat_template = file.text("tokenizer.chat_template").value_or("");
  if (const auto json = file.text("tokenizer.huggingface.json")) {
    files.tokenizer_json = *json;
    files.tokenizer_config = file.text("fathom.tokenizer_config").value_or("");
    if (!files.tokenizer_config.empty()) return files;
  }
  if (!model) {
    if (files.tokenizer_json.empty()) return std::nullopt;
    return files;
  }
  if (*model != "gpt2" && files.tokenizer_json.empty())
    file.refuse("tokenizer.ggml.model", "'" + printable(*model) + "' is not supported; gpt2 (byte-level BPE) is");
  const auto tokens = file.texts("tokenizer.ggml.tokens");
  if (!tokens) file.refuse("tokenizer.ggml.tokens", "is missing");
  const bool llama3 = file.text("tokenizer.ggml.pre").value_or("") == "llama-bpe";
  const bool add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(llama3);
  const std::string bos = token_of(file, *tokens, "tokenizer.ggml.bos_token_id");
  if (files.tokenizer_json.empty()) files.tokenizer_json = tokenizer_json_of(file, *tokens, add_bos ? bos : "");
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  config["add_bos_token"] = add_bos && !bos.empty();
  for (const auto& [name, key] : {std::pair{"bos_token", "bos"}, {"eos_token", "eos"}, {"pad_token", "padding"}})
    if (const std::string token = token_of(file, *tokens, std::string("tokenizer.ggml.") + key + "_token_id"); !token.empty())
      config[name] = token;
  if (!files.chat_template.empty()) config["chat_template"] = files.chat_template;
  files.tokenizer_config = config.dump(2) + "\n";
  return files;
}

GgufMetadata gguf_tokenizer_metadata(const TokenizerFiles& files, int64_t vocab_size, std::vector<std::string>& lost) {
  TokenizerSpec spec = parse_tokenizer_json(files.tokenizer_json, "tokenizer.json");
  if (!files.tokenizer_config.empty()) parse_tokenizer_config(files.tokenizer_config, "tokenizer_config.json", spec);
  if (!spec.is_byte_level())
    fail_usage("gguf",
               "the tokenizer is not byte-level BPE, and GGUF has no keys for its normalizer, pre_tokenizer and decoder");
  std::vector<std::string> tokens(static_cast<size_t>(vocab_size));
  std::vector<int32_t> types(static_cast<size_t>(vocab_size), kUnused);
  const auto place = [&](int64_t id, const std::string& text, TokenType type) {
    if (id < 0 || id >= vocab_size)
      fail_usage("gguf", "the tokenizer's token '" + printable(text) + "' has id " + std::to_string(id) +
                             ", but the model's vocabulary has " + std::to_string(vocab_size) + " rows");
    tokens[static_cast<size_t>(id)] = text;
    types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  for (const auto& [text, id] : spec.vocab) place(id, text, kNormal);
  bool strips = false;
  for (const AddedToken& token : spec.added_tokens) {
    place(token.id, token.content, token.special ? kControl : kUserDefined);
    strips |= token.lstrip || token.rstrip || token.single_word || token.normalized;
  }
  for (size_t i = 0; i < tokens.size(); ++i)
    if (types[i] == kUnused) tokens[i] = "[PAD" + std::to_string(i) + "]";
  std::vector<std::string> merges;
  for (const auto& [left, right] : spec.merges) {
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
      fail_usage("gguf", "the merge of '" + printable(left) + "' and '" + printable(right) +
                             "' holds a blank, which GGUF cannot write");
    merges.push_back(left + " " + right);
  }
  const Split* split = nullptr;
  for (const Split& s : splits())
    if (!split && s.patterns == spec.patterns()) split = &s;
  if (!split)
    lost.push_back(
        "the tokenizer's pre_tokenizer: GGUF has no name for these splits; 'default' is written, and other programs "
        "may cut text differently");
  if (!spec.normalizers.empty())
    lost.push_back("the tokenizer's normalizer" + std::string(spec.has_only_nfc() ? " NFC" : "") + ": GGUF has no key for it");
  if (strips) lost.push_back("lstrip, rstrip, single_word or normalized of added tokens: GGUF has no key for them");
  if (spec.ignore_merges && !(split && split->ignore_merges))
    lost.push_back("the tokenizer's ignore_merges: GGUF has no key for it");

  GgufMetadata m;
  m.string("tokenizer.ggml.model", "gpt2");
  m.string("tokenizer.ggml.pre", split ? split->name : "default");
  m.strings("tokenizer.ggml.tokens", tokens);
  m.i32s("tokenizer.ggml.token_type", types);
  m.strings("tokenizer.ggml.merges", merges);
  const auto id_of = [&](const std::string& text) -> int64_t {
    if (text.empty()) return -1;
    const auto it = std::find(tokens.begin(), tokens.end(), text);
    return it == tokens.end() ? -1 : it - tokens.begin();
  };
  const std::string bos = !spec.bos_token.empty() ? spec.bos_token : spec.prefix.empty() ? "" : spec.token_text(spec.prefix[0]);
  for (const auto& [key, text] : {std::pair{"bos", bos}, {"eos", spec.eos_token}, {"padding", spec.pad_token}})
    if (const int64_t id = id_of(text); id >= 0) m.u32(std::string("tokenizer.ggml.") + key + "_token_id", id);
  m.boolean("tokenizer.ggml.add_bos_token", spec.add_bos_token || !spec.prefix.empty());
  m.boolean("tokenizer.ggml.add_eos_token", false);
  std::string chat = files.chat_template;
  for (const auto& [name, source] : spec.chat_templates)
    if (chat.empty() && name == "default") chat = source;
  if (!chat.empty()) m.string("tokenizer.chat_template", chat);
  m.string("tokenizer.huggingface.json", files.tokenizer_json);
  if (!files.tokenizer_config.empty()) m.string("fathom.tokenizer_config", files.tokenizer_config);
  return m;
}

}  // namespace fathom
