// Published models by their config.json (tests/configs): every figure written out by hand here, from the papers' sizes.
#include "checkpoint/published_tensors.h"
#include "base/test_paths.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace fathom {
namespace {

ModelConfig published(const std::string& name) {
  return ModelConfig::from_file(source_path("tests/configs/") + name + "/config.json");
}

struct Figures {
  int64_t total, active, tensors, cache_bytes;
};
// A dense model of L layers: two norms, q, k, v, o with heads of d/h, three matrices of the FFN; embedding, final norm, head.
Figures dense(int64_t L, int64_t d, int64_t h, int64_t kv, int64_t ffn, int64_t vocab, bool bias) {
  const int64_t head = d / h, biases = bias ? h * head + 2 * kv * head : 0;
  const int64_t layer = 2 * d + 2 * d * h * head + 2 * d * kv * head + biases + 3 * d * ffn;
  const int64_t total = 2 * vocab * d + d + L * layer;
  return {total, total - vocab * d, 3 + L * (bias ? 12 : 9), 2 * L * 2 * kv * head};
}

void expect_figures(const std::string& name, const Figures& f) {
  const ModelConfig c = published(name);
  const ModelConfig::Counts counts = c.count_parameters();
  EXPECT_EQ(counts.total, f.total) << name;
  EXPECT_EQ(counts.active, f.active) << name;
  EXPECT_EQ(published_size(c).tensors, f.tensors) << name;
  EXPECT_EQ(c.cache_values_per_token() * 2, f.cache_bytes) << name;
}

TEST(PublishedTensors, DistillsByHand) {
  expect_figures("deepseek-r1-distill-qwen-1.5b", dense(28, 1536, 12, 2, 8960, 151936, true));
  expect_figures("deepseek-r1-distill-qwen-7b", dense(28, 3584, 28, 4, 18944, 152064, true));
  expect_figures("deepseek-r1-distill-qwen-14b", dense(48, 5120, 40, 8, 13824, 152064, true));
  expect_figures("deepseek-r1-distill-qwen-32b", dense(64, 5120, 40, 8, 27648, 152064, true));
  expect_figures("deepseek-r1-distill-llama-8b", dense(32, 4096, 32, 8, 14336, 128256, false));
  expect_figures("deepseek-r1-distill-llama-70b", dense(80, 8192, 64, 8, 28672, 128256, false));
  // The formula itself, against totals that the models' pages state.
  EXPECT_EQ(dense(28, 1536, 12, 2, 8960, 151936, true).total, 1777088000);
  EXPECT_EQ(dense(28, 3584, 28, 4, 18944, 152064, true).total, 7615616512);
  EXPECT_EQ(dense(32, 4096, 32, 8, 14336, 128256, false).total, 8030261248);
  EXPECT_EQ(dense(80, 8192, 64, 8, 28672, 128256, false).total, 70553706496);
}

TEST(PublishedTensors, DeepSeekV3ByHand) {
  constexpr int64_t d = 7168, table = int64_t{129280} * d;
  // q_a, q_a_norm, q_b (128 heads of 192), kv_a, kv_a_norm, kv_b (128 heads of 128 + 128), o
  constexpr int64_t mla = 1536 * d + 1536 + 24576 * 1536 + 576 * d + 512 + 32768 * 512 + d * 16384;
  static_assert(mla == 187107328);
  constexpr int64_t norms = 2 * d, dense_ffn = 3 * d * 18432, expert = 3 * d * 2048, router = 256 * d;
  constexpr int64_t moe_layer = mla + norms + 257 * expert + router + 256;
  static_assert(moe_layer == 11507286272);
  constexpr int64_t moe_active = mla + norms + 9 * expert + router;
  static_assert(moe_active == 585318400);
  constexpr int64_t total = 2 * table + d + 3 * (mla + norms + dense_ffn) + 58 * moe_layer;
  static_assert(total == 671026419200);
  constexpr int64_t active = table + d + 3 * (mla + norms + dense_ffn) + 58 * moe_active;  // 36.63 B
  static_assert(active / 10000000 == 3662);
  // In the files: 20 a dense layer, 1,558 an MoE layer, 6 more in the MTP layer, embedding, final norm, head.
  constexpr int64_t tensors = 3 * 20 + 58 * 1558 + (1558 + 6) + 3;
  static_assert(tensors == 91991);
  expect_figures("deepseek-v3", {total, active, tensors, 61 * 576 * 2});

  const ModelConfig c = published("deepseek-v3");
  constexpr int64_t mtp = moe_layer + 2 * d * d + 3 * d;
  static_assert(mtp == 11610068224);
  EXPECT_EQ(c.count_parameters().mtp, mtp);
  const PublishedSize size = published_size(c);
  EXPECT_EQ(size.elements, 684531386000);  // of the released files, scales and the MTP layer's copies included
  // F32: the router's biases, and one scale a block: (rows / 128) (columns / 128), kv_a's 576 rows being 5 blocks.
  constexpr int64_t mla_scales = 12 * 56 + 192 * 12 + 5 * 56 + 256 * 4 + 56 * 128, expert_scales = 3 * 16 * 56;
  constexpr int64_t f32 = 62 * mla_scales + 3 * 3 * 144 * 56 + 59 * (257 * expert_scales + 256);
  EXPECT_EQ(size.bytes_by_dtype.at(DType::kF32), 4 * f32);
  // BF16: tables twice over, norms, routers, eh_proj.
  constexpr int64_t bf16 = 4 * table + 62 * (norms + 1536 + 512) + d + 59 * router + 2 * d * d + 3 * d;
  EXPECT_EQ(size.bytes_by_dtype.at(DType::kBF16), 2 * bf16);
  EXPECT_EQ(size.bytes_by_dtype.at(DType::kF8E4M3), size.elements - f32 - bf16);
  EXPECT_NEAR(static_cast<double>(size.bytes) / (1 << 30), 641.29, 0.01);  // GiB in 163 shards
  EXPECT_EQ(c.expanded_cache_values_per_token(), 61 * (128 * 256 + 64));
}

TEST(PublishedTensors, DeepSeekV2ByHand) {
  {
    constexpr int64_t d = 2048, table = 102400 * d, expert = 3 * d * 1408, router = 64 * d;
    constexpr int64_t mla = 3072 * d + 576 * d + 512 + 4096 * 512 + d * 2048, dense_layer = mla + 2 * d + 3 * d * 10944;
    constexpr int64_t rest = mla + 2 * d + 2 * expert + router;
    constexpr int64_t total = 2 * table + d + dense_layer + 26 * (rest + 64 * expert);
    static_assert(total == 15706484224);
    expect_figures("deepseek-v2-lite",
                   {total, table + d + dense_layer + 26 * (rest + 6 * expert), 3 + 10 + 26 * (7 + 1 + 64 * 3 + 3), 31104});
  }
  {
    constexpr int64_t d = 5120, table = 102400 * d, expert = 3 * d * 1536, router = 160 * d;
    constexpr int64_t mla = 1536 * d + 1536 + 24576 * 1536 + 576 * d + 512 + 32768 * 512 + d * 16384;
    constexpr int64_t dense_layer = mla + 2 * d + 3 * d * 12288, rest = mla + 2 * d + 2 * expert + router;
    constexpr int64_t total = 2 * table + d + dense_layer + 59 * (rest + 160 * expert);
    static_assert(total == 235741434880);
    expect_figures("deepseek-v2", {total, table + d + dense_layer + 59 * (rest + 6 * expert),
                                   3 + 12 + 59 * (9 + 1 + 160 * 3 + 3), 60 * 576 * 2});
  }
}

// The count without a list, against the list.
TEST(PublishedTensors, SizeIsThatOfTheList) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("tests/configs"))) {
    if (!entry.is_directory()) continue;
    for (const bool tied : {false, true}) {
      ModelConfig c = ModelConfig::from_file(entry.path() / "config.json");
      c.quantization = {};  // the list has no scales
      c.tie_word_embeddings = tied;
      const std::vector<PublishedTensor> list = published_tensors(c);
      int64_t elements = 0;
      for (const PublishedTensor& t : list) {
        int64_t n = 1;
        for (const int64_t s : t.shape) n *= s;
        elements += n;
      }
      EXPECT_EQ(published_size(c).tensors, static_cast<int64_t>(list.size())) << entry.path();
      EXPECT_EQ(published_size(c).elements, elements) << entry.path();
    }
    ++seen;
  }
  EXPECT_GE(seen, 9);
}

}  // namespace
}  // namespace fathom
