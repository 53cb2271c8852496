// The fuzz target on mutations that are the same on each run: for machines without libFuzzer.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/test_folder.h"
#include "text/tokenizer_fuzz.cpp"

namespace fathom {
namespace {

std::string mutated(std::string text, Rng& rng) {
  const std::string parts[] = {"<a>", "\xFF", "\xF0\x9F", "é",  "e\u0301", "  ",       "\n",    "\"",
                               "[",   "}",    "0",        "-1", "null",    "99999999", "\\u00", ","};
  for (uint64_t n = 1 + rng.next_below(4); n > 0; --n) {
    const size_t at = rng.next_below(text.size() + 1);
    switch (rng.next_below(4)) {
      case 0:
        text.insert(at, parts[rng.next_below(std::size(parts))]);
        break;
      case 1:
        text.erase(at, rng.next_below(20));
        break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(rng.next_u32());
        break;
      default:
        text.insert(at, text.substr(rng.next_below(text.size() + 1), rng.next_below(30)));
    }
  }
  return text;
}

void run(char mode, const std::string& input) {
  const std::string data = mode + input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(data.data()), data.size());
}

TEST(TokenizerMutations, Texts) {
  Rng rng(21, RngStream::kTest);
  std::string text = "the thing <a><b>  aaaa 123 é e\u0301 \u0301\u0316 你好\r\n<c> <d>";
  for (int round = 0; round < 6000; ++round) {
    run(static_cast<char>(round % 5 < 3 ? round % 5 : round % 5 + 1), text);
    text = mutated(text, rng);
    if (text.size() > 400 || text.empty()) text = "the thing <a>b<b> aaa\u0344\u0F73";
  }
}

TEST(TokenizerMutations, Files) {
  Rng rng(22, RngStream::kTest);
  for (const std::string& file :
       {small_tokenizer_json("{\"type\":\"NFC\"}", ""), small_sentencepiece_json(llama_steps(true))}) {
    EXPECT_NO_THROW(Tokenizer::from_text(file, "", "whole"));
    // Mostly in the head, where the structure is.
    for (int round = 0; round < 1000; ++round) {
      const size_t head = round % 2 ? 800 : file.size();
      run(3, mutated(file.substr(0, head), rng) + file.substr(head));
      run(3, file.substr(0, rng.next_below(file.size())));
    }
  }
}

TEST(TokenizerMutations, FilesThatLie) {
  const auto refused = [](std::string file, const std::string& from, const std::string& to) {
    const size_t at = file.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    file.replace(at, from.size(), to);
    try {
      Tokenizer::from_text(file, "", "lie");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  const std::string file = small_tokenizer_json("null", "");
  EXPECT_NE(refused(file, "\"type\":\"BPE\"", "\"type\":\"Unigram\"").find("model 'Unigram'"), std::string::npos);
  EXPECT_NE(refused(file, "\"th\":256", "\"th\":16000000").find("far above"), std::string::npos);
  EXPECT_NE(refused(file, "\"th\":256", "\"th\":-1").find("outside"), std::string::npos);
  EXPECT_NE(refused(file, "\"th\":256", "\"th\":255").find("have the id 255"), std::string::npos);
  EXPECT_NE(refused(file, "\"th\":256", "\"tx\":256").find("merge 0 names the token 'th'"), std::string::npos);
  EXPECT_NE(refused(file, "\"a\":97", "\"zzz\":97").find("no token for the byte 97"), std::string::npos);
  EXPECT_NE(refused(file, "[\"t\",\"h\"]", "\"t h e\"").find("one blank"), std::string::npos);
  EXPECT_NE(refused(file, "{\"type\":\"ByteLevel\",\"add", "{\"type\":\"UnicodeScripts\",\"add").find("'UnicodeScripts'"),
            std::string::npos);
  EXPECT_NE(refused(file, "{\"type\":\"ByteLevel\",\"add", "{\"type\":\"Metaspace\",\"add").find("replacement: missing"),
            std::string::npos);
  EXPECT_NE(refused(file, "\"normalizer\":null", "\"normalizer\":{\"type\":\"Precompiled\"}").find("'Precompiled'"),
            std::string::npos);
  EXPECT_NE(refused(file, "\"type\":\"ByteLevel\"}", "\"type\":\"WordPiece\"}").find("'WordPiece'"), std::string::npos);
  EXPECT_NE(refused(file, "\"version\"", "\"added_tokens\":[],\"version\"").find("occurs twice"), std::string::npos);
}

TEST(TokenizerMutations, PiecesThatLie) {
  const std::string file = small_sentencepiece_json(llama_steps(true));
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string changed = file;
    const size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) changed.replace(at, from.size(), to);
    return error_of([&] { Tokenizer::from_text(changed, "", "lie"); });
  };
  const auto names = [&](const std::string& from, const std::string& to, const std::string& what) {
    const std::string error = refused(from, to);
    EXPECT_NE(error.find(what), std::string::npos) << error;
  };
  names("\"type\":\"Prepend\"", "\"type\":\"Nmt\"", "normalizer.normalizers[0]: normalizer 'Nmt'");
  names("\"type\":\"Fuse\"", "\"type\":\"CTC\"", "decoder.decoders[2]: decoder 'CTC'");
  names("\"content\":\" \",\"start\"", "\"content\":\"  \",\"start\"", "one character");
  names("\"start\":1", "\"start\":-1", "decoder.decoders[3].start");
  names("\"unk_token\":\"<unk>\"", "\"unk_token\":\"[unk]\"", "model.unk_token names '[unk]'");
  names("[\"t\",\"h\"]", "[\"t\",\"x\"]", "merge 0 names the token 'x'");
  names("\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"FixedLength\",\"length\":3}", "'FixedLength'");
  names("\"pre_tokenizer\":null",
        "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"often\"}", "'often'");
  names("\"pre_tokenizer\":null", "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}",
        "does not agree with prepend_scheme");
  names("\"post_processor\":null", "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[]}",
        "the text does not stand");
  names("\"post_processor\":null", "\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",90000],\"sep\":[\"y\",1]}",
        "names the id 90000");
  names("\"byte_fallback\":true", "\"byte_fallback\":true,\"dropout\":0.1", "model.dropout");
}

}  // namespace
}  // namespace fathom
