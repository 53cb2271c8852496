// fathom tokenizer train|encode|decode|info
#include <cstdio>
#include <iostream>
#include <iterator>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "checkpoint/model_files.h"
#include "cli/command.h"
#include "data/line_reader.h"
#include "data/record.h"
#include "text/chat_template.h"
#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

void print_json(const Json& json) { std::printf("%s\n", json.dump().c_str()); }

std::string all_of_stdin() { return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()}; }

Tokenizer read_directory_or_gguf(const std::string& path) {
  auto tokenizer = ModelFiles(path).tokenizer();
  if (!tokenizer) fail_usage("tokenizer", "'" + printable(path) + "' holds no tokenizer");
  return std::move(*tokenizer);
}

struct Train {
  std::vector<std::string> files, specials;
  std::string out, pattern = "deepseek-v3";
  int64_t vocab_size = 4096, max_position = 4096;
  bool plain = false, json = false;

  void add_to(CommandLine& command) {
    command.add_option("FILE", files, "text or JSONL files (.gz, .zst too), or folders of them").required();
    command.add_option("--out,-o", out, "folder for tokenizer.json and tokenizer_config.json").required();
    command.add_option("--vocab-size", vocab_size, "256 bytes, merges and special tokens together").show_default();
    command
        .add_option("--pattern", pattern,
                    "how text is split: deepseek-v3, qwen2 (single digits), llama3, or a regular expression")
        .show_default();
    command.add_option("--special", specials, "further tokens that text may not be merged into (repeatable)");
    command.add_flag("--plain", plain,
                     "without the control tokens of DeepSeek's conversation (bos, eos, pad, user, assistant, think)");
    command.add_option("--max-length", max_position, "model_max_length to write").show_default();
    command.add_flag("--json", json, "print one JSON object");
  }
  int run() const {
    const double start = now_seconds();
    std::vector<std::string> texts;
    int64_t bytes = 0;
    const auto take = [&](std::string&& text) {
      bytes += static_cast<int64_t>(text.size());
      texts.push_back(std::move(text));
    };
    read_records(files, [&](Record&& record) {
      if (record.kind == Record::Kind::kText) return take(std::move(record.text));
      for (ChatMessage& m : record.messages) {
        if (!m.reasoning.empty()) take(std::move(m.reasoning));
        take(std::move(m.content));
      }
    });
    TokenizerTraining config;
    config.vocab_size = vocab_size;
    config.max_position = max_position;
    if (!plain) {
      config.special_tokens = deepseek_r1_control_tokens();
      config.bos_token = config.special_tokens[0];
      config.eos_token = config.special_tokens[1];
      config.pad_token = config.special_tokens[2];
      config.chat_template = deepseek_r1_chat_template();
    }
    config.special_tokens.insert(config.special_tokens.end(), specials.begin(), specials.end());
    config.pattern = pattern == "deepseek-v3" ? ""
                     : pattern == "qwen2"     ? PreTokenizer::qwen2()
                     : pattern == "llama3"    ? PreTokenizer::llama3()
                                              : pattern;
    log_info("training on " + std::to_string(texts.size()) + " texts, " + format_bytes(static_cast<double>(bytes)));
    train_tokenizer(std::vector<std::string_view>(texts.begin(), texts.end()), config, out);
    const Tokenizer tokenizer = Tokenizer::from_directory(out);
    if (tokenizer.vocab_size() < vocab_size)
      log_warning("only " + std::to_string(tokenizer.vocab_size()) + " of " + std::to_string(vocab_size) +
                  " tokens: no pair of the text occurs twice any more");
    int64_t tokens = 0;
    for (const std::string& text : texts)
      tokens += static_cast<int64_t>(tokenizer.encode(text, Tokenizer::Specials::kAsText).size());
    const double seconds = now_seconds() - start,
                 per_token = static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(1, tokens));
    if (json)
      print_json({{"directory", out},
                  {"vocab_size", tokenizer.vocab_size()},
                  {"texts", texts.size()},
                  {"bytes", bytes},
                  {"tokens", tokens},
                  {"bytes_per_token", per_token},
                  {"seconds", seconds}});
    else
      std::printf("%s: %d tokens; %lld bytes of text are %lld tokens (%.2f bytes each); %s\n", out.c_str(),
                  tokenizer.vocab_size(), static_cast<long long>(bytes), static_cast<long long>(tokens), per_token,
                  format_duration(seconds).c_str());
    return 0;
  }
};

struct Encode {
  std::string directory, text, file;
  bool as_text = false, bos = false, json = false;
  Option text_option;

  void add_to(CommandLine& command) {
    command.add_option("DIR", directory, "model directory with tokenizer.json, or FILE.gguf").required();
    text_option = command.add_option("TEXT", text, "the text; without it and --file: standard input");
    command.add_option("--file,-f", file, "a text file (.gz, .zst too)").excludes(text_option);
    command.add_flag("--as-text", as_text, "recognise no added token: what user text goes through");
    command.add_flag("--bos", bos, "put the tokenizer's bos in front");
    command.add_flag("--json", json, "print one JSON object");
  }
  int run() const {
    const Tokenizer tokenizer = read_directory_or_gguf(directory);
    const std::string input = !file.empty() ? read_text(file) : text_option.given() ? text : all_of_stdin();
    const auto specials = as_text ? Tokenizer::Specials::kAsText : Tokenizer::Specials::kRecognise;
    const double start = now_seconds();
    const auto ids = tokenizer.encode(input, specials, bos);
    const double seconds = now_seconds() - start;
    if (json) {
      print_json({{"ids", ids}, {"tokens", ids.size()}, {"bytes", input.size()}, {"seconds", seconds}});
      return 0;
    }
    std::string line;
    for (const int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
    std::printf("%s\n", line.c_str());
    std::fprintf(stderr, "%zu tokens, %zu bytes, %.1f MB/s\n", ids.size(), input.size(),
                 static_cast<double>(input.size()) / 1e6 / std::max(seconds, 1e-9));
    return 0;
  }
};

struct Decode {
  std::string directory;
  std::vector<std::string> parts;
  bool skip_special = false, json = false;

  void add_to(CommandLine& command) {
    command.add_option("DIR", directory, "model directory with tokenizer.json, or FILE.gguf").required();
    command.add_option("IDS", parts, "token ids, 1,2,3 or 1 2 3; without them: standard input");
    command.add_flag("--skip-special", skip_special, "leave out the tokens that are marked special");
    command.add_flag("--json", json, "print one JSON object");
  }
  int run() const {
    const Tokenizer tokenizer = read_directory_or_gguf(directory);
    std::string joined;
    for (const std::string& part : parts) joined += part + " ";
    const std::vector<int> ids = parse_ids(parts.empty() ? all_of_stdin() : joined);
    for (const int id : ids)
      if (id >= tokenizer.vocab_size())
        fail_usage("tokenizer", "the id " + std::to_string(id) + " is not below the vocabulary's size " +
                                    std::to_string(tokenizer.vocab_size()));
    const std::string text = tokenizer.decode(std::vector<int32_t>(ids.begin(), ids.end()), skip_special);
    if (json)
      print_json({{"text", text}, {"tokens", ids.size()}});
    else
      std::printf("%s\n", text.c_str());
    return 0;
  }
};

struct Info {
  std::string directory;
  bool json = false;

  void add_to(CommandLine& command) {
    command.add_option("DIR", directory, "model directory with tokenizer.json").required();
    command.add_flag("--json", json, "print one JSON object");
  }
  int run() const {
    const Tokenizer tokenizer = Tokenizer::from_directory(directory);
    Json added = Json::array();
    int64_t specials = 0;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (!tokenizer.is_added(id)) continue;
      specials += tokenizer.is_special(id);
      added.push_back(
          {{"id", id}, {"text", tokenizer.decode(std::vector<int32_t>{id})}, {"special", tokenizer.is_special(id)}});
    }
    Json names = Json::object();
    for (const auto& [name, text] : tokenizer.named_tokens()) names[name] = {{"text", text}, {"id", tokenizer.id_of(text)}};
    const bool chat = !tokenizer.chat_template().empty();
    if (json) {
      print_json({{"directory", directory},
                  {"vocab_size", tokenizer.vocab_size()},
                  {"named_tokens", names},
                  {"adds_bos", tokenizer.wants_bos()},
                  {"chat_template", chat},
                  {"added_tokens", added}});
      return 0;
    }
    std::printf("%d ids; %zu added tokens, %lld of them special; %s; %s\n", tokenizer.vocab_size(), added.size(),
                static_cast<long long>(specials), tokenizer.wants_bos() ? "texts begin with bos" : "no bos is added",
                chat ? "with a chat template" : "no chat template");
    for (const auto& [name, token] : names.members())
      std::printf("  %-10s %7d  %s\n", name.c_str(), token["id"].get<int>(), token["text"].get<std::string>().c_str());
    constexpr size_t kShown = 40;
    for (size_t i = 0; i < std::min(added.size(), kShown); ++i)
      std::printf("  %-10s %7d  %s\n", added[i]["special"].get<bool>() ? "special" : "added", added[i]["id"].get<int>(),
                  printable(added[i]["text"].get<std::string>()).c_str());
    if (added.size() > kShown) std::printf("  and %zu more (--json lists all)\n", added.size() - kShown);
    return 0;
  }
};

}  // namespace

int command_tokenizer(int argc, char** argv) {
  CommandLine command("BPE, compatible with tokenizer.json; what is trained is byte-level", "fathom tokenizer");
  command.require_subcommand();
  Train train;
  Encode encode;
  Decode decode;
  Info info;
  CommandLine& train_command = command.add_subcommand("train", "learn a vocabulary from text");
  CommandLine& encode_command = command.add_subcommand("encode", "text to token ids");
  CommandLine& decode_command = command.add_subcommand("decode", "token ids to text");
  CommandLine& info_command = command.add_subcommand("info", "size, control tokens, chat template");
  info.add_to(info_command);
  train.add_to(train_command);
  encode.add_to(encode_command);
  decode.add_to(decode_command);
  if (const auto code = command.parse(argc, argv)) return *code;
  if (train_command.parsed()) return train.run();
  if (encode_command.parsed()) return encode.run();
  if (info_command.parsed()) return info.run();
  return decode.run();
}

}  // namespace fathom
