// Byte-pair training (Sennrich et al. 2016) on counts of pre-tokenised words: again and again the pair with the highest
// count becomes a token. Counts are kept up to date through the list of words that hold each pair.
#include <algorithm>
#include <queue>
#include <unordered_map>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/byte_map.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

struct Word {
  std::vector<int32_t> ids;
  int64_t count;
};

struct Pair {
  int64_t count = 0;
  std::vector<uint32_t> words;  // that hold it, or held it
  bool touched = false;         // its count changed by the merge at hand
};
uint64_t key_of(int32_t left, int32_t right) { return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right); }

// Highest count first, then the lower pair of ids.
struct Candidate {
  int64_t count;
  uint64_t key;
  bool operator<(const Candidate& other) const { return count != other.count ? count < other.count : key > other.key; }
};

std::vector<Word> count_words(std::span<const std::string_view> texts, const PreTokenizer& pre_tokenizer,
                              const AddedTokenFinder& specials, int32_t first_byte_id) {
  std::unordered_map<std::string_view, size_t> index;
  std::vector<Word> words;
  std::vector<size_t> ends;
  int64_t steps = 0;
  std::vector<AddedTokenFinder::Part> parts;
  for (size_t t = 0; t < texts.size(); ++t) {
    if (const int64_t bad = first_invalid_utf8(texts[t]); bad >= 0)
      fail_usage("tokenizer", "text " + std::to_string(t) + " is not UTF-8 at byte " + std::to_string(bad));
    specials.find(texts[t], false, {}, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) continue;
      const std::string_view text = texts[t].substr(part.begin, part.end - part.begin);
      pre_tokenizer.split(text, ends, steps);
      size_t begin = 0;
      for (const size_t end : ends) {
        const std::string_view piece = text.substr(begin, end - begin);
        begin = end;
        const auto [found, fresh] = index.try_emplace(piece, words.size());
        if (fresh) {
          words.push_back({{}, 0});
          for (const char c : piece) words.back().ids.push_back(first_byte_id + static_cast<unsigned char>(c));
        }
        ++words[found->second].count;
      }
    }
  }
  return words;
}

class Trainer {
 public:
  Trainer(std::vector<Word> words, std::vector<std::string> token_bytes, const std::vector<std::string>& specials)
      : words_(std::move(words)), bytes_(std::move(token_bytes)) {
    for (size_t id = 0; id < bytes_.size(); ++id)
      if (!bytes_[id].empty()) id_of_.emplace(bytes_[id], static_cast<int32_t>(id));
    for (const std::string& special : specials)
      if (const auto bytes = characters_to_bytes(special)) id_of_.emplace(*bytes, -1);  // no merge may spell it
    for (uint32_t w = 0; w < words_.size(); ++w) add_pairs(w, +1, -1);
    for (const uint64_t key : touched_) push(key);
    touched_.clear();
  }

  void run(int64_t vocab_size) {
    while (static_cast<int64_t>(bytes_.size()) < vocab_size && !queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      Pair& pair = pairs_.at(top.key);
      if (pair.count != top.count) continue;  // stale: the newer count was pushed when it changed
      if (top.count < 2) break;               // nothing repeats any more
      merge(top.key, pair);
    }
  }
  const std::vector<std::string>& token_bytes() const { return bytes_; }
  const std::vector<std::pair<int32_t, int32_t>>& merges() const { return merges_; }

 private:
  // Adds or takes off the pairs of a word. Pairs with `fresh_id` are new in this word.
  void add_pairs(uint32_t w, int sign, int32_t fresh_id) {
    const Word& word = words_[w];
    for (size_t i = 0; i + 1 < word.ids.size(); ++i) {
      const int32_t left = word.ids[i], right = word.ids[i + 1];
      const uint64_t key = key_of(left, right);
      Pair& pair = pairs_[key];
      pair.count += sign * word.count;
      if (!pair.touched) {
        pair.touched = true;
        touched_.push_back(key);
      }
      const bool list = sign > 0 && (fresh_id < 0 || left == fresh_id || right == fresh_id);
      if (list && (pair.words.empty() || pair.words.back() != w)) pair.words.push_back(w);
    }
  }
  void push(uint64_t key) {
    Pair& pair = pairs_.at(key);
    pair.touched = false;
    if (pair.count > 0) queue_.push({pair.count, key});
  }
  void merge(uint64_t key, Pair& pair) {
    const auto left = static_cast<int32_t>(key >> 32), right = static_cast<int32_t>(key);
    const std::string joined = bytes_[left] + bytes_[right];
    // Two merges may spell the same token; both then give its one id.
    const auto [found, fresh] = id_of_.try_emplace(joined, static_cast<int32_t>(bytes_.size()));
    if (found->second < 0) return;  // spells a special token
    const int32_t id = found->second;
    if (fresh) bytes_.push_back(joined);
    merges_.emplace_back(left, right);
    std::vector<uint32_t> affected;
    affected.swap(pair.words);
    std::sort(affected.begin(), affected.end());
    affected.erase(std::unique(affected.begin(), affected.end()), affected.end());
    for (const uint32_t w : affected) {
      add_pairs(w, -1, -1);
      auto& ids = words_[w].ids;
      size_t out = 0;
      for (size_t i = 0; i < ids.size(); ++out) {
        const bool here = i + 1 < ids.size() && ids[i] == left && ids[i + 1] == right;
        ids[out] = here ? id : ids[i];
        i += here ? 2 : 1;
      }
      ids.resize(out);
      add_pairs(w, +1, id);
    }
    for (const uint64_t changed : touched_) push(changed);
    touched_.clear();
  }

  std::vector<Word> words_;
  std::vector<std::string> bytes_;  // by id; empty for special tokens
  std::unordered_map<std::string, int32_t> id_of_;
  std::unordered_map<uint64_t, Pair> pairs_;
  std::vector<uint64_t> touched_;
  std::priority_queue<Candidate> queue_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
};

Json split_json(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}
Json byte_level_json(bool trim_offsets) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", trim_offsets}, {"use_regex", false}};
}

bool is_control(const TokenizerTraining& config, const std::string& token) {
  return token == config.bos_token || token == config.eos_token || token == config.pad_token;
}

Json tokenizer_json(const TokenizerTraining& config, const std::vector<std::string>& patterns, const Trainer& trainer) {
  Json json;
  json["version"] = "1.0";
  json["truncation"] = nullptr;
  json["padding"] = nullptr;
  Json added = Json::array();
  for (size_t id = 0; id < config.special_tokens.size(); ++id)
    added.push_back({{"id", id},
                     {"content", config.special_tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", is_control(config, config.special_tokens[id])}});
  json["added_tokens"] = std::move(added);
  json["normalizer"] = nullptr;
  Json steps = Json::array();
  for (const std::string& pattern : patterns) steps.push_back(split_json(pattern));
  steps.push_back(byte_level_json(true));
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
  if (config.bos_token.empty()) {
    json["post_processor"] = byte_level_json(false);
  } else {
    const auto bos = std::find(config.special_tokens.begin(), config.special_tokens.end(), config.bos_token);
    const auto token = [&](int type) { return Json{{"SpecialToken", {{"id", config.bos_token}, {"type_id", type}}}}; };
    const auto text = [&](const char* name, int type) { return Json{{"Sequence", {{"id", name}, {"type_id", type}}}}; };
    json["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", Json::array({token(0), text("A", 0)})},
                              {"pair", Json::array({token(0), text("A", 0), token(1), text("B", 1)})},
                              {"special_tokens",
                               {{config.bos_token,
                                 {{"id", config.bos_token},
                                  {"ids", Json::array({bos - config.special_tokens.begin()})},
                                  {"tokens", Json::array({config.bos_token})}}}}}};
  }
  json["decoder"] = byte_level_json(true);
  const auto& bytes = trainer.token_bytes();
  Json::Object vocab;  // keys are distinct: no search as by operator[]
  for (size_t id = 0; id < bytes.size(); ++id)
    vocab.push_back({id < config.special_tokens.size() ? config.special_tokens[id] : bytes_to_characters(bytes[id]), id});
  Json merges = Json::array();
  for (const auto& [left, right] : trainer.merges())
    merges.push_back(Json::array({bytes_to_characters(bytes[left]), bytes_to_characters(bytes[right])}));
  json["model"] = {{"type", "BPE"},
                   {"dropout", nullptr},
                   {"unk_token", nullptr},
                   {"continuing_subword_prefix", nullptr},
                   {"end_of_word_suffix", nullptr},
                   {"fuse_unk", false},
                   {"byte_fallback", false},
                   {"ignore_merges", false},
                   {"vocab", std::move(vocab)},
                   {"merges", std::move(merges)}};
  return json;
}

Json config_json(const TokenizerTraining& config) {
  Json json;
  const auto token = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  json["add_bos_token"] = !config.bos_token.empty();
  json["add_eos_token"] = false;
  json["bos_token"] = token(config.bos_token);
  json["eos_token"] = token(config.eos_token);
  json["pad_token"] = token(config.pad_token);
  json["clean_up_tokenization_spaces"] = false;
  json["model_max_length"] = config.max_position;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!config.chat_template.empty()) json["chat_template"] = config.chat_template;
  return json;
}

void check(const TokenizerTraining& config) {
  const auto& specials = config.special_tokens;
  for (size_t i = 0; i < specials.size(); ++i) {
    const std::string shown = "special token '" + printable(specials[i]) + "'";
    if (specials[i].empty() || first_invalid_utf8(specials[i]) >= 0) fail_usage("tokenizer", shown + " is empty or not UTF-8");
    if (const auto bytes = characters_to_bytes(specials[i]); bytes && bytes->size() == 1)
      fail_usage("tokenizer", shown + " is a single byte, which has its own token; choose a longer one");
    if (std::find(specials.begin(), specials.begin() + static_cast<std::ptrdiff_t>(i), specials[i]) !=
        specials.begin() + static_cast<std::ptrdiff_t>(i))
      fail_usage("tokenizer", shown + " is given twice");
  }
  for (const auto& [name, token] : {std::pair{"bos_token", config.bos_token}, std::pair{"eos_token", config.eos_token},
                                    std::pair{"pad_token", config.pad_token}})
    if (!token.empty() && std::find(specials.begin(), specials.end(), token) == specials.end())
      fail_usage("tokenizer", std::string(name) + " '" + printable(token) + "' is not among special_tokens");
  const auto least = static_cast<int64_t>(specials.size()) + 256;
  if (config.vocab_size < least || config.vocab_size > (1 << 24))
    fail_usage("tokenizer", "vocab_size " + std::to_string(config.vocab_size) + " is outside " + std::to_string(least) +
                                " (256 bytes and the special tokens) .. 16777216");
}

}  // namespace

void train_tokenizer(std::span<const std::string_view> texts, const TokenizerTraining& config, const std::string& directory) {
  check(config);
  const std::vector<std::string> patterns =
      config.pattern.empty() ? PreTokenizer::deepseek_v3() : std::vector<std::string>{config.pattern};
  const PreTokenizer pre_tokenizer(patterns);
  AddedTokenFinder specials;
  std::vector<std::string> bytes;  // by id
  for (const std::string& token : config.special_tokens) {
    AddedToken added;
    added.id = static_cast<int32_t>(bytes.size());
    added.content = token;
    specials.add(added, token);
    bytes.emplace_back();
  }
  const auto first_byte_id = static_cast<int32_t>(bytes.size());
  for (int b = 0; b < 256; ++b) bytes.emplace_back(1, static_cast<char>(b));
  std::vector<Word> words = count_words(texts, pre_tokenizer, specials, first_byte_id);
  if (words.empty()) fail_usage("tokenizer", "there is no text to train on: all texts are empty");
  Trainer trainer(std::move(words), std::move(bytes), config.special_tokens);
  trainer.run(config.vocab_size);
  make_directories(directory);
  write_file_atomic(directory + "/tokenizer.json", tokenizer_json(config, patterns, trainer).dump(1) + "\n");
  write_file_atomic(directory + "/tokenizer_config.json", config_json(config).dump(1) + "\n");
}

}  // namespace fathom
