#include "base/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/rng.h"
#include "base/test_folder.h"
#include "base/utf8.h"

namespace fathom {
namespace {

std::string parse_error(const std::string& text, int depth = 64) {
  return error_of([&] { parse_json(text, "x.json", depth); });
}
void expect_parse_error(const std::string& text, int line, const std::string& reason) {
  const std::string error = parse_error(text);
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

TEST(Json, ListsOfPairsAreObjectsOthersArrays) {
  EXPECT_EQ((Json{{"a", 1}, {"b", {1, 2}}, {"c", {{"d", nullptr}}}}).dump(), R"({"a":1,"b":[1,2],"c":{"d":null}})");
  EXPECT_EQ((Json{{1, 2}, {"x", 3}}).dump(), R"([[1,2],["x",3]])");
  EXPECT_EQ(Json::array({{"x", 3}}).dump(), R"([["x",3]])");
  EXPECT_EQ((Json{{"a", 1}, {"a", 2}}).dump(), R"({"a":2})");
  EXPECT_EQ(Json(std::vector<int>{3, 4}).dump() + Json(std::array<double, 2>{0.5, 2}).dump(), "[3,4][0.5,2.0]");
  EXPECT_EQ(Json().dump() + Json::array().dump() + Json::object().dump(), "null[]{}");
}

TEST(Json, ValuesAreCopiedWholeAndMovedFrom) {
  Json a = {{"list", {1, "two", 3.5, true}}};
  Json b = a;
  b["list"][1] = "zwei";
  b["new"]["deep"] = 1u;
  EXPECT_EQ(a.dump(), R"({"list":[1,"two",3.5,true]})");
  EXPECT_EQ(b.dump(), R"({"list":[1,"zwei",3.5,true],"new":{"deep":1}})");
  const Json c = std::move(b);
  EXPECT_TRUE(b.is_null());
  a = a["list"];  // a part of itself
  EXPECT_EQ(a, c["list"].size() == 4 ? (Json{1, "two", 3.5, true}) : Json());
  a.push_back(a);
  EXPECT_EQ(a.back().back(), true);
  Json none;
  none.push_back(1);
  none.push_back({{"k", 2}});
  EXPECT_EQ(none.dump(), R"([1,{"k":2}])");
}

TEST(Json, ObjectsFindSetEraseAndUpdate) {
  Json j = {{"a", 1}, {"b", "x"}, {"c", {1}}};
  EXPECT_TRUE(j.contains("a") && !j.contains("z") && !Json(1).contains("a") && !Json(1).find("a"));
  EXPECT_EQ(j.value("a", 5), 1);
  EXPECT_EQ(j.value("z", 5), 5);
  EXPECT_EQ(j.value("b", "none") + j.value("z", "none"), "xnone");
  EXPECT_TRUE(j.erase("a"));
  EXPECT_FALSE(j.erase("a"));
  j.update({{"b", 2}, {"d", 3}});
  EXPECT_EQ(j.dump(), R"({"b":2,"c":[1],"d":3})");
  std::string keys;
  for (const auto& [key, value] : j.members()) keys += key;
  EXPECT_EQ(keys, "bcd");
}

TEST(Json, NumbersCompareByValue) {
  EXPECT_EQ(Json(1), Json(1u));
  EXPECT_EQ(Json(1), Json(1.0));
  EXPECT_NE(Json(-1), Json(18446744073709551615u));
  EXPECT_LT(Json(-1), Json(0u));
  EXPECT_LT(Json(9223372036854775807), Json(9223372036854775808u));
  EXPECT_GT(Json(-1), Json(-2));
  EXPECT_GT(Json(2.5), Json(2u));
  EXPECT_FALSE(Json("b") < Json("c") || Json("b") > Json("c") || Json("b") == Json("c"));
  EXPECT_NE(Json(0), Json(false));
  EXPECT_NE(Json(), Json(0));
}

TEST(Json, MisuseSaysWhatIsThere) {
  const auto says = [](const std::string& what, const std::function<void()>& body) {
    try {
      body();
      ADD_FAILURE() << what;
    } catch (const JsonError& e) {
      EXPECT_STREQ(e.what(), what.c_str());
    }
  };
  Json j = {{"a", "text"}, {"n", 1}};
  const Json& fixed = j;
  says("a number is expected, not a string", [&] { j["a"].get<int>(); });
  says("a number is expected, not true or false", [&] { Json(true).get<double>(); });
  says("a string is expected, not a number", [&] { j["n"].get<std::string>(); });
  says("true or false is expected, not null", [&] { Json().get<bool>(); });
  says("an array is expected, not an object", [&] { j.push_back(1); });
  says("an array is expected, not a number", [&] {
    for (const Json& item : j["n"]) FAIL() << item;
  });
  says("an object is expected, not a number", [&] { j["n"]["x"] = 1; });
  says("an object is expected, not an array", [&] { Json::array().at("x"); });
  says("the key \"z\" is missing", [&] { (void)fixed["z"]; });
  says("item 2 is expected of an array of 2", [&] { (void)Json{1, 2}.at(2); });
  says("invalid UTF-8 byte at index 0: 0xFF", [&] { Json("\xff").dump(); });
}

TEST(Json, WritesTextAsAskedFor) {
  const Json j = {{"é", {1, -2, 0.1, 1e300}}, {"s", "\n\"\x01"}, {"nan", std::nan("")}};
  EXPECT_EQ(j.dump(), "{\"é\":[1,-2,0.1,1e+300],\"s\":\"\\n\\\"\\u0001\",\"nan\":null}");
  EXPECT_EQ(Json("é😀").dump(-1, true), R"("\u00e9\ud83d\ude00")");
  EXPECT_EQ((Json{{"a", {1}}}).dump(2), "{\n  \"a\": [\n    1\n  ]\n}");
  EXPECT_EQ(Json(9007199254740993).dump() + " " + Json(18446744073709551615u).dump(), "9007199254740993 18446744073709551615");
}

// As transformers writes "model_max_length" where there is none: a number, but no count.
TEST(Json, IntegersBeyond64BitsAreReals) {
  const Json j =
      parse_json("[1000000000000000019884624838656, 18446744073709551616, -9223372036854775809, 18446744073709551615]", "x");
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(j[i].is_number()) << i;
    EXPECT_FALSE(j[i].is_number_integer()) << i;
  }
  EXPECT_EQ(j[0].get<double>(), 1e30);
  EXPECT_EQ(j[2].get<double>(), -0x1p63);
  EXPECT_EQ(j[3].get<uint64_t>(), UINT64_MAX);
}

TEST(Json, RefusalsNameSourceLineAndReason) {
  expect_parse_error("", 1, "empty");
  expect_parse_error("{\n \"a\": 1,\n \"a\": 2\n}", 3, "the key \"a\" occurs twice");
  expect_parse_error("{\"x\": {\"a\": 1, \"b\": {\"a\": 3}, \"a\": 2}}", 1, "the key \"a\" occurs twice");
  expect_parse_error("{\n\"a\": 1e400}", 2, "number overflow");
  expect_parse_error("[1,\n2,\n]", 3, "unexpected ']'");
  expect_parse_error("[1] 2", 1, "end of input");
  expect_parse_error("{\"a\": NaN}", 1, "invalid literal");
  expect_parse_error("{\"a\": 01}", 1, "");
  expect_parse_error("{\n\n\"a\": \"\xff\xfe\"}", 3, "UTF-8");
  expect_parse_error("{\"a\": \"\\ud800\"}", 1, "surrogate");
  expect_parse_error("{'a': 1}", 1, "");
  expect_parse_error("{\"a\": 1", 1, "");
  expect_parse_error("[\"\x01\"]", 1, "control character");
  expect_parse_error("// no comments\n1", 1, "");
  EXPECT_EQ(first_invalid_utf8(parse_error("\"\xff")), -1);  // the message itself is printable
}

TEST(Json, ManyKeysFindTheRepeatedOne) {
  std::string text = "{";
  for (int i = 0; i < 50000; ++i) text += "\"key" + std::to_string(i) + "\": " + std::to_string(i) + ",\n";
  EXPECT_EQ(parse_json(text + "\"last\": 0}", "x").size(), 50001u);
  expect_parse_error(text + "\"key777\": 0}", 50001, "\"key777\" occurs twice");
}

TEST(Json, DepthIsBounded) {
  EXPECT_NO_THROW(parse_json(std::string(64, '[') + std::string(64, ']'), "x"));
  expect_parse_error(std::string(65, '[') + std::string(65, ']'), 1, "nested deeper than 64");
  expect_parse_error(std::string(1000000, '['), 1, "nested deeper");
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_parse_error(objects, 1, "nested deeper");
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
