#include "model/model_config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/test_fixtures.h"
#include "base/test_paths.h"
#include "model/decoder_testing.h"
#include "model/weight_groups.h"

namespace fathom {
namespace {

ModelConfig v3() {
  return ModelConfig::from_json_text(R"({"model_type": "deepseek_v3", "vocab_size": 129280, "hidden_size": 7168,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_nextn_predict_layers": 1,
    "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256, "routed_scaling_factor": 2.5,
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128,
    "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
    "scoring_func": "sigmoid", "eos_token_id": [1, 2],
    "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096}})",
                                     "v3");
}
ModelConfig v2(bool lite) {
  ModelConfig c = v3();
  c.model_type = "deepseek_v2";
  c.vocab_size = 102400;
  c.topk_method = lite ? "greedy" : "group_limited_greedy";
  c.scoring_func = "softmax";
  c.norm_topk_prob = false;
  c.num_nextn_predict_layers = 0;
  c.n_shared_experts = 2;
  c.num_experts_per_tok = 6;
  c.first_k_dense_replace = 1;
  c.hidden_size = lite ? 2048 : 5120;
  c.num_hidden_layers = lite ? 27 : 60;
  c.intermediate_size = lite ? 10944 : 12288;
  c.moe_intermediate_size = lite ? 1408 : 1536;
  c.n_routed_experts = lite ? 64 : 160;
  c.n_group = lite ? 1 : 8;
  c.topk_group = lite ? 1 : 3;
  c.num_attention_heads = c.num_key_value_heads = lite ? 16 : 128;
  c.q_lora_rank = lite ? 0 : 1536;
  c.validate("v2");
  return c;
}

std::string error_of(const std::string& json) {
  try {
    ModelConfig::from_json_text(json, "here.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), Error::Kind::kUsage);
    return e.what();
  }
  return "";
}
std::string with(const std::string& from, const std::string& to) {
  std::string s =
      R"({"model_type":"qwen2","vocab_size":100,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2})";
  const size_t at = s.find(from);
  EXPECT_NE(at, std::string::npos);
  return s.replace(at, from.size(), to);
}

TEST(ModelConfig, CountsThePublishedModels) {
  const ModelConfig::Counts c = v3().count_parameters();  // architecture.md §1.1
  EXPECT_EQ(c.total, 671026419200);
  EXPECT_EQ(c.mtp, 11610068224);
  EXPECT_NEAR(static_cast<double>(c.active), 36.63e9, 0.005e9);
  EXPECT_NEAR(static_cast<double>(c.active + c.embedding), 37.55e9, 0.01e9);
  EXPECT_EQ(v3().cache_values_per_token() * 2, 70272);
  EXPECT_EQ(v2(true).count_parameters().total, 15706484224);
  EXPECT_NEAR(static_cast<double>(v2(true).count_parameters().active), 2.45e9, 0.005e9);
  EXPECT_EQ(v2(true).cache_values_per_token() * 2, 31104);
  EXPECT_EQ(v2(false).count_parameters().total, 235741434880);
  EXPECT_NEAR(static_cast<double>(v2(false).count_parameters().active), 20.85e9, 0.01e9);
  const ModelConfig q =
      ModelConfig::from_json_text(R"({"model_type":"qwen2","vocab_size":151936,"hidden_size":1536,"intermediate_size":8960,
    "num_hidden_layers":28,"num_attention_heads":12,"num_key_value_heads":2,"tie_word_embeddings":false})",
                                  "qwen");
  EXPECT_EQ(q.count_parameters().total, 1777088000);
  EXPECT_EQ(q.head_dim, 128);
}

TEST(ModelConfig, ReadsBothSpellings) {
  const ModelConfig old = v3();
  EXPECT_EQ(old.rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(old.eos_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(old.rope_scaling.beta_fast, 32);
  const ModelConfig fresh = ModelConfig::from_json_text(
      with("\"num_key_value_heads\":2", R"("dtype":"float32","eos_token_id":7,"sliding_window":4,"use_sliding_window":false,
        "rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64})"),
      "new");
  EXPECT_EQ(fresh.torch_dtype, "float32");
  EXPECT_EQ(fresh.rope_theta, 500000);
  EXPECT_EQ(fresh.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(fresh.num_key_value_heads, 4);
  EXPECT_EQ(fresh.eos_token_ids, std::vector<int32_t>{7});
  EXPECT_EQ(v2(true).q_lora_rank, 0);
}

// tests/configs: published models in the old spelling, and as transformers 5 itself writes them.
TEST(ModelConfig, ReadsTransformers5AsTheOldSpelling) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/configs"))) {
    if (!entry.is_directory()) continue;
    const ModelConfig old = ModelConfig::from_file(entry.path() / "config.json");
    const ModelConfig fresh = ModelConfig::from_file(entry.path() / "transformers5.json");
    EXPECT_EQ(old.to_json_text(), fresh.to_json_text()) << entry.path();
    EXPECT_TRUE(old.rope_scaling == fresh.rope_scaling) << entry.path();
    EXPECT_EQ(old.quantization.quant_method, fresh.quantization.quant_method);
    EXPECT_EQ(old.quantization.weight_block_size, fresh.quantization.weight_block_size);
    ++seen;
  }
  EXPECT_GE(seen, 9);
  const ModelConfig v3 = ModelConfig::from_file(source_path("tests/configs/deepseek-v3/transformers5.json"));
  EXPECT_EQ(v3.rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(v3.rope_scaling.mscale_all_dim, 1);
  EXPECT_TRUE(v3.quantization.is_fp8_blocks());
}

TEST(ModelConfig, ReadsRopeParametersByTypeOfLayer) {
  const std::string full = R"("full_attention":{"rope_type":"linear","factor":4,"rope_theta":5000})",
                    sliding = R"("sliding_attention":{"rope_type":"default","rope_theta":100})",
                    types = R"("layer_types":["full_attention","full_attention"],)";
  const auto read = [&](const std::string& rope, const std::string& before = "") {
    return with("\"num_key_value_heads\":2", before + "\"rope_parameters\":{" + rope + "}");
  };
  for (const std::string& json : {read(full), read(full + "," + sliding, types)}) {
    const ModelConfig c = ModelConfig::from_json_text(json, "nested");
    EXPECT_EQ(c.rope_theta, 5000);
    EXPECT_EQ(c.rope_scaling.kind, RopeScaling::Kind::kLinear);
    EXPECT_EQ(c.rope_scaling.factor, 4);
  }
  EXPECT_NE(error_of(read(full + "," + sliding)).find("layer_types"), std::string::npos);
  EXPECT_NE(error_of(read(sliding)).find("rope_parameters.full_attention"), std::string::npos);
  EXPECT_NE(error_of(read(full + R"(,"rope_theta":5000)")).find("rope_parameters.rope_theta"), std::string::npos);
  EXPECT_NE(error_of(read(full, R"("layer_types":["full_attention"],)")).find("names 1 layers"), std::string::npos);
  EXPECT_NE(error_of(read(full, R"("layer_types":["full_attention","sliding_attention"],)")).find("sliding_attention"),
            std::string::npos);
}

TEST(ModelConfig, RefusesWhatContradictsItself) {
  const auto refused = [](const std::string& fields, const std::string& what) {
    const std::string error = error_of(with("\"num_key_value_heads\":2", fields));
    EXPECT_NE(error.find(what), std::string::npos) << fields << ": " << error;
  };
  const auto fine = [](const std::string& fields) {
    const std::string error = error_of(with("\"num_key_value_heads\":2", fields));
    EXPECT_EQ(error, "") << fields;
  };
  refused(R"("rope_theta":10000,"rope_parameters":{"rope_theta":500000})",
          "rope_parameters.rope_theta: contradicts rope_theta");
  fine(R"("rope_theta":500000,"rope_parameters":{"rope_theta":500000})");
  refused(R"("rope_scaling":{"type":"linear","rope_type":"yarn","factor":2})", "rope_scaling.rope_type");
  fine(R"("rope_scaling":{"type":"yarn","rope_type":"yarn","factor":2})");
  refused(R"("rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"linear","factor":4})",
          "rope_parameters: contradicts rope_scaling");
  refused(
      R"("rope_scaling":{"type":"linear","factor":2,"rope_theta":7},"rope_parameters":{"rope_type":"linear","factor":2,"rope_theta":8})",
      "contradicts rope_scaling.rope_theta");
  fine(
      R"("rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"linear","factor":2,"rope_theta":500000})");
  refused(R"("rope_scaling":[1])", "rope_scaling: must be an object or null");
  refused(R"("torch_dtype":"float16","dtype":"bfloat16")", "contradicts torch_dtype");
  fine(R"("torch_dtype":"bfloat16","dtype":"bfloat16")");
  refused(R"("partial_rotary_factor":0.5)", "partial_rotary_factor");
  refused(R"("rope_parameters":{"partial_rotary_factor":0.5})", "rope_parameters.partial_rotary_factor");
  refused(R"("quantization_config":{"fmt":"e4m3"})", "quantization_config.quant_method");
  fine(R"("quantization_config":{"quant_method":"awq","bits":4})");  // its sizes are known; its weights are refused when loaded
}

// The groups against the model that the program builds: how many values of each type, and the cache's rows.
TEST(ModelConfig, GroupsAndCacheAreTheDecoders) {
  for (const std::string kind : {"v3", "v2lite", "qwen2", "qwen3", "llama"}) {
    const ModelConfig c = tiny_config(kind);
    int64_t f32 = 0, others = 0, grouped_f32 = 0, grouped_others = 0;
    for (const MlaFormula formula : {MlaFormula::kExpanded, MlaFormula::kAbsorbed}) {
      Numerics numerics;
      numerics.mla = formula;
      Decoder model(c, numerics);
      EXPECT_EQ(model.num_cache_layers() * model.cache_row_width(),
                formula == MlaFormula::kAbsorbed ? c.cache_values_per_token() : c.expanded_cache_values_per_token())
          << kind;
      f32 = others = 0;
      for (const Parameter* p : model.parameters()) (p->always_f32 ? f32 : others) += p->shape.numel();
    }
    for (const WeightGroup& g : weight_groups(c)) {
      const bool small = g.kind == WeightKind::kNorm || g.kind == WeightKind::kBias || g.kind == WeightKind::kRouter ||
                         g.kind == WeightKind::kRouterBias;
      if (g.kind != WeightKind::kCopy) (small ? grouped_f32 : grouped_others) += static_cast<int64_t>(g.elements());
    }
    EXPECT_EQ(grouped_f32, f32) << kind;
    EXPECT_EQ(grouped_others, others) << kind;
  }
}

TEST(ModelConfig, WritesWhatItReads) {
  for (const ModelConfig& c : {v3(), v2(true), v2(false), ModelConfig::from_json_text(with("qwen2", "qwen3"), "q")}) {
    const std::string text = c.to_json_text();
    EXPECT_EQ(ModelConfig::from_json_text(text, "again").to_json_text(), text);
    EXPECT_EQ(ModelConfig::from_json_text(text, "again").count_parameters().total, c.count_parameters().total);
  }
}

TEST(ModelConfig, RefusesWithFileAndField) {
  const auto names = [](const std::string& error, const std::string& field) {
    EXPECT_NE(error.find("here.json"), std::string::npos) << error;
    EXPECT_NE(error.find(field), std::string::npos) << error;
  };
  names(error_of(with("qwen2", "gpt2")), "model_type");
  names(error_of(with("\"vocab_size\":100,", "")), "vocab_size");
  names(error_of(with(":64", ":65")), "hidden_size");
  names(error_of(with(":64", ":-64")), "hidden_size");
  names(error_of(with(":64", ":6.5")), "hidden_size");
  names(error_of(with(":64", ":\"64\"")), "hidden_size");
  names(error_of(with(":64", ":18446744073709551615")), "hidden_size");
  names(error_of(with("layers\":2", "layers\":99999999999")), "num_hidden_layers");
  names(error_of(with("heads\":4", "heads\":0")), "num_attention_heads");
  names(error_of(with("\"num_key_value_heads\":2", "\"num_key_value_heads\":3")), "num_key_value_heads");
  names(error_of(with("\"num_key_value_heads\":2", "\"use_sliding_window\":true")), "use_sliding_window");
  names(error_of(with("\"num_key_value_heads\":2", "\"hidden_act\":\"gelu\"")), "hidden_act");
  names(error_of(with("\"num_key_value_heads\":2", "\"rope_scaling\":{\"type\":\"dynamic\"}")), "rope_scaling.rope_type");
  names(error_of(with("\"num_key_value_heads\":2", "\"rope_scaling\":{\"type\":\"yarn\"}")), "rope_scaling.factor");
  names(error_of(with("\"num_key_value_heads\":2", "\"eos_token_id\":\"x\"")), "eos_token_id");
  names(error_of("[1]"), "object");
  names(error_of("{\"model_type\": \"qwen2\""), "here.json");
  // HF's own tiny test model: more experts a token than remain after group masking.
  ModelConfig c = v3();
  c.n_routed_experts = 8;
  c.n_group = 2;
  c.topk_group = 1;
  c.num_experts_per_tok = 8;
  EXPECT_THROW(c.validate("x"), Error);
  c.num_experts_per_tok = 4;
  EXPECT_NO_THROW(c.validate("x"));
}

TEST(ModelConfig, ReadsEveryFixture) {
  const std::string root = models_folder();
  if (!std::filesystem::is_directory(root)) GTEST_SKIP() << "no fixtures at " << root << ": set FATHOM_FIXTURES";
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!std::filesystem::exists(entry.path() / "config.json")) continue;
    const ModelConfig c = ModelConfig::from_file((entry.path() / "config.json").string());
    EXPECT_EQ(ModelConfig::from_json_text(c.to_json_text(), "written").to_json_text(), c.to_json_text());
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace fathom
