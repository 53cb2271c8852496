#include "cli/model_options.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "checkpoint/packed_identity.h"
#include "cli/command.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

constexpr int64_t kMaxPromptBytes = int64_t{64} << 20;

std::string read_stdin() {
  if (isatty(STDIN_FILENO)) std::fputs("reading the prompt from the terminal; end it with Ctrl-D on an empty line\n", stderr);
  std::string text;
  char buffer[65536];
  for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) {
    text.append(buffer, n);
    if (static_cast<int64_t>(text.size()) > kMaxPromptBytes)
      fail_usage("cli", "the prompt on stdin is longer than " + std::to_string(kMaxPromptBytes) + " bytes");
  }
  if (std::ferror(stdin)) fail("cli", "stdin cannot be read");
  if (!text.empty() && text.back() == '\n') text.pop_back();  // what echo and editors add
  return text;
}

}  // namespace

void add_cache_type_option(CommandLine& command, std::string& type) {
  command
      .add_option("--cache-type", type,
                  "how keys and values are kept: plain (as --dtype), int8 or fp8 (a scale for each token and 128 values; MLA's "
                  "rotated part stays plain)")
      .one_of({"plain", "int8", "fp8"})
      .show_default();
}

void add_activations_option(CommandLine& command, std::string& activations) {
  command
      .add_option(
          "--activations", activations,
          "what linear layers multiply with: 16bit (as --dtype), or int8, rounded a token at a time: faster prefill, a "
          "little less exact; for weights in int8 or GGUF's types that are computed on; head and router stay as they are")
      .one_of({"16bit", "int8"})
      .show_default();
}
Activations activations_from_name(const std::string& name) { return name == "int8" ? Activations::kInt8 : Activations::k16Bit; }

void ModelOptions::add(CommandLine& command) {
  command.add_option("DIR", directory, "model directory (config.json, *.safetensors, tokenizer.json) or FILE.gguf").required();
  command
      .add_option("--dtype", dtype, "f32 or bf16: type of weights, activations and cache (default: torch_dtype of config.json)")
      .one_of({"f32", "bf16"});
  command.add_option("--mla", mla, "MLA formula: expanded (keys and values cached) or absorbed (latents cached: less memory)")
      .one_of({"expanded", "absorbed"})
      .show_default();
  command
      .add_option("--weights", weights,
                  "quantise plain weights of linear layers while loading (embedding, head and router stay): int8, q8_0, q4_0, "
                  "q4_1, q5_0, q4_k, q6_k, int4-g32, int4-g128; plain: as they are stored")
      .one_of({"plain", "int8", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k", "q6_k", "int4-g32", "int4-g128"})
      .show_default();
  add_activations_option(command, activations);
  add_cache_type_option(command, cache_type);
  command.add_option(
      "--packed-cache", packed_cache,
      "keep the packed weights in this file, or in a file of this folder: the next load maps them and packs nothing. "
      "One that is stale or damaged is named on stderr and written anew");
  command.add_flag("--allow-long", allow_long, "go beyond the positions that the model was made for");
  add_threads_option(command);
}

void ModelOptions::add_prefix_cache(CommandLine& command) {
  const Option directory =
      command.add_option("--prefix-cache", prefix_cache.directory,
                         "keep the keys and values of prompts in this folder, and find them there again: the "
                         "same text, without computing its beginning");
  command
      .add_integer_function(
          "--prefix-cache-mb", [this](int64_t mb) { prefix_cache.max_bytes = mb << 20; },
          "megabytes of it at most; what was not used for longest goes first (default: 8192)")
      .range(1, int64_t{1} << 30)
      .needs(directory);
  command.add_option("--prefix-cache-salt", prefix_cache.salt, "what was kept with another salt is not found").needs(directory);
}

PrefixStoreConfig ModelOptions::prefix_store(const ModelFiles& files) const {
  PrefixStoreConfig config = prefix_cache;
  if (!config.directory.empty()) config.identity = stored_prefix_identity(files, numerics(files.config()));
  return config;
}

Numerics ModelOptions::numerics(const ModelConfig& config) const {
  Numerics numerics;
  const bool f32 = dtype.empty() ? config.torch_dtype == "float32" : dtype == "f32";
  numerics.compute = f32 ? Compute::kF32 : Compute::kBF16;
  numerics.mla = mla == "absorbed" ? MlaFormula::kAbsorbed : MlaFormula::kExpanded;
  numerics.weights = *weight_format_from_name(weights);
  numerics.cache = *kv_type_from_name(cache_type);
  numerics.activations = activations_from_name(activations);
  return numerics;
}

int64_t ModelOptions::max_positions(const ModelConfig& config) const {
  return allow_long ? std::numeric_limits<int32_t>::max() : config.max_position_embeddings;
}

void PromptOptions::add(CommandLine& command, bool from_stdin) {
  from_stdin_ = from_stdin;
  const Option by_ids = command.add_text_function(
      "--prompt-ids", [this](const std::string& s) { ids = s, has_ids = true; },
      "token ids: 1,2,3; nothing is added, and ids that the tokenizer does not know may follow");
  const Option by_text = command.add_text_function(
      "--prompt", [this](const std::string& s) { text = s, has_text = true; },
      from_stdin ? "text; special tokens in it are recognised. Neither given: the text on stdin"
                 : "text; special tokens in it are recognised");
  by_ids.excludes(by_text);
}

void PromptOptions::add_chat(CommandLine& command) {
  const Option by_chat =
      command.add_flag("--chat", chat, "the prompt is a message to the model: it goes through the chat template");
  command.add_option("--system", system, "with --chat: the system message").needs(by_chat);
  command.add_flag("--no-think", no_think, "with --chat: the template is told enable_thinking=false").needs(by_chat);
  command
      .add_option("--messages", messages,
                  "with --chat: a JSON file of messages ([{\"role\": …, \"content\": …}, …]) in place of a prompt")
      .needs(by_chat)
      .excludes("--prompt")
      .excludes("--system");
  by_chat.excludes("--prompt-ids");
}

// The prompt's text, or stdin's.
std::string PromptOptions::read_text(const std::optional<Tokenizer>& tokenizer) const {
  if (!has_text && !from_stdin_) fail_usage("cli", "no prompt; give --prompt-ids 1,2,3 or --prompt TEXT");
  if (!tokenizer) fail_usage("cli", "the directory has no tokenizer.json, so text cannot be encoded; give --prompt-ids 1,2,3");
  const std::string input = has_text ? text : read_stdin();
  if (const int64_t at = first_invalid_utf8(input); at >= 0)
    fail_usage("cli", "the prompt is not UTF-8: byte " + std::to_string(at) +
                          " begins an ill-formed sequence; convert it first (iconv -t utf-8)");
  return input;
}

std::vector<int32_t> PromptOptions::read_chat(const std::optional<Tokenizer>& tokenizer) const {
  const bool conversation_given = !messages.empty() || !messages_json.empty();
  const std::string message = conversation_given ? "" : read_text(tokenizer);
  if (!tokenizer) fail_usage("cli", "the directory has no tokenizer.json, so it cannot hold a conversation");
  if (first_invalid_utf8(system) >= 0) fail_usage("cli", "--system is not UTF-8");
  const ChatTemplate chat_template(*tokenizer);
  ChatOptions options;
  options.thinking = !no_think;
  if (conversation_given)
    return chat_template.encode(
        chat_template.render_json(messages_json.empty() ? read_file(messages, kMaxPromptBytes) : messages_json, options));
  std::vector<ChatMessage> conversation;
  if (!system.empty()) conversation.push_back({"system", system, ""});
  conversation.push_back({"user", message, ""});
  return chat_template.prompt(conversation, options).ids;
}

std::vector<int32_t> PromptOptions::read(const ModelConfig& config, const std::optional<Tokenizer>& tokenizer,
                                         int64_t max_positions) const {
  std::vector<int32_t> prompt;
  if (has_ids) {
    for (const int id : parse_ids(ids)) prompt.push_back(id);
    if (prompt.empty()) fail_usage("cli", "--prompt-ids holds no id; give at least one, as 1,2,3");
  } else if (chat) {
    prompt = read_chat(tokenizer);
    if (prompt.empty()) fail_usage("cli", "the chat template makes an empty prompt of this");
  } else {
    const std::string input = read_text(tokenizer);
    prompt = tokenizer->encode(input, Tokenizer::Specials::kRecognise, /*add_bos=*/tokenizer->wants_bos());
    if (prompt.size() > 1 && prompt[0] == prompt[1] && prompt[0] == tokenizer->bos_id())
      prompt.erase(prompt.begin());  // the text brought its own
    if (prompt.empty()) fail_usage("cli", "the prompt is empty");
  }
  for (size_t i = 0; i < prompt.size(); ++i)
    if (prompt[i] < 0 || prompt[i] >= config.vocab_size)
      fail_usage("cli", "token id " + std::to_string(prompt[i]) + " at place " + std::to_string(i) +
                            " of the prompt is outside of the vocabulary; ids go from 0 to " +
                            std::to_string(config.vocab_size - 1));
  if (static_cast<int64_t>(prompt.size()) > max_positions)
    fail_usage("cli", "the prompt has " + std::to_string(prompt.size()) + " tokens, the model takes " +
                          std::to_string(max_positions) +
                          " (max_position_embeddings); shorten it, or give --allow-long and expect worse answers");
  return prompt;
}

int64_t num_valid_tokens(const ModelConfig& config, const Tokenizer* tokenizer) {
  return tokenizer ? std::min<int64_t>(config.vocab_size, tokenizer->vocab_size()) : config.vocab_size;
}

std::string shown_bytes(const Tokenizer& tokenizer, int32_t id, bool show_special) {
  if (id >= tokenizer.vocab_size()) return "";  // padding of the model's vocabulary
  const bool hidden = tokenizer.is_special(id) && id != tokenizer.id_of("<think>") && id != tokenizer.id_of("</think>");
  return hidden && !show_special ? "" : tokenizer.token_bytes(id);
}

std::string token_text(const std::optional<Tokenizer>& tokenizer, int32_t id) {
  return tokenizer && id < tokenizer->vocab_size() ? printable(tokenizer->token_bytes(id), 24) : std::string();
}

void flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) fail("cli", "stdout cannot be written; is the disk full?");
}

}  // namespace fathom
