// Hugging Face transformers loads the directories that Fathom writes, and computes our logits from them.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/safetensors.h"
#include "convert/convert.h"

namespace fathom {
namespace {

constexpr int64_t kShard = 60000;  // several shards of every fixture

// DIR ... -> one line of the largest difference relative to the largest logit, for each; fails where a weight of the model is
// not in the files, or the other way round. What transformers leaves out by design: the MTP layer of deepseek_v3.
constexpr char kScript[] = R"(
import sys, torch, transformers
from safetensors.torch import load_file
transformers.logging.set_verbosity_error()
for path in sys.argv[1:]:
    model, info = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    layers = model.config.num_hidden_layers
    missing = [n for n in info["missing_keys"]]
    unexpected = [n for n in info["unexpected_keys"] if not n.startswith(f"model.layers.{layers}.")]
    assert not missing and not unexpected and not info["mismatched_keys"], (path, missing, unexpected, info["mismatched_keys"])
    ours = load_file(path + "/ours.safetensors")
    with torch.no_grad():
        theirs = model.eval()(ours["ids"].long()[None]).logits[0]
    difference = ((theirs - ours["logits"]).abs().max() / theirs.abs().max()).item()
    print(path.split("/")[-1], type(model).__name__, f"{difference:.2e}")
    assert theirs.shape == ours["logits"].shape and difference < 1e-4, (path, difference)
)";

std::string python_program() {  // FATHOM_PYTHON names it (default: python3)
  const char* set = std::getenv("FATHOM_PYTHON");
  return set ? set : "python3";
}
bool has_packages(const std::string& packages) {
  return std::system((python_program() + " -c 'import " + packages + "' 2>/dev/null").c_str()) == 0;
}
// rope_scaling.attn_factor is read as vLLM reads it (rope.h); transformers passes over it, so here it must not stand.
void drop_attn_factor(const std::string& directory) {
  Json config = read_json_file(directory + "/config.json");
  if (config.contains("rope_scaling") && config["rope_scaling"].is_object()) config["rope_scaling"].erase("attn_factor");
  write_file_atomic(directory + "/config.json", config.dump(2));
}
// Our logits of a directory, into it.
void write_logits(const std::string& directory) {
  Decoder model = load_model(directory, Numerics{}, /*training=*/false);
  const std::vector<int32_t> ids = {5, 9, 2, 77, 31, 8, 120, 64, 3, 3, 17};
  Batch batch;
  batch.add(ids, 0);
  Tensor row = Tensor::empty({static_cast<int64_t>(ids.size())}, DType::kI32);
  std::copy(ids.begin(), ids.end(), row.data<int32_t>());
  const Tensor logits = model.logits(model.forward(batch, nullptr));
  write_safetensors(directory + "/ours.safetensors", {{"ids", row, DType::kI32}, {"logits", logits, DType::kF32}});
}
void compare(const TestFolder& folder, const std::string& directories) {
  write_file_atomic(folder / "compare.py", kScript);
  const std::string command = python_program() + " " + folder / "compare.py" + directories + " 2>" + folder / "python.txt";
  EXPECT_EQ(std::system(command.c_str()), 0) << read_file(folder / "python.txt");
}

TEST(Transformers, LoadsWhatIsWrittenAndComputesOurLogits) {
  const std::string models = models_folder() + "/";
  if (!is_directory(models)) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  if (!has_packages("torch, transformers, safetensors"))
    GTEST_SKIP() << python_program() << " has no packages torch, transformers, safetensors";
  TestFolder folder;
  std::string directories;
  const auto add = [&](const std::string& directory) {  // with our logits of it
    EXPECT_GT(SafetensorsDirectory::open(directory).files().size(), 1u) << directory;
    write_logits(directory);
    directories += " " + directory;
  };
  int checked = 0;
  for (const char* name : {"dsv3-tiny", "dsv3-tiny-fp8", "dsv3-eps-tiny", "dsv2-tiny", "dsv2lite-tiny", "qwen2-tiny",
                           "qwen3-tiny", "qwen3-untied-tiny", "llama3-tiny"}) {
    const std::string source = models + name, converted = folder / (std::string(name) + "-converted"),
                      saved = folder / (std::string(name) + "-saved");
    if (!is_directory(source)) continue;
    ConvertOptions options;
    options.from = source, options.to = converted, options.format = ConvertOptions::Format::kHuggingFace;
    options.shard_bytes = kShard;
    if (std::string(name).ends_with("fp8")) options.dtype = "bf16";  // transformers then computes on plain weights
    convert_model(options);
    drop_attn_factor(converted);
    add(converted);
    Decoder model = load_model(converted, Numerics{}, /*training=*/true);
    make_directories(saved);
    save_model(model, saved, DType::kF32, source, kShard);
    add(saved);
    ++checked;
  }
  ASSERT_GT(checked, 4);
  compare(folder, directories);
}

// compressed-tensors' own loader reads the codes and scales that convert writes; it knows integer formats of dense layers only.
TEST(Transformers, CompressedTensorsReadsOurIntegers) {
  const std::string models = models_folder() + "/";
  if (!is_directory(models)) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  if (!has_packages("torch, transformers, safetensors, compressed_tensors"))
    GTEST_SKIP() << python_program() << " has no packages torch, transformers, safetensors, compressed_tensors";
  TestFolder folder;
  std::string directories;
  const auto add = [&](const std::string& source, const std::string& name, const std::string& dtype) {
    ConvertOptions options;
    options.from = source, options.to = folder / (name + "-" + dtype);
    options.format = ConvertOptions::Format::kHuggingFace, options.dtype = dtype, options.shard_bytes = kShard;
    convert_model(options);
    drop_attn_factor(options.to);
    write_logits(options.to);
    directories += " " + options.to;
  };
  for (const char* name : {"qwen2-tiny", "qwen3-tiny", "qwen3-untied-tiny", "llama3-tiny", "llama3-wide-tiny"})
    for (const char* dtype : {"int8", "int4-g32"})
      if (is_directory(models + name)) add(models + name, name, dtype);
  // Widths that groups of 128 divide.
  Json wide = read_json_file(models + "qwen2-tiny/config.json");
  wide["hidden_size"] = 256, wide["intermediate_size"] = 384;
  Decoder model(ModelConfig::from_json_text(wide.dump(), "wide"), Numerics{});
  model.init_weights(7, 0.05);
  make_directories(folder / "wide");
  save_model(model, folder / "wide", DType::kBF16, models + "qwen2-tiny", kShard);
  add(folder / "wide", "wide", "int4-g128");
  ASSERT_FALSE(directories.empty());
  compare(folder, directories);
}

}  // namespace
}  // namespace fathom
