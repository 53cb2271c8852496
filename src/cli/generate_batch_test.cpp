// fathom generate --input: what it writes, and that stopping it, by whatever means, changes nothing of that.
#include <sys/file.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "cli/commands_testing.h"

namespace fathom {
namespace {

class GenerateBatch : public Commands {
 protected:
  static std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  static std::vector<std::string> command(const std::string& input, const std::string& output,
                                          const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"generate", model(), "--input", path(input), "--output", path(output)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  // Lines of all kinds of length and sampling.
  static void write_input(const std::string& name, int count, int max_tokens) {
    std::string text;
    for (int i = 0; i < count; ++i) {
      Json line = {{"id", "q" + std::to_string(i)}, {"prompt_ids", Json::array()}, {"max_tokens", 1 + i * 37 % max_tokens}};
      for (int j = 0; j <= i * 7 % 30; ++j) line["prompt_ids"].push_back((i % 3 + j * 11) % 290);
      if (i % 3 == 0) line["temperature"] = 0.7, line["top_p"] = 0.9, line["typical_p"] = 0.8;
      if (i % 4 == 1) line["repetition_penalty"] = 1.2, line["presence_penalty"] = 0.5, line["seed"] = i;
      if (i % 5 == 2) line["logit_bias"] = {{"7", 2.5}, {"9", -3}};
      text += line.dump() + "\n";
    }
    write_file_atomic(path(name), text);
  }
};

TEST_F(GenerateBatch, EveryLineHasAResultInOrder) {
  write_file_atomic(path("in.jsonl"),
                    "{\"prompt\": \"two and\", \"id\": \"first\", \"temperature\": 0, \"metadata\": {\"mine\": [1]}}\n"
                    "\n"
                    "{\"prompt_ids\": [5, 6, 7], \"max_tokens\": 3, \"temperature\": 0}\n"
                    "{\"messages\": [{\"role\": \"user\", \"content\": \"two\"}], \"id\": 17, \"temperature\": 0}\r\n"
                    "{\"prompt_ids\": [5, 6, 7], \"max_tokens\": 4, \"seed\": 3, \"repetition_penalty\": 1.5}");
  const Result result = run(command("in.jsonl", "out.jsonl", {"--max-tokens", "12", "--ignore-eos", "--top-logprobs", "2"}));
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.out, "");
  const auto lines = lines_of(read_file(path("out.jsonl")));
  ASSERT_EQ(lines.size(), 4u);
  std::vector<Json> results;
  for (const std::string& line : lines) results.push_back(parse_json(line, "out.jsonl"));
  const int64_t numbers[] = {1, 3, 4, 5};
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(results[i].at("line"), numbers[i]);
  EXPECT_EQ(results[0].at("id"), "first");
  EXPECT_EQ(results[0].at("metadata"), parse_json("{\"mine\": [1]}", "expected"));
  EXPECT_EQ(results[1].at("id"), 3) << "the line's number where it has none";
  EXPECT_FALSE(results[1].contains("metadata"));
  EXPECT_EQ(results[2].at("id"), 17);
  EXPECT_EQ(results[1].at("prompt_tokens"), 3);
  EXPECT_EQ(results[1].at("token_ids").size(), 3u);
  EXPECT_EQ(results[3].at("token_ids").size(), 4u);
  for (const Json& result_line : results)
    for (const Json& id : result_line.at("token_ids")) EXPECT_LT(id, 300) << "padding of the vocabulary";
  // As one prompt by itself.
  write_file_atomic(path("messages.json"), "[{\"role\": \"user\", \"content\": \"two\"}]");
  const std::vector<std::vector<std::string>> alone = {
      {"--prompt", "two and"}, {}, {"--chat", "--messages", path("messages.json")}};
  for (const size_t i : {0, 2}) {
    std::vector<std::string> one = {"generate", model(),  "--max-tokens",   "12", "--ignore-eos", "--temperature",
                                    "0",        "--json", "--top-logprobs", "2"};
    one.insert(one.end(), alone[i].begin(), alone[i].end());
    const Json want = json(run(one));
    for (const char* field : {"token_ids", "text", "logprobs", "finish_reason", "top_logprobs"})
      EXPECT_EQ(results[i].at(field), want.at(field)) << i << " " << field;
    EXPECT_EQ(results[i].at("top_logprobs")[0].size(), 2u);
    EXPECT_EQ(results[i].at("top_logprobs")[0][0].at("logprob"), results[i].at("logprobs")[0]) << "greedy: the likeliest";
  }
}

TEST_F(GenerateBatch, BadLinesAreErrorsThatNameLineAndField) {
  const struct {
    const char* line;
    const char* field;
  } bad[] = {{"{\"prompt\": \"a\"", "syntax error"},
             {"[1, 2]", "object"},
             {"{\"prompt\": 7}", "prompt must be text"},
             {"{}", "prompt, prompt_ids and messages"},
             {"{\"prompt\": \"a\", \"prompt_ids\": [1]}", "prompt, prompt_ids and messages"},
             {"{\"prompt\": \"a\", \"temprature\": 1}", "temprature"},
             {"{\"prompt\": \"a\", \"temperature\": -1}", "temperature is -1"},
             {"{\"prompt\": \"a\", \"temperature\": \"hot\"}", "temperature is \"hot\""},
             {"{\"prompt\": \"a\", \"top_k\": 2.5}", "top_k is 2.5"},
             {"{\"prompt\": \"a\", \"repetition_penalty\": 0}", "repetition_penalty is 0"},
             {"{\"prompt\": \"a\", \"logit_bias\": {\"320\": 1}}", "'320'"},
             {"{\"prompt\": \"a\", \"logit_bias\": {\"3\": 1e9}}", "token 3"},
             {"{\"prompt\": \"a\", \"logit_bias\": [3]}", "logit_bias"},
             {"{\"prompt\": \"a\", \"max_tokens\": 0}", "max_tokens is 0"},
             {"{\"prompt\": \"a\", \"max_tokens\": 1.5}", "max_tokens is 1.5"},
             {"{\"prompt\": \"a\", \"seed\": -1}", "seed is -1"},
             {"{\"prompt\": \"a\", \"seed\": 18446744073709551615}", "seed is 18446744073709551615"},
             {"{\"prompt\": \"a\", \"id\": [1]}", "id is [1]"},
             {"{\"prompt_ids\": [1, -1]}", "prompt_ids"},
             {"{\"prompt_ids\": []}", "prompt_ids"},
             {"{\"prompt_ids\": [320]}", "320"},
             {"{\"prompt\": \"a\", \"prompt\": \"b\"}", "prompt"},
             {"{\"messages\": [{\"role\": 3}]}", "messages: "}};
  std::string text = "{\"prompt\": \"two\"}\n";
  for (const auto& b : bad) text += std::string(b.line) + "\n";
  text += "{\"prompt\": \"four\", \"id\": \"last\"}\n";
  write_file_atomic(path("bad.jsonl"), text);
  const Result result = run(command("bad.jsonl", "bad_out.jsonl", {"--max-tokens", "3"}));
  EXPECT_EQ(result.code, 1);
  const auto lines = lines_of(read_file(path("bad_out.jsonl")));
  ASSERT_EQ(lines.size(), std::size(bad) + 2);
  for (size_t i = 0; i < lines.size(); ++i) {
    const Json json = parse_json(lines[i], "bad_out.jsonl");
    EXPECT_EQ(json.at("line"), i + 1);
    if (i == 0 || i + 1 == lines.size()) {
      EXPECT_TRUE(json.contains("text")) << lines[i];
      continue;
    }
    const std::string error = json.at("error").get<std::string>();
    EXPECT_NE(error.find("bad.jsonl:" + std::to_string(i + 1) + ":"), std::string::npos) << error;
    EXPECT_NE(error.find(bad[i - 1].field), std::string::npos) << error;
    EXPECT_NE(result.err.find(error), std::string::npos) << "on stderr too";
  }
  const std::string before = read_file(path("bad_out.jsonl"));
  EXPECT_EQ(run(command("bad.jsonl", "bad_out.jsonl", {"--max-tokens", "3"})).code, 1) << "the errors are still there";
  EXPECT_EQ(read_file(path("bad_out.jsonl")), before);
}

TEST_F(GenerateBatch, TheBytesDependOnTheInputAlone) {
  write_input("mix.jsonl", 40, 60);
  ASSERT_EQ(run(command("mix.jsonl", "mix.out", {"--top-logprobs", "3"})).code, 0);
  const std::string want = read_file(path("mix.out"));
  ASSERT_EQ(lines_of(want).size(), 40u);
  int n = 0;
  for (const std::vector<std::string>& more :
       std::vector<std::vector<std::string>>{{"--max-sequences", "1"},
                                             {"--max-sequences", "3", "--threads", "1"},
                                             {"--speculate", "mtp", "--draft-tokens", "3"},
                                             {"--speculate", "ngram", "--max-sequences", "7"},
                                             {"--step-ms", "0.01"}}) {
    const std::string output = "mix" + std::to_string(n++) + ".out";
    auto all = command("mix.jsonl", output, more);
    all.insert(all.end(), {"--top-logprobs", "3"});
    ASSERT_EQ(run(all).code, 0);
    EXPECT_EQ(read_file(path(output)), want) << more[1];
  }
  ASSERT_EQ(run(command("mix.jsonl", "done.out", {"--top-logprobs", "3", "--as-done", "--max-sequences", "5"})).code, 0);
  auto done = lines_of(read_file(path("done.out"))), sorted = lines_of(want);
  EXPECT_NE(done, sorted) << "a short line's result comes before a long one's";
  std::sort(done.begin(), done.end());
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(done, sorted);
}

TEST_F(GenerateBatch, AnOutputCutAnywhereGoesOnToTheSameBytes) {
  write_input("cut.jsonl", 12, 20);
  ASSERT_EQ(run(command("cut.jsonl", "cut.out")).code, 0);
  const std::string want = read_file(path("cut.out"));
  const size_t second = want.find('\n') + 1;
  for (const size_t bytes : {size_t{0}, size_t{1}, second - 1, second, second + 1, want.size() / 2, want.size() - 1}) {
    write_file_atomic(path("part.out"), want.substr(0, bytes));
    const Result result = run(command("cut.jsonl", "part.out"));
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(read_file(path("part.out")), want) << bytes;
    const bool torn = bytes > 0 && want[bytes - 1] != '\n';
    EXPECT_EQ(result.err.find("torn") != std::string::npos, torn) << result.err;
  }
}

// Starts a long run, sends the signal once results are there, and goes on.
TEST_F(GenerateBatch, KilledOrInterruptedItGoesOnToTheSameBytes) {
  write_input("long.jsonl", 100, 200);
  const std::vector<std::string> few = {"--max-sequences", "3", "--threads", "1"};
  ASSERT_EQ(run(command("long.jsonl", "long.out")).code, 0);
  const std::string want = read_file(path("long.out"));
  for (const int signal : {SIGINT, SIGKILL}) {
    const std::string output = "signal" + std::to_string(signal) + ".out";
    write_file_atomic(path("stdin"), "");
    const pid_t child = start(command("long.jsonl", output, few));
    while (!file_exists(path(output)) || read_file(path(output)).size() < 3000)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ::kill(child, signal);
    const Result stopped = wait_for(child);
    const std::string part = read_file(path(output));
    ASSERT_LT(part.size(), want.size()) << "it was over before the signal came";
    EXPECT_EQ(want.substr(0, part.size()), part);
    if (signal == SIGINT) {
      EXPECT_EQ(stopped.code, 1) << stopped.err;
      EXPECT_EQ(part.back(), '\n');
      EXPECT_NE(stopped.err.find("the same command goes on"), std::string::npos) << stopped.err;
    } else {
      EXPECT_EQ(stopped.code, -SIGKILL);
    }
    const Result rest = run(command("long.jsonl", output));
    EXPECT_EQ(rest.code, 0) << rest.err;
    EXPECT_NE(rest.err.find("are there already"), std::string::npos) << rest.err;
    EXPECT_EQ(read_file(path(output)), want);
  }
}

TEST_F(GenerateBatch, RefusesFilesThatAreNotItsOwn) {
  write_input("a.jsonl", 3, 4);
  expect_refused(command("nowhere.jsonl", "x.out"), "nowhere.jsonl");
  expect_refused({"generate", model(), "--input", path("a.jsonl")}, "--output");
  expect_refused({"generate", model(), "--output", path("x.out")}, "--input");
  expect_refused(command("a.jsonl", "x.out", {"--prompt", "a"}), "--prompt");
  expect_refused(command("a.jsonl", "x.out", {"--n", "2"}), "--n");
  expect_refused(command("a.jsonl", "a.jsonl"), "a.jsonl:1: no result of this command");
  expect_refused(command("a.jsonl", "no_folder/x.out"), "no_folder/x.out");
  ASSERT_EQ(run(command("a.jsonl", "a.out")).code, 0);
  const std::string whole = read_file(path("a.out"));
  write_file_atomic(path("b.jsonl"), lines_of(read_file(path("a.jsonl")))[0] + "\n");
  expect_refused(command("b.jsonl", "a.out"), "ends at line 1");
  write_file_atomic(path("c.jsonl"), "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n");
  expect_refused(command("c.jsonl", "a.out"), "another input");
  EXPECT_EQ(read_file(path("a.out")), whole);
  write_file_atomic(path("twice.out"), lines_of(whole)[0] + "\n" + lines_of(whole)[0] + "\n");
  expect_refused(command("a.jsonl", "twice.out"), "a second result for line 1");
  const int fd = ::open(path("a.out").c_str(), O_RDONLY);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  expect_refused(command("a.jsonl", "a.out"), "another process writes to it");
  ::close(fd);
  EXPECT_EQ(run(command("a.jsonl", "a.out")).code, 0);
}

}  // namespace
}  // namespace fathom
