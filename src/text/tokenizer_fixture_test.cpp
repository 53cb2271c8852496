// Every folder of $FATHOM_FIXTURES/tokenizers: ids of the tokenizers library, line by line; and the model folders load.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/files.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "base/test_paths.h"
#include "base/utf8.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

std::string bytes_of_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

struct Count {
  int good = 0, bad = 0;
  std::string first;
};

// Each line of each folder that has encodings.jsonl; returns how many lines had ids that are the library's.
int check_folders(const std::string& root, bool print) {
  using Ids = std::vector<int32_t>;
  int good = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string folder = root + "/" + name;
    if (!file_exists(folder + "/encodings.jsonl") || !file_exists(folder + "/tokenizer.json")) continue;
    const Tokenizer tokenizer = Tokenizer::from_directory(folder);
    std::map<std::string, Count> counts;
    const std::string lines = read_file(folder + "/encodings.jsonl");
    for (size_t at = 0; at < lines.size();) {
      const size_t end = std::min(lines.find('\n', at), lines.size());
      const Json line = parse_json(std::string_view(lines).substr(at, end - at), folder);
      at = end + 1;
      const auto check = [&](const std::string& what, bool equal, const std::string& got) {
        Count& count = counts[what];
        (equal ? count.good : count.bad)++;
        if (!equal && count.first.empty()) count.first = line.dump(-1, true).substr(0, 600) + "\n  got " + got;
      };
      const auto check_ids = [&](const char* key, const Ids& ids) {
        if (line.contains(key)) check(key, line[key].get<Ids>() == ids, Json(ids).dump());
      };
      const auto ids = line["ids"].get<Ids>();
      if (line.contains("text") || line.contains("bytes_hex")) {
        const std::string text =
            line.contains("text") ? line["text"].get<std::string>() : bytes_of_hex(line["bytes_hex"].text());
        check_ids("ids", tokenizer.encode(text, Tokenizer::Specials::kRecognise));
        check_ids("ids_with_special", tokenizer.encode(text, Tokenizer::Specials::kRecognise, tokenizer.wants_bos()));
        check_ids("ids_special_as_text", tokenizer.encode(text, Tokenizer::Specials::kSpecialAsText));
        check_ids("ids_no_added_tokens", tokenizer.encode(text, Tokenizer::Specials::kAsText));
      }
      for (const bool skip : {false, true}) {
        const char* key = skip ? "decoded_skip_special" : "decoded";
        if (!line.contains(key)) continue;
        const std::string decoded = tokenizer.decode(ids, skip);
        check(key, decoded == line[key].get<std::string>(), Json(decoded).dump(-1, true));
      }
      // A stream shows whole code points only, and what decode shows but for what begins a text and for broken characters.
      Utf8Stream stream;
      std::string streamed;
      bool whole = true;
      for (const int32_t id : ids) {
        const std::string part = stream.push(tokenizer.token_bytes(id));
        whole &= first_invalid_utf8(part) < 0;
        streamed += part;
      }
      streamed += stream.flush();
      const std::string decoded = tokenizer.decode(ids);
      // Where steps stand in any order, some see the text as a whole.
      const bool any = line.contains("any_steps") && line["any_steps"].get<bool>();
      const bool broken = decoded.find("\xEF\xBF\xBD") != std::string::npos;
      check("stream", whole && (any || broken || streamed.ends_with(decoded)), Json(streamed).dump(-1, true));
    }
    for (const auto& [what, count] : counts) {
      if (print || count.bad > 0)
        std::printf("  %-12s %-22s %4d of %4d lines equal\n", name.c_str(), what.c_str(), count.good, count.good + count.bad);
      EXPECT_EQ(count.bad, 0) << name << " " << what << "\n" << count.first;
    }
    good += counts["ids"].good;
  }
  return good;
}

TEST(TokenizerFixtures, EveryLineOfEveryFolder) {
  const std::string root = fixtures_folder() + "/tokenizers";
  if (!is_directory(root)) GTEST_SKIP() << root << " is not there";
  EXPECT_GT(check_folders(root, true), 300);
}

// Small tokenizers of many kinds, with what the library makes of texts (tests/tokenizers/make.py wrote them).
TEST(TokenizerFixtures, SmallTokenizersOfManyKinds) { EXPECT_GT(check_folders(source_path("tests/tokenizers"), false), 100); }

// The same kinds and more, some thousand random texts, and the library itself.
TEST(TokenizerFixtures, PythonTokenizersAgreesOnRandomTexts) {
  const char* python = std::getenv("FATHOM_PYTHON");
  const std::string command = python ? python : "python3";
  if (std::system((command + " -c 'import tokenizers' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << command << " has no tokenizers library; set FATHOM_PYTHON to one that has";
  const char* count = std::getenv("FATHOM_TOKENIZER_LINES");
  const char* seed = std::getenv("FATHOM_TOKENIZER_SEED");
  const TestFolder folder;
  ASSERT_EQ(std::system((command + " " + source_path("tests/tokenizers/make.py ") + folder.path() + " --lines " +
                         (count ? count : "400") + " --seed " + (seed ? seed : "1"))
                            .c_str()),
            0);
  const int good = check_folders(folder.path(), false);
  std::printf("  %d texts equal\n", good);
  EXPECT_GT(good, 5000);
}

// throughput.json: the ids of a whole book, by count and ends.
TEST(TokenizerFixtures, TheBook) {
  const std::string root = fixtures_folder() + "/tokenizers";
  if (!is_directory(root)) GTEST_SKIP() << root << " is not there";
  int books = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string folder = root + "/" + name;
    if (!file_exists(folder + "/throughput.json")) continue;
    const Json json = read_json_file(folder + "/throughput.json");
    const std::string corpus = fixtures_folder() + "/../" + json["corpus"].get<std::string>();
    if (!file_exists(corpus)) continue;
    ++books;
    const auto ids = Tokenizer::from_directory(folder).encode(read_file(corpus), Tokenizer::Specials::kRecognise);
    const auto first = json["first"].get<std::vector<int32_t>>(), last = json["last"].get<std::vector<int32_t>>();
    ASSERT_EQ(ids.size(), json["tokens"].get<size_t>()) << name;
    EXPECT_TRUE(std::equal(first.begin(), first.end(), ids.begin())) << name;
    EXPECT_TRUE(std::equal(last.rbegin(), last.rend(), ids.rbegin())) << name;
  }
  if (books == 0) GTEST_SKIP() << "no corpus beside the fixtures";
}

TEST(TokenizerFixtures, ModelFoldersLoad) {
  const std::string root = models_folder();
  if (!is_directory(root)) GTEST_SKIP() << root << " is not there";
  for (const std::string& name : list_directory(root)) {
    if (!file_exists(root + "/" + name + "/tokenizer.json")) continue;
    const Tokenizer tokenizer = Tokenizer::from_directory(root + "/" + name);
    EXPECT_GE(tokenizer.eos_id(), 0) << name;
    const std::string text = "Hello, w\xC3\xB6rld!\n 12345 \xE4\xBD\xA0\xE5\xA5\xBD";
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, Tokenizer::Specials::kAsText)), text) << name;
  }
}

}  // namespace
}  // namespace fathom
