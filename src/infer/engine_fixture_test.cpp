// Greedy tokens of every fixture model, all sequences of a model in one batch, and each with the bits that it gets alone.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "base/test_fixtures.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"
#include "infer/engine.h"

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
  const std::string root = fixtures_folder() + "/models";
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

}  // namespace
}  // namespace fathom
