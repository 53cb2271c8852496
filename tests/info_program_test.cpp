// fathom info as its user runs it: published models from their config.json alone, directories, single files, GGUF.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "base/machine.h"
#include "base/test_fixtures.h"
#include "base/test_paths.h"
#include "checkpoint/safetensors.h"
#include "cli/measured_machine.h"
#include "program.h"

namespace fathom {
namespace {

std::string config(const std::string& name) { return source_path("tests/configs/") + name + "/config.json"; }

class Info : public testing::Test {
 protected:
  void SetUp() override { ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1); }
  // One second of processor time and 256 MiB of addresses: a description needs neither weights nor long lists.
  static void limits() {
#ifndef FATHOM_SANITIZED
    const rlimit time = {1, 1}, space = {rlim_t{256} << 20, rlim_t{256} << 20};
    ::setrlimit(RLIMIT_CPU, &time);
    ::setrlimit(RLIMIT_AS, &space);
#endif
  }
  std::string text(std::vector<std::string> arguments, int code = 0) {
    arguments.insert(arguments.begin(), "info");
    Program program(folder_.path(), arguments, limits);
    EXPECT_EQ(program.wait(), code) << program.err();
    return code == 0 ? program.out() : program.err();
  }
  Json json(std::vector<std::string> arguments) {
    arguments.push_back("--json");
    return parse_json(text(std::move(arguments)), "stdout");
  }
  std::string config_alone(const std::string& content) {
    write_file_atomic(folder_ / "config.json", content);
    return folder_ / "config.json";
  }
  TestFolder folder_;
};
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(Info, PublishedModelsFromTheirConfigAlone) {
  struct {
    const char* name;
    int64_t total, tensors, cache;
  } models[] = {
      // architecture.md §1.1, §2.3; the sums by hand: checkpoint/published_tensors_test.cpp
      {"deepseek-v3", 671026419200, 91991, 70272},
      {"deepseek-v2-lite", 15706484224, 5291, 31104},
      {"deepseek-v2", 235741434880, 29102, 69120},
      {"deepseek-r1-distill-qwen-1.5b", 1777088000, 339, 28672},
      {"deepseek-r1-distill-qwen-7b", 7615616512, 339, 57344},
      {"deepseek-r1-distill-qwen-14b", 14770033664, 579, 196608},
      {"deepseek-r1-distill-qwen-32b", 32763876352, 771, 262144},
      {"deepseek-r1-distill-llama-8b", 8030261248, 291, 131072},
      {"deepseek-r1-distill-llama-70b", 70553706496, 723, 327680},
  };
  for (const auto& m : models) {
    const Json j = json({config_alone(read_file(config(m.name)))});
    EXPECT_EQ(j.at("parameters_total"), m.total) << m.name;
    EXPECT_EQ(j.at("checkpoint").at("tensors"), m.tensors) << m.name;
    EXPECT_EQ(j.at("cache_bytes_per_token"), m.cache) << m.name;
    EXPECT_FALSE(j.contains("files"));
    // transformers 5's spelling says the same.
    Json again = json({config_alone(read_file(source_path("tests/configs/") + m.name + "/transformers5.json"))});
    EXPECT_EQ(again, j) << m.name;
  }
}

TEST_F(Info, DeepSeekV3InWords) {
  const std::string screen = text({config("deepseek-v3")});
  for (const char* part : {"671,026,419,200", "36.63 B a token", "MTP          11.61 B in 1 module",
                           "91,991 tensors, 641.3 GiB", "163,840 tokens", "70,272", "--mla absorbed", "fathom doctor"})
    EXPECT_TRUE(has(screen, part)) << part << " is not in\n" << screen;
  size_t longest = 0;
  for (size_t at = 0; at < screen.size();) {
    const size_t end = std::min(screen.find('\n', at), screen.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  EXPECT_LE(longest, 120u);
  const Json j = json({config("deepseek-v3")});
  ASSERT_EQ(j.at("caches").size(), 5u);
  EXPECT_EQ(j.at("caches")[0].at("bytes_per_token"), 61 * 656);  // FP8 latents, four scales, 64 rotated values in bf16
  EXPECT_EQ(j.at("caches")[0].at("type"), "fp8");
  EXPECT_EQ(j.at("caches")[4].at("bytes_per_token"), 4 * 61 * (128 * 256 + 64));
  EXPECT_EQ(j.at("checkpoint").at("bytes_by_dtype").at("F8_E4M3"), 680571043840);
}

// The formats that a machine could hold: by hand for a model small enough to add up here.
TEST_F(Info, WeightsInMemoryAndTheirBound) {
  const std::string small =
      R"({"model_type":"llama","vocab_size":100000,"hidden_size":512,"intermediate_size":1024,"num_hidden_layers":2,
          "num_attention_heads":8,"num_key_value_heads":4,"max_position_embeddings":4096})";
  const int64_t linear = 2 * (2 * 512 * 512 + 2 * 512 * 256 + 3 * 512 * 1024), table = 100000 * 512, norms = 5 * 512;
  const std::string path = config_alone(small);
  Json machine = json({path, "--context", "1000"}).at("machine");
  EXPECT_TRUE(machine.at("read_bandwidth").is_null());
  EXPECT_TRUE(has(machine.at("hint").text(), "fathom doctor"));
  ASSERT_EQ(machine.at("formats").size(), 9u);  // no FP8: nothing makes it from a plain release
  for (int i = 0; i < 2; ++i) {
    const Json& f = machine.at("formats")[i];
    const int64_t bytes = i == 0 ? 4 : 2;
    EXPECT_EQ(f.at("weights"), i == 0 ? "f32" : "bf16");
    EXPECT_EQ(f.at("weight_bytes"), bytes * (linear + 2 * table) + 4 * norms);
    EXPECT_EQ(f.at("active_weight_bytes"), bytes * (linear + table) + 4 * norms);
    EXPECT_EQ(f.at("cache_bytes"), bytes * 1000 * 2 * 2 * 4 * 64);
    EXPECT_TRUE(f.at("max_tokens_per_second").is_null());
    EXPECT_EQ(f.at("fits"), f.at("weight_bytes").get<int64_t>() + f.at("cache_bytes").get<int64_t>() <= memory_total_bytes());
  }
  // Linear weights in blocks: int8 with a float a row; 34 bytes for 32 values in Q8_0, 18 in Q4_0. The rest is bf16.
  const int64_t linear_rows = 2 * (2 * 512 + 2 * 256 + 2 * 1024 + 512), rest = 4 * table + 4 * norms;
  EXPECT_EQ(machine.at("formats")[2].at("weights"), "int8");
  EXPECT_EQ(machine.at("formats")[2].at("weight_bytes"), linear + 4 * linear_rows + rest);
  EXPECT_EQ(machine.at("formats")[3].at("weights"), "q8_0");
  EXPECT_EQ(machine.at("formats")[3].at("weight_bytes"), linear / 32 * 34 + rest);
  EXPECT_EQ(machine.at("formats")[6].at("weights"), "q4_0");
  EXPECT_EQ(machine.at("formats")[6].at("weight_bytes"), linear / 32 * 18 + rest);
  EXPECT_EQ(machine.at("formats")[7].at("weights"), "int4-g32");  // a float for every 32 or 128 of half a byte
  EXPECT_EQ(machine.at("formats")[7].at("weight_bytes"), linear / 32 * (16 + 4) + rest);
  EXPECT_EQ(machine.at("formats")[8].at("weights"), "int4-g128");
  EXPECT_EQ(machine.at("formats")[8].at("weight_bytes"), linear / 128 * (64 + 4) + rest);
  EXPECT_EQ(machine.at("memory_bytes"), memory_total_bytes());
  keep_measurement({25e9, 3, "2026-01-02"});
  EXPECT_TRUE(has(text({path}), "from 25.0 GB/s that 3 threads read (fathom doctor, 2026-01-02)"));
  machine = json({path, "--context", "1000"}).at("machine");
  EXPECT_EQ(machine.at("read_bandwidth").at("bytes_per_second"), 25e9);
  const Json& f = machine.at("formats")[1];
  if (f.at("active_weight_bytes").get<int64_t>() > caches_bytes()) {
    EXPECT_DOUBLE_EQ(f.at("max_tokens_per_second").get<double>(), 25e9 / f.at("active_weight_bytes").get<double>());
    EXPECT_DOUBLE_EQ(f.at("max_tokens_per_second_full_context").get<double>(),
                     25e9 / (f.at("active_weight_bytes").get<double>() + f.at("cache_bytes").get<double>()));
  } else {
    EXPECT_TRUE(f.at("max_tokens_per_second").is_null());
  }
  // A copy of the table is the head where weights are tied.
  std::string tied = small;
  tied.insert(tied.find('}'), ",\"tie_word_embeddings\":true");
  EXPECT_EQ(json({config_alone(tied)}).at("machine").at("formats")[1].at("weight_bytes"), 2 * (linear + 2 * table) + 4 * norms);
  EXPECT_TRUE(has(text({path, "--context", "4097"}, 2), "4096 positions"));

  const Json v3 = json({config("deepseek-v3")}).at("machine");
  ASSERT_EQ(v3.at("formats").size(), 10u);
  const Json& fp8 = v3.at("formats")[2];
  EXPECT_EQ(fp8.at("weights"), "fp8");
  EXPECT_EQ(fp8.at("cache_bytes"), int64_t{32768} * 70272);
  // E4M3 with a scale for each row's 128 values; tables and eh_proj in BF16; routers, norms, biases in F32.
  const int64_t blocks = 680571043840, plain = 2 * 926679040 + 2 * 7168 * 7168,
                f32 = 59 * 256 * (7168 + 1) + 62 * (2 * 7168 + 1536 + 512) + 4 * 7168;
  EXPECT_EQ(fp8.at("weight_bytes"), blocks + blocks / 128 * 4 + 2 * plain + 4 * f32);
}

TEST_F(Info, AMeasurementIsThisMachinesOrNone) {
  const auto hint = [&] { return json({config("deepseek-v2-lite")}).at("machine").value("hint", ""); };
  EXPECT_TRUE(has(hint(), "not measured yet"));
  keep_measurement({1e9, 1, "2026-01-02"});
  EXPECT_EQ(hint(), "");
  const std::string path = measurement_path(), good = read_file(path);
  EXPECT_EQ(path.rfind(folder_ / "cache/fathom/", 0), 0u);
  Json other = parse_json(good, path);
  other["processor"] = "another";
  write_file_atomic(path, other.dump());
  EXPECT_TRUE(has(hint(), "another machine"));
  for (const std::string& bad : {std::string("{"), std::string("[]"), good.substr(0, good.size() / 2)}) {
    write_file_atomic(path, bad);
    EXPECT_FALSE(hint().empty()) << bad;
  }
  Json damaged = parse_json(good, path);
  for (const Json& value : {Json("fast"), Json(-1), Json(nullptr)}) {
    damaged["read_bytes_per_second"] = value;
    write_file_atomic(path, damaged.dump());
    EXPECT_TRUE(has(hint(), "damaged"));
  }
}

TEST_F(Info, DoctorKeepsWhatItMeasured) {
#ifdef FATHOM_SANITIZED
  GTEST_SKIP() << "measures the memory";
#endif
  Program doctor(folder_.path(), {"doctor", "--threads", "1", "--json"});
  ASSERT_EQ(doctor.wait(), 0) << doctor.err();
  EXPECT_EQ(doctor.err(), "");
  const Json measured = parse_json(doctor.out(), "doctor").at("read_bandwidth").back();
  EXPECT_EQ(measured.at("name"), "memory");
  const Json kept = json({config("deepseek-v2-lite")}).at("machine").at("read_bandwidth");
  EXPECT_DOUBLE_EQ(kept.at("bytes_per_second").get<double>() / 1e9, measured.at("gb_per_s_all_threads").get<double>());
  EXPECT_EQ(kept.at("threads"), 1);
  // Where the file cannot be written, doctor says so and is no failure.
  write_file_atomic(folder_ / "file", "");
  ::setenv("XDG_CACHE_HOME", (folder_ / "file").c_str(), 1);
  Program again(folder_.path(), {"doctor", "--threads", "1"});
  EXPECT_EQ(again.wait(), 0);
  EXPECT_TRUE(has(again.out(), "\nnuma         ")) << again.out();
  EXPECT_TRUE(has(again.err(), "not kept")) << again.err();
}

TEST_F(Info, AConfigThatPromisesEndlessTensorsIsDescribedAtOnce) {
  const std::string path = config_alone(R"({"model_type":"deepseek_v3","vocab_size":8,"hidden_size":8,"intermediate_size":8,
    "num_hidden_layers":4096,"num_attention_heads":1,"kv_lora_rank":8,"qk_nope_head_dim":8,"qk_rope_head_dim":8,"v_head_dim":8,
    "n_routed_experts":65536,"num_experts_per_tok":2,"moe_intermediate_size":1,"n_shared_experts":0})");
  EXPECT_GT(json({path}).at("checkpoint").at("tensors").get<int64_t>(), 4096 * int64_t{65536} * 3);
  // Sizes that have no number are refused, not wrapped around.
  const std::string wide = config_alone(R"({"model_type":"llama","vocab_size":1,"hidden_size":1,"intermediate_size":1,
    "num_hidden_layers":4096,"num_attention_heads":65536,"head_dim":4096,"max_position_embeddings":2147483647})");
  EXPECT_GT(json({wide}).at("machine").at("formats")[0].at("cache_bytes").get<int64_t>(), 0);
  EXPECT_TRUE(has(text({wide, "--context", "2147483647"}, 2), "2^63"));
}

// Every model of the fixtures: what its files hold is what its config.json describes.
TEST_F(Info, FixtureModels) {
  const std::string root = models_folder();
  if (!is_directory(root)) GTEST_SKIP() << "no fixtures at " << root << ": set FATHOM_FIXTURES";
  int seen = 0;
  for (const std::string& name : list_directory(root)) {
    const std::string directory = root + "/" + name;
    if (!file_exists(directory + "/config.json")) continue;
    const Json j = json({directory});
    int64_t tensors = 0, bytes = 0;
    const SafetensorsDirectory opened = SafetensorsDirectory::open(directory);
    for (const auto& file : opened.files()) {
      tensors += static_cast<int64_t>(file->entries().size());
      for (const auto& e : file->entries()) bytes += e.end - e.begin;
    }
    EXPECT_EQ(j.at("tensors_count"), tensors) << name;
    EXPECT_EQ(j.at("data_bytes"), bytes) << name;
    EXPECT_EQ(j.at("checkpoint").at("tensors"), tensors) << name;
    EXPECT_EQ(j.at("checkpoint").at("bytes"), bytes) << name;
    EXPECT_EQ(j.at("checkpoint").at("bytes_by_dtype"), j.at("bytes_by_dtype")) << name;
    EXPECT_EQ(j.at("tokenizer").at("present"), file_exists(directory + "/tokenizer.json")) << name;
    EXPECT_EQ(j.at("tokenizer").at("kind"), "byte-level BPE") << name;
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

TEST_F(Info, TokenizerAndTemplateAsTheyAre) {
  const std::string source = models_folder() + "/dsv3-tiny";
  if (!is_directory(source)) GTEST_SKIP() << "no fixtures at " << source << ": set FATHOM_FIXTURES";
  const std::string copy = folder_ / "model";
  make_directories(copy);
  for (const char* name : {"config.json", "tokenizer.json", "tokenizer_config.json"})
    write_file_atomic(copy + "/" + name, read_file(source + "/" + name));
  Json j = json({copy});
  EXPECT_EQ(j.at("chat_template").at("from"), "tokenizer_config.json");
  EXPECT_GT(j.at("tokenizer").at("added_tokens").get<int>(), 0);
  EXPECT_EQ(j.at("tokenizer").at("named_tokens").at("bos_token"), 0);
  write_file_atomic(copy + "/chat_template.jinja", "{{ messages }}");
  EXPECT_EQ(json({copy}).at("chat_template").at("from"), "chat_template.jinja");
  write_file_atomic(copy + "/chat_template.jinja", "{% if %}");
  EXPECT_TRUE(json({copy}).at("chat_template").contains("problem"));
  EXPECT_TRUE(has(text({copy}), "chat_template.jinja cannot be used"));
  write_file_atomic(copy + "/tokenizer.json", "{\"model\": 1}");
  EXPECT_TRUE(json({copy}).at("tokenizer").contains("problem"));
  EXPECT_TRUE(has(text({copy}), "tokenizer    cannot be used"));
  std::filesystem::remove(copy + "/tokenizer.json");
  j = json({copy});
  EXPECT_EQ(j.at("tokenizer").at("present"), false);
  EXPECT_EQ(j.at("chat_template").at("present"), false);
  EXPECT_TRUE(has(text({copy}), "tokenizer    none"));
}

TEST_F(Info, SingleFiles) {
  const std::string weights = models_folder() + "/qwen2-tiny/model.safetensors", gguf = fixtures_folder() + "/gguf";
  if (!file_exists(weights)) GTEST_SKIP() << "no fixtures at " << weights << ": set FATHOM_FIXTURES";
  const Json file = json({weights, "--tensors"});
  EXPECT_EQ(file.at("format"), "safetensors");
  EXPECT_EQ(file.at("tensors").size(), file.at("tensors_count").get<size_t>());
  EXPECT_FALSE(file.contains("parameters_total"));
  EXPECT_TRUE(has(text({weights, "--tensors", "--metadata"}), "model.embed_tokens.weight"));

  const Json q8 = json({gguf + "/llama3-tiny-q8_0.gguf"});
  EXPECT_EQ(q8.at("format"), "gguf");
  EXPECT_EQ(q8.at("parameters_total"), json({models_folder() + "/llama3-tiny"}).at("parameters_total"));
  EXPECT_TRUE(q8.at("bytes_by_dtype").contains("Q8_0"));
  EXPECT_EQ(q8.at("tokenizer").at("kind"), "byte-level BPE");
  EXPECT_EQ(q8.at("chat_template").at("from"), "tokenizer.chat_template");
  EXPECT_TRUE(has(text({gguf + "/llama3-tiny-q8_0.gguf", "--metadata"}), "llama.context_length"));
  const Json blocks = json({gguf + "/quants.gguf"});
  EXPECT_TRUE(blocks.contains("unsupported"));
  EXPECT_FALSE(blocks.contains("machine"));
  EXPECT_EQ(blocks.at("tokenizer").at("present"), false);
  EXPECT_TRUE(has(text({gguf + "/quants.gguf"}), "none that is supported here"));
  EXPECT_TRUE(has(text({gguf}, 2), ".gguf"));  // a folder of GGUF files: which one?
  EXPECT_TRUE(has(text({folder_ / "nowhere"}, 2), "nowhere"));
  EXPECT_TRUE(has(text({folder_.path()}, 2), "config.json"));
}

}  // namespace
}  // namespace fathom
