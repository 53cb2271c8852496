#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/log_sum_exp.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace fathom {
namespace {

constexpr int64_t kLogitsBytes = int64_t{64} << 20;
constexpr int64_t kForwardRows = 1024;  // short windows share a forward of so many rows

// Sums of a stretch of counted tokens.
struct Block {
  int64_t document = 0;
  double tokens = 0, nll = 0, baseline_nll = 0, kl = 0, same_top = 0;
};

class Measurement {
 public:
  Measurement(Decoder& model, Decoder* baseline, const TokenDataset& text, const PerplexityOptions& options)
      : model_(model), baseline_(baseline), text_(text), options_(options), vocab_(model.config().vocab_size) {}

  void run(std::span<const EvalWindow> windows);  // in one forward
  int64_t tokens() const { return tokens_; }
  double mean_nll() const { return tokens_ > 0 ? nll_ / static_cast<double>(tokens_) : 0; }
  Perplexity result() const;

 private:
  void count(const EvalWindow& window, const Tensor& hidden, const Tensor* baseline_hidden);
  Block& block(int64_t document);

  Decoder& model_;
  Decoder* baseline_;
  const TokenDataset& text_;
  const PerplexityOptions& options_;
  const int64_t vocab_;
  std::vector<Block> blocks_;
  int64_t tokens_ = 0, windows_ = 0, bytes_ = 0;
  double nll_ = 0, max_kl_ = 0;
};

void Measurement::run(std::span<const EvalWindow> windows) {
  Batch batch;
  std::vector<int32_t> ids;
  for (const EvalWindow& w : windows) {
    const auto seen = text_.ids(w.document).subspan(static_cast<size_t>(w.begin), static_cast<size_t>(w.rows()));
    ids.assign(seen.begin(), seen.end());
    if (w.begin > 0 && options_.bos_id >= 0) ids[0] = options_.bos_id;
    batch.add(ids);
  }
  const Tensor hidden = model_.forward(batch, nullptr);
  const Tensor other = baseline_ ? baseline_->forward(batch, nullptr) : Tensor();
  for (size_t i = 0; i < windows.size(); ++i) {
    const EvalWindow& w = windows[i];
    const int64_t begin = batch.begins[i] + (w.first - 1 - w.begin), end = batch.begins[i + 1];
    const Tensor counted = hidden.slice_rows(begin, end);
    const Tensor baseline_counted = baseline_ ? other.slice_rows(begin, end) : Tensor();
    count(w, counted, baseline_ ? &baseline_counted : nullptr);
  }
}

Block& Measurement::block(int64_t document) {
  if (blocks_.empty() || blocks_.back().document != document || blocks_.back().tokens >= kBlockTokens)
    blocks_.push_back({document});
  return blocks_.back();
}

// hidden: the rows that predict ids [window.first, window.last].
void Measurement::count(const EvalWindow& window, const Tensor& hidden, const Tensor* baseline_hidden) {
  ++windows_;
  const auto ids = text_.ids(window.document);
  const int64_t document_begin = text_.first_token(window.document);
  const int64_t step = std::max<int64_t>(1, kLogitsBytes / (4 * vocab_));
  for (int64_t begin = 0; begin < hidden.rows(); begin += step) {
    const int64_t n = std::min(step, hidden.rows() - begin);
    const auto targets = ids.subspan(static_cast<size_t>(window.first + begin), static_cast<size_t>(n));
    const Tensor logits = model_.logits(hidden.slice_rows(begin, begin + n));
    Tensor logp = Tensor::empty({n}, DType::kF32), lse = Tensor::empty({n}, DType::kF32);
    token_log_probs(logits, targets, vocab_, logp, &lse);
    Tensor baseline_logp, kl;
    std::vector<uint8_t> same(static_cast<size_t>(n));
    if (baseline_hidden) {
      const Tensor p = baseline_->logits(baseline_hidden->slice_rows(begin, begin + n));
      Tensor baseline_lse = Tensor::empty({n}, DType::kF32);
      baseline_logp = Tensor::empty({n}, DType::kF32), kl = Tensor::empty({n}, DType::kF32);
      token_log_probs(p, targets, vocab_, baseline_logp, &baseline_lse);
      token_kl_divergence(p, baseline_lse, logits, lse, vocab_, kl);
      parallel_for(n, 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const float *x = logits.row<float>(i), *y = p.row<float>(i);
          const int64_t top = std::find(y, y + vocab_, row_max(y, vocab_)) - y;  // the lowest id on ties
          same[static_cast<size_t>(i)] = top == std::find(x, x + vocab_, row_max(x, vocab_)) - x;
        }
      });
    }
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = window.first + begin + i;
      if (!text_.is_trained(document_begin + at)) continue;
      const double nll = -static_cast<double>(logp.data<float>()[i]);
      if (!std::isfinite(nll))
        fail("eval", "the log-probability of token " + std::to_string(at) + " of document " +
                         std::to_string(window.document + 1) + " is not finite; the model's weights are broken");
      Block& b = block(window.document);
      b.tokens += 1;
      b.nll += nll;
      nll_ += nll;
      ++tokens_;
      if (!options_.token_bytes.empty()) bytes_ += options_.token_bytes[static_cast<size_t>(targets[static_cast<size_t>(i)])];
      if (!baseline_hidden) continue;
      const double divergence = kl.data<float>()[i];
      b.baseline_nll -= static_cast<double>(baseline_logp.data<float>()[i]);
      b.kl += divergence;
      b.same_top += same[static_cast<size_t>(i)];
      max_kl_ = std::max(max_kl_, divergence);
    }
  }
}

Perplexity Measurement::result() const {
  Perplexity r;
  r.windows = windows_, r.tokens = tokens_, r.bytes = bytes_;
  std::vector<Block> documents;
  for (const Block& b : blocks_) {
    if (documents.empty() || documents.back().document != b.document) documents.push_back({b.document});
    Block& d = documents.back();
    d.tokens += b.tokens, d.nll += b.nll, d.baseline_nll += b.baseline_nll, d.kl += b.kl, d.same_top += b.same_top;
  }
  r.documents = static_cast<int64_t>(documents.size());
  const std::vector<Block>& blocks = r.documents >= kMinBlocks ? documents : blocks_;
  r.blocks = static_cast<int64_t>(blocks.size());
  std::vector<double> counts, sums(blocks.size());
  for (const Block& b : blocks) counts.push_back(b.tokens);
  const auto estimate = [&](auto&& value) {
    std::transform(blocks.begin(), blocks.end(), sums.begin(), value);
    return block_mean(sums, counts);
  };
  r.nll = estimate([](const Block& b) { return b.nll; });
  if (baseline_)
    r.comparison =
        Comparison{estimate([](const Block& b) { return b.baseline_nll; }),
                   estimate([](const Block& b) { return b.nll - b.baseline_nll; }),
                   estimate([](const Block& b) { return b.kl; }), estimate([](const Block& b) { return b.same_top; }), max_kl_};
  return r;
}

void check(const Decoder& model, const Decoder* baseline, const TokenDataset& text, const PerplexityOptions& o) {
  const int64_t vocab = model.config().vocab_size;
  if (baseline && baseline->config().vocab_size != vocab)
    fail_usage("eval", "the baseline's vocabulary has " + std::to_string(baseline->config().vocab_size) +
                           " tokens, the model's " + std::to_string(vocab) + "; only models of one vocabulary can be compared");
  CHECK(o.token_bytes.empty() || static_cast<int64_t>(o.token_bytes.size()) == vocab);
  for (const int32_t id : text.all_ids())
    if (id < 0 || id >= vocab)
      fail_usage("eval", "the text has the token id " + std::to_string(id) + ", the model's end at " +
                             std::to_string(vocab - 1) + "; was it encoded for another model?");
}

}  // namespace

Perplexity measure_perplexity(Decoder& model, Decoder* baseline, const TokenDataset& text, const PerplexityOptions& options,
                              const std::function<void(int64_t, int64_t, double)>& on_progress,
                              const std::function<bool()>& stop) {
  check(model, baseline, text, options);
  const std::vector<EvalWindow> windows = plan_windows(text, options.windows);
  int64_t total = 0;
  for (const EvalWindow& w : windows)
    for (int64_t i = w.first; i <= w.last; ++i) total += text.is_trained(text.first_token(w.document) + i);
  if (total == 0)
    fail_usage("eval", "no token of the text counts: no assistant's turn has more than its first token in a window");
  if (options.max_tokens > 0) total = std::min(total, options.max_tokens);
  Measurement measurement(model, baseline, text, options);
  bool complete = true;
  for (size_t begin = 0; begin < windows.size() && measurement.tokens() < total;) {
    if (measurement.tokens() > 0 && stop && stop()) {
      complete = false;
      break;
    }
    size_t end = begin + 1;
    for (int64_t rows = windows[begin].rows(); end < windows.size(); ++end)
      if ((rows += windows[end].rows()) > kForwardRows) break;
    measurement.run(std::span(windows).subspan(begin, end - begin));
    begin = end;
    if (on_progress) on_progress(measurement.tokens(), std::max(total, measurement.tokens()), measurement.mean_nll());
  }
  Perplexity result = measurement.result();
  result.complete = complete;
  return result;
}

}  // namespace fathom
