// The tokenizer and the model that a recipe asks for.
#pragma once
#include <memory>
#include <string>

#include "model/decoder.h"
#include "text/tokenizer.h"
#include "train/recipe.h"

namespace fathom {

// The directory of the run's tokenizer: the recipe's, else the start model's, else one trained on data.train into `own`
// (kept there: a second call finds it).
std::string find_tokenizer(const TrainRecipe& recipe, const std::string& own);
// Training weights (F32, gradients allocated): loaded from model.path, or new ones.
Decoder build_model(const TrainRecipe& recipe, const Tokenizer& tokenizer);

}  // namespace fathom
