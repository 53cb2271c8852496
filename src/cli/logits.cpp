// fathom logits: logits, loss and token log-probabilities of given ids or text.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/safetensors.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {
namespace {

constexpr int64_t kLogitsBytes = int64_t{64} << 20;  // of one chunk, where the whole is not written

struct Scores {
  std::vector<float> logp;    // logp[i]: of ids[i + ahead] after row i
  std::vector<int32_t> best;  // the likeliest token there
  double loss() const {
    double sum = 0;
    for (const float l : logp) sum -= l;
    return sum / static_cast<double>(logp.size());
  }
};

void score(const Tensor& logits, int64_t first, const std::vector<int32_t>& ids, int64_t ahead, Scores& scores) {
  const int64_t n = std::min<int64_t>(logits.rows(), static_cast<int64_t>(ids.size()) - ahead - first);
  if (n <= 0) return;
  Tensor logp = Tensor::empty({n}, DType::kF32);
  token_log_probs(logits.slice_rows(0, n), std::span(ids).subspan(static_cast<size_t>(first + ahead), static_cast<size_t>(n)),
                  logits.dim(1), logp);
  for (int64_t i = 0; i < n; ++i) {
    const float* row = logits.row<float>(i);
    scores.logp.push_back(logp.data<float>()[i]);
    scores.best.push_back(static_cast<int32_t>(std::max_element(row, row + logits.dim(1)) - row));
  }
}

Json to_json(const Scores& scores) {
  Json json;
  json["loss"] = scores.logp.empty() ? Json(nullptr) : Json(scores.loss());
  json["perplexity"] = scores.logp.empty() ? Json(nullptr) : Json(std::exp(scores.loss()));
  json["logprobs"] = scores.logp;
  json["best_ids"] = scores.best;
  return json;
}

void print_table(const std::vector<int32_t>& ids, const std::optional<Tokenizer>& tokenizer, const Scores& scores,
                 int64_t ahead) {
  std::printf("%8s %8s  %-24s %10s  %s\n", "position", "id", "token", "logprob", "the model's first choice");
  for (size_t i = 0; i < scores.logp.size(); ++i) {
    const int32_t id = ids[i + static_cast<size_t>(ahead)];
    std::printf("%8zu %8d  %-24s %10.5f  %d %s\n", i + static_cast<size_t>(ahead), id, token_text(tokenizer, id).c_str(),
                static_cast<double>(scores.logp[i]), scores.best[i], token_text(tokenizer, scores.best[i]).c_str());
  }
}

void print_loss(const char* name, const Scores& scores) {
  if (scores.logp.empty())
    std::printf("%s: none, too few tokens to predict one\n", name);
  else
    std::printf("%s: %.6f nats per token over %zu tokens (perplexity %.3f)\n", name, scores.loss(), scores.logp.size(),
                std::exp(scores.loss()));
}

}  // namespace

int command_logits(int argc, char** argv) {
  CommandLine command("Logits, loss and log-probabilities of every token of a prompt", "fathom logits");
  command.footer("Example: fathom logits DIR --prompt \"2+2=4\" --out logits.safetensors");
  ModelOptions options;
  PromptOptions prompt_options;
  std::string out;
  bool mtp = false, json = false;
  options.add(command);
  prompt_options.add(command, /*from_stdin=*/false);
  command.add_option("--out", out, "write tensor `logits`, f32 [tokens, vocabulary], to this safetensors file");
  command.add_flag("--mtp", mtp, "the multi-token-prediction head too: row i is about token i+2 (tensor `mtp_logits`)");
  command.add_flag("--json", json, "one JSON object on stdout");
  if (const auto code = command.parse(argc, argv)) return *code;

  const ModelFiles files = options.open();
  const ModelConfig& config = files.config();  // errors in the command line are found before the weights are read
  if (mtp && config.num_nextn_predict_layers == 0)
    fail_usage("logits", "the model has no MTP module (num_nextn_predict_layers is 0); leave --mtp out");
  const auto tokenizer = files.tokenizer();
  const std::vector<int32_t> ids = prompt_options.read(config, tokenizer, options.max_positions(config));
  const Numerics numerics = options.numerics(config);
  Decoder model = load_model(files, numerics, /*training=*/false, nullptr, options.packed_cache);

  Batch batch;
  batch.add(ids);
  const Tensor hidden = model.forward(batch, nullptr);
  const int64_t rows = hidden.rows(), vocab = config.vocab_size;
  std::vector<SafetensorsItem> items;
  Tensor all = out.empty() ? Tensor() : Tensor::empty({rows, vocab}, DType::kF32);
  Scores scores;
  const int64_t chunk = std::max<int64_t>(1, kLogitsBytes / (vocab * 4));
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk);
    const Tensor logits = model.logits(hidden.slice_rows(begin, end));
    score(logits, begin, ids, 1, scores);
    if (all.defined()) all.slice_rows(begin, end).copy_from(logits);
  }
  if (all.defined()) items.push_back({"logits", all, DType::kF32});
  Scores mtp_scores;
  if (mtp && rows > 1) {
    const Tensor logits = model.mtp_logits(batch, hidden).slice_rows(0, rows - 1);
    score(logits, 0, ids, 2, mtp_scores);
    if (!out.empty()) items.push_back({"mtp_logits", logits, DType::kF32});
  }
  if (!out.empty()) write_safetensors(out, items, {{"numerics", model.numerics().identity()}});

  if (json) {
    Json result = to_json(scores);
    result["token_ids"] = ids;
    if (mtp) result["mtp"] = to_json(mtp_scores);
    result["numerics"] = model.numerics().identity();
    if (!out.empty()) result["out"] = out;
    std::printf("%s\n", result.dump().c_str());
  } else {
    print_table(ids, tokenizer, scores, 1);
    print_loss("loss", scores);
    if (mtp) {
      std::printf("\nMTP head (each token from two before it)\n");
      print_table(ids, tokenizer, mtp_scores, 2);
      print_loss("MTP loss", mtp_scores);
    }
    if (!out.empty()) std::printf("wrote %s\n", out.c_str());
  }
  flush_stdout();
  return 0;
}

}  // namespace fathom
