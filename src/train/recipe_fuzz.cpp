// libFuzzer: any bytes are a training recipe or an Error; what was read is written as YAML that reads back to the same, and
// what may be trained has a plan of steps that covers its tokens.
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "train/recipe.h"

namespace {

fathom::TrainRecipe read(const std::string& yaml) {
  fathom::TrainRecipe recipe;
  fathom::read_config_text(yaml, "fuzz", {}, [&](fathom::ConfigFields& f) { recipe.fields(f); });
  return recipe;
}
std::string written(fathom::TrainRecipe& recipe) {
  return fathom::config_to_yaml([&](fathom::ConfigFields& f) { recipe.fields(f); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fathom::set_log_quiet(true);
  fathom::TrainRecipe recipe;
  try {
    recipe = read(std::string(reinterpret_cast<const char*>(data), size));
  } catch (const fathom::Error&) {
    return 0;
  }
  const std::string yaml = written(recipe);
  fathom::TrainRecipe again = read(yaml);
  if (written(again) != yaml) __builtin_trap();
  try {
    recipe.validate();
    if (recipe.schedule.tokens > (1 << 22)) return 0;  // a plan holds one entry a step
    const auto steps = fathom::plan_steps(recipe.schedule, recipe.data.context);
    if (!steps.empty() && steps.back().tokens_after < recipe.schedule.tokens) __builtin_trap();
  } catch (const fathom::Error&) {
  }
  return 0;
}
