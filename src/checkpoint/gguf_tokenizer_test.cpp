// Tokenizers of model llama (SentencePiece) in GGUF, against llama.cpp's ids.
#include "checkpoint/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>

#include "base/files.h"
#include "base/json.h"
#include "base/test_folder.h"
#include "base/test_paths.h"
#include "checkpoint/gguf_writer.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

const std::string kTokenizers = source_path("tests/tokenizers");

Tokenizer tokenizer_of(const TokenizerFiles& files) {
  return Tokenizer::from_text(files.tokenizer_json, files.tokenizer_config, "test", files.scores);
}
Tokenizer open_gguf(const std::string& path) { return tokenizer_of(*tokenizer_from_gguf(GgufFile::open(path))); }

std::vector<Json> read_lines(const std::string& path) {
  std::vector<Json> out;
  const std::string lines = read_file(path);
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size());
    out.push_back(parse_json(std::string_view(lines).substr(at, end - at), path));
    at = end + 1;
  }
  return out;
}

using Ids = std::vector<int32_t>;

// Every folder with tokenizer.gguf; returns how many lines had llama.cpp's ids.
int check_folders(const std::string& root) {
  int good = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string folder = root + "/" + name;
    if (!file_exists(folder + "/tokenizer.gguf")) continue;
    const Tokenizer tokenizer = open_gguf(folder + "/tokenizer.gguf");
    for (const Json& line : read_lines(folder + "/encodings.jsonl")) {
      const auto text = line["text"].get<std::string>();
      const Ids ids = tokenizer.encode(text, Tokenizer::Specials::kRecognise);
      EXPECT_EQ(ids, line["ids"].get<Ids>()) << name << " " << line["text"].dump(-1, true);
      EXPECT_EQ(tokenizer.encode(text, Tokenizer::Specials::kRecognise, true), line["ids_with_special"].get<Ids>()) << name;
      good += ids == line["ids"].get<Ids>();
    }
  }
  return good;
}

TEST(GgufSentencePiece, LlamaCppsIds) { EXPECT_GT(check_folders(kTokenizers), 50); }

const char* python_with_llama_cpp() {
  static const char* const python = std::getenv("FATHOM_PYTHON") ? std::getenv("FATHOM_PYTHON") : "python3";
  const std::string command = python;
  return std::system((command + " -c 'import gguf, llama_cpp' >/dev/null 2>&1").c_str()) == 0 ? python : nullptr;
}
#define NEED_LLAMA_CPP() \
  if (!python_with_llama_cpp()) GTEST_SKIP() << "no Python with gguf and llama_cpp; set FATHOM_PYTHON to one that has them"

int run_script(const std::string& arguments) {
  return std::system(
      (std::string(python_with_llama_cpp()) + " " + kTokenizers + "/make_gguf.py " + arguments + " 2>/dev/null").c_str());
}

TEST(GgufSentencePiece, LlamaCppAgreesOnRandomTexts) {
  NEED_LLAMA_CPP();
  const TestFolder folder;
  const char* seed = std::getenv("FATHOM_TOKENIZER_SEED");
  const char* lines = std::getenv("FATHOM_TOKENIZER_LINES");
  ASSERT_EQ(run_script(folder.path() + " --lines " + (lines ? lines : "1000") + " --seed " + (seed ? seed : "1")), 0);
  const int good = check_folders(folder.path());
  std::printf("  %d texts equal\n", good);
  EXPECT_GT(good, 1000);
}

TokenizerFiles files_of(const std::string& name) { return {read_file(kTokenizers + "/" + name + "/tokenizer.json"), "", ""}; }

// The tokenizer as tokenizer.ggml.* alone says it.
void write_gguf(const TokenizerFiles& files, const std::string& path) {
  const int32_t vocab_size = tokenizer_of(files).vocab_size();
  std::vector<std::string> lost;
  const GgufMetadata all = gguf_tokenizer_metadata(files, vocab_size, lost);
  EXPECT_EQ(all.has("tokenizer.huggingface.json"), true);
  GgufMetadata m;
  m.string("general.architecture", "llama");
  for (const char* key : {"context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count",
                          "rope.dimension_count"})
    m.u32(std::string("llama.") + key, 8);
  m.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
  const TestFolder folder;
  GgufWriter(folder / "all", all, {}, "").commit();
  const GgufFile file = GgufFile::open(folder / "all");
  for (const auto& [key, value] : file.metadata())
    if (key != "tokenizer.huggingface.json") m.copy(key, value);
  GgufWriter(path, m, {}, "").commit();
}

TEST(GgufSentencePiece, WhatIsWrittenIsReadAlike) {
  for (const std::string name : {"llama-legacy", "gemma"}) {
    const TestFolder folder;
    const TokenizerFiles files = files_of(name);
    write_gguf(files, folder / "tokenizer.gguf");
    const Tokenizer wanted = tokenizer_of(files), ours = open_gguf(folder / "tokenizer.gguf");
    EXPECT_EQ(ours.vocab_size(), wanted.vocab_size());
    std::string lines;
    int equal = 0, all = 0;
    for (const Json& line : read_lines(kTokenizers + "/" + name + "/encodings.jsonl")) {
      if (!line.contains("text")) continue;
      const auto text = line["text"].get<std::string>();
      for (const auto specials : {Tokenizer::Specials::kAsText, Tokenizer::Specials::kRecognise}) {
        const Ids ids = ours.encode(text, specials);
        ++all;
        equal += ids == wanted.encode(text, specials);
        if (specials == Tokenizer::Specials::kAsText) {
          EXPECT_EQ(ours.decode(ids), wanted.decode(ids));
        }
      }
      if (text.find('\0') == std::string::npos)
        lines += Json({{"text", text}, {"ids", ours.encode(text, Tokenizer::Specials::kRecognise)}}).dump() + "\n";
    }
    // lstrip, normalized and the like of added tokens have no key.
    std::printf("  %s: %d of %d alike\n", name.c_str(), equal, all);
    EXPECT_GT(equal, all * 3 / 4);
    if (!python_with_llama_cpp()) continue;
    write_file_atomic(folder / "lines.jsonl", lines);
    EXPECT_EQ(run_script("--check " + (folder / "tokenizer.gguf") + " " + (folder / "lines.jsonl")), 0) << name;
  }
}

TEST(GgufSentencePiece, RefusesByName) {
  const auto read = [](const std::function<void(std::string&)>& lie) {
    std::string bytes = read_file(kTokenizers + "/gguf-llama/tokenizer.gguf");
    lie(bytes);
    return error_of([&] { tokenizer_of(*tokenizer_from_gguf(GgufFile::from_bytes(std::as_bytes(std::span(bytes)), "test"))); });
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    return read([&](std::string& bytes) {
      const size_t at = bytes.find(from);
      ASSERT_NE(at, std::string::npos) << from;
      bytes.replace(at, from.size(), to);
    });
  };
  const auto names = [](const std::string& error, const std::string& what) {
    EXPECT_NE(error.find(what), std::string::npos) << error;
  };
  EXPECT_EQ(read([](std::string&) {}), "");
  names(replaced("<0x41>", "<0x4G>"), "is no byte of the form");
  names(replaced("<0x41>", "<0x42>"), "only 255 of 256 bytes");
  names(replaced("tokenizer.ggml.scores", "tokenizer.ggml.scorez"), "tokenizer.ggml.scores");
  names(replaced(std::string("tokenizer.ggml.model\x08\0\0\0\x05\0\0\0\0\0\0\0llama", 37),
                 std::string("tokenizer.ggml.model\x08\0\0\0\x05\0\0\0\0\0\0\0lemma", 37)),
        "'lemma' is not supported");
  names(replaced(std::string("\x02\0\0\0\0\0\0\0aa", 10), std::string("\x02\0\0\0\0\0\0\0ab", 10)),
        "has the text of another one");
  names(replaced(std::string("\x01\0\0\0\0\0\0\0b", 9), std::string("\x01\0\0\0\0\0\0\0z", 9)),
        "holds 'b', which is no token itself");

  const auto write = [](TokenizerFiles files, const std::string& from, const std::string& to) {
    const size_t at = files.tokenizer_json.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    files.tokenizer_json.replace(at, from.size(), to);
    std::vector<std::string> lost;
    return error_of([&] { gguf_tokenizer_metadata(files, 1000, lost); });
  };
  const TokenizerFiles llama = files_of("llama-legacy");
  names(write(files_of("metaspace-first"), "BPE", "BPE"), "its normalizer is not that of Llama 2");
  names(write(files_of("some-bytes"), "BPE", "BPE"), "not every byte has a token");
  names(write(llama, "\"ignore_merges\": false", "\"ignore_merges\": true"), "ignore_merges has no key");
  names(write(llama, "\"pre_tokenizer\": null", "\"pre_tokenizer\": {\"type\": \"WhitespaceSplit\"}"),
        "it has a pre_tokenizer");
  const size_t merges = llama.tokenizer_json.find("\"merges\": [[") + 11;
  const std::string first = llama.tokenizer_json.substr(merges, llama.tokenizer_json.find(']', merges) + 3 - merges);
  names(write(llama, first, ""), "it has no merge of");
}

}  // namespace
}  // namespace fathom
