// Greedy tokens of every fixture model, all sequences of a model in one batch, and each with the bits that it gets alone.
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>

#include "base/files.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "checkpoint/hf_directory.h"
#include "infer/engine.h"

namespace fathom {
namespace {

std::string models_directory() {
  const char* root = std::getenv("FATHOM_FIXTURES");
  return (root ? std::string(root) : std::string(FATHOM_SOURCE_DIR "/../shared/fixtures")) + "/models";
}

std::vector<uint32_t> bits(const std::vector<float>& x) {
  std::vector<uint32_t> out;
  for (const float v : x) out.push_back(std::bit_cast<uint32_t>(v));
  return out;
}

TEST(EngineFixture, GreedyTokensOfEveryModelInOneBatch) {
  const std::string root = models_directory();
  if (!is_directory(root)) GTEST_SKIP() << "no fixtures at " << root << "; set FATHOM_FIXTURES";
  set_num_threads(2);
  int checked = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string directory = root + "/" + name;
    if (!file_exists(directory + "/expected.json") || !file_exists(directory + "/config.json")) continue;
    if (read_json_file(directory + "/config.json").contains("quantization_config")) continue;  // FP8 weights are not read yet
    const Json expected = read_json_file(directory + "/expected.json");
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
        want.push_back(want.back());
      }
      const auto together = Engine(model, EngineConfig{.cache_blocks = 64, .max_rows = 50}).generate(requests);
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(together[i].ids, want[i]) << "request " << i;
        const auto alone = Engine(model, EngineConfig{.cache_blocks = 8, .prefix_sharing = false}).generate({requests[i]})[0];
        EXPECT_EQ(alone.ids, together[i].ids);
        EXPECT_EQ(bits(alone.logps), bits(together[i].logps));
        ++checked;
      }
      if (!model.config().is_mla()) break;
    }
  }
  EXPECT_GT(checked, 0);
}

}  // namespace
}  // namespace fathom
