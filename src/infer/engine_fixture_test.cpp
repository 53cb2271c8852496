// Greedy tokens of every fixture model, all sequences of a model in one batch, and each with the bits that it gets alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/safetensors.h"
#include "infer/engine.h"
#include "infer/mtp_drafter.h"

namespace fathom {
namespace {

std::vector<uint32_t> bits(const std::vector<float>& x) {
  std::vector<uint32_t> out;
  for (const float v : x) out.push_back(std::bit_cast<uint32_t>(v));
  return out;
}

// The published answers ignore the key attn_factor of YaRN, as transformers does; the program heeds it, as vLLM does. So that
// both are tested, such a directory is copied without the key.
std::string without_attn_factor(const std::string& directory, const TestFolder& folder) {
  Json config = read_json_file(directory + "/config.json");
  if (!config.contains("rope_scaling") || !config.at("rope_scaling").is_object() ||
      !config.at("rope_scaling").contains("attn_factor"))
    return directory;
  config["rope_scaling"].erase("attn_factor");
  const std::string copy = folder / "model";
  std::filesystem::copy(directory, copy);
  std::filesystem::remove(copy + "/config.json");
  write_file_atomic(copy + "/config.json", config.dump());
  return copy;
}

TEST(EngineFixture, GreedyTokensOfEveryModelInOneBatch) {
  const std::string root = models_folder();
  if (!is_directory(root)) GTEST_SKIP() << "no fixtures at " << root << "; set FATHOM_FIXTURES";
  set_num_threads(2);
  int checked = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string source = root + "/" + name;
    if (!file_exists(source + "/expected.json") || !file_exists(source + "/config.json")) continue;
    if (read_json_file(source + "/config.json").contains("quantization_config")) continue;  // FP8 weights are not read yet
    const TestFolder folder;
    const std::string directory = without_attn_factor(source, folder);
    const Json expected = read_json_file(source + "/expected.json");
    for (const MlaFormula mla : {MlaFormula::kExpanded, MlaFormula::kAbsorbed}) {
      SCOPED_TRACE(name + (mla == MlaFormula::kExpanded ? " expanded" : " absorbed"));
      Decoder model = load_model(directory, Numerics{Compute::kF32, mla}, /*training=*/false);
      std::vector<Request> requests;
      std::vector<std::vector<int32_t>> want;
      for (const Json& sequence : expected.at("sequences")) {
        if (!sequence.contains("greedy_continuation")) continue;
        Request r;
        r.prompt = sequence.at("input_ids").get<std::vector<int32_t>>();
        r.sampling.temperature = 0;
        want.push_back(sequence.at("greedy_continuation").get<std::vector<int32_t>>());
        r.max_tokens = static_cast<int64_t>(want.back().size());
        requests.push_back(r);
        requests.push_back(r);  // twice: a group
      }
      const auto together = Engine(model, EngineConfig{.cache_blocks = 64, .max_rows = 50}).generate(requests);
      for (size_t i = 0; i < want.size(); ++i) {
        const auto alone =
            Engine(model, EngineConfig{.cache_blocks = 8, .prefix_sharing = false}).generate({requests[2 * i]})[0];
        for (const Completion& c : {together[2 * i], together[2 * i + 1], alone}) {
          EXPECT_EQ(c.ids, want[i]) << "sequence " << i;
          EXPECT_EQ(bits(c.logps), bits(alone.logps));
        }
        ++checked;
      }
      if (!model.config().is_mla()) break;
    }
  }
  EXPECT_GT(checked, 0);
}

// The MTP module through its cache, a token at a time: each guess is the likeliest token of the published logits.
TEST(EngineFixture, MtpGuessesFollowThePublishedLogits) {
  const std::string root = models_folder();
  if (!is_directory(root)) GTEST_SKIP() << "no fixtures at " << root << "; set FATHOM_FIXTURES";
  set_num_threads(1);
  int checked = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string folder = root + "/" + name;
    if (!file_exists(folder + "/expected.json") || !file_exists(folder + "/expected.safetensors")) continue;
    const SafetensorsFile published = SafetensorsFile::open(folder + "/expected.safetensors");
    if (!published.find("seq0.mtp_logits")) continue;
    const Json sequences = read_json_file(folder + "/expected.json").at("sequences");
    for (const MlaFormula mla : {MlaFormula::kExpanded, MlaFormula::kAbsorbed}) {
      SCOPED_TRACE(name + (mla == MlaFormula::kExpanded ? " expanded" : " absorbed"));
      Decoder model = load_model(folder, Numerics{Compute::kF32, mla}, /*training=*/false);
      KvCache cache(model.num_cache_layers() + 1, model.cache_row_bytes(), 8);
      MtpDrafter drafter(model, cache, model.config().vocab_size);
      for (size_t s = 0; s < sequences.size(); ++s) {
        const auto ids = sequences.at(s).at("input_ids").get<std::vector<int32_t>>();
        if (ids.size() > 8 * kKeyBlock) continue;
        const Tensor logits = published.tensor(*published.find("seq" + std::to_string(s) + ".mtp_logits"));
        Sequence sequence;
        sequence.id = s;
        sequence.request.sampling.temperature = 0;
        for (int32_t b = 0; b < 8; ++b) sequence.table.blocks.push_back(b);
        sequence.tokens = {ids[0]};
        for (int64_t t = 0; t + 1 < static_cast<int64_t>(ids.size()); ++t) {
          KvView view;
          view.cache = &cache;
          view.blocks.emplace_back(sequence.table.blocks);
          Batch batch;
          batch.add(std::span(ids).subspan(static_cast<size_t>(t), 1), static_cast<int32_t>(t));
          const Tensor hidden = model.forward(batch, &view);
          sequence.tokens.push_back(ids[static_cast<size_t>(t) + 1]);
          sequence.num_computed = t + 1;
          const ComputedRows rows{&sequence, t, t + 1, 0, false};
          drafter.observe({&rows, 1}, hidden);
          sequence.draft.clear();
          const DraftJob job{&sequence, 1};
          drafter.draft({&job, 1});
          ASSERT_EQ(sequence.draft.size(), 1u);
          const float* row = logits.row<float>(t);
          const float likeliest = *std::max_element(row, row + logits.dim(1));
          ASSERT_GE(row[sequence.draft[0]], likeliest - 4e-4f)
              << "sequence " << s << ", row " << t;  // twice the published bound
          ++checked;
        }
        drafter.forget(sequence);
      }
    }
  }
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace fathom
