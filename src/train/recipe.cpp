#include "train/recipe.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "text/chat_template.h"

namespace fathom {

void ModelSection::fields(ConfigFields& f) {
  ModelConfig& c = shape;
  f.field("path", path, "Hugging Face directory whose weights training starts from");
  f.field("config", config, "config.json whose shape is taken, with new weights");
  f.field("init_std", init_std, "std of the new weights; 0: initializer_range", 0, 1);
  f.field("model_type", c.model_type, "family", {"", "deepseek_v3", "deepseek_v2", "qwen2", "qwen3", "llama"});
  f.field("vocab_size", c.vocab_size, "rows of the embedding; 0: the tokenizer's", 0, 1 << 24);
  f.field("hidden_size", c.hidden_size, "width of the residual stream", 0, 1 << 20);
  f.field("intermediate_size", c.intermediate_size, "width of the dense FFN", 0, 1 << 22);
  f.field("num_hidden_layers", c.num_hidden_layers, "blocks, without MTP modules", 0, 1 << 12);
  f.field("num_attention_heads", c.num_attention_heads, "query heads", 0, 1 << 12);
  f.field("num_key_value_heads", c.num_key_value_heads, "key and value heads; 0: as query heads", 0, 1 << 12);
  f.field("head_dim", c.head_dim, "width of a head (not MLA); 0: hidden_size / num_attention_heads", 0, 1 << 16);
  f.field("max_position_embeddings", c.max_position_embeddings, "longest sequence", 1, 1 << 30);
  f.field("rms_norm_eps", c.rms_norm_eps, "epsilon of RMSNorm", 0, 1);
  f.field("rope_theta", c.rope_theta, "base of the rotary angles", 1, 1e12);
  f.field("initializer_range", c.initializer_range, "std of the new weights, as written to config.json", 0, 1);
  f.field("tie_word_embeddings", c.tie_word_embeddings, "the head is the embedding");
  f.field("attention_bias", c.attention_bias, "biases of q, k, v");
  f.field("q_lora_rank", c.q_lora_rank, "MLA: rank of the query compression; 0: none", 0, 1 << 16);
  f.field("kv_lora_rank", c.kv_lora_rank, "MLA: rank of the key-value latent; 0: no MLA", 0, 1 << 16);
  f.field("qk_nope_head_dim", c.qk_nope_head_dim, "MLA: part of a head without position", 0, 1 << 16);
  f.field("qk_rope_head_dim", c.qk_rope_head_dim, "MLA: rotated part, shared by the heads", 0, 1 << 16);
  f.field("v_head_dim", c.v_head_dim, "MLA: width of a head's value", 0, 1 << 16);
  f.field("n_routed_experts", c.n_routed_experts, "experts; 0: dense", 0, 1 << 14);
  f.field("n_shared_experts", c.n_shared_experts, "experts every token goes through", 0, 1 << 10);
  f.field("num_experts_per_tok", c.num_experts_per_tok, "experts a token is routed to", 0, 1 << 10);
  f.field("moe_intermediate_size", c.moe_intermediate_size, "width of an expert", 0, 1 << 20);
  f.field("first_k_dense_replace", c.first_k_dense_replace, "first blocks with a dense FFN", 0, 1 << 12);
  f.field("moe_layer_freq", c.moe_layer_freq, "every n-th block has experts", 1, 1 << 12);
  f.field("n_group", c.n_group, "groups of experts", 1, 1 << 10);
  f.field("topk_group", c.topk_group, "groups kept for a token", 1, 1 << 10);
  f.field("topk_method", c.topk_method, "how experts are chosen", {"", "noaux_tc", "greedy", "group_limited_greedy"});
  f.field("scoring_func", c.scoring_func, "score of an expert", {"", "sigmoid", "softmax"});
  f.field("norm_topk_prob", c.norm_topk_prob, "weights of the chosen experts sum to one");
  f.field("routed_scaling_factor", c.routed_scaling_factor, "factor on the weights", 0, 1e6);
  f.field("num_nextn_predict_layers", c.num_nextn_predict_layers, "MTP modules", 0, 1);
}

void ComputeSection::fields(ConfigFields& f) {
  f.field("compute", compute, "type of GEMM and attention operands", {"f32", "bf16"});
  f.field("mla", mla, "formula of MLA: expanded keys and values (training), or the absorbed latent", {"expanded", "absorbed"});
}
Numerics ComputeSection::numerics() const {
  Numerics n;
  n.compute = compute == "bf16" ? Compute::kBF16 : Compute::kF32;
  n.mla = mla == "absorbed" ? MlaFormula::kAbsorbed : MlaFormula::kExpanded;
  return n;
}

void TokenizerSection::fields(ConfigFields& f) {
  f.field("path", path, "directory with tokenizer.json; empty: with model.path its own, else one is trained on the data");
  f.field("vocab_size", vocab_size, "size of the tokenizer that is trained: bytes, merges and special tokens", 256, 1 << 20);
  f.field("chat", chat, "the tokenizer that is trained gets DeepSeek-R1's control tokens and chat template");
  f.field("special_tokens", special_tokens, "special tokens of the tokenizer that is trained");
  f.field("bos_token", bos_token, "begin of text: one of special_tokens, or empty");
  f.field("eos_token", eos_token, "end of text: one of special_tokens, or empty");
  f.field("pad_token", pad_token, "padding: one of special_tokens, or empty");
  f.field("pattern", pattern, "regular expression that splits text before merging; empty: DeepSeek-V3's");
}
TokenizerTraining TokenizerSection::training(int64_t max_position) const {
  TokenizerTraining t;
  t.vocab_size = vocab_size;
  t.special_tokens = special_tokens;
  t.bos_token = bos_token, t.eos_token = eos_token, t.pad_token = pad_token;
  t.pattern = pattern;
  t.max_position = max_position;
  if (chat) {
    const std::vector<std::string>& control = deepseek_r1_control_tokens();
    t.special_tokens.insert(t.special_tokens.begin(), control.begin(), control.end());
    t.bos_token = control[0], t.eos_token = control[1], t.pad_token = control[2];
    t.chat_template = deepseek_r1_chat_template();
  }
  return t;
}

void DataSection::fields(ConfigFields& f) {
  f.field("train", train,
          "files or folders to train on: text, or JSONL of text, prompt and completion, or messages (.gz, .zst too)");
  f.field("validation", validation, "files to measure on");
  f.field("held_out", held_out, "share of the end of the training data that is kept for validation", 0, 0.9);
  f.field("packing", packing,
          "split: documents cut where a sequence is full; whole: only whole documents; across: one stream, attention crosses "
          "documents. Empty: pretrain across, sft whole",
          {"", "split", "whole", "across"});
  f.field("context", context, "positions in a packed sequence", 2, 1 << 24);
}

void ScheduleSection::fields(ConfigFields& f) {
  f.field("tokens", tokens, "length of the run in token positions", 0);
  f.field("sequences_per_step", sequences_per_step, "packed sequences of an optimizer step", 1, 1 << 24);
  f.field("micro_batch_sequences", micro_batch_sequences, "sequences of one forward and backward; 0: all of the step", 0,
          1 << 24);
  f.field("batch_ramp", batch_ramp, "[share of the run, sequences, …] instead of sequences_per_step");
  lr.fields(f);
  f.field("mtp_weight", mtp_weight, "lambda of the MTP loss by share of the run: [share, value, …]");
  f.field("bias_speed", bias_speed, "speed of the router bias (gamma) by share of the run: [share, value, …]");
  f.field("balance_alpha", balance_alpha, "weight of the sequence-wise balance loss", 0, 10);
}

void RunSection::fields(ConfigFields& f) {
  f.field("checkpoint_steps", checkpoint_steps, "write a checkpoint every so many steps; 0: by time alone", 0);
  f.field("checkpoint_seconds", checkpoint_seconds, "write a checkpoint every so many seconds; 0: by steps alone", 0, 1e9);
  f.field("keep_checkpoints", keep_checkpoints, "newest checkpoints that stay", 1, 1000);
  f.field("eval_steps", eval_steps, "measure the validation loss every so many steps; 0: at the end", 0);
  f.field("eval_tokens", eval_tokens, "validation tokens at most; 0: all", 0);
  f.field("model_dtype", model_dtype, "type of the weights in the final model directory", {"bf16", "f32"});
}

void TrainRecipe::fields(ConfigFields& f) {
  f.field("stage", stage, "what is trained", {"pretrain", "sft", "grpo"});
  f.field("run", run, "folder of the run: recipe, log, run.db, checkpoints, model");
  f.field("seed", seed, "seed of everything random", 0);
  f.section("model", model, "shape and start of the model");
  f.section("compute", compute, "numerics");
  f.section("tokenizer", tokenizer, "text to tokens");
  f.section("data", data, "what is read");
  f.section("optimizer", optimizer, "AdamW");
  f.section("schedule", schedule, "steps, batches, learning rate");
  f.section("checkpoints", checkpoints, "checkpoints and measurements");
}

std::string TrainRecipe::packing() const {
  if (!data.packing.empty()) return data.packing;
  return stage == "sft" ? "whole" : "across";
}

void TrainRecipe::validate() const {
  if (run.empty()) fail_usage("train", "run is empty; name the folder of this run, as runs/first");
  const int starts = (model.path.empty() ? 0 : 1) + (model.config.empty() ? 0 : 1) + (model.shape.hidden_size > 0 ? 1 : 0);
  if (starts != 1)
    fail_usage("train", starts == 0 ? "model is empty; give model.path, model.config or the model's fields"
                                    : "model has more than one of path, config and fields of its own; keep one");
  StepSchedule::validate("schedule.mtp_weight", schedule.mtp_weight);
  StepSchedule::validate("schedule.bias_speed", schedule.bias_speed);
  StepSchedule::validate("schedule.batch_ramp", schedule.batch_ramp);
  if (stage == "grpo") return;
  if (schedule.tokens <= 0) fail_usage("train", "schedule.tokens is not set; give the length of the run in tokens");
  schedule.lr.validate(schedule.tokens);
  if (data.train.empty()) fail_usage("train", "data.train is empty; name the files to train on");
}

std::vector<PlannedStep> plan_steps(const ScheduleSection& schedule, int64_t context) {
  std::vector<PlannedStep> plan;
  int64_t tokens = 0;
  while (tokens < schedule.tokens) {
    PlannedStep step;
    step.sequences = schedule.sequences_per_step;
    if (!schedule.batch_ramp.empty())
      step.sequences = std::max<int64_t>(1, std::llround(StepSchedule::at(schedule.batch_ramp, tokens, schedule.tokens)));
    // The last step takes what is left, at least one sequence.
    step.sequences = std::min(step.sequences, (schedule.tokens - tokens + context - 1) / context);
    step.tokens_before = tokens;
    step.tokens_after = tokens + step.sequences * context;
    plan.push_back(step);
    tokens = step.tokens_after;
  }
  return plan;
}

}  // namespace fathom
