#include "cli/think_stream.h"

#include <gtest/gtest.h>

namespace fathom {
namespace {

struct Split {
  std::string thinking, answer;
};
Split split(std::string_view text, bool thinking, size_t piece) {
  Split result;
  ThinkStream stream(thinking,
                     [&](bool is_thinking, std::string_view part) { (is_thinking ? result.thinking : result.answer) += part; });
  for (size_t at = 0; at < text.size(); at += piece) stream.push(text.substr(at, piece));
  stream.finish();
  return result;
}

TEST(ThinkStream, TagsAreFoundHoweverTheTextIsCut) {
  for (size_t piece = 1; piece < 40; ++piece) {
    const Split a = split("<think>a < b</think>\n4 <thin>", false, piece);
    EXPECT_EQ(a.thinking, "a < b");
    EXPECT_EQ(a.answer, "\n4 <thin>");
    const Split b = split("half a thought</think>yes </thin", true, piece);
    EXPECT_EQ(b.thinking, "half a thought");
    EXPECT_EQ(b.answer, "yes </thin");
    const Split c = split("plain", false, piece);
    EXPECT_EQ(c.thinking, "");
    EXPECT_EQ(c.answer, "plain");
    const Split d = split("<think>x</think>y<think>z", false, piece);
    EXPECT_EQ(d.thinking, "xz");
    EXPECT_EQ(d.answer, "y");
  }
}

TEST(ThinkStream, PlainTextIsNotHeldBack) {
  std::string seen;
  ThinkStream stream(false, [&](bool, std::string_view part) { seen += part; });
  stream.push("hello");
  EXPECT_EQ(seen, "hello");
  stream.push(" <");
  EXPECT_EQ(seen, "hello ");
  stream.push("3");
  EXPECT_EQ(seen, "hello <3");
}

}  // namespace
}  // namespace fathom
