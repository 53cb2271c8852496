// Every case of $FATHOM_FIXTURES/verifiers/countdown.json and format.json.
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <functional>
#include <regex>
#include <set>

#include "base/files.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/test_fixtures.h"
#include "tasks/expression.h"

namespace fathom {
namespace {

std::string fixtures() { return fixtures_folder() + "/verifiers/"; }
double seconds_of(const std::function<void()>& body) {
  const std::clock_t start = std::clock();  // processor time: the machine may be busy
  body();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

TEST(VerifierFixtures, Countdown) {
  const std::string path = fixtures() + "countdown.json";
  if (!file_exists(path)) GTEST_SKIP() << path << " is not there";
  // Integers beyond 64 bits as strings.
  const Json json =
      parse_json(std::regex_replace(read_file(path), std::regex("(\"target\":\\s*)(-?[0-9]{19,})"), "$1\"$2\""), path);
  int judged = 0;
  for (const Json& c : json["cases"]) {
    const Json &inputs = c["inputs"], &expected = c["expected"];
    std::vector<std::string> numbers;
    for (const Json& number : inputs["numbers"]) numbers.push_back(number.dump());
    const std::string target = inputs["target"].is_string() ? inputs["target"].get<std::string>() : inputs["target"].dump();
    if (!expected.contains("reason")) {  // solvable puzzles: their solution must be accepted
      if (!expected["solution"].is_null()) {
        EXPECT_TRUE(judge_expression(expected["solution"].get<std::string>(), numbers, target).correct) << c["name"];
      }
      continue;
    }
    Verdict verdict;
    EXPECT_LT(seconds_of([&] { verdict = judge_expression(inputs["expression"].get<std::string>(), numbers, target); }), 0.1);
    EXPECT_EQ(verdict.reason, expected["reason"].get<std::string>()) << c["name"] << " " << inputs["expression"];
    EXPECT_EQ(verdict.correct, expected["valid"].get<bool>());
    ++judged;
  }
  EXPECT_GT(judged, 100);
}

TEST(VerifierFixtures, Format) {
  const std::string path = fixtures() + "format.json";
  if (!file_exists(path)) GTEST_SKIP() << path << " is not there";
  const Json json = read_json_file(path);
  int cases = 0;
  for (const Json& c : json["cases"]) {
    const Json& expected = c["expected"];
    const ExtractedAnswer got =
        extract_answer(c["inputs"]["text"].get<std::string>(), c["inputs"]["prompt_ends_with_think_tag"].get<bool>());
    EXPECT_EQ(got.reason, expected["reason"].get<std::string>()) << c["inputs"]["text"];
    EXPECT_EQ(got.format_ok, expected["well_formed"].get<bool>());
    if (expected["answer"].is_string()) {
      EXPECT_TRUE(got.found);
      EXPECT_EQ(got.answer, expected["answer"].get<std::string>());
    }
    if (expected["thought"].is_string()) {
      EXPECT_EQ(got.thought, expected["thought"].get<std::string>());
    }
    ++cases;
  }
  EXPECT_GT(cases, 50);
}

TEST(ExtractAnswer, TheLastAnswerBehindTheThinking) {
  const auto answer = [](const char* output) {
    const ExtractedAnswer got = extract_answer(output, true);
    return got.found ? got.answer : "none: " + got.reason;
  };
  EXPECT_EQ(answer("a</think><answer> 1 </answer>"), "1");
  EXPECT_EQ(answer("<answer>1</answer></think>x"), "none: nested");
  EXPECT_EQ(answer("<answer>1</answer></think><answer>2</answer>"), "2");
  EXPECT_EQ(answer("a</think><answer>1</answer><answer>2</answer>"), "2");
  EXPECT_EQ(answer("a<answer>1</answer>"), "none: missing_think_close");
  EXPECT_EQ(answer("a</think>1"), "none: missing_answer_open");
  EXPECT_EQ(answer("a</think><answer>1"), "none: missing_answer_close");
}

TEST(JudgeExpression, ExactBeyondSixtyFourBitsAndRefusesBeyond128) {
  const auto reason = [](const std::string& e, const std::vector<std::string>& n, const char* t) {
    return judge_expression(e, n, t).reason;
  };
  EXPECT_EQ(reason("99999999999999999*99999999999999999/99999999999999999",
                   {"99999999999999999", "99999999999999999", "99999999999999999"}, "99999999999999999"),
            "ok");
  const std::string big(30, '9');
  EXPECT_EQ(reason(big + "*" + big, {big, big}, "1"), "too_large");
  EXPECT_EQ(reason("1/" + big + "+1/(" + big + "-1)", {"1", big, "1", big, "1"}, "1"), "too_large");
  EXPECT_EQ(reason("1/(2-3)", {"1", "2", "3"}, "-1"), "ok");
  EXPECT_EQ(reason("0/(2-3)", {"0", "2", "3"}, "0"), "ok");
}

// Whatever the bytes are, the judge answers at once with a reason that it knows.
TEST(JudgeExpression, MutatedExpressions) {
  const std::set<std::string> known = {"ok",
                                       "empty",
                                       "too_long",
                                       "unicode_digit",
                                       "illegal_character",
                                       "syntax_error",
                                       "exponent",
                                       "floor_division",
                                       "too_deep",
                                       "unary_sign",
                                       "number_not_given",
                                       "number_used_twice",
                                       "unused_number",
                                       "division_by_zero",
                                       "too_large",
                                       "wrong_value"};
  Rng rng(11, RngStream::kTest);
  std::set<std::string> seen;
  const std::string alphabet = "0123456789+-*/() \t\n\xFF\xC3\xA9.x(((())))++**//";
  for (int round = 0; round < 100000; ++round) {
    std::string e = rng.next_below(2) ? "(3*7)+9" : "9/(3-7)";
    for (uint64_t n = rng.next_below(4); n > 0; --n) {
      const size_t at = rng.next_below(e.size() + 1);
      switch (rng.next_below(3)) {
        case 0:
          e.insert(at, 1, alphabet[rng.next_below(alphabet.size())]);
          break;
        case 1:
          if (at < e.size()) e.erase(at, 1);
          break;
        default:
          e += e.substr(at);
      }
    }
    const Verdict verdict = judge_expression(e, {"3", "7", "9"}, "30");
    ASSERT_TRUE(known.contains(verdict.reason)) << verdict.reason;
    seen.insert(verdict.reason);
  }
  EXPECT_GE(seen.size(), 10u);
  for (const char c : {'(', '9', '-', '\xE0', ' '}) judge_expression(std::string(10'000'000, c), {"3"}, "3");
}

}  // namespace
}  // namespace fathom
