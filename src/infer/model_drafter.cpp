#include "infer/model_drafter.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "infer/draw_drafts.h"

namespace fathom {
namespace {

constexpr int64_t kMaxRows = 512;   // of a forward over one sequence that is behind
constexpr int64_t kFewBehind = 16;  // rows that go together with the other sequences'

}  // namespace

ModelDrafter::ModelDrafter(Decoder& model, int64_t num_blocks, int64_t num_valid)
    : model_(model),
      cache_(model.num_cache_layers(), model.cache_row_bytes(), num_blocks),
      blocks_(num_blocks, /*sharing=*/false),
      num_valid_(num_valid) {
  if (model.config().vocab_size < num_valid)
    fail_usage("infer", "the draft model has a vocabulary of " + std::to_string(model.config().vocab_size) +
                            ", the model draws from " + std::to_string(num_valid) +
                            " tokens; take a draft model of the same family");
}

void ModelDrafter::forget(const Sequence& sequence) {
  const auto it = states_.find(sequence.id);
  if (it == states_.end()) return;
  blocks_.release(it->second.table);
  states_.erase(it);
}

// Places for [begin, end); takes them from sequences that are not in this call where there are none, the longest unused first.
bool ModelDrafter::make_room(State& state, int64_t begin, int64_t end) {
  std::vector<BlockCopy> copies;
  while (blocks_.reserve(state.table, begin, end, copies) < end) {
    State* victim = nullptr;
    for (auto& [id, other] : states_)
      if (other.last_use < clock_ && !other.table.blocks.empty() && (!victim || other.last_use < victim->last_use))
        victim = &other;
    if (!victim) return false;
    blocks_.release(victim->table);
    victim->cached.clear();
  }
  CHECK(copies.empty());  // nothing is shared
  return true;
}

// Computes all but the last few rows that the cache lacks.
void ModelDrafter::catch_up(State& state, const std::vector<int32_t>& tokens) {
  const int64_t last = static_cast<int64_t>(tokens.size()) - kFewBehind;
  while (static_cast<int64_t>(state.cached.size()) < last) {
    const int64_t begin = static_cast<int64_t>(state.cached.size()), end = std::min(last, begin + kMaxRows);
    Batch batch;
    batch.add(std::span(tokens).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
              static_cast<int32_t>(begin));
    KvView view;
    view.cache = &cache_;
    view.blocks.emplace_back(state.table.blocks);
    model_.forward(batch, &view);
    state.cached.assign(tokens.begin(), tokens.begin() + end);
  }
}

void ModelDrafter::draft(std::span<const DraftJob> jobs) {
  ++clock_;
  std::vector<DraftJob> active;
  std::vector<State*> states;
  for (const DraftJob& job : jobs) states_[job.sequence->id].last_use = clock_;
  for (const DraftJob& job : jobs) {
    State& state = states_[job.sequence->id];
    const std::vector<int32_t>& tokens = job.sequence->tokens;
    const auto [mine, theirs] = std::mismatch(state.cached.begin(), state.cached.end(), tokens.begin(), tokens.end() - 1);
    state.cached.erase(mine, state.cached.end());
    const int64_t have = static_cast<int64_t>(state.cached.size());
    if (!make_room(state, have, static_cast<int64_t>(tokens.size()) + job.count - 1)) continue;
    catch_up(state, tokens);
    active.push_back(job);
    states.push_back(&state);
  }
  std::vector<int32_t> last;
  for (int64_t n = 0; !active.empty(); ++n) {
    Batch batch;
    KvView view;
    view.cache = &cache_;
    last.clear();
    for (size_t i = 0; i < active.size(); ++i) {
      const Sequence& sequence = *active[i].sequence;
      std::vector<int32_t>& cached = states[i]->cached;
      const int64_t have = static_cast<int64_t>(cached.size());
      if (n == 0)
        cached.insert(cached.end(), sequence.tokens.begin() + have, sequence.tokens.end());
      else
        cached.push_back(sequence.draft.back());
      batch.add(std::span(cached).subspan(static_cast<size_t>(have)), static_cast<int32_t>(have));
      last.push_back(static_cast<int32_t>(batch.num_rows() - 1));
      view.blocks.emplace_back(states[i]->table.blocks);
    }
    draw_drafts(model_, rows_of(model_.forward(batch, &view), last), active, num_valid_);
    size_t kept = 0;
    for (size_t i = 0; i < active.size(); ++i) {
      if (active[i].count <= n + 1) continue;
      active[kept] = active[i];
      states[kept++] = states[i];
    }
    active.resize(kept);
    states.resize(kept);
  }
}

}  // namespace fathom
