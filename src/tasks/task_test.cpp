#include "tasks/task.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "base/rng.h"
#include "base/test_folder.h"

namespace fathom {
namespace {

using Options = std::vector<std::pair<std::string, std::string>>;

struct Setting {
  const char* name;
  Options options;
};
const std::vector<Setting> kSettings = {
    {"arithmetic", {}},
    {"arithmetic", {{"digits", "3"}, {"terms", "2-4"}, {"limit", "99999"}}},
    {"arithmetic", {{"digits", "1"}, {"terms", "2"}}},
    {"arithmetic", {{"parentheses", "false"}, {"terms", "3"}}},
    {"countdown", {}},
    {"countdown", {{"count", "3-4"}, {"max", "50"}}},
};

TEST(Task, TheVerifierAcceptsEveryGeneratedAnswer) {
  for (const Setting& setting : kSettings) {
    const auto task = make_task(setting.name, setting.options);
    size_t longest = 0, total = 0;
    const uint64_t count = setting.options.empty() ? 10000 : 1000;
    for (uint64_t i = 0; i < count; ++i) {
      const Problem p = task->make(1, i % 4 ? "train" : "test", i);
      const Verdict verdict = task->verify(p, p.answer);
      ASSERT_TRUE(verdict.correct) << p.prompt << " " << p.answer << " " << verdict.reason;
      ASSERT_FALSE(task->verify(p, p.answer + "1").correct);
      longest = std::max(longest, p.trace.size());
      total += p.trace.size();
      const ExtractedAnswer extracted = extract_answer(p.trace + "\n</think>\n\n" + answer_text(p.answer), true);
      ASSERT_TRUE(extracted.format_ok) << extracted.reason;
      ASSERT_EQ(extracted.answer, p.answer);
    }
    const Problem p = task->make(1, "train", 7);
    std::printf("  %s: trace %zu bytes, at most %zu\n%s\n%s\n=> %s\n", setting.name, static_cast<size_t>(total / count),
                longest, p.prompt.c_str(), p.trace.c_str(), p.answer.c_str());
  }
}

// Every "x op y (op z) = r" in a trace holds: the working is arithmetic, not decoration.
TEST(Task, EveryEquationOfATraceHolds) {
  int64_t equations = 0;
  for (const Setting& setting : kSettings) {
    const auto task = make_task(setting.name, setting.options);
    for (uint64_t i = 0; i < 2000; ++i) {
      const Problem p = task->make(3, "train", i);
      std::istringstream words(p.trace);
      for (std::string word; words >> word;) {
        const size_t equals = word.find('=');
        if (equals == std::string::npos) continue;
        int64_t value = 0;
        char op = '+';
        for (size_t at = 0; at < equals;) {  // products stand first, so from left to right is right
          size_t used = 0;
          const int64_t x = std::stoll(word.substr(at, equals - at), &used);
          value = op == '+' ? value + x : op == '-' ? value - x : op == '*' ? value * x : value / x;
          at += used;
          if (at < equals) op = word[at++];
        }
        ASSERT_EQ(std::to_string(value), word.substr(equals + 1)) << word << " in\n" << p.trace;
        ++equations;
      }
    }
  }
  EXPECT_GT(equations, 50000);
}

TEST(Task, ProblemsAreAFunctionOfSeedSplitAndIndex) {
  for (const Setting& setting : kSettings) {
    const auto a = make_task(setting.name, setting.options), b = make_task(setting.name, setting.options);
    int different = 0;
    for (uint64_t i = 0; i < 200; ++i) {
      const Problem p = a->make(5, "train", i), q = b->make(5, "train", i);
      EXPECT_EQ(p.prompt + p.trace + p.answer + p.truth, q.prompt + q.trace + q.answer + q.truth);
      different += a->make(6, "train", i).prompt != p.prompt;
    }
    EXPECT_GT(different, 100);
  }
}

TEST(Task, TrainAndTestAreDisjoint) {
  for (const Setting& setting : kSettings) {
    const auto task = make_task(setting.name, setting.options);
    std::set<std::string> train, test;
    const auto key = [](const Problem& p) {  // the numbers in any order are the same problem
      std::istringstream words(p.prompt.rfind("Make", 0) == 0 ? p.truth : p.prompt);
      std::multiset<std::string> sorted;
      for (std::string word; words >> word;) sorted.insert(word);
      std::string out;
      for (const std::string& word : sorted) out += word + " ";
      return p.truth.substr(0, p.truth.find(' ')) + ": " + out;
    };
    for (uint64_t i = 0; i < 1500; ++i) {
      train.insert(key(task->make(i % 7, "train", i)));
      test.insert(key(task->make(i % 5, "test", i)));
    }
    for (const std::string& problem : test) EXPECT_FALSE(train.contains(problem)) << problem;
    EXPECT_GT(test.size(), 5u);
  }
}

TEST(Task, Refusals) {
  EXPECT_NE(error_of([] { make_task("chess", {}); }).find("arithmetic, countdown"), std::string::npos);
  EXPECT_NE(error_of([] { make_task("countdown", {{"digits", "2"}}); }).find("no option 'digits'"), std::string::npos);
  EXPECT_NE(error_of([] { make_task("countdown", {{"count", "4-3"}}); }).find("'4-3'"), std::string::npos);
  EXPECT_NE(error_of([] { make_task("arithmetic", {{"digits", "9"}}); }).find("1..4"), std::string::npos);
  EXPECT_NE(error_of([] { make_task("arithmetic", {{"ops", "+/"}}); }).find("+-*"), std::string::npos);
  EXPECT_NE(error_of([] { make_task("arithmetic", {})->make(0, "valid", 0); }).find("train and test"), std::string::npos);
}

TEST(Task, ArithmeticVerdicts) {
  const auto task = make_task("arithmetic", {});
  Problem p;
  p.truth = "42";
  const auto reason = [&](const char* answer) { return task->verify(p, answer).reason; };
  EXPECT_EQ(reason(" 42\n"), "ok");
  EXPECT_EQ(reason("41"), "wrong_value");
  EXPECT_EQ(reason("-42"), "wrong_value");
  EXPECT_EQ(reason(""), "empty");
  EXPECT_EQ(reason("042"), "leading_zero");
  EXPECT_EQ(reason("42 or 43"), "not_a_number");
  EXPECT_EQ(reason("6*7"), "not_a_number");
  EXPECT_EQ(reason("99999999999999999999999999999999999999999999999"), "wrong_value");
}

}  // namespace
}  // namespace fathom
