#include "text/tokenizer.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "text/bpe.h"
#include "text/byte_map.h"
#include "text/character_bpe.h"
#include "text/normalizer.h"
#include "text/piece_cache.h"
#include "text/piece_start.h"
#include "text/pre_tokenizer.h"
#include "text/pre_tokenizer_steps.h"
#include "text/token_decoder.h"
#include "text/tokenizer_file.h"
#include "text/unicode.h"

namespace fathom {
namespace {

constexpr size_t kMaxIdle = 64;  // threads whose caches are kept

// What one call of encode works in; kept from call to call for its cache.
struct Scratch {
  std::thread::id user;
  BpeScratch bpe;
  CharacterBpe::Scratch characters;
  PreTokenizerSteps::Words words;
  PieceCache cache;
  std::vector<size_t> ends;
  int64_t steps = 0;  // besides those of bpe
  std::vector<int32_t> ids;
  std::vector<AddedTokenFinder::Part> raw_parts, normalised_parts;
};

}  // namespace

struct Tokenizer::Impl {
  struct Token {
    std::string bytes;  // what it decodes to
    bool special = false, added = false;
  };
  std::string source;
  std::vector<Token> tokens;                             // by id; ids between may be unused
  std::unordered_map<std::string, int32_t> id_of_bytes;  // vocabulary entries, by what they decode to
  std::unordered_map<std::string, int32_t> id_of_text;   // added tokens, and entries outside the byte map, by their text
  // Not byte-level: the model, the steps that cut a text, and how ids become text again (with each token's text for it).
  std::unique_ptr<CharacterBpe> characters;
  PreTokenizerSteps pre_tokenizer_steps;
  TokenDecoder decoder;
  std::vector<std::string> texts;
  std::array<int32_t, 256> id_of_byte{};
  int32_t dropped = -1;  // id of bytes that the vocabulary lacks; -1: it has them all
  MergeTable merges;
  PieceStart start;
  bool ignore_merges = false, wants_bos = false;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer{std::vector<std::string>{}};
  AddedTokenFinder raw_tokens, normalised_tokens;
  std::vector<int32_t> prefix, suffix;  // what add_bos puts around a text
  int32_t bos = -1, eos = -1, pad = -1;
  std::vector<std::pair<std::string, std::string>> chat_templates, named_tokens;
  std::string chat_template_from;

  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Scratch>> idle;
  mutable int64_t steps = 0;

  explicit Impl(TokenizerSpec spec, std::string name);
  void read_bytes_model(const TokenizerSpec& spec);
  void read_characters_model(const TokenizerSpec& spec);
  // Where a text stands: at the begin of the whole; behind another one whose going on it is.
  struct Place {
    bool at_start, continues;
  };
  void encode_text(std::string_view text, Place place, Scratch& scratch, std::vector<int32_t>& out) const;
  void encode_bytes(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const;
  void encode_marked(std::string_view text, bool specials_as_text, std::span<const TextSpan> plain, bool continues,
                     std::vector<int32_t>& out) const;
  Normalizer::Result normalised(std::string_view text, std::vector<TextSpan>& spans, bool continues, int64_t& steps) const;
  [[noreturn]] void refuse(const std::string& what) const { fail_usage("tokenizer", source + ": " + what); }
  int32_t required_id(const std::string& token, const char* what) const;
  void give_back(std::unique_ptr<Scratch> scratch) const {
    const std::lock_guard lock(mutex);
    steps += std::exchange(scratch->steps, 0) + std::exchange(scratch->bpe.steps, 0);
    idle.push_back(std::move(scratch));
  }
  // The one that this thread used last, whose cache is in its processor's; else any, else a new one.
  std::unique_ptr<Scratch> take_scratch() const {
    const auto me = std::this_thread::get_id();
    std::unique_ptr<Scratch> scratch;
    {
      const std::lock_guard lock(mutex);
      auto found = std::find_if(idle.begin(), idle.end(), [&](const auto& s) { return s->user == me; });
      if (found == idle.end() && idle.size() >= kMaxIdle) found = idle.begin();
      if (found != idle.end()) {
        scratch = std::move(*found);
        idle.erase(found);
      }
    }
    if (!scratch) scratch = std::make_unique<Scratch>();
    scratch->user = me;
    return scratch;
  }
};

Tokenizer::Impl::Impl(TokenizerSpec spec, std::string name) : source(std::move(name)) {
  int32_t highest = -1;
  for (const auto& [text, id] : spec.vocab) highest = std::max(highest, id);
  for (const AddedToken& token : spec.added_tokens) highest = std::max(highest, token.id);
  // A file of a few bytes must not make us reserve a table of 2^24 tokens.
  if (highest > static_cast<int64_t>(spec.vocab.size() + spec.added_tokens.size()) + (1 << 20))
    refuse("the highest token id " + std::to_string(highest) + " is far above the number of tokens");
  if (highest >= MergeTable::kMaxId || spec.merges.size() > static_cast<size_t>(MergeTable::kMaxRank))
    refuse("more than " + std::to_string(MergeTable::kMaxId) + " tokens or " + std::to_string(MergeTable::kMaxRank) +
           " merges are not supported");
  tokens.resize(static_cast<size_t>(highest) + 1);
  std::vector<bool> used(tokens.size());
  for (const auto& [text, id] : spec.vocab) {
    if (used[id]) refuse("two tokens of the vocabulary have the id " + std::to_string(id));
    used[id] = true;
  }
  normalizer = Normalizer(spec.normalizers);
  ignore_merges = spec.ignore_merges;
  if (spec.is_byte_level())
    read_bytes_model(spec);
  else
    read_characters_model(spec);

  int64_t steps = 0;
  for (const AddedToken& token : spec.added_tokens) {
    if (token.content.empty()) refuse("the added token " + std::to_string(token.id) + " is empty");
    const std::string content = token.normalized ? normalizer.apply(token.content, false, steps).text : token.content;
    id_of_text[token.content] = token.id;
    tokens[token.id] = {characters ? decoder.token_bytes(content) : characters_to_bytes(content).value_or(content),
                        token.special, true};
    if (characters) texts[token.id] = content;
    (token.normalized ? normalised_tokens : raw_tokens).add(token, content);
  }
  if (!spec.bos_token.empty()) bos = required_id(spec.bos_token, "bos_token");
  if (!spec.eos_token.empty()) eos = required_id(spec.eos_token, "eos_token");
  if (!spec.pad_token.empty()) pad = required_id(spec.pad_token, "pad_token");
  for (const auto* ids : {&spec.prefix, &spec.suffix})
    for (const int32_t id : *ids)
      if (id > highest || spec.token_text(id).empty())
        refuse("post_processor names the id " + std::to_string(id) + ", which is no token");
  prefix = spec.prefix, suffix = spec.suffix;
  wants_bos = spec.add_bos_token || !prefix.empty() || !suffix.empty();
  if (prefix.empty() && bos >= 0 && (spec.add_bos_token || suffix.empty())) prefix.push_back(bos);
  if (bos < 0 && prefix.size() == 1) bos = prefix[0];
  if (spec.add_bos_token && prefix.empty()) refuse("add_bos_token is true, but there is no bos_token");
  chat_templates = std::move(spec.chat_templates);
  chat_template_from = std::move(spec.chat_template_from);
  for (const auto& [key, text] : {std::pair{"bos_token", &spec.bos_token},
                                  {"eos_token", &spec.eos_token},
                                  {"pad_token", &spec.pad_token},
                                  {"unk_token", &spec.unk_token}})
    if (!text->empty()) named_tokens.emplace_back(key, *text);
}

void Tokenizer::Impl::read_bytes_model(const TokenizerSpec& spec) {
  id_of_byte.fill(-1);
  id_of_bytes.reserve(spec.vocab.size());
  for (const auto& [text, id] : spec.vocab) {
    if (auto bytes = characters_to_bytes(text); bytes && !bytes->empty()) {
      if (bytes->size() == 1) id_of_byte[static_cast<unsigned char>((*bytes)[0])] = id;
      id_of_bytes.emplace(*bytes, id);
      tokens[id].bytes = std::move(*bytes);
    } else {
      id_of_text.emplace(text, id);
      tokens[id].bytes = text;
    }
  }
  // Some vocabularies (SmolLM2's) lack bytes that their training text never had: such bytes are dropped, as the tokenizers
  // library does. Until then they have an id that no token and no merge has.
  for (int b = 0; b < 256; ++b) {
    if (id_of_byte[b] >= 0) continue;
    if (b == '\n' || (b >= 0x20 && b < 0x7f))
      refuse("the vocabulary has no token for the byte " + std::to_string(b) + ": it is not byte-level, or not whole");
    id_of_byte[b] = dropped = static_cast<int32_t>(tokens.size());
  }

  const auto vocab_id = [&](const std::string& text, size_t rank) {
    const auto bytes = characters_to_bytes(text);
    const auto found = bytes ? id_of_bytes.find(*bytes) : id_of_bytes.end();
    if (found == id_of_bytes.end())
      refuse("merge " + std::to_string(rank) + " names the token '" + printable(text) + "', which the vocabulary lacks");
    return found->second;
  };
  merges.reserve(spec.merges.size());
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    merges.set(vocab_id(left, rank), vocab_id(right, rank), static_cast<int32_t>(rank), vocab_id(left + right, rank));
  }
  std::vector<std::string_view> merged;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank)
    merged.push_back(tokens[merges.merged(static_cast<int32_t>(rank))].bytes);
  start = PieceStart(merges, id_of_byte, merged);
  pre_tokenizer = PreTokenizer(spec.patterns());
}

void Tokenizer::Impl::read_characters_model(const TokenizerSpec& spec) {
  if (!spec.has_decoder) refuse("decoder: missing; how tokens become text again is not known");
  decoder = TokenDecoder(spec.decoders);
  pre_tokenizer_steps = PreTokenizerSteps(spec.pre_tokenizers);
  texts.resize(tokens.size());
  std::unordered_map<std::string, int32_t> vocab(spec.vocab.begin(), spec.vocab.end());
  for (const auto& [text, id] : spec.vocab) {
    tokens[id].bytes = decoder.token_bytes(text);
    texts[id] = text;
  }
  const auto id_of = [&](const std::string& text) {
    const auto found = vocab.find(text);
    return found == vocab.end() ? -1 : found->second;
  };
  std::vector<CharacterBpe::Merge> list;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    list.push_back({left, right, id_of(left), id_of(right), static_cast<int32_t>(rank), id_of(left + right)});
    for (const auto& [text, id] :
         {std::pair{left, list.back().left_id}, {right, list.back().right_id}, {left + right, list.back().id}})
      if (id < 0 || text.empty())
        refuse("merge " + std::to_string(rank) + " names the token '" + printable(text) + "', which the vocabulary lacks");
  }
  if (!spec.scores.empty()) {
    CHECK(spec.scores.size() >= tokens.size());
    std::vector<int32_t> results;
    for (const auto& merge : list) results.push_back(merge.id);
    std::sort(results.begin(), results.end());
    results.erase(std::unique(results.begin(), results.end()), results.end());
    std::stable_sort(results.begin(), results.end(), [&](int32_t a, int32_t b) { return spec.scores[a] > spec.scores[b]; });
    std::vector<int32_t> rank_of(tokens.size(), -1);
    for (size_t i = 0; i < results.size(); ++i) rank_of[results[i]] = static_cast<int32_t>(i);
    for (auto& merge : list) merge.rank = rank_of[merge.id];
  }
  CharacterBpe::Options options{spec.byte_fallback, spec.fuse_unk, spec.ignore_merges, -1};
  if (!spec.unk.empty() && (options.unk = id_of(spec.unk)) < 0)
    refuse("model.unk_token names '" + printable(spec.unk) + "', which the vocabulary lacks");
  characters = std::make_unique<CharacterBpe>(std::move(vocab), list, options);
}

int32_t Tokenizer::Impl::required_id(const std::string& token, const char* what) const {
  if (const auto found = id_of_text.find(token); found != id_of_text.end()) return found->second;
  if (characters && characters->id_of(token) >= 0) return characters->id_of(token);
  if (const auto bytes = characters_to_bytes(token))
    if (const auto found = id_of_bytes.find(*bytes); found != id_of_bytes.end()) return found->second;
  fail_usage("tokenizer", source + ": " + what + " names '" + printable(token) + "', which is no token");
}

void Tokenizer::Impl::encode_text(std::string_view text, Place place, Scratch& scratch, std::vector<int32_t>& out) const {
  if (!characters) return encode_bytes(text, scratch, out);
  auto& words = scratch.words;
  pre_tokenizer_steps.split(text, place.at_start, place.continues, words, scratch.steps);
  size_t begin = 0;
  for (const size_t end : words.ends) {
    characters->encode(std::string_view(words.text).substr(begin, end - begin), scratch.characters, scratch.bpe, scratch.cache,
                       out);
    begin = end;
  }
}

void Tokenizer::Impl::encode_bytes(std::string_view text, Scratch& scratch, std::vector<int32_t>& out) const {
  const size_t first = out.size();
  pre_tokenizer.split(text, scratch.ends, scratch.steps);
  size_t begin = 0;
  for (const size_t end : scratch.ends) {
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (piece.size() == 1) {
      out.push_back(id_of_byte[static_cast<unsigned char>(piece[0])]);
      continue;
    }
    const bool cached = piece.size() <= PieceCache::kMaxBytes;
    const uint64_t hash = cached ? PieceCache::hash(piece) : 0;
    if (cached && scratch.cache.append(piece, hash, out)) continue;
    auto& ids = scratch.ids;
    ids.clear();
    if (ignore_merges)
      if (const auto whole = id_of_bytes.find(std::string(piece)); whole != id_of_bytes.end()) ids.push_back(whole->second);
    if (ids.empty()) {
      start.symbols(merges, piece, ids, scratch.bpe.ranks);
      merge_piece(merges, ids, scratch.bpe, /*ranks_known=*/true);
    }
    out.insert(out.end(), ids.begin(), ids.end());
    if (cached) scratch.cache.put(piece, hash, ids.data(), ids.size());
  }
  if (dropped >= 0) out.erase(std::remove(out.begin() + static_cast<ptrdiff_t>(first), out.end(), dropped), out.end());
}

Tokenizer::Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_file(const std::string& tokenizer_json) {
  Tokenizer tokenizer;
  tokenizer.impl_ = std::make_unique<Impl>(read_tokenizer_json(tokenizer_json), tokenizer_json);
  return tokenizer;
}

Tokenizer Tokenizer::from_text(const std::string& tokenizer_json, const std::string& config, const std::string& name,
                               std::vector<float> scores) {
  TokenizerSpec spec = parse_tokenizer_json(tokenizer_json, name);
  spec.scores = std::move(scores);
  if (!config.empty()) parse_tokenizer_config(config, name, spec);
  Tokenizer tokenizer;
  tokenizer.impl_ = std::make_unique<Impl>(std::move(spec), name);
  return tokenizer;
}

Tokenizer Tokenizer::from_directory(const std::string& path) {
  TokenizerSpec spec = read_tokenizer_json(path + "/tokenizer.json");
  if (const std::string config = path + "/tokenizer_config.json"; file_exists(config)) read_tokenizer_config(config, spec);
  read_chat_template(path, spec);
  Tokenizer tokenizer;
  tokenizer.impl_ = std::make_unique<Impl>(std::move(spec), path);
  return tokenizer;
}

// `plain`: no token is recognised there.
void Tokenizer::Impl::encode_marked(std::string_view text, bool specials_as_text, std::span<const TextSpan> plain,
                                    bool continues, std::vector<int32_t>& out) const {
  auto scratch = take_scratch();
  raw_tokens.find(text, specials_as_text, plain, scratch->raw_parts);
  std::vector<TextSpan> inside;
  Normalizer::Result normal;
  size_t first = 0;  // of the spans that end behind this part's begin
  for (const auto& raw : scratch->raw_parts) {
    if (raw.id >= 0) {
      out.push_back(raw.id);
      continue;
    }
    std::string_view part = text.substr(raw.begin, raw.end - raw.begin);
    inside.clear();
    while (first < plain.size() && plain[first].end <= raw.begin) ++first;
    for (size_t i = first; i < plain.size() && plain[i].begin < raw.end; ++i)
      inside.push_back({std::max(plain[i].begin, raw.begin) - raw.begin, std::min(plain[i].end, raw.end) - raw.begin});
    Place place{raw.begin == 0 && !continues, raw.begin == 0 && continues};
    if (!normalizer.empty()) {
      normal = normalised(part, inside, place.continues, scratch->steps);
      part = normal.text;
      if (normal.cut_left) place.at_start = false;
    }
    normalised_tokens.find(part, specials_as_text, inside, scratch->normalised_parts);
    for (const auto& p : scratch->normalised_parts) {
      if (p.id >= 0)
        out.push_back(p.id);
      else
        encode_text(part.substr(p.begin, p.end - p.begin), place, *scratch, out);
      place = {false, false};
    }
  }
  give_back(std::move(scratch));
}

// The text normalised and the spans moved with it. Where tokens are looked for in it, spans are normalised apart from what is
// around them.
Normalizer::Result Tokenizer::Impl::normalised(std::string_view text, std::vector<TextSpan>& spans, bool continues,
                                               int64_t& steps) const {
  if (spans.empty() || normalised_tokens.empty()) return normalizer.apply(text, continues, steps);
  Normalizer::Result out;
  size_t at = 0;
  const auto add = [&](size_t end) {
    const auto part = normalizer.apply(text.substr(at, end - at), continues || at > 0, steps);
    out.text += part.text;
    out.cut_left |= part.cut_left && at == 0;
    at = end;
  };
  for (TextSpan& span : spans) {
    add(span.begin);
    const size_t begin = out.text.size();
    add(span.end);
    span = {begin, out.text.size(), span.label};
  }
  add(text.size());
  return out;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, Specials specials, bool add_bos) const {
  const Impl& t = *impl_;
  std::string repaired;
  if (first_invalid_utf8(text) >= 0) text = repaired = replace_invalid_utf8(text);
  std::vector<int32_t> out;
  if (add_bos) {
    if (t.prefix.empty() && t.suffix.empty()) fail_usage("tokenizer", t.source + ": there is no bos token to put in front");
    out = t.prefix;
  }
  if (specials != Specials::kAsText) {
    t.encode_marked(text, specials == Specials::kSpecialAsText, {}, false, out);
  } else {
    out.reserve(out.size() + text.size() / 3 + 8);
    auto scratch = t.take_scratch();
    Normalizer::Result normal;
    if (!t.normalizer.empty()) {
      normal = t.normalizer.apply(text, false, scratch->steps);
      text = normal.text;
    }
    t.encode_text(text, {!normal.cut_left, false}, *scratch, out);
    t.give_back(std::move(scratch));
  }
  if (add_bos) out.insert(out.end(), t.suffix.begin(), t.suffix.end());
  return out;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, std::span<const TextSpan> plain, bool continues) const {
  CHECK(first_invalid_utf8(text) < 0);
  std::vector<int32_t> out;
  impl_->encode_marked(text, false, plain, continues, out);
  return out;
}

std::string Tokenizer::token_bytes(int32_t id) const {
  return id >= 0 && id < vocab_size() ? impl_->tokens[id].bytes : std::string();
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  if (impl_->characters) {
    std::vector<std::string> texts;
    for (const int32_t id : ids)
      if (id >= 0 && id < vocab_size() && !(skip_special && impl_->tokens[id].special)) texts.push_back(impl_->texts[id]);
    return impl_->decoder.decode(std::move(texts));
  }
  std::string bytes;
  for (const int32_t id : ids)
    if (id >= 0 && id < vocab_size() && !(skip_special && impl_->tokens[id].special)) bytes += impl_->tokens[id].bytes;
  return first_invalid_utf8(bytes) >= 0 ? replace_invalid_utf8(bytes) : bytes;
}

int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->tokens.size()); }
int32_t Tokenizer::id_of(std::string_view token) const {
  if (const auto found = impl_->id_of_text.find(std::string(token)); found != impl_->id_of_text.end()) return found->second;
  if (impl_->characters) return impl_->characters->id_of(std::string(token));
  if (first_invalid_utf8(token) >= 0) return -1;
  const auto bytes = characters_to_bytes(token);
  if (!bytes) return -1;
  const auto found = impl_->id_of_bytes.find(*bytes);
  return found == impl_->id_of_bytes.end() ? -1 : found->second;
}
bool Tokenizer::is_special(int32_t id) const { return id >= 0 && id < vocab_size() && impl_->tokens[id].special; }
int64_t Tokenizer::steps() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->steps;
}
bool Tokenizer::is_added(int32_t id) const { return id >= 0 && id < vocab_size() && impl_->tokens[id].added; }
int32_t Tokenizer::bos_id() const { return impl_->bos; }
int32_t Tokenizer::eos_id() const { return impl_->eos; }
int32_t Tokenizer::pad_id() const { return impl_->pad; }
bool Tokenizer::wants_bos() const { return impl_->wants_bos; }
const std::string& Tokenizer::chat_template(const std::string& name) const {
  static const std::string none;
  for (const auto& [key, source] : impl_->chat_templates)
    if (key == name) return source;
  return none;
}
const std::string& Tokenizer::chat_template_from() const { return impl_->chat_template_from; }
const char* Tokenizer::kind() const { return impl_->characters ? "BPE from characters" : "byte-level BPE"; }
const std::vector<std::pair<std::string, std::string>>& Tokenizer::named_tokens() const { return impl_->named_tokens; }

}  // namespace fathom
