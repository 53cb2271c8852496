// Fuzz target (libFuzzer): tokenizer.json from anywhere, and any bytes through encode and decode. The first byte chooses.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/utf8.h"
#include "text/byte_map.h"
#include "text/tokenizer.h"
#include "text/tokenizer_testing.h"
#include "text/unicode.h"

namespace fathom {
namespace {

// A small tokenizer.json: 256 bytes, merges of the, ing and blanks, four added tokens; `steps` are its Split patterns.
std::string small_tokenizer_json(const std::string& normalizer, const std::string& steps) {
  std::string vocab, merges;
  int id = 0;
  const auto quoted = [](const std::string& bytes) {
    const std::string characters = bytes_to_characters(bytes);
    std::string out = "\"";
    for (const char c : characters) out += (c == '"' || c == '\\') ? std::string("\\") + c : std::string(1, c);
    return out + "\"";
  };
  for (int b = 0; b < 256; ++b)
    vocab += (b ? "," : "") + quoted(std::string(1, static_cast<char>(b))) + ":" + std::to_string(id++);
  const std::pair<const char*, const char*> pairs[] = {{"t", "h"},   {"th", "e"},      {"i", "n"},   {"in", "g"},
                                                       {" ", "the"}, {"a", "a"},       {"aa", "aa"}, {"aa", "a"},
                                                       {" ", " "},   {"\xC3", "\xA9"}, {"1", "2"}};
  for (const auto& [left, right] : pairs) {
    vocab += "," + quoted(std::string(left) + right) + ":" + std::to_string(id++);
    merges += (merges.empty() ? "[" : ",[") + quoted(left) + "," + quoted(right) + "]";
  }
  std::string added;
  for (const char* flags : {"", "\"single_word\":true,", "\"lstrip\":true,\"rstrip\":true,", "\"normalized\":true,"}) {
    added += (added.empty() ? "" : ",") + std::string("{\"id\":") + std::to_string(id) + ",\"content\":\"<" +
             std::string(1, static_cast<char>('a' + id % 26)) + ">\"," + flags + "\"special\":" + (id % 2 ? "true" : "false") +
             "}";
    ++id;
  }
  return "{\"version\":\"1.0\",\"added_tokens\":[" + added + "],\"normalizer\":" + normalizer +
         ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" + steps +
         "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]},\"post_processor\":null,"
         "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{" +
         vocab + "},\"merges\":[" + merges + "]}}";
}

void fuzz_fail(const char* what) {
  std::fprintf(stderr, "tokenizer_fuzz: %s\n", what);
  std::abort();
}

}  // namespace
}  // namespace fathom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  static const Tokenizer tokenizers[] = {
      Tokenizer::from_text(small_tokenizer_json("null", ""), "", "small"),
      Tokenizer::from_text(small_tokenizer_json("{\"type\":\"NFC\"}", ""), "", "small"),
      Tokenizer::from_text(
          small_tokenizer_json("null",
                               "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\p{L}+|\\\\s+(?!\\\\S)|\\\\p{N}{1,3}\"},"
                               "\"behavior\":\"Isolated\",\"invert\":false},"),
          "", "small"),
      Tokenizer::from_text(small_sentencepiece_json(llama_steps(false)), "", "pieces"),
      Tokenizer::from_text(small_sentencepiece_json(llama_steps(true)), "", "pieces")};
  if (size == 0) return 0;
  const std::string input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t which = data[0] % 8;
  if (which == 3 || which > 5) {
    try {
      const Tokenizer read = Tokenizer::from_text(input, "", "fuzz");
      read.decode(read.encode("the thing", Tokenizer::Specials::kRecognise));
    } catch (const Error&) {
    }
    return 0;
  }
  const bool pieces = which > 3;
  const Tokenizer& tokenizer = tokenizers[pieces ? which - 1 : which];
  const std::string repaired = replace_invalid_utf8(input);
  std::string expected = which == 1 ? normal_form(repaired, NormalForm::kNfc) : repaired;
  for (size_t at = 0; pieces && (at = expected.find("\u2581", at)) != std::string::npos;) expected.replace(at, 3, " ");
  for (const auto specials :
       {Tokenizer::Specials::kAsText, Tokenizer::Specials::kRecognise, Tokenizer::Specials::kSpecialAsText}) {
    const auto ids = tokenizer.encode(input, specials);
    if (ids != tokenizer.encode(input, specials)) fuzz_fail("two calls differ");
    const std::string decoded = tokenizer.decode(ids);
    if (replace_invalid_utf8(decoded) != decoded) fuzz_fail("decode gave ill-formed text");
    if (specials != Tokenizer::Specials::kAsText) continue;
    for (const int32_t id : ids)
      if (tokenizer.is_added(id)) fuzz_fail("text became a control token");
    if (decoded != expected) fuzz_fail("the text did not come back");
    Utf8Stream shown;
    std::string whole;
    for (const int32_t id : ids) {
      const std::string part = shown.push(tokenizer.token_bytes(id));
      if (first_invalid_utf8(part) >= 0) fuzz_fail("the stream shows a part of a character");
      whole += part;
    }
    whole += shown.flush();
    if (whole != (which == 5 && !expected.empty() ? " " : "") + expected) fuzz_fail("the stream of tokens differs");
  }
  Utf8Stream stream;
  std::string streamed;
  for (const char c : input) streamed += stream.push(std::string_view(&c, 1));
  if (streamed + stream.flush() != repaired) fuzz_fail("the stream differs from the whole");
  return 0;
}
