// Checkpoints of a run: DIR/step-00000100/ is a Hugging Face directory with the trainer's state beside it:
//
//   config.json model.safetensors tokenizer.json …   written by the caller
//   trainer/state.safetensors                        named tensors (masters, moments)
//   trainer/state.json                               named scalars (cursors, counters, identities)
//   trainer/manifest.json                            size and CRC-32 of every file, of itself too
//
// A checkpoint appears whole or not at all, whenever the process dies; one that was damaged later is noticed on loading.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace fathom {

// Scalars come back bit for bit.
struct StateScalars {
  std::map<std::string, int64_t> integers;
  std::map<std::string, double> reals;
  std::map<std::string, std::string> texts;
  // Error (failed) that names the scalar where it is absent.
  int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;
  const std::string& text(const std::string& name) const;
};

// Writes DIR/step-N (replacing one of the same step in one instant), then removes all but the last `keep_last` checkpoints
// (0: keeps all) and what killed processes left. `fill` writes the model's files into the folder that it gets. Returns the
// path.
std::string save_checkpoint(const std::string& directory, int64_t step, const std::vector<SafetensorsItem>& tensors,
                            const StateScalars& scalars, const std::function<void(const std::string& folder)>& fill,
                            int keep_last);

struct LoadedCheckpoint {
  std::string path;
  int64_t step = 0;
  StateScalars scalars;
  SafetensorsFile tensors;
  Tensor tensor(const std::string& name) const;  // Error (failed) that names it where it is absent
};
// Checks every size and CRC first; a damaged one is an Error that names the file.
LoadedCheckpoint load_checkpoint(const std::string& path);
// The last whole checkpoint of DIR; damaged ones are skipped with a warning. None: nullopt.
std::optional<LoadedCheckpoint> latest_checkpoint(const std::string& directory);
// Steps of the checkpoints that stand in DIR, ascending, unchecked.
std::vector<int64_t> checkpoint_steps(const std::string& directory);
std::string checkpoint_path(const std::string& directory, int64_t step);

}  // namespace fathom
