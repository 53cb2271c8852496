#include "checkpoint/hf_directory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>

#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/safetensors_testing.h"
#include "kernels/matmul/quantize_part.h"
#include "model/model_config_quantization.h"

namespace fathom {
namespace {

// Every model folder but those in FP8.
std::vector<std::string> model_folders() {
  std::vector<std::string> folders;
  if (!is_directory(models_folder())) return folders;
  for (const auto& name : list_directory(models_folder())) {
    const std::string folder = models_folder() + "/" + name;
    if (file_exists(folder + "/config.json") && !read_json_file(folder + "/config.json").contains("quantization_config"))
      folders.push_back(folder);
  }
  return folders;
}

// What is saved is what was loaded, bit for bit and name for name, through F32 values and through BF16 ones.
TEST(HfDirectory, RoundTripsEveryModelFixture) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  for (const auto& folder : model_folders()) {
    TestFolder out;
    Decoder model = load_model(folder, Numerics{}, /*training=*/true);
    save_model(model, out.path(), DType::kBF16, folder);
    EXPECT_TRUE(file_exists(out / "model.safetensors"));
    expect_same_tensors(folder, out.path());
    // Over what stands there, in small shards: the one file goes, and the other way round.
    constexpr int64_t kSmall = 40000;
    save_model(model, out.path(), DType::kBF16, folder, kSmall);
    EXPECT_FALSE(file_exists(out / "model.safetensors"));
    expect_same_tensors(folder, out.path());
    const auto shards = SafetensorsDirectory::open(out.path());
    EXPECT_GT(shards.files().size(), 2u) << folder;
    for (const auto& file : shards.files()) {
      EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
      EXPECT_TRUE(file->data_bytes() <= kSmall || file->entries().size() == 1) << file->path();
    }
    EXPECT_EQ(read_file(out / "tokenizer.json"), read_file(folder + "/tokenizer.json"));
    EXPECT_EQ(read_file(out / "generation_config.json"), read_file(folder + "/generation_config.json"));
    // What was written loads again, for inference in BF16 too.
    EXPECT_TRUE(load_model(out.path(), Numerics{Compute::kBF16}, false).prepacked());
    save_model(model, out.path(), DType::kBF16, folder);
    EXPECT_FALSE(file_exists(out / "model.safetensors.index.json"));
    EXPECT_EQ(SafetensorsDirectory::open(out.path()).files().size(), 1u);
    expect_same_tensors(folder, out.path());
  }
}

// A V3 with MTP: the published copies of embedding and head are written, and must be copies when read.
TEST(HfDirectory, MtpCopiesAreWrittenAndChecked) {
  const std::string source = models_folder() + "/dsv3-tiny";
  if (!is_directory(source)) GTEST_SKIP() << "no fixture at " << source;
  Json json = read_json_file(source + "/config.json");
  json["num_nextn_predict_layers"] = 1;
  Decoder model(ModelConfig::from_json_text(json.dump(), "test"), Numerics{});
  model.allocate(DType::kF32);
  model.init_weights(1, 0.02);
  TestFolder folder;
  save_model(model, folder.path(), DType::kF32, "");
  const SafetensorsFile file = SafetensorsFile::open(folder / "model.safetensors");
  ASSERT_TRUE(file.find("model.layers.4.shared_head.head.weight"));
  ASSERT_TRUE(file.find("model.layers.4.embed_tokens.weight"));
  EXPECT_EQ(error_of([&] { load_model(folder.path(), Numerics{}, true); }), "");
  std::vector<SafetensorsItem> items;
  for (const auto& entry : file.entries()) items.push_back({entry.name, file.tensor(entry).clone(), entry.dtype});
  for (auto& item : items)
    if (item.name == "model.layers.4.shared_head.head.weight") item.tensor.data<float>()[7] += 1;
  write_safetensors(folder / "model.safetensors", items);
  EXPECT_NE(error_of([&] { load_model(folder.path(), Numerics{}, true); }).find("'model.layers.4.shared_head.head.weight'"),
            std::string::npos);
  // What transformers writes of such a model: no MTP module, whatever config.json says. A part of one is an error.
  std::vector<SafetensorsItem> without;
  for (const auto& i : items)
    if (!i.name.starts_with("model.layers.4.")) without.push_back(i);
  write_safetensors(folder / "model.safetensors", without);
  EXPECT_EQ(ModelFiles(folder.path()).config().num_nextn_predict_layers, 0);
  EXPECT_EQ(load_model(folder.path(), Numerics{}, true).config().num_nextn_predict_layers, 0);
  for (const auto& i : items)
    if (i.name == "model.layers.4.enorm.weight") without.push_back(i);
  write_safetensors(folder / "model.safetensors", without);
  EXPECT_NE(error_of([&] { load_model(folder.path(), Numerics{}, true); }).find("'model.layers.4.hnorm.weight'"),
            std::string::npos);
}

class BrokenModel : public testing::Test {
 protected:
  virtual std::string model_name() const { return "qwen2-tiny"; }
  virtual bool training() const { return true; }
  void SetUp() override {
    source_ = models_folder() + "/" + model_name();
    if (!is_directory(source_)) GTEST_SKIP() << "no fixture at " << source_;
    write_file_atomic(folder_ / "config.json", read_file(source_ + "/config.json"));
    const auto file = SafetensorsFile::open(source_ + "/model.safetensors");
    for (const auto& entry : file.entries()) items_.push_back({entry.name, file.tensor(entry), entry.dtype});
  }
  SafetensorsItem& item(const std::string& name) {
    for (auto& i : items_)
      if (i.name == name) return i;
    fail("test", name);
  }
  std::string load() {
    write_safetensors(folder_ / "model.safetensors", items_);
    return error_of([&] { load_model(folder_.path(), Numerics{}, training()); });
  }
  void expect(const std::string& part) {
    const std::string error = load();
    EXPECT_NE(error.find(part), std::string::npos) << part << "\n-> " << error;
  }
  std::string source_;
  TestFolder folder_;
  std::vector<SafetensorsItem> items_;
};

TEST_F(BrokenModel, WholeOneLoads) { EXPECT_EQ(load(), ""); }
TEST_F(BrokenModel, MissingTensorIsNamed) {
  item("model.norm.weight").name = "model.nrom.weight";
  expect("'model.norm.weight'");
}
TEST_F(BrokenModel, SuperfluousTensorIsNamed) {
  items_.push_back({"model.layers.0.extra.weight", Tensor::zeros({2}, DType::kF32), DType::kF32});
  expect("'model.layers.0.extra.weight'");
}
TEST_F(BrokenModel, ShapeSaysFoundAndExpected) {
  item("model.norm.weight").tensor = Tensor::zeros({63}, DType::kBF16);
  expect("tensor 'model.norm.weight' in " + folder_ / "model.safetensors");
  expect("has shape [63]; config.json expects [64]");
}
TEST_F(BrokenModel, OtherTypesAreRefusedByName) {
  item("model.norm.weight") = {"model.norm.weight", Tensor::zeros({64}, DType::kI64), DType::kI64};
  expect("has type I64");
  item("model.norm.weight") = {"model.norm.weight", Tensor::zeros({64}, DType::kF8E4M3), DType::kF8E4M3};
  expect("F8_E4M3");
}
TEST_F(BrokenModel, KnownExtrasPass) {
  items_.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", Tensor::zeros({8}, DType::kF32), DType::kF32});
  items_.push_back({"lm_head.weight", item("model.embed_tokens.weight").tensor, DType::kBF16});  // the tied head, written out
  EXPECT_EQ(load(), "");
  items_.back().tensor = Tensor::zeros(items_.back().tensor.shape(), DType::kBF16);
  expect("'lm_head.weight'");
}
TEST_F(BrokenModel, HalfAndFloatFilesLoad) {
  Tensor half = Tensor::empty({64}, DType::kF16);
  for (int64_t i = 0; i < 64; ++i)
    reinterpret_cast<uint16_t*>(half.raw())[i] = static_cast<uint16_t>(0x3c00 + i);  // 1 + i / 1024
  item("model.norm.weight") = {"model.norm.weight", half, DType::kF16};
  EXPECT_EQ(load(), "");
  Decoder model = load_model(folder_.path(), Numerics{}, true);
  for (const auto& t : model.named_tensors())
    if (t.name == "model.norm.weight") {
      EXPECT_EQ(t.value.data<float>()[3], 1 + 3.0f / 1024);
    }
  EXPECT_EQ(error_of([&] { load_model(folder_.path(), Numerics{Compute::kBF16}, false); }), "");
}
TEST_F(BrokenModel, MissingFilesAreNamed) {
  EXPECT_NE(error_of([&] { load_model(folder_ / "none", Numerics{}, true); }).find("there is no '"), std::string::npos);
  EXPECT_NE(error_of([&] { load_model(folder_.path(), Numerics{}, true); }).find("neither model.safetensors nor"),
            std::string::npos);
  remove_tree(folder_ / "config.json");
  EXPECT_NE(error_of([&] { load_model(folder_.path(), Numerics{}, true); }).find("config.json"), std::string::npos);
}

class BrokenFp8 : public BrokenModel {
 protected:
  std::string model_name() const override { return "dsv3-tiny-fp8"; }
  bool training() const override { return false; }
  void edit_config(const std::function<void(Json&)>& edit) {
    Json config = read_json_file(source_ + "/config.json");
    edit(config);
    write_file_atomic(folder_ / "config.json", config.dump());
  }
  const std::string gate = "model.layers.0.mlp.gate_proj.weight", kv_b = "model.layers.1.self_attn.kv_b_proj.weight";
};
TEST_F(BrokenFp8, WholeOneLoadsForInferenceInBothTypesAndFormulas) {
  EXPECT_EQ(load(), "");
  for (const Compute compute : {Compute::kF32, Compute::kBF16})
    for (const MlaFormula mla : {MlaFormula::kExpanded, MlaFormula::kAbsorbed})
      EXPECT_EQ(error_of([&] { load_model(folder_.path(), Numerics{compute, mla}, false); }), "");
  EXPECT_NE(error_of([&] { load_model(folder_.path(), Numerics{}, true); }).find("fathom convert"), std::string::npos);
}
TEST_F(BrokenFp8, ScalesAreChecked) {
  item(gate + "_scale_inv").name = "elsewhere";
  expect("'" + gate + "_scale_inv' is missing");
  item("elsewhere") = {gate + "_scale_inv", Tensor::zeros({2, 2}, DType::kF32), DType::kF32};
  expect("expected is F32 [3, 2]");
  item(gate + "_scale_inv") = {gate + "_scale_inv", Tensor::zeros({3, 2}, DType::kBF16), DType::kBF16};
  expect("is BF16 [3, 2]");
}
TEST_F(BrokenFp8, DamagedValuesAreRefused) {
  const Tensor whole = item(kv_b).tensor;
  item(kv_b).tensor = whole.clone();
  item(kv_b).tensor.raw()[100] = std::byte{0x7f};
  expect("'" + kv_b + "' holds a NaN");
  item(kv_b).tensor = whole;
  SafetensorsItem& scale = item("model.layers.1.mlp.experts.3.down_proj.weight_scale_inv");
  scale.tensor = scale.tensor.clone();
  scale.tensor.data<float>()[1] = std::numeric_limits<float>::infinity();
  expect("part 3 of 'model.layers.1.mlp.experts.0.down_proj.weight'");
}
TEST_F(BrokenFp8, OnlyWholeLinearWeightsAreBlocks) {
  item("model.norm.weight") = {"model.norm.weight", Tensor::zeros({256}, DType::kF8E4M3), DType::kF8E4M3};
  expect("has type F8_E4M3; expected is BF16, F16 or F32");
}
TEST_F(BrokenFp8, FusedPartsAreOfOneKind) {
  item("model.layers.0.mlp.up_proj.weight") = {"model.layers.0.mlp.up_proj.weight", Tensor::zeros({320, 256}, DType::kBF16),
                                               DType::kBF16};
  expect("both must be of one kind");
}
TEST_F(BrokenFp8, OtherSchemesAreRefusedByName) {
  edit_config([](Json& c) { c["quantization_config"]["quant_method"] = "awq"; });
  expect("quant_method is 'awq'");
  edit_config([](Json& c) { c["quantization_config"]["weight_block_size"] = {64, 64}; });
  expect("weight_block_size is [64, 64]");
  edit_config([](Json& c) { c["quantization_config"]["fmt"] = "e5m2"; });
  expect("fmt is 'e5m2'");
  edit_config([](Json& c) { c.erase("quantization_config"); });
  EXPECT_EQ(load(), "");
}

// qwen2-tiny with its linear layers' weights in int8 rows.
class BrokenInt8 : public BrokenModel {
 protected:
  bool training() const override { return false; }
  virtual WeightFormat weights() const { return WeightFormat::kInt8Row; }
  void SetUp() override {
    BrokenModel::SetUp();
    if (IsSkipped()) return;
    edit([](Json&) {});
    const std::vector<SafetensorsItem> plain = items_;
    items_.clear();
    for (const auto& i : plain) {
      if (i.name.find("_proj.weight") == std::string::npos) {
        items_.push_back(i);
        continue;
      }
      WeightPart part;
      part.values = i.tensor;
      part = quantize_part(part, weights());
      if (part.format() == WeightFormat::kPlain) {
        items_.push_back(i);
      } else if (part.format() == WeightFormat::kInt8Row) {
        items_.push_back({i.name, part.values, DType::kI8});
        items_.push_back({i.name + "_scale", part.scales.view({part.rows(), 1}), DType::kF32});
      } else {
        items_.push_back({i.name + "_packed", part.values, DType::kI32});
        items_.push_back({i.name + "_scale", part.scales, DType::kF32});
        items_.push_back({i.name + "_shape", numbers(part.rows(), part.k()), DType::kI64});
      }
    }
  }
  static Tensor numbers(int64_t a, int64_t b) {
    Tensor t = Tensor::empty({2}, DType::kI64);
    std::memcpy(t.raw(), &a, 8);
    std::memcpy(t.raw() + 8, &b, 8);
    return t;
  }
  // config.json with int-quantized weights, changed by `change`.
  void edit(const std::function<void(Json&)>& change) {
    Json config = read_json_file(source_ + "/config.json");
    Json& q = config["quantization_config"];
    q = compressed_tensors_config(weights(), {"lm_head"});
    change(q);
    write_file_atomic(folder_ / "config.json", config.dump());
  }
  void refused(const std::string& what, const std::function<void(Json&)>& change) {
    edit(change);
    expect("config.json: quantization_config." + what);
  }
  const std::string gate = "model.layers.0.mlp.gate_proj.weight";
};
TEST_F(BrokenInt8, WholeOneLoadsWithScalesOfAnyFloatType) {
  EXPECT_EQ(load(), "");
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    Tensor scales = Tensor::zeros({item(gate).tensor.dim(0), 1}, dtype);
    item(gate + "_scale") = {gate + "_scale", scales, dtype};
    EXPECT_EQ(load(), "");
  }
}
TEST_F(BrokenInt8, ScalesAreChecked) {
  const int64_t rows = item(gate).tensor.dim(0);
  item(gate + "_scale").name = "elsewhere";
  expect("'" + gate + "' in " + folder_ / "model.safetensors" + " is I8, but '" + gate + "_scale' is missing");
  item("elsewhere") = {gate + "_scale", Tensor::zeros({rows, 2}, DType::kF32), DType::kF32};
  expect("expected is F16, BF16 or F32 [" + std::to_string(rows) + ", 1], one for every row");
  item(gate + "_scale") = {gate + "_scale", Tensor::zeros({rows}, DType::kF32), DType::kF32};
  expect("'" + gate + "_scale'");
  item(gate + "_scale") = {gate + "_scale", Tensor::zeros({rows, 1}, DType::kI32), DType::kI32};
  expect("is I32 [" + std::to_string(rows) + ", 1]");
  Tensor infinite = Tensor::zeros({rows, 1}, DType::kF32);
  infinite.data<float>()[rows - 1] = std::numeric_limits<float>::infinity();
  item(gate + "_scale") = {gate + "_scale", infinite, DType::kF32};
  expect("'" + gate + "'");
}
TEST_F(BrokenInt8, OnlyLinearWeightsAreCodes) {
  item("model.norm.weight") = {"model.norm.weight", Tensor::zeros({64}, DType::kI8), DType::kI8};
  expect("'model.norm.weight'");
}
TEST_F(BrokenInt8, CodesNeedAConfigThatSaysSo) {
  write_file_atomic(folder_ / "config.json", read_file(source_ + "/config.json"));
  expect("is I8, but quantization_config of config.json does not say how");
}
TEST_F(BrokenInt8, OtherSchemesAreRefusedByField) {
  const auto group = [](Json& q) -> Json& { return q["config_groups"]["group_0"]; };
  refused("format is 'float-quantized'", [&](Json& q) { q["format"] = group(q)["format"] = "float-quantized"; });
  refused("config_groups.group_0.input_activations is {", [&](Json& q) { group(q)["input_activations"] = {{"num_bits", 8}}; });
  refused("config_groups.group_0.output_activations is {", [&](Json& q) {
    group(q)["output_activations"] = {{"num_bits", 8}};
  });
  refused("config_groups.group_0.weights.symmetric is false", [&](Json& q) { group(q)["weights"]["symmetric"] = false; });
  refused("config_groups.group_0.weights.strategy is 'tensor'", [&](Json& q) { group(q)["weights"]["strategy"] = "tensor"; });
  refused("config_groups.group_0.weights.strategy is 'group'", [&](Json& q) {
    group(q)["weights"]["strategy"] = "group";
    group(q)["weights"]["group_size"] = 64;
  });
  refused("config_groups.group_0.weights.num_bits is 4", [&](Json& q) { group(q)["weights"]["num_bits"] = 4; });
  refused("config_groups.group_0.weights.type is 'float'", [&](Json& q) { group(q)["weights"]["type"] = "float"; });
  refused("config_groups.group_0.weights.dynamic is true", [&](Json& q) { group(q)["weights"]["dynamic"] = true; });
  refused("config_groups.group_0.weights.num_bits: must be a whole number",
          [&](Json& q) { group(q)["weights"]["num_bits"] = "8"; });
  refused("config_groups.group_0.weights is missing", [&](Json& q) { group(q).erase("weights"); });
  refused("format is 'dense'", [&](Json& q) {
    q["config_groups"]["group_1"] = group(q);
    q["config_groups"]["group_1"]["format"] = "dense";
  });
  refused("config_groups is missing", [](Json& q) { q.erase("config_groups"); });
  refused("kv_cache_scheme is {", [](Json& q) { q["kv_cache_scheme"] = {{"num_bits", 8}}; });
  refused("sparsity_config is {", [](Json& q) { q["sparsity_config"] = {{"format", "sparse-24-bitmask"}}; });
  refused("transform_config is {", [](Json& q) { q["transform_config"] = {{"config_groups", 1}}; });
  edit([](Json& q) { q["sparsity_config"] = Json::object(), q["quantization_status"] = "frozen"; });
  EXPECT_EQ(load(), "");
}

class BrokenInt4 : public BrokenInt8 {
 protected:
  WeightFormat weights() const override { return WeightFormat::kInt4Group32; }
};
TEST_F(BrokenInt4, WholeOneLoads) {
  EXPECT_EQ(load(), "");
  refused("config_groups.group_0.weights.group_size is 64",
          [](Json& q) { q["config_groups"]["group_0"]["weights"]["group_size"] = 64; });
  refused("config_groups.group_1 is of another scheme", [](Json& q) {
    q["config_groups"]["group_1"] = q["config_groups"]["group_0"];
    q["config_groups"]["group_1"]["weights"]["group_size"] = 128;
  });
  refused("config_groups.group_0.weights.num_bits is 8",
          [](Json& q) { q["config_groups"]["group_0"]["weights"]["num_bits"] = 8; });
}
TEST_F(BrokenInt4, PartsAreChecked) {
  const std::string in = " in " + folder_ / "model.safetensors";
  const int64_t rows = item(gate + "_packed").tensor.dim(0);
  item(gate + "_shape").name = "elsewhere";
  expect("'" + gate + "_packed'" + in + " is I32, but '" + gate + "_shape' is missing");
  item("elsewhere") = {gate + "_shape", numbers(rows, 96), DType::kI64};
  expect("'" + gate + "_packed'" + in + " is I32 [" + std::to_string(rows) + ", 8]; expected is I32 [" + std::to_string(rows) +
         ", 12]");
  item(gate + "_shape") = {gate + "_shape", numbers(rows, 65), DType::kI64};
  expect("'" + gate + "_shape'" + in + " says [" + std::to_string(rows) + ", 65]; read are columns in whole groups of 32");
  item(gate + "_shape") = {gate + "_shape", numbers(-1, 64), DType::kI64};
  expect("says [-1, 64]");
  item(gate + "_shape") = {gate + "_shape", Tensor::zeros({2}, DType::kI32), DType::kI32};
  expect("is I32 [2]; expected is I64 [2]");
  item(gate + "_shape") = {gate + "_shape", numbers(rows, 64), DType::kI64};
  EXPECT_EQ(load(), "");
  const Tensor scales = item(gate + "_scale").tensor;
  item(gate + "_scale") = {gate + "_scale", Tensor::zeros({rows, 1}, DType::kF32), DType::kF32};
  expect("expected is F16, BF16 or F32 [" + std::to_string(rows) + ", 2], one for every 32 of a row");
  Tensor infinite = scales.clone();
  infinite.data<float>()[3] = std::numeric_limits<float>::infinity();
  item(gate + "_scale") = {gate + "_scale", infinite, DType::kF32};
  expect("'" + gate + "'");
  item(gate + "_scale") = {gate + "_scale", scales, DType::kF32};
  const Tensor codes = item(gate + "_packed").tensor;  // of another model
  item(gate + "_packed") = {gate + "_packed", codes.slice_rows(0, rows - 1).clone(), DType::kI32};
  item(gate + "_scale") = {gate + "_scale", scales.slice_rows(0, rows - 1).clone(), DType::kF32};
  item(gate + "_shape") = {gate + "_shape", numbers(rows - 1, 64), DType::kI64};
  expect("is a weight of shape [" + std::to_string(rows - 1) + ", 64]; config.json expects");
  item(gate + "_packed").name = "model.embed_tokens.weight_packed";
  item(gate + "_scale").name = "model.embed_tokens.weight_scale";
  item(gate + "_shape").name = "model.embed_tokens.weight_shape";
  item("model.embed_tokens.weight").name = gate;
  expect("'model.embed_tokens.weight' is no linear layer's weight");
}
TEST_F(BrokenInt4, PackedCodesNeedAConfigThatSaysSo) {
  write_file_atomic(folder_ / "config.json", read_file(source_ + "/config.json"));
  expect("quantization_config of config.json does not say how it is packed");
}

}  // namespace
}  // namespace fathom
