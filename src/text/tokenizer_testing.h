// Small tokenizer.json files for tests and fuzzing.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace fathom {

// SentencePiece's form: <unk>, <s>, </s>, 256 byte tokens, some characters, merges of the, ing and of long runs of one
// character; `steps` are the members normalizer, pre_tokenizer and decoder.
inline std::string small_sentencepiece_json(const std::string& steps) {
  const std::string blank = "\u2581";
  std::vector<std::string> vocab = {"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) {
    const char* digits = "0123456789ABCDEF";
    vocab.push_back(std::string("<0x") + digits[b / 16] + digits[b % 16] + ">");
  }
  for (const std::string& c : {blank, std::string("a"), std::string("b"), std::string("e"), std::string("g"), std::string("h"),
                               std::string("i"), std::string("n"), std::string("t"), std::string("\u0301"),
                               std::string("\u00E9"), std::string("\u4F60"), std::string("\U0001F600"), std::string("<")})
    vocab.push_back(c);
  std::vector<std::pair<std::string, std::string>> pairs = {{"t", "h"}, {"th", "e"}, {blank, "the"}, {"i", "n"}, {"in", "g"}};
  for (const std::string& c : {blank, std::string("a"), std::string("\u0301"), std::string("\u4F60")})
    for (std::string run = c; run.size() < 48 * c.size(); run += run) {
      pairs.emplace_back(run, run);
      if (run != c) pairs.emplace_back(run, c);
    }
  std::string merges, tokens;
  for (const auto& [left, right] : pairs) {
    vocab.push_back(left + right);
    merges += (merges.empty() ? "[\"" : ",[\"") + left + "\",\"" + right + "\"]";
  }
  std::vector<std::string> seen;
  int id = 0;
  for (const std::string& token : vocab) {
    bool fresh = true;
    for (const std::string& s : seen) fresh &= s != token;
    if (!fresh) continue;
    seen.push_back(token);
    tokens += (tokens.empty() ? "\"" : ",\"") + token + "\":" + std::to_string(id++);
  }
  const auto added = [](int i, const char* text) {
    return "{\"id\":" + std::to_string(i) + ",\"content\":\"" + text + "\",\"normalized\":false,\"special\":true}";
  };
  return "{\"version\":\"1.0\",\"added_tokens\":[" + added(0, "<unk>") + "," + added(1, "<s>") + "," + added(2, "</s>") + "]," +
         steps +
         ",\"post_processor\":null,\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":"
         "true,"
         "\"vocab\":{" +
         tokens + "},\"merges\":[" + merges + "]}}";
}

// The steps of Llama-2's file, and those of one that puts nothing in front.
inline std::string llama_steps(bool prefix) {
  const std::string blank = "\u2581",
                    replace = "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" + blank + "\"}";
  const std::string prepend = "{\"type\":\"Prepend\",\"prepend\":\"" + blank + "\"},";
  return "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" + (prefix ? prepend : "") + replace +
         "]},\"pre_tokenizer\":null,\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":{"
         "\"String\":\"" +
         blank + "\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}" +
         (prefix ? ",{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}" : "") + "]}";
}

}  // namespace fathom
