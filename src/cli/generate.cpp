// fathom generate: complete one prompt, once or n times.
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "cli/command.h"
#include "cli/completion_json.h"
#include "cli/generate_batch.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "cli/speculation_options.h"
#include "infer/engine.h"

namespace fathom {
namespace {

struct Timing {
  double start = 0, first = 0, end = 0;
  int64_t tokens = 0, completions = 0;
  // First tokens come with the prompt; the rest is decoding.
  double tokens_per_second() const {
    const double decode = end - first;
    if (tokens > completions && decode > 0) return static_cast<double>(tokens - completions) / decode;
    return end > start ? static_cast<double>(tokens) / (end - start) : 0;
  }
};

}  // namespace

int command_generate(int argc, char** argv) {
  CommandLine command("Complete a prompt, or all of a JSONL file. The text appears as it is made; Ctrl-C ends it early",
                      "fathom generate");
  command.footer(
      "Examples: fathom generate DIR --prompt \"Once upon a time\" --max-tokens 100\n"
      "          fathom generate DIR --chat --prompt \"What is 2+2?\"\n"
      "          fathom generate DIR --prompt-ids 1,2,3 --temperature 0 --json\n"
      "          fathom generate DIR --chat --input questions.jsonl --output answers.jsonl\n"
      "Lines of --input:  {\"id\": \"q1\", \"prompt\": \"…\", \"temperature\": 0, \"metadata\": {…}}; without id its number is "
      "taken.\n"
      "Lines of --output: id, line (the number in the input), metadata, prompt_tokens, token_ids, text, logprobs, "
      "finish_reason,\n"
      "                   or error. A call that was killed or stopped goes on where it was and ends in the same bytes, for "
      "the\n"
      "                   draws of a line depend on its number and seed alone. Lines with an error keep it: exit status 1.");
  ModelOptions options;
  PromptOptions prompt_options;
  SamplingOptions sampling;
  SpeculationOptions speculation_options;
  GenerateBatchOptions batch;
  int64_t max_tokens = 256, n = 1, top_logprobs = 0;
  bool ignore_eos = false, show_special = false, json = false;
  options.add(command);
  options.add_prefix_cache(command);
  prompt_options.add(command, /*from_stdin=*/true);
  prompt_options.add_chat(command);
  const Option max_tokens_option =
      command.add_option("--max-tokens", max_tokens, "tokens to make at most").range(1, int64_t{1} << 30).show_default();
  sampling.add(command);
  command.add_flag("--ignore-eos", ignore_eos, "go on after the end-of-sequence token");
  command.add_option("--n", n, "completions of the same prompt, which is computed once").range(1, 65536).show_default();
  speculation_options.add(command);
  command.add_option("--top-logprobs", top_logprobs, "with --json or --input: the N likeliest tokens at every position too")
      .range(0, 1024);
  const Option output = command.add_option(
      "--output", batch.output,
      "with --input: results, a JSON object a line, in the input's order; a later call goes on behind those that "
      "are there");
  const Option input =
      command
          .add_option("--input", batch.input,
                      "JSONL, an object a line: prompt, prompt_ids or messages; as needed id, metadata, max_tokens, seed, "
                      "logit_bias, temperature, top_k and so on")
          .needs(output)
          .excludes("--prompt")
          .excludes("--prompt-ids")
          .excludes("--n")
          .excludes("--messages");
  output.needs(input);
  command.add_flag("--as-done", batch.as_done, "with --input: results as they are done, not in the order of their lines")
      .needs(input);
  command
      .add_option("--step-trace", batch.step_trace,
                  "with --input: draw what the engine's first steps computed for whom (FILE.svg)")
      .needs(input);
  command.add_option("--max-sequences", batch.max_sequences, "with --input: sequences computed together, at most")
      .range(1, 4096)
      .needs(input)
      .show_default();
  command
      .add_option("--step-ms", batch.step_ms,
                  "with --input: milliseconds for a step in which answers grow; of prompts it takes what fits, by measured "
                  "cost, so that answers go on evenly (0: no limit, most tokens a second)")
      .range(0.0, 3.6e6)
      .needs(input)
      .show_default();
  command.add_flag("--show-special", show_special, "print special tokens too");
  command.add_flag(
      "--json", json,
      "one JSON object on stdout: token_ids, text, logprobs, finish_reason, tokens_per_second, load_seconds, speculation");
  if (const auto code = command.parse(argc, argv)) return *code;

  const ModelFiles files = options.open();
  const ModelConfig& config = files.config();  // errors in the command line are found before the weights are read
  const auto tokenizer = files.tokenizer();
  if (!batch.input.empty()) {
    auto [params, stop_ids] = sampling.resolve(files, tokenizer);
    if (!ignore_eos) batch.stop_ids = stop_ids;
    batch.sampling = params, batch.seed = sampling.seed, batch.prompt = prompt_options;
    batch.max_tokens = max_tokens, batch.top_logprobs = top_logprobs, batch.show_special = show_special;
    Speculation speculation(speculation_options, config, tokenizer);
    return generate_batch(files, options, tokenizer, speculation, batch);
  }
  const int64_t room = options.max_positions(config);
  if (top_logprobs > 0 && !json) fail_usage("generate", "--top-logprobs is for results in JSON; give --json too");
  const std::vector<int32_t> prompt = prompt_options.read(config, tokenizer, room);
  auto [params, stop_ids] = sampling.resolve(files, tokenizer);
  if (ignore_eos) stop_ids.clear();
  Speculation speculation(speculation_options, config, tokenizer);
  const int64_t left = room - static_cast<int64_t>(prompt.size());
  if (left < 1)
    fail_usage("generate", "the prompt fills all " + std::to_string(room) +
                               " positions of the model (max_position_embeddings); shorten it, or give --allow-long");
  if (max_tokens > left) {
    if (max_tokens_option.given())
      log_warning("--max-tokens " + std::to_string(max_tokens) + " is more than the model's positions hold; stopping at " +
                  std::to_string(left));
    max_tokens = left;
  }
  LoadTimes load;
  Decoder model = load_model(files, options.numerics(config), /*training=*/false, &load, options.packed_cache);
  speculation.load(model.numerics());
  EngineConfig engine_options = engine_config_for(model, static_cast<int64_t>(prompt.size()) + max_tokens, n);
  // Text in, text out: padding of the vocabulary is not drawn. Ids in: the model alone decides.
  if (!prompt_options.has_ids) engine_options.num_valid = num_valid_tokens(config, tokenizer ? &*tokenizer : nullptr);
  engine_options.max_positions = room;  // longer than the model's with --allow-long
  engine_options.speculation = speculation.config;
  engine_options.prefix_store = options.prefix_store(files);
  Engine engine(model, engine_options);

  const bool stream = !json && n == 1;
  Utf8Stream utf8;
  Timing timing;
  timing.completions = n;
  auto on_token = [&](int32_t id, float) {
    if (timing.tokens++ == 0) timing.first = now_seconds();
    if (!stream) return;
    if (!tokenizer) {
      std::printf(timing.tokens == 1 ? "%d" : ",%d", id);
    } else if (show_special || std::find(stop_ids.begin(), stop_ids.end(), id) == stop_ids.end()) {
      const std::string text = utf8.push(shown_bytes(*tokenizer, id, show_special));
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    flush_stdout();
  };
  std::vector<uint64_t> requests;
  for (int64_t i = 0; i < n; ++i) {
    Request request;
    request.prompt = prompt;
    request.sampling = params;
    request.max_tokens = max_tokens;
    request.stop_ids = stop_ids;
    request.seed = sampling.seed;
    request.top_logprobs = top_logprobs;
    request.sequence = static_cast<uint64_t>(i);
    requests.push_back(engine.submit(std::move(request), on_token));
  }
  install_stop_handler("\n");
  timing.start = now_seconds();
  std::optional<Progress> progress;
  if (n > 1) progress.emplace("generate", n * max_tokens, "tokens");
  while (engine.step()) {
    if (progress) progress->update(timing.tokens);
    if (stop_requested())
      for (const uint64_t id : requests) engine.cancel(id);
  }
  timing.end = now_seconds();
  if (progress) progress->finish();

  std::vector<Completion> completions;
  for (const uint64_t id : requests) completions.push_back(engine.take(id));
  if (json) {
    Json result;
    if (n == 1) {
      result = completion_json(completions[0], tokenizer, show_special);
    } else {
      for (const Completion& completion : completions)
        result["completions"].push_back(completion_json(completion, tokenizer, show_special));
    }
    result["prompt_tokens"] = prompt.size();
    result["tokens_per_second"] = timing.tokens_per_second();
    result["load_seconds"] = load.seconds;
    result["packing_seconds"] = load.packing_seconds;
    result["seconds"] = timing.end - timing.start;
    result["first_token_seconds"] = timing.tokens > 0 ? timing.first - timing.start : 0;
    result["seed"] = sampling.seed;
    result["speculation"] = speculation_json(speculation.config, engine.stats());
    result["numerics"] = model.numerics().identity();
    result["prefix_cache_tokens"] =
        options.prefix_cache.directory.empty() ? Json(nullptr) : Json(engine.stats().stored_hit_rows);
    std::printf("%s\n", result.dump().c_str());
  } else if (stream) {
    std::printf("%s\n", utf8.flush().c_str());
  } else {
    for (int64_t i = 0; i < n; ++i) {
      const Completion& completion = completions[static_cast<size_t>(i)];
      std::printf("--- %lld of %lld (%zu tokens, %s)\n", static_cast<long long>(i + 1), static_cast<long long>(n),
                  completion.ids.size(), finish_reason_name(completion.reason));
      if (tokenizer) {
        std::printf("%s\n", completion_text(*tokenizer, completion, show_special).c_str());
      } else {
        for (size_t t = 0; t < completion.ids.size(); ++t) std::printf(t == 0 ? "%d" : ",%d", completion.ids[t]);
        std::printf("\n");
      }
    }
  }
  flush_stdout();
  if (!json) {
    char line[200];
    std::snprintf(line, sizeof line, "loaded in %.2f s; %lld tokens, %.1f tokens/s; prompt of %zu tokens in %.2f s",
                  load.seconds, static_cast<long long>(timing.tokens), timing.tokens_per_second(), prompt.size(),
                  timing.tokens > 0 ? timing.first - timing.start : 0.0);
    log_info(line + speculation_text(speculation.config, engine.stats()));
  }
  return stop_requested() ? 1 : 0;
}

}  // namespace fathom
