// The program as a user runs it, on a tiny model with random weights: results, and what bad input is told.
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "checkpoint/safetensors.h"
#include "cli/commands_testing.h"

namespace fathom {
namespace {

TEST_F(Commands, GenerateTellsTokensTextAndLogProbabilities) {
  const Json one = json(
      run({"generate", model(), "--prompt", "two and", "--max-tokens", "12", "--temperature", "0", "--ignore-eos", "--json"}));
  EXPECT_EQ(one.at("token_ids").size(), 12u);
  EXPECT_EQ(one.at("logprobs").size(), 12u);
  EXPECT_EQ(one.at("finish_reason"), "length");
  EXPECT_TRUE(one.at("text").is_string());
  EXPECT_GT(one.at("tokens_per_second").get<double>(), 0);
  for (const Json& id : one.at("token_ids")) EXPECT_LT(id.get<int>(), 300);  // never a padding row
  // The prompt on stdin, and as ids.
  EXPECT_EQ(json(run({"generate", model(), "--max-tokens", "12", "--temperature", "0", "--ignore-eos", "--json"}, "two and\n"))
                .at("token_ids"),
            one.at("token_ids"));
  // The prompt as ids: then the padding rows of the vocabulary take part.
  std::string ids;
  for (const int32_t id : Tokenizer::from_directory(model()).encode("two and", Tokenizer::Specials::kRecognise, true))
    ids += (ids.empty() ? "" : ",") + std::to_string(id);
  const Json by_ids = json(
      run({"generate", model(), "--prompt-ids", ids, "--max-tokens", "100", "--temperature", "1.5", "--ignore-eos", "--json"}));
  int padding = 0;
  for (const Json& id : by_ids.at("token_ids")) padding += id.get<int>() >= 300;
  EXPECT_GT(padding, 0);
  // Streamed: the same text.
  const Result plain =
      run({"generate", model(), "--prompt", "two and", "--max-tokens", "12", "--temperature", "0", "--ignore-eos"});
  EXPECT_EQ(plain.out, one.at("text").get<std::string>() + "\n");
}

TEST_F(Commands, GenerateFindsPromptsOfEarlierCalls) {
  std::string prompt = "1";
  for (int i = 2; i < 150; ++i) prompt += "," + std::to_string(i);
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"generate", model(), "--prompt-ids", prompt, "--max-tokens", "9", "--seed", "3", "--json"});
    return json(run(more));
  };
  const std::string folder = path("prefixes");
  const Json plain = with({}), miss = with({"--prefix-cache", folder}), hit = with({"--prefix-cache", folder});
  EXPECT_TRUE(plain.at("prefix_cache_tokens").is_null());
  EXPECT_EQ(miss.at("prefix_cache_tokens"), 0);
  EXPECT_EQ(hit.at("prefix_cache_tokens"), 128);
  EXPECT_EQ(with({"--prefix-cache", folder, "--prefix-cache-salt", "x"}).at("prefix_cache_tokens"), 0);
  EXPECT_EQ(with({"--prefix-cache", folder, "--cache-type", "int8"}).at("prefix_cache_tokens"), 0);
  for (const Json& found : {miss, hit}) {
    EXPECT_EQ(found.at("token_ids"), plain.at("token_ids"));
    EXPECT_EQ(found.at("logprobs"), plain.at("logprobs"));
  }
  for (const std::string& name : list_directory(folder)) write_file_atomic(folder + "/" + name, "damaged");
  const Result warned = run(
      {"generate", model(), "--prompt-ids", prompt, "--max-tokens", "9", "--seed", "3", "--json", "--prefix-cache", folder});
  EXPECT_NE(warned.err.find(folder + "/"), std::string::npos) << warned.err;
  EXPECT_EQ(json(warned).at("token_ids"), plain.at("token_ids"));
  expect_refused({"generate", model(), "--prompt-ids", "1", "--prefix-cache-mb", "5"}, "--prefix-cache");
}

TEST_F(Commands, GenerateIsASeedsFunction) {
  const std::vector<std::string> base = {"generate", model(),         "--prompt", "two",    "--max-tokens",
                                         "20",       "--temperature", "1",        "--json", "--ignore-eos"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), base.begin(), base.end());
    return json(run(more));
  };
  const Json a = with({"--seed", "1"}), b = with({"--seed", "1", "--threads", "1"}), c = with({"--seed", "2"});
  EXPECT_EQ(a.at("token_ids"), b.at("token_ids"));
  EXPECT_EQ(a.at("logprobs"), b.at("logprobs"));
  EXPECT_TRUE(a.at("speculation").is_null());
  for (const std::string& kind : {std::string("ngram"), std::string("mtp"), "draft:" + model()}) {
    const Json guessed = with({"--seed", "1", "--speculate", kind, "--draft-tokens", "3"});
    EXPECT_EQ(guessed.at("token_ids"), a.at("token_ids")) << kind;
    EXPECT_EQ(guessed.at("logprobs"), a.at("logprobs")) << kind;
    const Json& speculation = guessed.at("speculation");
    if (kind.starts_with("draft:")) {  // itself: always right
      EXPECT_GT(speculation.at("drafted")[0], 0);
      EXPECT_EQ(speculation.at("accepted"), speculation.at("drafted"));
    }
  }
  EXPECT_NE(a.at("token_ids"), c.at("token_ids"));
  const Json several = with({"--seed", "1", "--n", "5"});
  ASSERT_EQ(several.at("completions").size(), 5u);
  EXPECT_EQ(several.at("completions")[0].at("token_ids"), a.at("token_ids"));
  EXPECT_NE(several.at("completions")[1].at("token_ids"), a.at("token_ids"));
  const Json bf16 = with({"--seed", "1", "--dtype", "bf16", "--mla", "absorbed"});
  EXPECT_NE(bf16.at("numerics"), a.at("numerics"));
  const Json int8 = with({"--seed", "1", "--weights", "int8", "--activations", "int8"});
  EXPECT_EQ(int8.at("numerics"), a.at("numerics").get<std::string>() + "/int8/activations-int8-groups");
  EXPECT_EQ(int8.at("token_ids"),
            with({"--seed", "1", "--weights", "int8", "--activations", "int8", "--threads", "1"}).at("token_ids"));
}

TEST_F(Commands, LogitsWritesATensorAndTellsTheLoss) {
  const Json result =
      json(run({"logits", model(), "--prompt-ids", "0,50,60,70", "--mtp", "--json", "--out", path("l.safetensors")}));
  EXPECT_EQ(result.at("logprobs").size(), 3u);
  double sum = 0;
  for (const Json& l : result.at("logprobs")) sum -= l.get<double>();
  EXPECT_NEAR(result.at("loss").get<double>(), sum / 3, 1e-6);
  EXPECT_EQ(result.at("mtp").at("logprobs").size(), 2u);
  const SafetensorsFile file = SafetensorsFile::open(path("l.safetensors"));
  const auto* entry = file.find("logits");
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->shape, (std::vector<int64_t>{4, 320}));
  const Tensor logits = file.tensor(*entry);
  double total = 0;
  for (int v = 0; v < 320; ++v) total += std::exp(static_cast<double>(logits.row<float>(0)[v]));
  EXPECT_NEAR(result.at("logprobs")[0].get<double>(), static_cast<double>(logits.row<float>(0)[50]) - std::log(total), 1e-5);
  ASSERT_NE(file.find("mtp_logits"), nullptr);
  EXPECT_EQ(file.find("mtp_logits")->shape, (std::vector<int64_t>{3, 320}));
  const Result table = run({"logits", model(), "--prompt", "two and"});
  EXPECT_EQ(table.code, 0);
  EXPECT_NE(table.out.find("loss: "), std::string::npos);
  const Result one = run({"logits", model(), "--prompt-ids", "7"});
  EXPECT_EQ(one.code, 0);
  EXPECT_NE(one.out.find("too few tokens"), std::string::npos);
}

TEST_F(Commands, BadInputIsToldWhatIsWrong) {
  for (const std::string command : {"generate", "logits"}) {
    expect_refused({command, "/nowhere/at/all", "--prompt-ids", "1"}, "/nowhere/at/all");
    expect_refused({command, model() + "/config.json", "--prompt-ids", "1"}, "not a directory");
    expect_refused({command, *folder_ / ".", "--prompt-ids", "1"}, "no config.json");
    expect_refused({command, model(), "--prompt-ids", "1,320"}, "320");
    expect_refused({command, model(), "--prompt-ids", "1,x"}, "'x'");
    expect_refused({command, model(), "--prompt-ids", "1,-3"}, "-3");
    expect_refused({command, model(), "--prompt-ids", ","}, "no id");
    expect_refused({command, model(), "--prompt", "ab\xff"}, "UTF-8");
    expect_refused({command, model(), "--prompt", "a", "--prompt-ids", "1"}, "--prompt");
    expect_refused({command, model(), "--prompt-ids", "1", "--dtype", "f17"}, "f17");
    std::string many = "1";
    for (int i = 0; i < 256; ++i) many += ",1";
    expect_refused({command, model(), "--prompt-ids", many}, "256");
  }
  expect_refused({"generate", model()}, "UTF-8", "\xc3");
  expect_refused({"generate", model(), "--prompt-ids", "1", "--temperature", "-1"}, "temperature");
  expect_refused({"generate", model(), "--prompt-ids", "1", "--max-tokens", "0"}, "max-tokens");
  expect_refused({"generate", model(), "--prompt-ids", "1", "--speculate", "guess"}, "none of mtp, ngram, draft:DIR, off");
  expect_refused({"generate", model(), "--prompt-ids", "1", "--speculate", "draft:/nowhere"}, "/nowhere");
  expect_refused({"generate", model(), "--prompt-ids", "1", "--speculate", "ngram", "--draft-tokens", "17"}, "from 1 to 16");
  expect_refused({"logits", model()}, "--prompt");
  expect_refused({"chat", "/nowhere/at/all"}, "/nowhere/at/all");
  std::string full = "1";
  for (int i = 0; i < 255; ++i) full += ",1";
  expect_refused({"generate", model(), "--prompt-ids", full}, "fills all 256");
  EXPECT_EQ(run({"logits", model(), "--prompt-ids", full}).code, 0);
  EXPECT_EQ(run({"logits", model(), "--prompt-ids", full + ",1,1", "--allow-long"}).code, 0);
}

TEST_F(Commands, BrokenDirectoriesAreRefused) {
  auto copy = [&](const std::string& name) {
    std::filesystem::copy(model(), path(name));
    return path(name);
  };
  const std::string cut = copy("cut");
  std::filesystem::resize_file(cut + "/model.safetensors", 5000);
  expect_refused({"generate", cut, "--prompt-ids", "1"}, "model.safetensors");
  for (const std::string command : {"generate", "logits"})
    expect_refused({command, model(), "--prompt-ids", "1", "--activations", "int8"}, "--weights int8");
  expect_refused({"bench", "prefill", "--model", model() + "/config.json", "--tokens", "16", "--activations", "int8"},
                 "is plain");
  const std::string no_weights = copy("no_weights");
  std::filesystem::remove(no_weights + "/model.safetensors");
  expect_refused({"generate", no_weights, "--prompt-ids", "1"}, "safetensors");
  const std::string broken_config = copy("broken_config");
  write_file_atomic(broken_config + "/config.json", "{\"model_type\": ");
  expect_refused({"generate", broken_config, "--prompt-ids", "1"}, "config.json");
  const std::string sampling = copy("sampling");
  write_file_atomic(sampling + "/generation_config.json", "{\"temperature\": \"hot\"}");
  expect_refused({"generate", sampling, "--prompt-ids", "1"}, "temperature");
  const std::string no_tokenizer = copy("no_tokenizer");
  std::filesystem::remove(no_tokenizer + "/tokenizer.json");
  expect_refused({"generate", no_tokenizer, "--prompt", "a"}, "tokenizer.json");
  expect_refused({"chat", no_tokenizer}, "tokenizer.json");
  EXPECT_TRUE(json(run({"generate", no_tokenizer, "--prompt-ids", "1", "--json", "--max-tokens", "3"})).at("text").is_null());
}

TEST_F(Commands, ChatWorksInAPipe) {
  const Result a = run({"chat", model(), "--temperature", "0", "--max-tokens", "8"},
                       "two and two?\n/help\n/wrong\n\nand four\\\nand four?\n/reset\ntwo and two?\n/quit\nnever\n");
  EXPECT_EQ(a.code, 0) << a.err;
  EXPECT_NE(a.out.find("<think>"), std::string::npos);
  EXPECT_NE(a.out.find("/reset"), std::string::npos);
  EXPECT_NE(a.err.find("no command /wrong"), std::string::npos);
  EXPECT_EQ(a.out.find("\x1b"), std::string::npos);
  const Result first = run({"chat", model(), "--temperature", "0", "--max-tokens", "8"}, "two and two?\n");
  EXPECT_EQ(a.out.substr(0, first.out.size()), first.out);
  EXPECT_EQ(a.out.substr(a.out.size() - first.out.size()), first.out);  // after /reset the conversation is new
  EXPECT_EQ(run({"chat", model()}, "").code, 0);
}

// In a terminal: dimmed thinking, Ctrl-C stops the answer and not the program, twice at the prompt ends it.
TEST_F(Commands, ChatInATerminal) {
  int terminal = -1;
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (child == 0) {
    ::unsetenv("NO_COLOR");
    execute({"chat", model(), "--max-tokens", "60", "--temperature", "1"});
  }
  std::string screen;
  size_t seen = 0;
  auto wait_for = [&](const std::string& text) {
    for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
         std::chrono::steady_clock::now() < end;) {
      if (const size_t at = screen.find(text, seen); at != std::string::npos) {
        seen = at + text.size();
        return true;
      }
      pollfd p{terminal, POLLIN, 0};
      if (::poll(&p, 1, 100) <= 0) continue;
      char buffer[4096];
      const ssize_t n = ::read(terminal, buffer, sizeof buffer);
      if (n <= 0) break;
      screen.append(buffer, static_cast<size_t>(n));
    }
    return screen.find(text, seen) != std::string::npos;
  };
  auto type = [&](const std::string& text) {
    EXPECT_EQ(::write(terminal, text.data(), text.size()), static_cast<ssize_t>(text.size()));
  };
  const std::string prompt = "\x1b[1m> \x1b[0m";
  EXPECT_TRUE(wait_for(prompt));
  type("two and two?\n");
  EXPECT_TRUE(wait_for("\x1b[2m"));  // thinking is dimmed
  EXPECT_TRUE(wait_for("tokens/s"));
  EXPECT_TRUE(wait_for(prompt));
  type("again?\n");
  EXPECT_TRUE(wait_for("\x1b[2m"));
  type("\x03");  // while it answers, or just after: never the end of the program
  EXPECT_TRUE(wait_for(prompt));
  type("still there?\n");
  EXPECT_TRUE(wait_for("tokens/s"));
  EXPECT_TRUE(wait_for(prompt));
  type("\x03");
  EXPECT_TRUE(wait_for("Ctrl-C again")) << screen;
  EXPECT_TRUE(wait_for(prompt));
  type("\x03");
  int status = 0;
  for (int i = 0; i < 100 && ::waitpid(child, &status, WNOHANG) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << screen;
  ::kill(child, SIGKILL);
  ::close(terminal);
}

TEST_F(Commands, BenchMeasuresAModelOrAShape) {
  const std::string config = path("shape.json"), trace = path("trace.json");
  write_file_atomic(config, ModelConfig::from_file(model() + "/config.json").to_json_text());
  for (const std::string& what : {model(), config}) {
    const Result r = run({"bench", "depth", "--model", what, "--dtype", "f32", "--depth", "0,64", "--prefill", "24", "--tokens",
                          "6", "--runs", "1", "--json", "--trace", trace});
    const Json j = json(r);
    ASSERT_EQ(j.at("rows").size(), 4u);
    for (const Json& row : j.at("rows")) EXPECT_GT(row.at("tokens_per_s").get<double>(), 0);
    EXPECT_GT(j.at("rows")[3].at("slower_by_bytes").get<double>(), 1);
    EXPECT_GT(parse_json(read_file(trace, 1 << 24), trace).at("traceEvents").size(), 10u);
  }
  const Json batched = json(run({"bench", "batched", "--model", config, "--batch", "1,3", "--prompt", "20", "--tokens", "4",
                                 "--depth", "64", "--runs", "1", "--cache-type", "int8", "--json"}));
  ASSERT_EQ(batched.at("rows").size(), 2u);
  EXPECT_EQ(batched.at("rows")[1].at("batch"), 3);
  EXPECT_EQ(batched.at("rows")[1].at("depth"), 64);
  EXPECT_GT(batched.at("rows")[1].at("share_of_allowed").get<double>(), 0);
  const Json share = json(run({"bench", "share", "--model", model(), "--answers", "3", "--prompt", "70", "--tokens", "5",
                               "--hit", "130", "--runs", "1", "--json"}));
  EXPECT_EQ(share.at("prompt_rows"), 70);
  EXPECT_GT(share.at("hit_steps").get<double>(), 0);
  const Result table = run({"bench", "decode", "--model", model(), "--tokens", "3", "--runs", "1", "--profile"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_NE(table.out.find("lm_head"), std::string::npos);
  expect_refused({"bench", "prefill", "--model", "no-such-model"}, "qwen1.5b, v2lite, v3mini");
  expect_refused({"bench", "prefill", "--model", model(), "--tokens", "5000"}, "max_position_embeddings");
  expect_refused({"bench", "depth", "--model", config, "--depth", "0,200"}, "max_position_embeddings");
  expect_refused({"bench", "batched", "--model", config, "--depth", "200"}, "max_position_embeddings");
  expect_refused({"bench", "batched", "--batch", "0"}, "--batch");
  expect_refused({"bench", "share", "--model", config}, "max_position_embeddings");
}

TEST_F(Commands, HelpAndUsage) {
  const Result help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* name : {"demo", "info", "doctor", "tokenizer", "train", "logits", "generate", "chat", "bench", "runs"})
    EXPECT_NE(help.out.find(name), std::string::npos);
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"frobnicate"}).code, 2);
  ::setenv("FATHOM_NUMA", "both", 1);
  expect_refused({"runs"}, "FATHOM_NUMA is 'both'; allowed: interleave, off");
  ::unsetenv("FATHOM_NUMA");
  for (const std::string command : {"generate", "logits", "chat"}) {
    EXPECT_EQ(run({command, "--help"}).code, 0);
    EXPECT_EQ(run({command}).code, 2);
    EXPECT_EQ(run({command, model(), "--no-such-flag"}).code, 2);
  }
}

TEST_F(Commands, EvalPerplexity) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += "two and two are four; " + std::to_string(i) + ", and the rest is silence\n";
  write_file_atomic(path("text.txt"), text);
  const Json whole = json(run({"eval", "perplexity", model(), "--text", path("text.txt"), "--context", "64", "--json"}));
  EXPECT_EQ(whole["bytes"], text.size()) << "bos stands in front, so that every token of the text counts";
  EXPECT_GT(whole["perplexity"]["high"], whole["perplexity"]["mean"]);
  EXPECT_TRUE(whole["complete"].get<bool>());
  const double nats = whole["nats_per_token"]["mean"].get<double>() * whole["tokens"].get<double>();
  EXPECT_NEAR(whole["bits_per_byte"].get<double>(), nats / std::log(2.0) / static_cast<double>(text.size()), 1e-9);

  const Json beside = json(run({"eval", "perplexity", model(), "--text", path("text.txt"), "--context", "64", "--weights",
                                "q4_0", "--baseline-weights", "plain", "--json"}));
  EXPECT_EQ(beside["baseline"]["nats_per_token"], whole["nats_per_token"]);
  EXPECT_GT(beside["baseline"]["kl"]["mean"], 1e-7);
  EXPECT_LT(beside["baseline"]["same_top"]["mean"], 1.0001);
  EXPECT_NEAR(beside["baseline"]["perplexity_ratio"]["mean"].get<double>(),
              beside["perplexity"]["mean"].get<double>() / whole["perplexity"]["mean"].get<double>(), 1e-9);

  write_file_atomic(path("chats.jsonl"),
                    "{\"text\": \"two and two\"}\n{\"prompt\": \"two and two\", \"completion\": \"four\"}\n");
  const Json lines = json(run({"eval", "perplexity", model(), "--jsonl", path("chats.jsonl"), "--json"}));
  EXPECT_EQ(lines["documents"], 2);
  EXPECT_TRUE(lines["perplexity"]["low"].is_null()) << "two documents are too few for an interval";

  expect_refused({"eval", "perplexity", model()}, "--text FILE or --jsonl FILE");
  expect_refused({"eval", "perplexity", model(), "--text", path("text.txt"), "--context", "4096"}, "256 positions");
  expect_refused({"eval", "perplexity", model(), "--text", path("text.txt"), "--stride", "512"}, "from 1 to 255");
  write_file_atomic(path("bad.jsonl"), "{\"text\": \"two\"}\n{\"prompt\": \"two\"}\n");
  expect_refused({"eval", "perplexity", model(), "--jsonl", path("bad.jsonl")}, "bad.jsonl:2");
}

}  // namespace
}  // namespace fathom
