#include "base/json.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/test_folder.h"
#include "base/utf8.h"

namespace fathom {
namespace {

std::string refused(const std::string& text, int depth = 64) {
  return error_of([&] { parse_json(text, "x.json", depth); });
}
void expect_refused(const std::string& text, int line, const std::string& reason) {
  const std::string error = refused(text);
  EXPECT_EQ(error.find("[json] x.json:" + std::to_string(line) + ": "), 0u) << text << "\n" << error;
  EXPECT_NE(error.find(reason), std::string::npos) << text << "\n" << error;
}

TEST(Json, ReadsValuesInOrder) {
  const Json j =
      parse_json(R"({"b": [1, -2, 3.5, true, null, "x\u00e9"], "a": {"c": 18446744073709551615}, "e": {}, "f": []})", "x.json");
  EXPECT_EQ(j.dump(), R"({"b":[1,-2,3.5,true,null,"xé"],"a":{"c":18446744073709551615},"e":{},"f":[]})");
  EXPECT_EQ(parse_json("7", "x").get<int>(), 7);
  EXPECT_EQ(parse_json("\"s\"", "x").get<std::string>(), "s");
}

TEST(Json, RefusalsNameSourceLineAndReason) {
  expect_refused("", 1, "empty");
  expect_refused("{\n \"a\": 1,\n \"a\": 2\n}", 3, "the key \"a\" occurs twice");
  expect_refused("{\"x\": {\"a\": 1, \"b\": {\"a\": 3}, \"a\": 2}}", 1, "the key \"a\" occurs twice");
  expect_refused("{\n\"a\": 1e400}", 2, "number overflow");
  expect_refused("[18446744073709551616]", 1, "does not fit in 64 bits");
  expect_refused("[-9223372036854775809]", 1, "does not fit in 64 bits");
  expect_refused("[1,\n2,\n]", 3, "unexpected ']'");
  expect_refused("[1] 2", 1, "end of input");
  expect_refused("{\"a\": NaN}", 1, "invalid literal");
  expect_refused("{\"a\": 01}", 1, "");
  expect_refused("{\n\n\"a\": \"\xff\xfe\"}", 3, "UTF-8");
  expect_refused("{\"a\": \"\\ud800\"}", 1, "surrogate");
  expect_refused("{'a': 1}", 1, "");
  expect_refused("{\"a\": 1", 1, "");
  expect_refused("[\"\x01\"]", 1, "control character");
  expect_refused("// no comments\n1", 1, "");
  EXPECT_EQ(first_invalid_utf8(refused("\"\xff")), -1);  // the message itself is printable
}

TEST(Json, ManyKeysFindTheRepeatedOne) {
  std::string text = "{";
  for (int i = 0; i < 50000; ++i) text += "\"key" + std::to_string(i) + "\": " + std::to_string(i) + ",\n";
  EXPECT_EQ(parse_json(text + "\"last\": 0}", "x").size(), 50001u);
  expect_refused(text + "\"key777\": 0}", 50001, "\"key777\" occurs twice");
}

TEST(Json, DepthIsBounded) {
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "x"));
  expect_refused(std::string(65, '[') + std::string(65, ']'), 1, "nested deeper than 64");
  expect_refused(std::string(1000000, '['), 1, "nested deeper");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_refused(objects, 1, "nested deeper");
}

// Any mutation of a valid text parses or is an Error: no crash, no other exception.
TEST(Json, MutationsNeverCrash) {
  const std::string valid =
      R"({"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]}, "n": [1.5e-3, -7, true, null], "s": "\u00e9\n😀"})";
  Rng rng(7, RngStream::kTest);
  int parsed = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string text = valid;
    for (uint64_t edits = 1 + rng.next_below(4); edits > 0; --edits) {
      const size_t at = rng.next_below(text.size());
      switch (rng.next_below(4)) {
        case 0:
          text[at] = static_cast<char>(rng.next_below(256));
          break;
        case 1:
          text.erase(at, 1 + rng.next_below(8));
          break;
        case 2:
          text.insert(at, 1, "{}[],:\"\\0e.-"[rng.next_below(12)]);
          break;
        default:
          text.insert(at, text.substr(rng.next_below(text.size()), rng.next_below(24)));
      }
      if (text.empty()) text = "x";
    }
    try {
      parse_json(text, "mutated");
      ++parsed;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(parsed, 100);
  EXPECT_LT(parsed, 9000);
}

TEST(Utf8, FindsTheFirstIllFormedByte) {
  EXPECT_EQ(first_invalid_utf8("aé€😀\xef\xbf\xbf"), -1);
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff", "\xe2\x82", "\xc3"})
    EXPECT_EQ(first_invalid_utf8(std::string("ab") + bad), 2) << bad;
  EXPECT_EQ(printable("a\n\xff\x1b[é\xc2\x9b"), "a\\x0a\\xff\\x1b[é\\xc2\\x9b");
  EXPECT_EQ(printable(std::string(200, 'a'), 3), "aaa…");
}

}  // namespace
}  // namespace fathom
