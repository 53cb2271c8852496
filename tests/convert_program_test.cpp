// fathom convert as its user meets it: killed and started again, under a memory limit, and read by other programs.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cstdlib>

#include "base/json.h"
#include "base/test_fixtures.h"
#include "checkpoint/model_files.h"
#include "checkpoint/published_tensors.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/safetensors_shard.h"
#include "program.h"
#include "tensor/format/bf16.h"
#include "tensor/format/dequantize.h"

namespace fathom {
namespace {

int run(const TestFolder& folder, const std::vector<std::string>& arguments, std::string* out = nullptr,
        const std::function<void()>& prepare = nullptr) {
  Program program(folder.path(), arguments, prepare);
  const int code = program.wait();
  if (code != 0) ADD_FAILURE() << arguments[0] << ": exit " << code << "\n" << program.err();
  if (out) *out = program.out();
  return code;
}

// A llama of 110 M values in BF16 (220 MB) with weights that differ from row to row.
void write_large_model(const std::string& directory) {
  ModelConfig config;
  config.model_type = "llama";
  config.vocab_size = 8192, config.hidden_size = 2048, config.intermediate_size = 8192, config.num_hidden_layers = 1;
  config.num_attention_heads = 16, config.num_key_value_heads = 16, config.head_dim = 128;
  make_directories(directory);
  write_file_atomic(directory + "/config.json", config.to_json_text());
  std::vector<ShardEntry> entries;
  for (const auto& tensor : published_tensors(config)) entries.push_back({tensor.name, DType::kBF16, tensor.shape});
  SafetensorsShard shard(directory + "/model.safetensors", entries, {{"format", "pt"}});
  uint32_t state = 1;
  std::vector<bf16> row;
  for (const ShardEntry& entry : entries) {
    const int64_t width = entry.shape.back(), rows = entry.bytes() / 2 / width;
    row.resize(static_cast<size_t>(width));
    for (int64_t r = 0; r < rows; ++r) {
      for (bf16& x : row)
        state = state * 1664525u + 1013904223u, x = to_bf16(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-35f);
      shard.write(row.data(), width * 2);
    }
  }
  shard.commit();
}

// RLIMIT_DATA bounds anonymous memory (mapped file pages do not count): the model is more than three times as large. What was
// used at most is printed: build/convert_program_test --gtest_filter='*NeedsLittleMemory'
TEST(ConvertProgram, NeedsLittleMemory) {
#ifdef FATHOM_SANITIZED
  GTEST_SKIP() << "the sanitizer's own memory is beyond the limit";
#endif
  TestFolder folder;
  write_large_model(folder / "model");
  constexpr rlim_t kLimit = rlim_t{64} << 20;
  const auto limit = [] {
    const rlimit data = {kLimit, kLimit};
    ::setrlimit(RLIMIT_DATA, &data);
  };
  ASSERT_GT(read_file(folder / "model/config.json").size(), 0u);
  const auto convert = [&](const std::string& from, const std::string& to, const std::string& format,
                           const std::string& dtype) {
    Program program(folder.path(), {"convert", folder / from, folder / to, "--to", format, "--dtype", dtype}, limit);
    int64_t peak = 0;
    EXPECT_EQ(program.wait_and_watch(&peak), 0) << program.err();
    std::printf("%s -> %s %s: %.1f MB of anonymous memory at most, for 220 MB of weights\n", from.c_str(), format.c_str(),
                dtype.c_str(), static_cast<double>(peak) / 1e6);
    EXPECT_GT(peak, 0);
    EXPECT_LT(peak, static_cast<int64_t>(kLimit));
  };
  convert("model", "q8.gguf", "gguf", "q8_0");
  convert("model", "bf16.gguf", "gguf", "bf16");
  convert("model", "f32", "hf", "f32");
  convert("bf16.gguf", "back", "hf", "bf16");
  EXPECT_EQ(crc32_of_file(folder / "back/model.safetensors"), crc32_of_file(folder / "model/model.safetensors"));
}

// Weights are packed out of the mapped file: the program's own memory is one copy of them (220 MB) and a tenth, beside what it
// takes for a model of no size; an unpacked copy would need 220 MB more.
TEST(ConvertProgram, LoadingTakesOneCopyOfTheWeights) {
#ifdef FATHOM_SANITIZED
  GTEST_SKIP() << "the sanitizer's own memory is beyond the limit";
#endif
  TestFolder folder;
  write_large_model(folder / "model");
  const auto limit = [] {
    constexpr rlim_t kLimit = (rlim_t{220} + 22 + 32) << 20;
    const rlimit data = {kLimit, kLimit};
    ::setrlimit(RLIMIT_DATA, &data);
  };
  std::string out;
  EXPECT_EQ(run(folder,
                {"generate", folder / "model", "--prompt-ids", "1,2,3", "--max-tokens", "1", "--temperature", "0",
                 "--ignore-eos", "--dtype", "bf16", "--json"},
                &out, limit),
            0);
  EXPECT_GT(parse_json(out, "generate").at("packing_seconds").get<double>(), 0);
}

// Killed at any moment and started again: at the end the bytes are those of an undisturbed conversion.
TEST(ConvertProgram, GoesOnAfterKills) {
  TestFolder folder;
  write_large_model(folder / "model");
  run(folder, {"convert", folder / "model", folder / "whole.gguf", "--to", "gguf", "--dtype", "f32"});
  int kills = 0;
  const std::vector<std::string> command = {"convert", folder / "model", folder / "killed.gguf", "--to", "gguf", "--dtype",
                                            "f32"};
  for (int i = 0; i < 8 && !file_exists(folder / "killed.gguf"); ++i) {
    Program program(folder.path(), command);
    for (int ms = 0; ms < 40 + 60 * i && program.running(); ++ms) ::usleep(1000);
    if (program.running()) program.send(SIGKILL), ++kills;
    program.wait();
  }
  EXPECT_GT(kills, 0);
  if (!file_exists(folder / "killed.gguf")) run(folder, command);
  EXPECT_EQ(crc32_of_file(folder / "killed.gguf"), crc32_of_file(folder / "whole.gguf"));
  EXPECT_FALSE(file_exists(folder / "killed.gguf.partial.journal"));
}

// Every tensor of a GGUF file as our reader gives it, under its name there, in F32 [rows, row size].
void write_values(const std::string& gguf, const std::string& path) {
  const GgufFile file = GgufFile::open(gguf);
  std::vector<SafetensorsItem> items;
  for (const auto& entry : file.entries()) {
    Tensor values = Tensor::empty({entry.rows(), entry.row_size()}, DType::kF32);
    for (int64_t r = 0; r < entry.rows(); ++r)
      dequantize_row(entry.type, file.data(entry) + r * entry.row_bytes(), entry.row_size(), values.row<float>(r));
    items.push_back({entry.name, values, DType::kF32});
  }
  write_safetensors(path, items);
}

// FATHOM_PYTHON names a python with the packages gguf and safetensors (default: python3).
TEST(ConvertProgram, PythonGgufReadsWhatIsWritten) {
  if (!is_directory(models_folder())) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  const char* set = std::getenv("FATHOM_PYTHON");
  const std::string python = set ? set : "python3";
  if (std::system((python + " -c 'import gguf, safetensors' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no packages gguf, safetensors";
  TestFolder folder;
  const std::string script = folder / "read.py";
  write_file_atomic(script,
                    "import sys, gguf, numpy as np\n"
                    "from gguf.quants import dequantize\n"
                    "from safetensors.numpy import load_file\n"
                    "for path in sys.argv[1:]:\n"
                    "    reader = gguf.GGUFReader(path)\n"
                    "    ours = load_file(path + '.safetensors')\n"
                    "    assert len(reader.tensors) > 20 and len(reader.tensors) == len(ours)\n"
                    "    for field in reader.fields.values(): field.contents()\n"
                    "    for t in reader.tensors:\n"
                    "        x = dequantize(t.data, t.tensor_type)\n"
                    "        assert np.isfinite(x).all() and x.size == t.n_elements, t.name\n"
                    "        assert np.array_equal(x.astype(np.float32).ravel(), ours[t.name].ravel()), (path, t.name)\n");
  std::string files;
  for (const char* model : {"dsv3-tiny", "llama3-tiny", "qwen2-tiny", "qwen3-tiny", "dsv2lite-tiny", "dsv3-tiny-fp8"})
    for (const char* dtype : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k", "q6_k"}) {
      if (!is_directory(models_folder() + "/" + model)) continue;
      const std::string to = folder / (std::string(model) + dtype + ".gguf");
      run(folder, {"convert", models_folder() + "/" + model, to, "--to", "gguf", "--dtype", dtype});
      write_values(to, to + ".safetensors");
      files += " " + to;
    }
  EXPECT_EQ(std::system((python + " " + script + files).c_str()), 0);
}

// LLAMA_CPP names the folder of its programs. Float32 weights and cache: the greedy text must be the same, byte for byte.
TEST(ConvertProgram, LlamaCppContinuesAsWeDo) {
  if (!is_directory(models_folder())) GTEST_SKIP() << "no fixtures at " << fixtures_folder();
  const char* folder_of = std::getenv("LLAMA_CPP");
  if (!folder_of) GTEST_SKIP() << "LLAMA_CPP does not name the folder of llama-completion";
  const std::string binary = std::string(folder_of) + "/llama-completion";
  ASSERT_TRUE(file_exists(binary)) << binary;
  TestFolder folder;
  int compared = 0;  // tokens
  for (const char* model : {"llama3-tiny", "qwen2-tiny", "qwen3-tiny", "dsv3-tiny", "dsv3-tiny-fp8"}) {
    const std::string source = models_folder() + "/" + model, gguf = folder / (std::string(model) + ".gguf");
    if (!is_directory(source)) continue;
    run(folder, {"convert", source, gguf, "--to", "gguf", "--dtype", "f32"});
    const auto tokenizer = ModelFiles(gguf).tokenizer();
    ASSERT_TRUE(tokenizer);
    for (const char* prompt : {"It was the best of times", "A man in the"}) {
      const std::string out = folder / "llama.txt";
      const std::string command = binary + " -m " + gguf + " -p '" + prompt + "' -n 16 --temp 0 -no-cnv --ignore-eos" +
                                  " --no-display-prompt -ctk f32 -ctv f32 -fa off --no-warmup -t 1 </dev/null >" + out +
                                  " 2>/dev/null";
      // Ids in: the model alone decides, padding of the vocabulary included. llama.cpp never draws an end token and prints
      // none of the special ones, so the comparison ends at the first of them.
      std::vector<int32_t> ids = tokenizer->encode(prompt, Tokenizer::Specials::kRecognise, tokenizer->wants_bos());
      std::string list, json, ours;
      for (const int32_t id : ids) list += (list.empty() ? "" : ",") + std::to_string(id);
      run(folder,
          {"generate", gguf, "--prompt-ids", list, "--max-tokens", "16", "--temperature", "0", "--ignore-eos", "--dtype", "f32",
           "--json"},
          &json);
      const Json result = parse_json(json, "generate");
      for (const Json& id : result["token_ids"]) {
        if (id.get<int32_t>() >= tokenizer->vocab_size() || tokenizer->is_special(id.get<int32_t>())) break;
        ours += tokenizer->token_bytes(id.get<int32_t>());
        ++compared;
      }
      // Its printing thread sometimes loses the text's end, or all of it, at the end of the program: then it runs again.
      std::string theirs;
      for (int attempt = 0; attempt < 10 && theirs.size() < ours.size(); ++attempt) {
        ASSERT_EQ(std::system(command.c_str()), 0) << command;
        theirs = read_file(out);
      }
      EXPECT_EQ(theirs.substr(0, ours.size()), ours) << model << ": " << prompt;
    }
  }
  EXPECT_GT(compared, 60);
}

}  // namespace
}  // namespace fathom
