#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/train_state.h"

namespace fathom {

struct RunFolder::Impl {
  explicit Impl(RunStore s) : store(std::move(s)) {}
  ~Impl() {
    if (lock >= 0) close(lock);
  }
  RunStore store;
  int lock = -1;
};

RunFolder::RunFolder(RunFolder&&) noexcept = default;
RunFolder::~RunFolder() = default;
RunStore& RunFolder::store() { return impl_->store; }

namespace {

// First line in which two recipes differ, as "there: …, now: …".
std::string first_difference(const std::string& before, const std::string& now) {
  size_t a = 0, b = 0;
  while (a < before.size() || b < now.size()) {
    const size_t a_end = std::min(before.find('\n', a), before.size()), b_end = std::min(now.find('\n', b), now.size());
    const std::string left = before.substr(a, a_end - a), right = now.substr(b, b_end - b);
    if (left != right) return "there '" + left + "', now '" + right + "'";
    a = std::min(a_end + 1, before.size()), b = std::min(b_end + 1, now.size());
  }
  return "";
}

}  // namespace

RunFolder RunFolder::open(const std::string& path, Resume resume, const std::string& recipe_yaml) {
  make_directories(path + "/checkpoints");
  const int lock = ::open((path + "/lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
  if (lock < 0)
    fail("train", path + " cannot be written: " + std::strerror(errno) + "; give a folder that this user may write");
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    fail("train", path + " is being written by another process; wait for it, or give another folder");
  }
  RunFolder folder;
  folder.path_ = path;
  folder.impl_ = std::make_unique<Impl>(RunStore::open(path + "/run.db"));
  folder.impl_->lock = lock;
  // A folder where no step was done (its data was missing, say) holds no run yet.
  const std::string recipe_file = path + "/recipe.yaml";
  const bool begun = file_exists(recipe_file) &&
                     (!checkpoint_steps(path + "/checkpoints").empty() || !folder.impl_->store.metric_names().empty());
  if (begun && resume == Resume::kNever)
    fail_usage("train", path + " holds a run already; continue it with --resume auto, or give another folder (--set run=…)");
  const std::string before = begun ? read_file(recipe_file) : "";
  if (begun && before != recipe_yaml)
    fail_usage("train", "the recipe differs from the one that " + path +
                            " began with: " + first_difference(before, recipe_yaml) +
                            "; a run continues with its own recipe, another recipe needs another folder");
  if (!begun) {
    if (is_directory(folder.tokenizer_directory())) remove_tree(folder.tokenizer_directory());  // of other data, perhaps
    write_file_atomic(recipe_file, recipe_yaml);
  }
  folder.impl_->store.set_info("recipe", recipe_yaml);
  log_to_file(path + "/log.txt");
  remove_stale_temporaries(path);
  remove_stale_temporaries(path + "/checkpoints");
  return folder;
}

int64_t RunFolder::restore(RunState& state) {
  const std::optional<LoadedCheckpoint> found = latest_checkpoint(path_ + "/checkpoints");
  const int64_t step = found ? found->step : 0;
  impl_->store.truncate_after(found ? step : -1);
  if (!found) {
    impl_->store.set_info("numerics", state.numerics);
    return 0;
  }
  const std::string& numerics = found->scalars.text("numerics");
  if (numerics != state.numerics) {
    const std::string what = "the checkpoint " + found->path + " was computed with " + numerics +
                             " and this process computes with " + state.numerics;
    if (!state.allow_rung_change)
      fail_usage(
          "train",
          what + ": other bits would come out; continue on the same kind of machine (FATHOM_ISA), or give --allow-rung-change");
    log_warning(what + "; the curve is not the one of an uninterrupted run");
    impl_->store.add_event(step, "rung_change", numerics + " -> " + state.numerics);
    impl_->store.set_info("numerics", state.numerics);
  }
  for (auto& [name, tensor] : state.tensors) {
    const Tensor stored = found->tensor(name);
    if (stored.dtype() != tensor.dtype() || stored.shape() != tensor.shape())
      fail("train", "tensor " + name + " of " + found->path + " is " + std::string(dtype_name(stored.dtype())) + " " +
                        stored.shape().str() + " and the recipe's model needs " + std::string(dtype_name(tensor.dtype())) +
                        " " + tensor.shape().str());
    tensor.copy_from(stored);
  }
  if (state.load_scalars) state.load_scalars(found->scalars);
  return step;
}

void RunFolder::save(int64_t step, const RunState& state, int64_t keep) {
  std::vector<SafetensorsItem> items;
  for (const auto& [name, tensor] : state.tensors) items.push_back({name, tensor, tensor.dtype()});
  StateScalars scalars;
  scalars.texts["numerics"] = state.numerics;
  if (state.save_scalars) state.save_scalars(scalars);
  impl_->store.sync();  // the step's rows are on the disk before its checkpoint is
  save_checkpoint(path_ + "/checkpoints", step, items, scalars, state.write_model, static_cast<int>(keep));
}

std::string RunFolder::result() const {
  const std::map<std::string, std::string> info = impl_->store.info();
  const auto found = info.find("result");
  return found == info.end() ? "" : found->second;
}
void RunFolder::set_result(const std::string& json) { impl_->store.set_info("result", json); }

}  // namespace fathom
