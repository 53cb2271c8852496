#include "train/model_build.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "checkpoint/hf_directory.h"
#include "train/train_data.h"

namespace fathom {

std::string find_tokenizer(const TrainRecipe& recipe, const std::string& own) {
  if (!recipe.tokenizer.path.empty()) return recipe.tokenizer.path;
  if (!recipe.model.path.empty() && file_exists(recipe.model.path + "/tokenizer.json")) return recipe.model.path;
  if (file_exists(own + "/tokenizer.json")) return own;
  const TokenizerTraining training = recipe.tokenizer.training(recipe.model.shape.max_position_embeddings);
  log_info("trains a tokenizer of " + std::to_string(training.vocab_size) + " tokens on the training data");
  const std::vector<std::string> texts = tokenizer_texts(recipe.data);
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  write_directory_atomic(own, [&](const std::string& temporary) { train_tokenizer(views, training, temporary); });
  return own;
}

Decoder build_model(const TrainRecipe& recipe, const Tokenizer& tokenizer) {
  if (!recipe.model.path.empty()) {
    Decoder model = load_model(recipe.model.path, recipe.compute.numerics(), /*training=*/true);
    model.allocate_grads();
    return model;
  }
  ModelConfig config = recipe.model.config.empty() ? recipe.model.shape : ModelConfig::from_file(recipe.model.config);
  if (config.vocab_size == 0) config.vocab_size = tokenizer.vocab_size();
  if (config.num_key_value_heads == 0) config.num_key_value_heads = config.num_attention_heads;
  if (config.head_dim == 0 && !config.is_mla() && config.num_attention_heads > 0)
    config.head_dim = config.hidden_size / config.num_attention_heads;
  if (config.bos_token_id < 0) config.bos_token_id = tokenizer.bos_id();
  if (config.eos_token_ids.empty() && tokenizer.eos_id() >= 0) config.eos_token_ids = {tokenizer.eos_id()};
  config.torch_dtype = recipe.checkpoints.model_dtype == "bf16" ? "bfloat16" : "float32";
  config.validate("recipe: model");
  if (tokenizer.vocab_size() > config.vocab_size)
    fail_usage("train", "the tokenizer has ids up to " + std::to_string(tokenizer.vocab_size() - 1) +
                            " and the model a vocab_size of " + std::to_string(config.vocab_size) +
                            "; raise vocab_size or leave it out");
  Decoder model(config, recipe.compute.numerics());
  model.allocate(DType::kF32);
  model.init_weights(static_cast<uint64_t>(recipe.seed),
                     recipe.model.init_std > 0 ? recipe.model.init_std : config.initializer_range);
  model.allocate_grads();
  return model;
}

}  // namespace fathom
