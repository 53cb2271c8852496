#include "infer/engine.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "infer/draft_depth.h"
#include "infer/draw_drafts.h"
#include "infer/model_drafter.h"
#include "infer/mtp_drafter.h"
#include "infer/ngram_drafter.h"
#include "infer/scheduler.h"
#include "infer/step_trace.h"
#include "nn/profile.h"

namespace fathom {
namespace {

constexpr int64_t kLogitsBytes = int64_t{64} << 20;  // of one chunk of sampled rows: a vocabulary of 129,280 fits 129 rows

// The MTP module's keys and values stand behind the model's.
int cache_layers(const Decoder& model, const EngineConfig& config) {
  return model.num_cache_layers() + (config.speculation.kind == SpeculationConfig::Kind::kMtp);
}

int64_t cache_blocks(const Decoder& model, const EngineConfig& config) {
  if (config.cache_blocks > 0) return config.cache_blocks;
  const int64_t block_bytes = cache_layers(model, config) * kKeyBlock * model.cache_row_bytes();
  return std::max<int64_t>(1, config.cache_bytes / std::max<int64_t>(1, block_bytes));
}

// Adds the time between two of its calls to that counter which the later one names.
class StepClock {
 public:
  void add_to(double& seconds) {
    const double now = now_seconds();
    seconds += now - last_;
    last_ = now;
  }

 private:
  double last_ = now_seconds();
};

constexpr int64_t kAutomaticDraft = 8;  // guesses at most where the number is not given

std::unique_ptr<Drafter> make_drafter(Decoder& model, const SpeculationConfig& config, KvCache& cache, int64_t num_valid) {
  if (config.draft_tokens < 0 || config.draft_tokens > kMaxDraft)
    fail_usage("infer", std::to_string(config.draft_tokens) + " draft tokens; from 1 to " + std::to_string(kMaxDraft) +
                            " can be, or 0: as many as pay");
  std::unique_ptr<Drafter> drafter;
  switch (config.kind) {
    case SpeculationConfig::Kind::kOff:
      break;
    case SpeculationConfig::Kind::kNgram:
      drafter = std::make_unique<NgramDrafter>();
      break;
    case SpeculationConfig::Kind::kMtp:
      drafter = std::make_unique<MtpDrafter>(model, cache, num_valid);
      break;
    case SpeculationConfig::Kind::kModel:
      CHECK(config.draft_model);
      drafter = std::make_unique<ModelDrafter>(*config.draft_model, cache.num_blocks(), num_valid);
      break;
  }
  return config.wrap ? config.wrap(std::move(drafter)) : std::move(drafter);
}

}  // namespace

struct Engine::Impl {
  Impl(Decoder& decoder, const EngineConfig& c)
      : model(decoder),
        config(c),
        num_valid(c.num_valid > 0 ? std::min(c.num_valid, decoder.config().vocab_size) : decoder.config().vocab_size),
        cache(cache_layers(decoder, c), decoder.cache_row_bytes(), cache_blocks(decoder, c)),
        blocks(cache.num_blocks(), c.prefix_sharing),
        scheduler(blocks, c.max_rows, c.max_sequences, c.step_seconds),
        drafter(make_drafter(decoder, c.speculation, cache, num_valid)),
        depth(c.speculation.draft_tokens > 0 ? c.speculation.draft_tokens : kAutomaticDraft, c.speculation.draft_tokens == 0) {
    view.cache = &cache;
    if (!c.prefix_store.directory.empty() && c.prefix_sharing)
      store = std::make_unique<PrefixStore>(c.prefix_store, cache.num_layers() * layer_bytes());
  }

  // A row of logits and the sequence whose next token but `ahead` it draws.
  struct Draw {
    Sequence* sequence;
    int64_t ahead, row;
  };

  void step();
  void choose_depths();
  void draft(StepPlan& plan);
  Tensor forward(const StepPlan& plan);
  void sample(const StepPlan& plan, const Tensor& hidden, StepClock& clock);
  void accept(StepPlan& plan);
  void observe(const StepPlan& plan, const Tensor& hidden);
  void publish(Sequence* sequence, size_t draw);
  int64_t layer_bytes() const { return kKeyBlock * cache.row_bytes(); }  // of a block
  void load_prefix(std::span<const int32_t> prompt);
  void save_prefix(const Sequence& sequence);
  void finish(Sequence* sequence, FinishReason reason) {
    if (store) save_prefix(*sequence);
    if (drafter) drafter->forget(*sequence);
    scheduler.remove(sequence);
    sequence->completion.reason = reason;
  }
  double now() const { return config.clock ? config.clock() : now_seconds(); }

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
  std::vector<int64_t> first_row;  // of the batch, by StepPlan::rows
  std::vector<Draw> draws;         // in the order of StepPlan::samples
  std::vector<SampledToken> sampled;
  std::vector<std::vector<TokenLogp>> top_logprobs;  // as sampled; empty where not asked for
  std::vector<int64_t> num_new;  // by StepPlan::samples: tokens that count, guesses that came true and the one behind them

  std::unique_ptr<PrefixStore> store;  // null: none
  std::unique_ptr<Drafter> drafter;    // null: no speculation
  DraftDepth depth;
  std::vector<Sequence*> decodes;
};

Engine::Engine(Decoder& model, const EngineConfig& config) : impl_(std::make_unique<Impl>(model, config)) {}
Engine::~Engine() = default;

uint64_t Engine::submit(Request request, TokenCallback on_token) {
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  check_request(request, impl_->model.config().vocab_size);
  // The last token is never computed, so its position needs no place.
  const int64_t positions = prompt + request.max_tokens - 1, room = impl_->blocks.num_blocks() * kKeyBlock;
  if (positions > room)
    fail_usage("infer", "a prompt of " + std::to_string(prompt) + " and " + std::to_string(request.max_tokens) +
                            " new tokens do not fit the cache of " + std::to_string(room) +
                            " positions; lower max_tokens or enlarge the cache");
  const int64_t context =
      impl_->config.max_positions > 0 ? impl_->config.max_positions : impl_->model.config().max_position_embeddings;
  if (prompt + request.max_tokens > context)
    fail_usage("infer", "a prompt of " + std::to_string(prompt) + " and " + std::to_string(request.max_tokens) +
                            " new tokens are more than the " + std::to_string(context) +
                            " positions of the model (max_position_embeddings); shorten the prompt or lower max_tokens");
  auto sequence = std::make_unique<Sequence>();
  sequence->id = impl_->next_id++;
  if (request.deadline_seconds > 0) sequence->deadline = impl_->now() + request.deadline_seconds;
  sequence->tokens = request.prompt;
  sequence->request = std::move(request);
  sequence->on_token = std::move(on_token);
  if (impl_->store) impl_->load_prefix(sequence->request.prompt);
  impl_->scheduler.add(sequence.get());
  const uint64_t id = sequence->id;
  impl_->sequences.emplace(id, std::move(sequence));
  return id;
}

void Engine::cancel(uint64_t id) {
  const auto it = impl_->sequences.find(id);
  if (it == impl_->sequences.end() || it->second->state == Sequence::State::kFinished) return;
  if (impl_->in_step) {
    it->second->cancelled = true;
    impl_->cancelled_in_step.push_back(id);
  } else {
    impl_->finish(it->second.get(), FinishReason::kCancelled);
  }
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
    impl_->step();
  } catch (...) {  // tables may point at blocks that were never filled: compute everything again, should the caller go on
    impl_->in_step = false;
    for (const auto& [id, sequence] : impl_->sequences)  // what was not published is drawn again
      sequence->tokens.resize(sequence->request.prompt.size() + sequence->completion.ids.size());
    reset_cache();
    throw;
  }
  impl_->in_step = false;
  for (const uint64_t id : impl_->cancelled_in_step) cancel(id);
  impl_->cancelled_in_step.clear();
  return true;
}

void Engine::Impl::step() {
  StepClock clock;
  const double start = now();
  if (drafter) choose_depths();
  StepPlan& plan = scheduler.plan(start);
  for (Sequence* sequence : plan.expired) finish(sequence, FinishReason::kDeadline);
  clock.add_to(stats.schedule_seconds);
  if (plan.rows.empty()) return;
  for (const BlockCopy& copy : plan.copies) cache.copy_block(copy.from, copy.to);
  clock.add_to(stats.forward_seconds);
  if (plan.draft_rows > 0) {
    draft(plan);
    clock.add_to(stats.draft_seconds);
  }
  if (config.trace) config.trace->begin(plan, start);
  const double begin = now();
  const Tensor hidden = forward(plan);
  clock.add_to(stats.forward_seconds);
  if (!plan.samples.empty()) sample(plan, hidden, clock);
  if (drafter && plan.prefill_rows == 0) depth.record_step(batch.num_rows(), now() - begin);
  accept(plan);
  scheduler.commit();
  clock.add_to(stats.schedule_seconds);
  if (drafter) {
    observe(plan, hidden);
    clock.add_to(stats.draft_seconds);
  }
  scheduler.record_step(batch.num_rows() - plan.prefill_rows, plan.prefill_rows, now() - start);
  ++stats.steps;
  stats.prefill_rows += plan.prefill_rows;
  stats.decode_rows += plan.decode_rows;
  stats.draft_rows += batch.num_rows() - plan.prefill_rows - plan.decode_rows;
  stats.prefix_hit_rows += plan.prefix_hit_rows;
  stats.preemptions += static_cast<int64_t>(plan.preempted.size());
  stats.peak_blocks = std::max(stats.peak_blocks, blocks.num_used());
  size_t next = 0;
  for (size_t i = 0; i < plan.samples.size(); ++i) {
    Sequence* sequence = plan.samples[i].sequence;
    const int64_t num_draws = static_cast<int64_t>(sequence->draft.size()) + 1;
    sequence->draft.clear();
    for (int64_t j = 0; j < num_new[i] && !sequence->cancelled; ++j) publish(sequence, next + static_cast<size_t>(j));
    next += static_cast<size_t>(num_draws);
  }
  clock.add_to(stats.schedule_seconds);
  if (config.trace) config.trace->end(now());
}

// Blocks of the prompt that the tree lacks, as cached ones that nobody holds. The last token is computed in any case.
void Engine::Impl::load_prefix(std::span<const int32_t> prompt) {
  const std::span<const int32_t> tokens = prompt.first((prompt.size() - 1) / kKeyBlock * kKeyBlock);
  BlockTable table;
  std::vector<BlockCopy> copies;
  BlockManager::Match match = blocks.find(table, tokens, static_cast<int64_t>(tokens.size()));
  match.partial = -1;  // whole blocks only: nothing is copied
  blocks.adopt(table, match, copies);
  store->load(tokens, table.num_shared, [&](int64_t block, const std::byte* data) {
    const int64_t computed = (block + 1) * kKeyBlock;
    if (blocks.reserve(table, block * kKeyBlock, computed, copies) < computed) return false;
    for (int l = 0; l < cache.num_layers(); ++l)
      std::memcpy(cache.block(l, table.blocks.back()), data + l * layer_bytes(), static_cast<size_t>(layer_bytes()));
    blocks.commit(table, tokens, computed, /*tail=*/false);
    stats.stored_hit_rows += kKeyBlock;
    return true;
  });
  blocks.release(table);
}

void Engine::Impl::save_prefix(const Sequence& sequence) {
  const std::vector<int32_t>& prompt = sequence.request.prompt;
  const int64_t whole = std::min(static_cast<int64_t>(prompt.size()) / kKeyBlock, sequence.table.num_shared);
  store->save(std::span(prompt).first(static_cast<size_t>(whole * kKeyBlock)), [&](int64_t block, std::byte* data) {
    const int32_t id = sequence.table.blocks[static_cast<size_t>(block)];
    for (int l = 0; l < cache.num_layers(); ++l)
      std::memcpy(data + l * layer_bytes(), cache.block(l, id), static_cast<size_t>(layer_bytes()));
  });
}

void Engine::Impl::choose_depths() {
  decodes.clear();
  for (Sequence* sequence : scheduler.running())
    if (!sequence->prefilling) decodes.push_back(sequence);
  depth.choose(decodes);
}

// Fills the rows that the plan keeps for guesses; those that stay empty go.
void Engine::Impl::draft(StepPlan& plan) {
  ProfileScope scope("draft");
  std::vector<DraftJob> jobs;
  int64_t deepest = 0;
  for (const StepPlan::Rows& rows : plan.rows)
    if (rows.num_draft > 0) {
      jobs.push_back({rows.sequence, rows.num_draft});
      deepest = std::max(deepest, rows.num_draft);
    }
  const double begin = now();
  for (const DraftJob& job : jobs) job.sequence->draft.clear();
  drafter->draft(jobs);
  depth.record_draft(deepest, now() - begin);
  stats.draft_bytes += deepest * drafter->bytes_per_draft();
  for (StepPlan::Rows& rows : plan.rows) {
    if (rows.num_draft == 0) continue;
    const int64_t made = static_cast<int64_t>(rows.sequence->draft.size());
    CHECK(made <= rows.num_draft);
    rows.end -= rows.num_draft - made;
    rows.num_draft = made;
  }
}

Tensor Engine::Impl::forward(const StepPlan& plan) {
  batch.ids.clear();
  batch.positions.clear();
  batch.begins.assign(1, 0);
  view.blocks.clear();
  first_row.clear();
  for (const StepPlan::Rows& rows : plan.rows) {
    first_row.push_back(batch.num_rows());
    const int64_t known = rows.end - rows.num_draft;
    const std::span<const int32_t> tokens = rows.sequence->tokens;
    batch.add(tokens.subspan(static_cast<size_t>(rows.begin), static_cast<size_t>(known - rows.begin)),
              static_cast<int32_t>(rows.begin));
    for (int64_t i = 0; i < rows.num_draft; ++i) {
      batch.ids.push_back(rows.sequence->draft[static_cast<size_t>(i)]);
      batch.positions.push_back(static_cast<int32_t>(known + i));
    }
    batch.begins.back() = batch.num_rows();
    view.blocks.emplace_back(rows.sequence->table.blocks);
  }
  return model.forward(batch, &view);
}

// Logits of the sampled rows only, and one random number per request and position.
void Engine::Impl::sample(const StepPlan& plan, const Tensor& hidden, StepClock& clock) {
  std::vector<int32_t> rows;  // distinct: followers share their leader's
  std::unordered_map<int64_t, int64_t> index;
  draws.clear();
  for (const StepPlan::Sample& sample : plan.samples) {
    const StepPlan::Rows& computed = plan.rows[static_cast<size_t>(sample.rows_idx)];
    const int64_t last =
        first_row[static_cast<size_t>(sample.rows_idx)] + computed.end - computed.num_draft - 1 - computed.begin;
    for (int64_t ahead = 0; ahead <= computed.num_draft; ++ahead) {
      const auto [it, is_new] = index.emplace(last + ahead, static_cast<int64_t>(rows.size()));
      if (is_new) rows.push_back(static_cast<int32_t>(last + ahead));
      draws.push_back({sample.sequence, ahead, it->second});
    }
  }
  Tensor picked = hidden;
  const int64_t n = static_cast<int64_t>(rows.size());
  if (n < hidden.rows()) {
    picked = rows_of(hidden, rows);
  } else {
    for (int64_t i = 0; i < n; ++i) CHECK_EQ(rows[static_cast<size_t>(i)], i);
  }
  sampled.resize(draws.size());
  clock.add_to(stats.sample_seconds);
  top_logprobs.assign(draws.size(), {});
  const int64_t chunk = std::max<int64_t>(1, kLogitsBytes / (model.config().vocab_size * 4));
  for (int64_t begin = 0; begin < n; begin += chunk) {
    const int64_t end = std::min(n, begin + chunk);
    const Tensor logits = model.logits(picked.slice_rows(begin, end));
    clock.add_to(stats.forward_seconds);
    ProfileScope scope("sampling");
    parallel_for(static_cast<int64_t>(draws.size()), rows_per_piece(num_valid), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const auto& [sequence, ahead, row] = draws[static_cast<size_t>(i)];
        if (row < begin || row >= end) continue;
        const std::span<const float> values(logits.row<float>(row - begin), static_cast<size_t>(logits.dim(1)));
        const Request& request = sequence->request;
        std::vector<int32_t> room;
        sampled[static_cast<size_t>(i)] =
            sample_token(values, num_valid, request.sampling, sequence->uniform(sequence->num_generated() + ahead),
                         sequence->history(ahead, room));
        if (request.top_logprobs > 0)
          top_logprobs[static_cast<size_t>(i)] = top_log_probs(values, num_valid, request.top_logprobs);
      }
    });
    clock.add_to(stats.sample_seconds);
  }
}

// A row's token counts while all guesses before it were what the model drew: its row saw what the plain run would have seen.
void Engine::Impl::accept(StepPlan& plan) {
  num_new.clear();
  const SampledToken* token = sampled.data();
  for (const StepPlan::Sample& sample : plan.samples) {
    Sequence& sequence = *sample.sequence;
    const int64_t drafted = static_cast<int64_t>(sequence.draft.size());
    int64_t count = 0, accepted = 0;
    bool more = true;
    while (more) {
      const int32_t id = token[count].id;
      const bool right = count < drafted && id == sequence.draft[static_cast<size_t>(count)];
      sequence.tokens.push_back(id);
      ++count;
      accepted += right;
      more = right && !sequence.request.stops_at(id);
    }
    num_new.push_back(count);
    token += drafted + 1;
    if (drafted == 0) continue;
    plan.rows[static_cast<size_t>(sample.rows_idx)].end -= drafted - (count - 1);
    for (int64_t j = 0; j < std::min(drafted, accepted + 1); ++j) {
      if (j == accepted && accepted == count) break;  // a right guess ended the sequence: nothing judged the next one
      ++stats.drafted[static_cast<size_t>(j)];
      stats.accepted[static_cast<size_t>(j)] += j < accepted;
    }
    depth.record_acceptance(sequence, accepted == count ? accepted : drafted, accepted);
  }
}

void Engine::Impl::observe(const StepPlan& plan, const Tensor& hidden) {
  std::vector<ComputedRows> computed;
  for (size_t i = 0; i < plan.rows.size(); ++i) {
    const StepPlan::Rows& rows = plan.rows[i];
    computed.push_back({rows.sequence, rows.begin, rows.end, first_row[i], rows.prefill});
  }
  for (const StepPlan::Sample& sample : plan.samples) {
    if (sample.leader == sample.sequence) continue;
    const ComputedRows& leader = computed[static_cast<size_t>(sample.rows_idx)];
    computed.push_back({sample.sequence, leader.end - 1, leader.end, leader.row + leader.end - 1 - leader.begin, false});
  }
  drafter->observe(computed, hidden);
}

// The token is in `tokens` already.
void Engine::Impl::publish(Sequence* sequence, size_t draw) {
  const Request& request = sequence->request;
  const SampledToken token = sampled[draw];
  if (request.top_logprobs > 0) sequence->completion.top_logprobs.push_back(std::move(top_logprobs[draw]));
  sequence->completion.ids.push_back(token.id);
  sequence->completion.logps.push_back(token.logp);
  sequence->completion.sampling_logps.push_back(token.sampling_logp);
  if (request.stops_at(token.id))
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
  impl_->store.reset();
  impl_->scheduler.preempt_all();
  impl_->blocks.drop_cached();
}

const EngineStats& Engine::stats() const { return impl_->stats; }
int64_t Engine::num_blocks() const { return impl_->blocks.num_blocks(); }
int64_t Engine::num_used_blocks() const { return impl_->blocks.num_used(); }
int64_t Engine::num_requests() const { return static_cast<int64_t>(impl_->sequences.size()); }

}  // namespace fathom
