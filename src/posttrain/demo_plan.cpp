// What the demo trains, on what, and for how long.
#include "posttrain/demo.h"

namespace fathom {
namespace {

// MLA, 8 routed experts of which 2, one shared, one MTP module: about a million active parameters.
ModelConfig demo_model(bool quick) {
  ModelConfig c;
  c.model_type = "deepseek_v3";
  c.hidden_size = quick ? 64 : 128;
  c.intermediate_size = quick ? 128 : 320;
  c.num_hidden_layers = quick ? 3 : 4;
  c.num_attention_heads = 4;
  c.q_lora_rank = 0;
  c.kv_lora_rank = quick ? 32 : 48;
  c.qk_nope_head_dim = quick ? 16 : 32;
  c.qk_rope_head_dim = 16;
  c.v_head_dim = quick ? 16 : 32;
  c.n_routed_experts = 8;
  c.n_shared_experts = 1;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = quick ? 48 : 96;
  c.first_k_dense_replace = 1;
  c.topk_method = "noaux_tc";
  c.scoring_func = "sigmoid";
  c.routed_scaling_factor = 1;
  c.num_nextn_predict_layers = 1;
  c.max_position_embeddings = 256;
  c.initializer_range = 0.02;
  c.tie_word_embeddings = false;
  return c;
}

}  // namespace

DemoPlan make_demo_plan(const std::string& directory, bool quick) {
  DemoPlan plan;
  plan.quick = quick;
  plan.directory = directory;
  plan.num_traces = quick ? 16000 : 40000;
  plan.estimated_minutes = quick ? 1 : 8;

  plan.task.name = "arithmetic";
  plan.task.options = {quick ? "digits=2" : "digits=3", "terms=2", quick ? "ops=+" : "ops=+-"};
  plan.tokenizer.vocab_size = 320;
  plan.tokenizer.chat = true;
  plan.tokenizer.pattern = "\\p{N}|[^\\p{N}\\n]+|\\n+";  // digits stand alone: carrying is learnt by digit

  Recipe& sft = plan.sft;
  sft.stage = "sft";
  sft.run = directory + "/sft";
  sft.seed = 7;
  sft.model.shape = demo_model(quick);
  sft.tokenizer.path = directory + "/tokenizer";
  sft.data.train = {directory + "/data/train.jsonl"};
  sft.data.validation = {directory + "/data/validation.jsonl"};
  sft.data.context = 128;
  sft.optimizer.weight_decay = 0.05;
  sft.schedule.tokens = quick ? 500'000 : 640'000;
  sft.schedule.sequences_per_step = 8;
  sft.schedule.lr.schedule = "cosine";
  sft.schedule.lr.lr = 2e-3;
  sft.schedule.lr.min_lr = 2e-4;
  sft.schedule.lr.warmup_tokens = sft.schedule.tokens / 20;
  sft.schedule.mtp_weight = {0, 0.3, 0.67, 0.1};
  sft.schedule.bias_speed = {0, 0.001};
  sft.checkpoints.checkpoint_seconds = 20;
  sft.checkpoints.model_dtype = "f32";

  Recipe& grpo = plan.grpo;
  grpo.stage = "grpo";
  grpo.run = directory + "/grpo";
  grpo.seed = 7;
  grpo.model.path = sft.run + "/model";
  grpo.task = plan.task;
  grpo.rollout.steps = quick ? 24 : 120;
  grpo.rollout.prompts_per_step = quick ? 16 : 32;
  grpo.rollout.group_size = 8;
  grpo.rollout.max_tokens = 96;
  grpo.reward.format = 0.1;
  grpo.optimizer.weight_decay = 0;
  grpo.optimizer.beta2 = 0.99;
  // Falling to zero: the noise of small groups is averaged out at the end.
  grpo.schedule.lr.schedule = "linear";
  grpo.schedule.lr.lr = 1e-4;
  grpo.schedule.lr.warmup_tokens = 4 * grpo.rollout.prompts_per_step * grpo.rollout.group_size;
  grpo.schedule.bias_speed = {};
  grpo.schedule.balance_alpha = 0;
  grpo.evaluation.problems = quick ? 300 : 1000;
  grpo.checkpoints.checkpoint_seconds = 20;
  grpo.checkpoints.model_dtype = "f32";
  return plan;
}

}  // namespace fathom
