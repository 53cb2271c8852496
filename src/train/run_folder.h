// The folder of one run, whatever its stage: recipe.yaml (resolved), log.txt, run.db, checkpoints/step-NNNNNNNN, model/.
// Opening decides between a new run, the continuation of an interrupted one, and one that is done.
//
// Order of writes: a step's metrics and samples are committed to run.db before the checkpoint of that step is written, and
// everything after the checkpoint's step is dropped on resume, so that a run that was killed leaves the same rows.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/train_state.h"
#include "runs/run_store.h"
#include "tensor/tensor.h"

namespace fathom {

// What a checkpoint holds: named tensors (all are restored in place), the model's files, and the identity of the numerics,
// which must be the same on resume.
struct RunState {
  std::vector<std::pair<std::string, Tensor>> tensors;
  std::function<void(const std::string& folder)> write_model;
  std::function<void(StateScalars&)> save_scalars;  // cursors and counters; may be null
  std::function<void(const StateScalars&)> load_scalars;
  std::string numerics;
  bool allow_rung_change = false;
};

class RunFolder {
 public:
  enum class Resume { kNever, kAuto };
  // kNever: a folder that already holds a run is an Error. A folder that another process writes is an Error.
  static RunFolder open(const std::string& path, Resume resume, const std::string& recipe_yaml);
  RunFolder(RunFolder&&) noexcept;
  ~RunFolder();

  const std::string& path() const { return path_; }
  std::string model_directory() const { return path_ + "/model"; }
  std::string tokenizer_directory() const { return path_ + "/tokenizer"; }
  RunStore& store();
  // Result of a finished run (the JSON that was printed), empty where it is not finished.
  std::string result() const;
  void set_result(const std::string& json);

  // Restores the newest checkpoint that is whole into `state`; drops later rows. Returns its step, 0 where there is none.
  int64_t restore(RunState& state);
  void save(int64_t step, const RunState& state, int64_t keep);

 private:
  RunFolder() = default;
  std::string path_;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
