// fathom chat: a conversation in the terminal. Thinking is dimmed, answers are plain, Ctrl-C stops an answer.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "cli/chat_screen.h"
#include "cli/command.h"
#include "cli/completion_json.h"
#include "cli/line_input.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "cli/speculation_options.h"
#include "cli/think_stream.h"
#include "infer/engine.h"
#include "ops/attention/attention.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

constexpr int64_t kMinAnswer = 32;  // tokens that must be left for an answer

// One message: a line, or several where each but the last ends in a backslash.
Input read_message(LineInput& input, ChatScreen& screen, bool interactive, std::string& message) {
  message.clear();
  if (interactive) screen.prompt(false);
  for (std::string line;;) {
    const Input got = input.read(line);
    if (got == Input::kEnd && !message.empty()) return Input::kLine;
    if (got != Input::kLine) return got;
    const bool more = !line.empty() && line.back() == '\\';
    if (more) line.back() = '\n';
    message += line;
    if (!more) return Input::kLine;
    if (interactive) screen.prompt(true);
  }
}

class Chat {
 public:
  struct Options {
    SamplingOptions::Resolved sampling;
    uint64_t seed = 0;
    int64_t max_tokens = 0, max_positions = 0;
    std::string system;
    bool think = true;
    SpeculationConfig speculation;
    PrefixStoreConfig prefix_store;
  };
  Chat(Decoder& model, const Tokenizer& tokenizer, const Options& options)
      : tokenizer_(tokenizer),
        template_(tokenizer),
        options_(options),
        engine_(model, engine_config(model, options, num_valid_tokens(model.config(), &tokenizer))) {
    positions_ = std::min(options.max_positions, engine_.num_blocks() * kKeyBlock);
    reset();
  }
  void reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system, ""});
  }
  int64_t positions() const { return positions_; }
  void ask(const std::string& text, ChatScreen& screen, LineInput& input);

 private:
  static EngineConfig engine_config(const Decoder& model, const Options& options, int64_t num_valid) {
    const int64_t block_bytes = model.num_cache_layers() * kKeyBlock * model.cache_row_bytes();
    EngineConfig config;
    config.cache_blocks =
        std::clamp<int64_t>(kCacheBytes / block_bytes, 1, 2 * ((options.max_positions + kKeyBlock - 1) / kKeyBlock));
    config.max_rows = 256;  // so that Ctrl-C is seen soon while a long prompt is read
    config.num_valid = num_valid;
    config.max_positions = options.max_positions;
    config.speculation = options.speculation;
    config.prefix_store = options.prefix_store;
    return config;
  }
  // The conversation as ids; the oldest exchanges go where it has become too long. Empty: even the last message alone is.
  ChatPrompt render(ChatScreen& screen);

  const Tokenizer& tokenizer_;
  const ChatTemplate template_;
  const Options options_;
  int64_t positions_ = 0;
  std::vector<ChatMessage> messages_;
  Engine engine_;
  uint64_t turn_ = 0;
};

ChatPrompt Chat::render(ChatScreen& screen) {
  ChatOptions chat_options;
  chat_options.thinking = options_.think;
  for (;;) {
    ChatPrompt prompt = template_.prompt(messages_, chat_options);
    if (static_cast<int64_t>(prompt.ids.size()) + kMinAnswer <= positions_) return prompt;
    const size_t first = options_.system.empty() ? 0 : 1;
    if (messages_.size() <= first + 1) return {};
    messages_.erase(messages_.begin() + static_cast<int64_t>(first), messages_.begin() + static_cast<int64_t>(first) + 2);
    screen.note("(the conversation has become too long: the oldest exchange is forgotten)");
  }
}

void Chat::ask(const std::string& text, ChatScreen& screen, LineInput& input) {
  messages_.push_back({"user", text, ""});
  Request request;
  ChatPrompt prompt = render(screen);
  request.prompt = std::move(prompt.ids);
  if (request.prompt.empty()) {
    messages_.pop_back();
    std::fprintf(stderr, "that message is too long for the %lld positions of the model\n", static_cast<long long>(positions_));
    return;
  }
  request.sampling = options_.sampling.params;
  request.stop_ids = options_.sampling.stop_ids;
  request.seed = options_.seed;
  request.sequence = turn_++;
  request.max_tokens = std::min(options_.max_tokens, positions_ - static_cast<int64_t>(request.prompt.size()));

  std::string answer;
  ThinkStream split(prompt.thinking, [&](bool thinking, std::string_view part) {
    if (!thinking) answer += part;
    screen.show(thinking, part);
  });
  Utf8Stream utf8;
  int64_t tokens = 0;
  double first = 0;
  const double start = now_seconds();
  input.forget_interrupts();
  const uint64_t id = engine_.submit(std::move(request), [&](int32_t token, float) {
    if (tokens++ == 0) first = now_seconds();
    const bool stop = std::find(options_.sampling.stop_ids.begin(), options_.sampling.stop_ids.end(), token) !=
                      options_.sampling.stop_ids.end();
    if (!stop) split.push(utf8.push(shown_bytes(tokenizer_, token)));
  });
  while (engine_.step())
    if (input.interrupts() > 0) engine_.cancel(id);
  input.forget_interrupts();
  split.push(utf8.flush());
  split.finish();
  screen.end();
  const double end = now_seconds();
  const Completion completion = engine_.take(id);
  const size_t begin = answer.find_first_not_of('\n');
  messages_.push_back({"assistant", begin == std::string::npos ? "" : answer.substr(begin), ""});
  char line[128];
  std::snprintf(
      line, sizeof line, "(%lld tokens, %.1f tokens/s%s)", static_cast<long long>(tokens),
      tokens > 1 ? static_cast<double>(tokens - 1) / std::max(1e-9, end - first) : static_cast<double>(tokens) / (end - start),
      completion.reason == FinishReason::kCancelled ? ", stopped"
      : completion.reason == FinishReason::kLength  ? ", at the limit of length"
                                                    : "");
  screen.note(line);
}

void print_help(bool terminal) {
  std::printf(
      "/reset    forget the conversation\n/quit     leave (or Ctrl-D)\n/help     this\n"
      "A line that ends in \\ goes on in the next one. ");
  std::printf(terminal ? "Ctrl-C stops an answer; twice at the prompt leaves.\n" : "\n");
  flush_stdout();
}

void converse(Chat& chat, ChatScreen& screen) {
  const bool interactive = isatty(STDIN_FILENO) != 0 && screen.terminal();
  LineInput input;
  std::string message;
  for (;;) {
    switch (read_message(input, screen, interactive, message)) {
      case Input::kEnd:
        if (interactive) screen.put("\n");
        return;
      case Input::kInterrupted:
        if (input.interrupts() > 1 || !interactive) {
          screen.put("\n");
          return;
        }
        screen.put("\n");
        screen.note("(Ctrl-C again, or /quit, leaves)");
        continue;
      case Input::kLine:
        break;
    }
    input.forget_interrupts();
    if (const int64_t at = first_invalid_utf8(message); at >= 0) {
      std::fprintf(stderr, "that line is not UTF-8 (byte %lld); not sent\n", static_cast<long long>(at));
      continue;
    }
    const size_t begin = message.find_first_not_of(" \t\n"), end = message.find_last_not_of(" \t\n");
    if (begin == std::string::npos) continue;
    message = message.substr(begin, end - begin + 1);
    if (message == "/quit" || message == "/exit") return;
    if (message == "/reset") {
      chat.reset();
      screen.note("(forgotten)");
    } else if (message == "/help") {
      print_help(interactive);
    } else if (message.front() == '/' && message.find(' ') == std::string::npos && message.find('/', 1) == std::string::npos) {
      std::fprintf(stderr, "no command %s; /help lists them\n", printable(message).c_str());
    } else {
      chat.ask(message, screen, input);
    }
  }
}

}  // namespace

int command_chat(int argc, char** argv) {
  CommandLine command("Talk to a model. Thinking is dimmed; Ctrl-C stops an answer; /help lists what else there is",
                      "fathom chat");
  command.footer("From a pipe every line is a message: echo \"2+2?\" | fathom chat DIR");
  ModelOptions options;
  SamplingOptions sampling;
  SpeculationOptions speculation_options;
  std::string system;
  int64_t max_tokens = 4096;
  bool no_think = false;
  options.add(command);
  options.add_prefix_cache(command);
  sampling.add(command);
  speculation_options.add(command);
  command.add_option("--system", system, "system message");
  command.add_flag("--no-think", no_think, "answer at once: the template is told enable_thinking=false");
  command.add_option("--max-tokens", max_tokens, "tokens of an answer at most").range(1, int64_t{1} << 30).show_default();
  if (const auto code = command.parse(argc, argv)) return *code;

  const ModelFiles files = options.open();
  const ModelConfig& config = files.config();  // errors in the command line are found before the weights are read
  const auto tokenizer = files.tokenizer();
  if (!tokenizer)
    fail_usage("chat", "'" + options.directory + "' has no tokenizer.json; `fathom generate --prompt-ids` works without");
  if (first_invalid_utf8(system) >= 0) fail_usage("chat", "--system is not UTF-8");
  ChatTemplate check(*tokenizer);  // whether the model can hold a conversation, before the weights are read
  const auto resolved = sampling.resolve(files, tokenizer);
  Speculation speculation(speculation_options, config, tokenizer);
  Decoder model = load_model(files, options.numerics(config), /*training=*/false, nullptr, options.packed_cache);
  Chat::Options chat_options;
  chat_options.sampling = resolved;
  chat_options.seed = sampling.seed;
  chat_options.max_tokens = max_tokens;
  chat_options.max_positions = options.max_positions(config);
  chat_options.system = system;
  chat_options.think = !no_think;
  speculation.load(model.numerics());
  chat_options.speculation = speculation.config;
  chat_options.prefix_store = options.prefix_store(files);
  Chat chat(model, *tokenizer, chat_options);
  ChatScreen screen;
  const auto counts = config.count_parameters();
  char line[200];
  std::snprintf(line, sizeof line, "%s, %.4g M parameters, %lld positions, %s. /help lists the commands.",
                config.model_type.c_str(), static_cast<double>(counts.total) / 1e6, static_cast<long long>(chat.positions()),
                model.numerics().identity().c_str());
  screen.note(line);
  converse(chat, screen);
  return 0;
}

}  // namespace fathom
