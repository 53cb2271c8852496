// The converted models of the fixtures: config, weights, logits, tokenizer.
#include "checkpoint/gguf_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "checkpoint/gguf_testing.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/model_files.h"
#include "checkpoint/safetensors.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

struct Fixture {
  std::string file, directory;
  double weight_difference = 0;
};
std::vector<Fixture> fixtures() {
  std::vector<Fixture> list;
  const std::string root = fixtures_folder();
  if (!file_exists(root + "/gguf/models.json")) return list;
  const Json json = read_json_file(root + "/gguf/models.json");
  for (const auto& [name, item] : json["files"].members())
    list.push_back({root + "/gguf/" + name, root + "/" + item["model"].get<std::string>(),
                    item["max_abs_weight_difference"].get<double>()});
  return list;
}
#define NEED_FIXTURES() \
  if (fixtures().empty()) GTEST_SKIP() << "no fixtures at " << fixtures_folder()

TEST(GgufModel, ConfigIsTheCheckpoints) {
  NEED_FIXTURES();
  for (const Fixture& f : fixtures()) {
    ModelConfig ours = GgufModel::open(f.file).config(), wanted = ModelConfig::from_file(f.directory + "/config.json");
    // What GGUF does not carry, or carries in another place.
    for (ModelConfig* c : {&ours, &wanted}) {
      c->torch_dtype = "float32", c->eos_token_ids.clear(), c->pad_token_id = -1;
      // Every frequency of the tiny model is far from the smooth band: another border gives the same table.
      if (c->rope_scaling.kind == RopeScaling::Kind::kLlama3) c->rope_scaling.original_max_position_embeddings = 64;
    }
    EXPECT_EQ(ours.to_json_text(), wanted.to_json_text()) << f.file;
  }
}

TEST(GgufModel, WeightsAreTheCheckpoints) {
  NEED_FIXTURES();
  for (const Fixture& f : fixtures()) {
    const GgufModel model = GgufModel::open(f.file);
    const auto hf = SafetensorsDirectory::open(f.directory);
    double worst = 0;
    size_t compared = 0;
    for (const auto& tensor : model.tensors()) {
      const auto it = hf.tensors().find(tensor.name);
      ASSERT_NE(it, hf.tensors().end()) << f.file << " " << tensor.name;
      ASSERT_EQ(tensor.shape, it->second.entry->shape) << tensor.name;
      const Tensor want = it->second.tensor().to(DType::kF32);
      Tensor got = Tensor::empty(want.shape(), DType::kF32);
      model.read_into(tensor.name, got);
      for (int64_t i = 0; i < want.numel(); ++i)
        worst = std::max(worst, std::fabs(static_cast<double>(got.data<float>()[i]) - want.data<float>()[i]));
      const Tensor stored = model.read(tensor.name);  // what conversion reads: the stored type
      ASSERT_EQ(stored.dtype(), model.dtype(tensor.name));
      if (stored.dtype() == DType::kF16) continue;
      const Tensor again = stored.to(DType::kF32);
      ASSERT_EQ(std::memcmp(again.raw(), got.raw(), static_cast<size_t>(got.bytes())), 0) << tensor.name;
      ++compared;
    }
    EXPECT_GT(compared, 3u);
    EXPECT_EQ(model.tensors().size(), hf.tensors().size()) << f.file;
    EXPECT_NEAR(worst, f.weight_difference, 1e-9 + 1e-6 * f.weight_difference) << f.file;
  }
}

Tensor logits_of(Decoder& model, const std::vector<int32_t>& ids) {
  Batch batch;
  batch.add(ids, 0);
  return model.logits(model.forward(batch, nullptr));
}

// F32, BF16 and F16 files hold the checkpoint's values, so its logits apply; for Q8_0 the same decoder gets the dequantised
// values by another way, and every bit must agree.
TEST(GgufModel, LogitsAreTheReferences) {
  NEED_FIXTURES();
  for (const Fixture& f : fixtures()) {
    Decoder model = load_model(f.file, Numerics{}, /*training=*/false);
    const Json expected = read_json_file(f.directory + "/expected.json");
    const SafetensorsFile tensors = SafetensorsFile::open(f.directory + "/expected.safetensors");
    const bool exact = f.weight_difference < 1e-6;
    Decoder reference = load_model(f.directory, Numerics{}, /*training=*/true);
    if (!exact) {
      const GgufModel source = GgufModel::open(f.file);
      for (NamedTensor& t : reference.named_tensors()) source.read_into(t.name, t.value);
      reference.drop_packed();
      reference.prepack();
    }
    for (size_t s = 0; s < expected["sequences"].size(); ++s) {
      const auto ids = expected["sequences"][s]["input_ids"].get<std::vector<int32_t>>();
      const Tensor got = logits_of(model, ids);
      const auto* entry = tensors.find("seq" + std::to_string(s) + ".logits");
      ASSERT_NE(entry, nullptr);
      const Tensor want = exact ? tensors.tensor(*entry) : logits_of(reference, ids);
      ASSERT_EQ(got.shape(), want.shape());
      double sum = 0, worst = 0;
      for (int64_t i = 0; i < got.numel(); ++i) {
        const double e = static_cast<double>(got.data<float>()[i]) - want.data<float>()[i];
        sum += e * e, worst = std::max(worst, std::fabs(e));
      }
      const double rms = std::sqrt(sum / static_cast<double>(got.numel()));
      // Quantised: computed on as stored, against the dequantised values; sums in another order.
      EXPECT_LE(rms, 2e-5) << f.file << " sequence " << s;
      EXPECT_LE(worst, 2e-4) << f.file << " sequence " << s;
    }
  }
}

TEST(GgufModel, TokenizerIsTheCheckpoints) {
  NEED_FIXTURES();
  const std::string text = "The year 2024: it's 12345 tokens,\n\n  naïve café 你好 — \t(x+y)=z <think>\r\n🐎";
  for (const Fixture& f : fixtures()) {
    const auto ours = ModelFiles(f.file).tokenizer();
    ASSERT_TRUE(ours);
    const Tokenizer wanted = Tokenizer::from_directory(f.directory);
    for (const auto specials : {Tokenizer::Specials::kAsText, Tokenizer::Specials::kRecognise})
      EXPECT_EQ(ours->encode(text, specials), wanted.encode(text, specials)) << f.file;
    if (wanted.bos_id() >= 0) {  // Qwen: config.json alone names one
      EXPECT_EQ(ours->bos_id(), wanted.bos_id()) << f.file;
    }
    EXPECT_EQ(ours->eos_id(), wanted.eos_id()) << f.file;
    EXPECT_FALSE(ours->chat_template().empty());
  }
}

// llama.cpp's convention: -00001-of-0000N.gguf, the metadata in the first file.
class SplitGguf : public testing::Test {
 protected:
  static constexpr int64_t kParts = 3;
  std::string path(int64_t part) const {
    return folder_ / ("m-0000" + std::to_string(part + 1) + "-of-0000" + std::to_string(kParts) + ".gguf");
  }
  void SetUp() override {
    NEED_FIXTURES();
    whole_ = fixtures().front().file;
    const GgufFile file = GgufFile::open(whole_);
    const int64_t n = static_cast<int64_t>(file.entries().size());
    for (int64_t p = 0; p < kParts; ++p) {
      GgufMetadata metadata;
      if (p == 0)
        for (const auto& [key, value] : file.metadata()) metadata.copy(key, value);
      metadata.u32("split.no", p);
      metadata.u32("split.count", kParts);
      metadata.u32("split.tensors.count", n);
      const std::span entries =
          std::span(file.entries())
              .subspan(static_cast<size_t>(n * p / kParts), static_cast<size_t>(n * (p + 1) / kParts - n * p / kParts));
      std::vector<GgufTensorPlan> plans;
      for (const auto& e : entries) plans.push_back({e.name, e.type, e.shape, {}, GgufTensorPlan::Part::kWhole, 0});
      GgufWriter writer(path(p), metadata, plans, "");
      for (const auto& e : entries) writer.write(file.data(e), e.bytes), writer.end_tensor();
      writer.commit();
    }
  }
  std::string error(int64_t part = 0) const {
    return error_of([&] { GgufFile::open(path(part)); });
  }
  void expect(const std::string& found, const std::string& part) {
    EXPECT_NE(found.find(part), std::string::npos) << part << "\n-> " << found;
  }
  TestFolder folder_;
  std::string whole_;
};
TEST_F(SplitGguf, IsOneModel) {
  const GgufModel whole = GgufModel::open(whole_), split = GgufModel::open(path(0));
  EXPECT_EQ(split.file().num_parts(), static_cast<size_t>(kParts));
  EXPECT_EQ(split.config_json(), whole.config_json());
  ASSERT_EQ(split.tensors().size(), whole.tensors().size());
  for (const auto& t : whole.tensors()) {
    const Tensor a = whole.read(t.name), b = split.read(t.name);
    ASSERT_EQ(std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())), 0) << t.name;
  }
  Decoder a = load_model(whole_, Numerics{}, false), b = load_model(path(0), Numerics{}, false);
  const Tensor x = logits_of(a, {5, 9, 2}), y = logits_of(b, {5, 9, 2});
  EXPECT_EQ(std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())), 0);
}
TEST_F(SplitGguf, MissingAndForeignPartsAreNamed) {
  expect(error(1), "split.no: this is part 2 of 3; give the first one, whose name ends in '-00001-of-00003.gguf'");
  write_file_atomic(folder_ / "other.gguf", read_file(path(0)));
  expect(error_of([&] { GgufFile::open(folder_ / "other.gguf"); }), "does not end in '-00001-of-00003.gguf'");
  const std::string second = read_file(path(1)), third = read_file(path(2));
  write_file_atomic(path(1), third);
  expect(error(), path(1) + ": split.no: is 2; expected is 1");
  write_file_atomic(path(1), read_file(whole_));
  expect(error(), path(1) + ": split.no: is missing");
  write_file_atomic(path(1), second.substr(0, second.size() / 2));
  expect(error(), path(1));
  write_file_atomic(path(1), second);
  EXPECT_EQ(error(), "");
  remove_tree(path(2));
  expect(error(), "'" + path(2) + "' is missing");
}

// One open serves a whole command: the file may be gone behind it.
TEST(ModelFiles, AGgufFileIsOpenedOnce) {
  NEED_FIXTURES();
  const Fixture f = fixtures().front();
  TestFolder folder;
  const std::string path = folder / "model.gguf";
  write_file_atomic(path, read_file(f.file));
  const ModelFiles files(path);
  remove_tree(path);
  EXPECT_EQ(files.config().vocab_size, ModelFiles(f.directory).config().vocab_size);
  EXPECT_EQ(files.generation_json(), ModelFiles(f.file).generation_json());
  EXPECT_TRUE(files.tokenizer());
  EXPECT_FALSE(files.tokenizer_files().tokenizer_json.empty());
  EXPECT_TRUE(load_model(files, Numerics{}, /*training=*/false).prepacked());
}

TEST(ModelFiles, SaysWhatWasExpected) {
  TestFolder folder;
  EXPECT_NE(error_of([&] { ModelFiles(folder / "none"); }).find("there is no '"), std::string::npos);
  write_file_atomic(folder / "text", "no model");
  EXPECT_NE(error_of([&] { ModelFiles(folder / "text"); }).find("no GGUF file"), std::string::npos);
  EXPECT_NE(error_of([&] { ModelFiles(folder.path()).config(); }).find("no config.json"), std::string::npos);
  EXPECT_FALSE(ModelFiles(folder.path()).tokenizer());
}

TEST(GgufModel, RefusesByName) {
  NEED_FIXTURES();
  for (const Fixture& f : fixtures()) {
    if (f.file.find("llama3-tiny-f32") == std::string::npos) continue;
    std::string bytes = read_file(f.file);
    const auto message = [&](const std::string& from, const std::string& to) {
      std::string lied = bytes;
      const size_t at = lied.find(from);
      EXPECT_NE(at, std::string::npos) << from;
      lied.replace(at, from.size(), to);
      return error_of([&] {
        const auto view = std::as_bytes(std::span(lied.data(), lied.size()));
        GgufModel::from_file(std::make_shared<const GgufFile>(GgufFile::from_bytes(view, "test")));
      });
    };
    EXPECT_NE(message("blk.0.ffn_norm.weight", "blk.0.ffn_nomr.weight").find("blk.0.ffn_norm.weight"), std::string::npos);
    EXPECT_NE(message("llama.embedding_length", "llama.embedding_lengty").find("llama.embedding_length"), std::string::npos);
    std::string architecture = message("general.architecture\x08", "general.architecturf\x08");
    EXPECT_NE(architecture.find("general.architecture"), std::string::npos) << architecture;
  }
}

}  // namespace
}  // namespace fathom
