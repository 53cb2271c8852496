#include "infer/engine.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/rng.h"
#include "base/thread_pool.h"
#include "infer/scheduler.h"
#include "nn/profile.h"

namespace fathom {
namespace {

constexpr int64_t kLogitsBytes = int64_t{64} << 20;  // of one chunk of sampled rows: a vocabulary of 129,280 fits 129 rows

int64_t cache_blocks(const Decoder& model, const EngineConfig& config) {
  if (config.cache_blocks > 0) return config.cache_blocks;
  const int64_t block_bytes = model.num_cache_layers() * kKeyBlock * model.cache_row_bytes();
  return std::max<int64_t>(1, config.cache_bytes / std::max<int64_t>(1, block_bytes));
}

}  // namespace

struct Engine::Impl {
  Impl(Decoder& decoder, const EngineConfig& c)
      : model(decoder),
        config(c),
        num_valid(c.num_valid > 0 ? std::min(c.num_valid, decoder.config().vocab_size) : decoder.config().vocab_size),
        cache(decoder.num_cache_layers(), decoder.cache_row_bytes(), cache_blocks(decoder, c)),
        blocks(cache.num_blocks(), c.prefix_sharing),
        scheduler(blocks, c.max_rows, c.max_sequences) {
    view.cache = &cache;
  }

  void run(const StepPlan& plan);
  void sample(const StepPlan& plan, const Tensor& hidden);
  void publish(Sequence* sequence, const SampledToken& token);
  void finish(Sequence* sequence, FinishReason reason) {
    scheduler.remove(sequence);
    sequence->completion.reason = reason;
  }

  Decoder& model;
  const EngineConfig config;
  const int64_t num_valid;
  KvCache cache;
  BlockManager blocks;
  Scheduler scheduler;
  std::unordered_map<uint64_t, std::unique_ptr<Sequence>> sequences;
  uint64_t next_id = 1;
  EngineStats stats;
  bool in_step = false;
  std::vector<uint64_t> cancelled_in_step;
  Batch batch;  // reused from step to step
  KvView view;
  std::vector<SampledToken> sampled;
};

Engine::Engine(Decoder& model, const EngineConfig& config) : impl_(std::make_unique<Impl>(model, config)) {}
Engine::~Engine() = default;

uint64_t Engine::submit(Request request, TokenCallback on_token) {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size()), vocab = impl_->model.config().vocab_size;
  if (prompt == 0) fail_usage("infer", "the prompt is empty; give at least one token");
  if (request.max_tokens < 1)
    fail_usage("infer", "max_tokens is " + std::to_string(request.max_tokens) + "; it must be at least 1");
  for (const int32_t id : request.prompt)
    if (id < 0 || id >= vocab)
      fail_usage("infer", "token id " + std::to_string(id) + " is outside of the vocabulary of " + std::to_string(vocab) +
                              "; was the text encoded for another model?");
  // The last token is never computed, so its position needs no place.
  const int64_t positions = prompt + request.max_tokens - 1, room = impl_->blocks.num_blocks() * kKeyBlock;
  if (positions > room)
    fail_usage("infer", "a prompt of " + std::to_string(prompt) + " and " + std::to_string(request.max_tokens) +
                            " new tokens do not fit the cache of " + std::to_string(room) +
                            " positions; lower max_tokens or enlarge the cache");
  auto sequence = std::make_unique<Sequence>();
  sequence->id = impl_->next_id++;
  sequence->tokens = request.prompt;
  sequence->request = std::move(request);
  sequence->on_token = std::move(on_token);
  impl_->scheduler.add(sequence.get());
  const uint64_t id = sequence->id;
  impl_->sequences.emplace(id, std::move(sequence));
  return id;
}

void Engine::cancel(uint64_t id) {
  const auto it = impl_->sequences.find(id);
  if (it == impl_->sequences.end() || it->second->state == Sequence::State::kFinished) return;
  if (impl_->in_step)
    impl_->cancelled_in_step.push_back(id);
  else
    impl_->finish(it->second.get(), FinishReason::kCancelled);
}

bool Engine::finished(uint64_t id) const {
  const auto it = impl_->sequences.find(id);
  CHECK(it != impl_->sequences.end());
  return it->second->state == Sequence::State::kFinished;
}

Completion Engine::take(uint64_t id) {
  const auto it = impl_->sequences.find(id);
  CHECK(it != impl_->sequences.end() && it->second->state == Sequence::State::kFinished);
  Completion completion = std::move(it->second->completion);
  impl_->sequences.erase(it);
  return completion;
}

bool Engine::step() {
  CHECK(!impl_->in_step);
  if (impl_->scheduler.idle()) return false;
  impl_->in_step = true;
  ProfileScope scope("step");
  try {
    impl_->run(impl_->scheduler.plan());
  } catch (...) {  // tables may point at blocks that were never filled: compute everything again, should the caller go on
    impl_->in_step = false;
    reset_cache();
    throw;
  }
  impl_->in_step = false;
  for (const uint64_t id : impl_->cancelled_in_step) cancel(id);
  impl_->cancelled_in_step.clear();
  return true;
}

void Engine::Impl::run(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) cache.copy_block(copy.from, copy.to);
  batch.ids.clear();
  batch.positions.clear();
  batch.begins.assign(1, 0);
  view.blocks.clear();
  for (const StepPlan::Rows& rows : plan.rows) {
    const std::span<const int32_t> tokens = rows.sequence->tokens;
    batch.add(tokens.subspan(static_cast<size_t>(rows.begin), static_cast<size_t>(rows.end - rows.begin)),
              static_cast<int32_t>(rows.begin));
    view.blocks.emplace_back(rows.sequence->table.blocks);
  }
  const Tensor hidden = model.forward(batch, &view);
  if (!plan.samples.empty()) sample(plan, hidden);
  scheduler.commit();
  ++stats.steps;
  stats.prefill_rows += plan.prefill_rows;
  stats.decode_rows += plan.decode_rows;
  stats.prefix_hit_rows += plan.prefix_hit_rows;
  stats.preemptions += plan.preemptions;
  stats.peak_blocks = std::max(stats.peak_blocks, blocks.num_used());
  for (size_t i = 0; i < plan.samples.size(); ++i) publish(plan.samples[i].sequence, sampled[i]);
}

// Logits of the sampled rows only, and one random number per request and position.
void Engine::Impl::sample(const StepPlan& plan, const Tensor& hidden) {
  std::vector<int64_t> rows;  // distinct: followers share their leader's
  std::unordered_map<int64_t, int64_t> index;
  std::vector<int64_t> logits_row(plan.samples.size());
  for (size_t i = 0; i < plan.samples.size(); ++i) {
    const auto [it, is_new] = index.emplace(plan.samples[i].row, static_cast<int64_t>(rows.size()));
    if (is_new) rows.push_back(plan.samples[i].row);
    logits_row[i] = it->second;
  }
  Tensor picked = hidden;
  const int64_t n = static_cast<int64_t>(rows.size());
  if (n < hidden.rows()) {
    picked = Tensor::empty({n, hidden.dim(1)}, hidden.dtype());
    const int64_t bytes = hidden.dim(1) * dtype_bytes(hidden.dtype()),
                  stride = hidden.row_stride() * dtype_bytes(hidden.dtype());
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(picked.raw() + i * bytes, hidden.raw() + rows[static_cast<size_t>(i)] * stride, static_cast<size_t>(bytes));
  } else {
    for (int64_t i = 0; i < n; ++i) CHECK_EQ(rows[static_cast<size_t>(i)], i);
  }
  sampled.resize(plan.samples.size());
  const int64_t chunk = std::max<int64_t>(1, kLogitsBytes / (model.config().vocab_size * 4));
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t end = std::min(n, begin + chunk);
    const Tensor logits = model.logits(picked.slice_rows(begin, end));
    ProfileScope scope("sampling");
    parallel_for(static_cast<int64_t>(plan.samples.size()), 8, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t row = logits_row[static_cast<size_t>(i)];
        if (row < begin || row >= end) continue;
        const Sequence& sequence = *plan.samples[static_cast<size_t>(i)].sequence;
        const Request& request = sequence.request;
        Rng rng(request.seed, RngStream::kSample, request.step, request.sequence,
                static_cast<uint64_t>(sequence.num_generated()));
        const std::span<const float> values(logits.row<float>(row - begin), static_cast<size_t>(logits.dim(1)));
        sampled[static_cast<size_t>(i)] = sample_token(values, num_valid, request.sampling, rng.next_float());
      }
    });
  }
}

void Engine::Impl::publish(Sequence* sequence, const SampledToken& token) {
  const Request& request = sequence->request;
  sequence->tokens.push_back(token.id);
  sequence->completion.ids.push_back(token.id);
  sequence->completion.logps.push_back(token.logp);
  sequence->completion.sampling_logps.push_back(token.sampling_logp);
  const bool stop = std::find(request.stop_ids.begin(), request.stop_ids.end(), token.id) != request.stop_ids.end();
  if (stop)
    finish(sequence, FinishReason::kStop);
  else if (sequence->num_generated() >= request.max_tokens)
    finish(sequence, FinishReason::kLength);
  if (sequence->on_token) sequence->on_token(token.id, token.logp);
}

std::vector<Completion> Engine::generate(std::vector<Request> requests,
                                         const std::function<void(int64_t, int64_t)>& on_progress,
                                         const std::function<bool()>& stop) {
  std::vector<uint64_t> ids;
  ids.reserve(requests.size());
  try {
    for (Request& request : requests) ids.push_back(submit(std::move(request)));
    const int64_t total = static_cast<int64_t>(ids.size());
    while (step()) {
      if (on_progress) on_progress(std::count_if(ids.begin(), ids.end(), [&](uint64_t id) { return finished(id); }), total);
      if (stop && stop()) break;
    }
  } catch (...) {  // all or nothing: none of them stays behind
    for (const uint64_t id : ids) {
      cancel(id);
      take(id);
    }
    throw;
  }
  std::vector<Completion> completions;
  completions.reserve(ids.size());
  for (const uint64_t id : ids) {
    cancel(id);  // only after an early stop
    completions.push_back(take(id));
  }
  return completions;
}

void Engine::reset_cache() {
  CHECK(!impl_->in_step);
  impl_->scheduler.preempt_all();
  impl_->blocks.drop_cached();
}

const EngineStats& Engine::stats() const { return impl_->stats; }
int64_t Engine::num_blocks() const { return impl_->blocks.num_blocks(); }

}  // namespace fathom
