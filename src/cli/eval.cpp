// fathom eval: how well a model predicts text, alone and beside a baseline.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/number_text.h"
#include "eval/eval_text.h"
#include "eval/perplexity.h"

namespace fathom {
namespace {

struct PerplexityCommand {
  ModelOptions model, baseline;  // baseline: its fields are filled in where given
  std::string text, jsonl, protocol = "sliding";
  int64_t context = 0, stride = 0, tokens = 0;
  bool json = false;
  Option weights_option, dtype_option;  // of the baseline

  void add(CommandLine& parent);
  int run();
};

void PerplexityCommand::add(CommandLine& parent) {
  CommandLine& command =
      parent.add_subcommand("perplexity", "nats per token, perplexity and bits per byte of a text, with 95 % intervals");
  command.footer(
      "Protocols:\n"
      "  sliding    windows of --context tokens whose ends move on by --stride; every token but a document's first counts "
      "once\n"
      "  llama.cpp  windows of --context side by side, the second half of each counts, as llama-perplexity -c does\n"
      "A window inside a text begins with bos where the model wants bos. The interval is made of documents where there are 8,\n"
      "else of stretches of 256 tokens.\n"
      "Examples: fathom eval perplexity DIR --text book.txt\n"
      "          fathom eval perplexity DIR --text book.txt --weights q4_k --baseline-weights plain");
  model.add(command);
  const Option by_text = command.add_option("--text", text, "a text file (plain, gzip, zstd)");
  command.add_option("--jsonl", jsonl, "JSONL: {\"text\"} a line, or conversations, of which the assistant's turns count")
      .excludes(by_text);
  command
      .add_option("--context", context,
                  "tokens that the model sees at once (default: 512, or all positions of a model with less)")
      .range(2, int64_t{1} << 24);
  command.add_option("--stride", stride, "tokens from one window's end to the next (default: half of the context)")
      .range(1, int64_t{1} << 24);
  command.add_option("--protocol", protocol, "sliding or llama.cpp").one_of({"sliding", "llama.cpp"}).show_default();
  command.add_option("--tokens", tokens, "stop once so many tokens have been counted (default: the whole text)")
      .range(1, int64_t{1} << 40);
  command.add_option("--baseline", baseline.directory,
                     "a model to compare with: KL(baseline || model), equal first choices, ratio of perplexities");
  weights_option = command
                       .add_option("--baseline-weights", baseline.weights,
                                   "as --weights, of the baseline; without --baseline: the same model")
                       .one_of({"plain", "int8", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k", "q6_k"});
  dtype_option =
      command.add_option("--baseline-dtype", baseline.dtype, "as --dtype, of the baseline; without --baseline: the same model")
          .one_of({"f32", "bf16"});
  command.add_flag("--json", json, "one JSON object on stdout");
}

Json to_json(const Estimate& e) {
  const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); };
  return {{"mean", number(e.mean)}, {"low", number(e.low)}, {"high", number(e.high)}};
}
Estimate exp_of(const Estimate& e) { return {std::exp(e.mean), std::exp(e.low), std::exp(e.high)}; }

void print_estimate(const char* name, const Estimate& e, double scale, int decimals) {
  std::printf("%-28s %12.*f", name, decimals, scale * e.mean);
  if (std::isfinite(e.low))
    std::printf("   95 %% interval %.*f to %.*f\n", decimals, scale * e.low, decimals, scale * e.high);
  else
    std::printf("   no interval: the text is too short\n");
}

double bits_per_byte(const Perplexity& r) {
  return r.bytes > 0 ? r.nll.mean * static_cast<double>(r.tokens) / static_cast<double>(r.bytes) / std::log(2.0) : NAN;
}

int PerplexityCommand::run() {
  if (text.empty() && jsonl.empty()) fail_usage("eval", "no text; give --text FILE or --jsonl FILE");
  const bool sliding = protocol == "sliding";
  if (!sliding && stride > 0) fail_usage("eval", "--stride is of the sliding protocol; leave it out with --protocol llama.cpp");
  const bool same = baseline.directory.empty();
  const bool compare = !same || weights_option.given() || dtype_option.given();
  if (same) baseline.directory = model.directory;
  baseline.mla = model.mla;

  const ModelFiles files = model.open();  // errors in the command line are found before the weights are read
  const ModelConfig& config = files.config();
  const auto tokenizer = files.tokenizer();
  if (!tokenizer) fail_usage("eval", "'" + printable(model.directory) + "' has no tokenizer; text cannot be encoded");
  std::optional<ModelFiles> other_files;
  if (!same) other_files.emplace(baseline.open());
  const ModelFiles& baseline_files = other_files ? *other_files : files;
  const int64_t room =
      std::min(model.max_positions(config),
               model.allow_long ? model.max_positions(config) : baseline.max_positions(baseline_files.config()));
  if (context == 0) context = std::min<int64_t>(512, room);
  if (context > room)
    fail_usage("eval", "--context " + std::to_string(context) + " is more than the " + std::to_string(room) +
                           " positions of the model (max_position_embeddings); give less, or --allow-long");
  PerplexityOptions options;
  options.windows.protocol = sliding ? EvalProtocol::kSliding : EvalProtocol::kLlamaCpp;
  options.windows.context = context;
  options.windows.stride = stride > 0 ? stride : context / 2;
  options.bos_id = tokenizer->wants_bos() ? tokenizer->bos_id() : -1;
  options.max_tokens = tokens;
  for (int32_t id = 0; id < config.vocab_size; ++id)
    options.token_bytes.push_back(id < tokenizer->vocab_size() && !tokenizer->is_special(id)
                                      ? static_cast<int64_t>(tokenizer->token_bytes(id).size())
                                      : 0);
  const auto read = [&](const Tokenizer& t) { return text.empty() ? read_eval_jsonl(jsonl, t) : read_eval_text(text, t); };
  const TokenDataset ids = read(*tokenizer);
  if (!same) {
    const auto other = baseline_files.tokenizer();
    if (!other) fail_usage("eval", "'" + printable(baseline.directory) + "' has no tokenizer; text cannot be encoded");
    const TokenDataset other_ids = read(*other);
    if (!std::equal(ids.all_ids().begin(), ids.all_ids().end(), other_ids.all_ids().begin(), other_ids.all_ids().end()))
      fail_usage("eval",
                 "the baseline's tokenizer gives other ids for this text; only models of one tokenizer can be compared");
  }
  plan_windows(ids, options.windows);  // refuses what is too short

  Decoder decoder = load_model(files, model.numerics(config), /*training=*/false, nullptr, model.packed_cache);
  std::optional<Decoder> other;
  if (compare) other.emplace(load_model(baseline_files, baseline.numerics(baseline_files.config()), /*training=*/false));
  install_stop_handler("\nstopping after this window; again to stop at once\n");
  std::optional<Progress> progress;
  const double start = now_seconds();
  const Perplexity r = measure_perplexity(
      decoder, other ? &*other : nullptr, ids, options,
      [&](int64_t done, int64_t total, double nll) {
        if (!progress) progress.emplace("perplexity", total, "tokens");
        char extra[48];
        std::snprintf(extra, sizeof extra, "perplexity %.4f", std::exp(nll));
        progress->update(done, extra);
      },
      [] { return stop_requested(); });
  if (progress) progress->finish();
  const double seconds = now_seconds() - start;
  const std::string identity = decoder.numerics().identity(), other_identity = other ? other->numerics().identity() : "";

  if (json) {
    Json j = {{"model", model.directory},
              {"text", text.empty() ? jsonl : text},
              {"numerics", identity},
              {"protocol", protocol},
              {"context", context},
              {"stride", sliding ? Json(options.windows.stride) : Json(nullptr)},
              {"bos", options.bos_id >= 0},
              {"documents", r.documents},
              {"windows", r.windows},
              {"tokens", r.tokens},
              {"bytes", r.bytes},
              {"interval_blocks", r.blocks},
              {"complete", r.complete},
              {"nats_per_token", to_json(r.nll)},
              {"perplexity", to_json(exp_of(r.nll))},
              {"bits_per_byte", r.bytes > 0 ? Json(bits_per_byte(r)) : Json(nullptr)},
              {"seconds", seconds}};
    if (r.comparison) {
      const Comparison& c = *r.comparison;
      j["baseline"] = {{"model", baseline.directory},
                       {"numerics", other_identity},
                       {"nats_per_token", to_json(c.baseline_nll)},
                       {"perplexity", to_json(exp_of(c.baseline_nll))},
                       {"perplexity_ratio", to_json(exp_of(c.log_ratio))},
                       {"kl", to_json(c.kl)},
                       {"max_kl", std::isfinite(c.max_kl) ? Json(c.max_kl) : Json(nullptr)},
                       {"same_top", to_json(c.same_top)}};
    }
    std::printf("%s\n", j.dump().c_str());
  } else {
    std::printf("%s tokens of %s windows of %s (%s%s), %s; %s\n", with_commas(r.tokens).c_str(), with_commas(r.windows).c_str(),
                with_commas(context).c_str(), protocol.c_str(),
                sliding ? (", stride " + with_commas(options.windows.stride)).c_str() : "",
                options.bos_id >= 0 ? "bos in front" : "no bos", identity.c_str());
    if (!r.complete) std::printf("stopped early: these figures are of the tokens up to there\n");
    print_estimate("nats per token", r.nll, 1, 5);
    print_estimate("perplexity", exp_of(r.nll), 1, 4);
    if (r.bytes > 0) std::printf("%-28s %12.5f\n", "bits per byte", bits_per_byte(r));
    if (r.comparison) {
      const Comparison& c = *r.comparison;
      std::printf("\nbeside %s, %s\n", baseline.directory.c_str(), other_identity.c_str());
      print_estimate("its perplexity", exp_of(c.baseline_nll), 1, 4);
      print_estimate("perplexity ratio", exp_of(c.log_ratio), 1, 5);
      print_estimate("mean KL(baseline || model)", c.kl, 1, 6);
      std::printf("%-28s %12.6f\n", "largest KL", c.max_kl);
      print_estimate("same first choice, %", c.same_top, 100, 2);
    }
  }
  flush_stdout();
  return r.complete ? 0 : 1;
}

}  // namespace

int command_eval(int argc, char** argv) {
  CommandLine command("How well a model predicts text, alone and beside a baseline", "fathom eval");
  command.require_subcommand();
  PerplexityCommand perplexity;
  perplexity.add(command);
  if (const auto code = command.parse(argc, argv)) return *code;
  return perplexity.run();
}

}  // namespace fathom
