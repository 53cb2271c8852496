#include "checkpoint/gguf_tokenizer.h"

#include <algorithm>
#include <bitset>
#include <cmath>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "checkpoint/sentencepiece.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/tokenizer_file.h"

namespace fathom {
namespace {

constexpr char kBlank[] = "\u2581";  // SentencePiece's for a blank

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

// What both kinds of tokenizer have in common.
struct TokenList {
  std::vector<std::string_view> tokens;
  std::vector<int64_t> types;
  std::string added, vocab;  // members of added_tokens and model.vocab
};
TokenList read_tokens(const GgufFile& file, std::vector<std::string_view> tokens, bool bytes) {
  TokenList list;
  const auto types = file.integers("tokenizer.ggml.token_type");
  if (types && types->size() != tokens.size())
    file.refuse("tokenizer.ggml.token_type",
                std::to_string(types->size()) + " types for " + std::to_string(tokens.size()) + " tokens");
  list.types = types ? *types : std::vector<int64_t>(tokens.size(), kNormal);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t type = list.types[i];
    if (first_invalid_utf8(tokens[i]) >= 0)
      file.refuse("tokenizer.ggml.tokens", "token " + std::to_string(i) + " is not UTF-8");
    if (type == kUnused) continue;  // padding of the embedding table
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      if (tokens[i].empty()) file.refuse("tokenizer.ggml.tokens", "token " + std::to_string(i) + " is empty");
      list.added += (list.added.empty() ? "" : ",") + std::string("{\"id\":") + std::to_string(i) +
                    ",\"content\":" + quoted(tokens[i]) +
                    ",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":" +
                    (type == kUserDefined ? "false}" : "true}");
    } else if (type != kNormal && !(type == kByte && bytes)) {
      file.refuse("tokenizer.ggml.token_type", std::to_string(type) + " of token " + std::to_string(i) + " is not known in " +
                                                   (bytes ? "SentencePiece's BPE" : "byte-level BPE"));
    }
    list.vocab += (list.vocab.empty() ? "" : ",") + quoted(tokens[i]) + ":" + std::to_string(i);
  }
  list.tokens = std::move(tokens);
  return list;
}

// What is put around a text; empty: nothing there.
Json post_processor(const GgufFile& file, const std::string& bos, const std::string& eos) {
  if (bos.empty() && eos.empty()) return nullptr;
  const auto special = [](const std::string& token) { return Json{{"SpecialToken", {{"id", token}, {"type_id", 0}}}}; };
  const auto text = [](const char* name, int type) { return Json{{"Sequence", {{"id", name}, {"type_id", type}}}}; };
  Json single = Json::array(), pair = Json::array(), tokens = Json::object();
  for (Json* list : {&single, &pair}) {
    if (!bos.empty()) list->push_back(special(bos));
    list->push_back(text("A", 0));
    if (!eos.empty()) list->push_back(special(eos));
  }
  pair.push_back(text("B", 1));
  for (const auto& [token, key] : {std::pair{bos, "tokenizer.ggml.bos_token_id"}, {eos, "tokenizer.ggml.eos_token_id"}})
    if (!token.empty())
      tokens[token] = {{"id", token}, {"ids", Json::array({*file.integer(key)})}, {"tokens", Json::array({token})}};
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

// The whole file; steps: normalizer, pre_tokenizer and decoder; model: the members before vocab. Large lists are written by
// hand: an object of 100,000 members takes long to build in order.
std::string assembled(const TokenList& list, const std::string& merges, const Json& post, const Json& steps, Json model) {
  std::string head = Json(std::move(model)).dump();
  head.pop_back();
  return std::string("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[") + list.added +
         "],\"normalizer\":" + steps[0].dump() + ",\"pre_tokenizer\":" + steps[1].dump() +
         ",\"post_processor\":" + post.dump() + ",\"decoder\":" + steps[2].dump() + ",\"model\":" + head + ",\"vocab\":{" +
         list.vocab + "},\"merges\":[" + merges + "]}}\n";
}

Json bpe_model(const Json& unk, bool pieces, bool ignore_merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unk},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", pieces},
          {"byte_fallback", pieces},
          {"ignore_merges", ignore_merges}};
}

std::string byte_level_json(const GgufFile& file, const std::vector<std::string_view>& tokens, const Json& post) {
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
  const auto merges = file.texts("tokenizer.ggml.merges");
  if (!merges) file.refuse("tokenizer.ggml.merges", "is missing");
  const TokenList list = read_tokens(file, tokens, /*bytes=*/false);
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
  Json steps = Json::array();
  steps.push_back(split->nfc ? Json{{"type", "NFC"}} : Json(nullptr));
  steps.push_back({{"type", "Sequence"}, {"pretokenizers", pre_tokenizers}});
  steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}});
  return assembled(list, merge_list, post, steps, bpe_model(nullptr, false, split->ignore_merges));
}

// llama.cpp's model llama: two tokens become a third where their texts joined are its text, the highest score first.
std::string sentencepiece_json(const GgufFile& file, const std::vector<std::string_view>& tokens, const Json& post,
                               std::vector<float>& scores) {
  const auto given = file.floats("tokenizer.ggml.scores");
  if (!given) file.refuse("tokenizer.ggml.scores", "is missing");
  if (given->size() != tokens.size())
    file.refuse("tokenizer.ggml.scores",
                std::to_string(given->size()) + " scores for " + std::to_string(tokens.size()) + " tokens");
  for (size_t i = 0; i < given->size(); ++i)
    if (!std::isfinite((*given)[i]))
      file.refuse("tokenizer.ggml.scores", "that of token " + std::to_string(i) + " is not finite");
  const TokenList list = read_tokens(file, tokens, /*bytes=*/true);
  std::bitset<256> bytes;
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (list.types[i] == kNormal) pieces.push_back({tokens[i], static_cast<int32_t>(i), (*given)[i]});
    if (list.types[i] != kByte) continue;
    const int byte = byte_of_token(tokens[i]);
    if (byte < 0) file.refuse("tokenizer.ggml.tokens", "token " + std::to_string(i) + " is no byte of the form <0xE4>");
    bytes.set(static_cast<size_t>(byte));
  }
  if (!bytes.all())
    file.refuse("tokenizer.ggml.tokens", "only " + std::to_string(bytes.count()) + " of 256 bytes have a token");
  std::string error, merge_list;
  const std::vector<PieceMerge> merges = sentencepiece_merges(pieces, error);
  if (!error.empty()) file.refuse("tokenizer.ggml.tokens", error);
  for (const PieceMerge& m : merges)
    merge_list += (merge_list.empty() ? "[" : ",[") + quoted(m.left) + "," + quoted(m.right) + "]";
  scores = *given;

  const bool prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  Json normalizers = Json::array(), decoders = Json::array(), steps = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", kBlank}});
  normalizers.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kBlank}});
  decoders.push_back({{"type", "Replace"}, {"pattern", {{"String", kBlank}}}, {"content", " "}});
  decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  steps.push_back({{"type", "Sequence"}, {"normalizers", normalizers}});
  steps.push_back(nullptr);
  steps.push_back({{"type", "Sequence"}, {"decoders", decoders}});
  // Every byte has a token, so that nothing is unknown; the name is for those who ask.
  const std::string unk = token_of(file, tokens, "tokenizer.ggml.unknown_token_id");
  return assembled(list, merge_list, post, steps, bpe_model(unk.empty() ? Json(nullptr) : Json(unk), true, false));
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
  const bool pieces = *model == "llama";
  if (*model != "gpt2" && !pieces && files.tokenizer_json.empty())
    file.refuse("tokenizer.ggml.model",
                "'" + printable(*model) + "' is not supported; gpt2 (byte-level BPE) and llama (SentencePiece's BPE) are");
  const auto tokens = file.texts("tokenizer.ggml.tokens");
  if (!tokens) file.refuse("tokenizer.ggml.tokens", "is missing");
  const bool llama3 = file.text("tokenizer.ggml.pre").value_or("") == "llama-bpe";
  const bool add_bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(llama3 || pieces);
  const std::string bos = token_of(file, *tokens, "tokenizer.ggml.bos_token_id");
  const bool add_eos = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  const std::string eos = add_eos ? token_of(file, *tokens, "tokenizer.ggml.eos_token_id") : "";
  if (files.tokenizer_json.empty()) {
    const Json post = post_processor(file, add_bos ? bos : "", eos);
    files.tokenizer_json =
        pieces ? sentencepiece_json(file, *tokens, post, files.scores) : byte_level_json(file, *tokens, post);
  }
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  config["add_bos_token"] = add_bos && !bos.empty();
  for (const auto& [name, key] : {std::pair{"bos_token", "bos"}, {"eos_token", "eos"}, {"pad_token", "padding"}})
    if (const std::string token = token_of(file, *tokens, std::string("tokenizer.ggml.") + key + "_token_id"); !token.empty())
      config[name] = token;
  if (!files.chat_template.empty()) config["chat_template"] = files.chat_template;
  files.tokenizer_config = config.dump(2) + "\n";
  return files;
}

namespace {

// The scores with which llama.cpp's model llama merges as the file does. Error (usage) where none can.
std::vector<float> sentencepiece_scores(const TokenizerSpec& spec, int64_t vocab_size) {
  const auto refuse = [](const std::string& what) {
    fail_usage("gguf", "the tokenizer is neither byte-level BPE nor SentencePiece's as GGUF knows it: " + what);
  };
  const auto& n = spec.normalizers;
  const bool prefix = n.size() == 2 && n[0].kind == NormalizerStep::kPrepend && n[0].content == kBlank;
  const NormalizerStep* blanks = n.empty() || n.size() != 1 + static_cast<size_t>(prefix) ? nullptr : &n.back();
  if (!blanks || blanks->kind != NormalizerStep::kReplace || blanks->regex || blanks->pattern != " " ||
      blanks->content != kBlank)
    refuse("its normalizer is not that of Llama 2");
  // Gemma's split at blanks never meets one: the normalizer has replaced them.
  if (!spec.pre_tokenizers.empty() &&
      !(spec.pre_tokenizers.size() == 1 && spec.pre_tokenizers[0].kind == PreTokenizerStep::kSplit &&
        !spec.pre_tokenizers[0].regex && spec.pre_tokenizers[0].pattern == " " && !spec.pre_tokenizers[0].invert))
    refuse("it has a pre_tokenizer");
  if (spec.ignore_merges) refuse("ignore_merges has no key");
  if (spec.suffix.size() > 1 || (spec.suffix.size() == 1 && spec.token_text(spec.suffix[0]) != spec.eos_token))
    refuse("its post_processor puts something else than eos behind a text");
  std::vector<bool> added(static_cast<size_t>(vocab_size));
  for (const AddedToken& token : spec.added_tokens)
    if (token.id < vocab_size) added[static_cast<size_t>(token.id)] = true;
  std::vector<Piece> pieces;
  std::bitset<256> bytes;
  for (const auto& [text, id] : spec.vocab) {
    if (id >= vocab_size || added[static_cast<size_t>(id)]) continue;
    if (const int byte = byte_of_token(text); byte >= 0)
      bytes.set(static_cast<size_t>(byte));
    else
      pieces.push_back({text, id, 0});
  }
  if (!spec.byte_fallback || !bytes.all()) refuse("not every byte has a token");
  // A result's score is the place of its first merge; then llama.cpp's merges are those of the file where they come in the
  // same order of results, and none is missing.
  std::unordered_map<std::string, float> score_of;
  for (const auto& [left, right] : spec.merges) score_of.emplace(left + right, -static_cast<float>(score_of.size()));
  std::vector<float> scores(static_cast<size_t>(vocab_size));
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto found = score_of.find(std::string(pieces[i].text));
    pieces[i].score = found != score_of.end() ? found->second : -static_cast<float>(score_of.size() + i);
    scores[static_cast<size_t>(pieces[i].id)] = pieces[i].score;
  }
  std::string error;
  const std::vector<PieceMerge> merges = sentencepiece_merges(pieces, error);
  if (!error.empty()) refuse(error);
  std::set<std::pair<std::string_view, std::string_view>> given;
  float last = 0;
  for (const auto& [left, right] : spec.merges) {
    const float score = score_of.at(left + right);
    if (score > last) refuse("its merges that make '" + printable(left + right) + "' do not stand together");
    last = score;
    given.emplace(left, right);
  }
  if (given.size() > merges.size()) refuse("it merges byte tokens or added tokens");
  for (const PieceMerge& m : merges)
    if (!given.contains({m.left, m.right}))
      refuse("it has no merge of '" + printable(m.left) + "' and '" + printable(m.right) + "', which would be made");
  return scores;
}

}  // namespace

GgufMetadata gguf_tokenizer_metadata(const TokenizerFiles& files, int64_t vocab_size, std::vector<std::string>& lost) {
  TokenizerSpec spec = parse_tokenizer_json(files.tokenizer_json, "tokenizer.json");
  if (!files.tokenizer_config.empty()) parse_tokenizer_config(files.tokenizer_config, "tokenizer_config.json", spec);
  std::vector<float> scores;  // of model llama
  if (!spec.is_byte_level()) scores = sentencepiece_scores(spec, vocab_size);
  std::vector<std::string> tokens(static_cast<size_t>(vocab_size));
  std::vector<int32_t> types(static_cast<size_t>(vocab_size), kUnused);
  const auto place = [&](int64_t id, const std::string& text, TokenType type) {
    if (id < 0 || id >= vocab_size)
      fail_usage("gguf", "the tokenizer's token '" + printable(text) + "' has id " + std::to_string(id) +
                             ", but the model's vocabulary has " + std::to_string(vocab_size) + " rows");
    tokens[static_cast<size_t>(id)] = text;
    types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  const bool pieces = !scores.empty();
  for (const auto& [text, id] : spec.vocab) place(id, text, pieces && byte_of_token(text) >= 0 ? kByte : kNormal);
  bool strips = false;
  for (const AddedToken& token : spec.added_tokens) {
    place(token.id, token.content, token.content == spec.unk ? kUnknown : token.special ? kControl : kUserDefined);
    strips |= token.lstrip || token.rstrip || token.single_word || token.normalized;
  }
  for (size_t i = 0; i < tokens.size(); ++i)
    if (types[i] == kUnused) tokens[i] = "[PAD" + std::to_string(i) + "]";
  std::vector<std::string> merges;
  for (const auto& [left, right] : spec.merges) {
    if (pieces) break;
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos)
      fail_usage("gguf", "the merge of '" + printable(left) + "' and '" + printable(right) +
                             "' holds a blank, which GGUF cannot write");
    merges.push_back(left + " " + right);
  }
  const Split* split = nullptr;
  for (const Split& s : splits())
    if (!split && s.patterns == spec.patterns()) split = &s;
  if (!split && !pieces)
    lost.push_back(
        "the tokenizer's pre_tokenizer: GGUF has no name for these splits; 'default' is written, and other programs "
        "may cut text differently");
  if (!spec.normalizers.empty() && !pieces)
    lost.push_back("the tokenizer's normalizer" + std::string(spec.has_only_nfc() ? " NFC" : "") + ": GGUF has no key for it");
  if (strips) lost.push_back("lstrip, rstrip, single_word or normalized of added tokens: GGUF has no key for them");
  if (spec.ignore_merges && !(split && split->ignore_merges))
    lost.push_back("the tokenizer's ignore_merges: GGUF has no key for it");

  const auto id_of = [&](const std::string& text) -> int64_t {
    if (text.empty()) return -1;
    const auto it = std::find(tokens.begin(), tokens.end(), text);
    return it == tokens.end() ? -1 : it - tokens.begin();
  };
  GgufMetadata m;
  m.string("tokenizer.ggml.model", pieces ? "llama" : "gpt2");
  m.string("tokenizer.ggml.pre", split ? split->name : "default");
  m.strings("tokenizer.ggml.tokens", tokens);
  m.i32s("tokenizer.ggml.token_type", types);
  if (pieces) {
    m.f32s("tokenizer.ggml.scores", scores);
    m.boolean("tokenizer.ggml.add_space_prefix", spec.normalizers.size() == 2);
    if (const int64_t unk = id_of(spec.unk); unk >= 0) m.u32("tokenizer.ggml.unknown_token_id", unk);
  } else {
    m.strings("tokenizer.ggml.merges", merges);
  }
  const std::string bos = !spec.bos_token.empty() ? spec.bos_token : spec.prefix.empty() ? "" : spec.token_text(spec.prefix[0]);
  for (const auto& [key, text] : {std::pair{"bos", bos}, {"eos", spec.eos_token}, {"padding", spec.pad_token}})
    if (const int64_t id = id_of(text); id >= 0) m.u32(std::string("tokenizer.ggml.") + key + "_token_id", id);
  m.boolean("tokenizer.ggml.add_bos_token", spec.add_bos_token || !spec.prefix.empty());
  m.boolean("tokenizer.ggml.add_eos_token", !spec.suffix.empty());
  std::string chat = files.chat_template;
  for (const auto& [name, source] : spec.chat_templates)
    if (chat.empty() && name == "default") chat = source;
  if (!chat.empty()) m.string("tokenizer.chat_template", chat);
  m.string("tokenizer.huggingface.json", files.tokenizer_json);
  if (!files.tokenizer_config.empty()) m.string("fathom.tokenizer_config", files.tokenizer_config);
  return m;
}

}  // namespace fathom
