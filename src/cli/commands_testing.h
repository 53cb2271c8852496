// The program as a user runs it, on a tiny model with random weights.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/test_folder.h"
#include "checkpoint/hf_directory.h"
#include "text/chat_template.h"

namespace fathom {

inline std::string program() { return std::filesystem::read_symlink("/proc/self/exe").parent_path().string() + "/fathom"; }

struct Result {
  int code = -1;
  std::string out, err;
};

class Commands : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!file_exists(program())) return;
    folder_ = new TestFolder;
    TokenizerTraining training;
    training.vocab_size = 300;
    training.special_tokens = deepseek_r1_control_tokens();
    training.bos_token = training.special_tokens[0];
    training.eos_token = training.special_tokens[1];
    training.pad_token = training.special_tokens[2];
    training.chat_template = deepseek_r1_chat_template();
    const std::string_view texts[] = {"two and two are four, and four and four are eight; the rest is silence"};
    make_directories(model());
    train_tokenizer(texts, training, model());
    ModelConfig c;
    c.model_type = "deepseek_v3";
    c.torch_dtype = "float32";
    c.vocab_size = 320;  // more than the tokenizer has: padding
    c.hidden_size = 32;
    c.intermediate_size = 64;
    c.num_hidden_layers = 2;
    c.num_attention_heads = c.num_key_value_heads = 2;
    c.max_position_embeddings = 256;
    c.kv_lora_rank = 16;
    c.qk_nope_head_dim = 16;
    c.qk_rope_head_dim = 8;
    c.v_head_dim = 16;
    c.n_routed_experts = 4;
    c.n_shared_experts = 1;
    c.num_experts_per_tok = 2;
    c.moe_intermediate_size = 32;
    c.first_k_dense_replace = 1;
    c.topk_method = "noaux_tc";
    c.scoring_func = "sigmoid";
    c.num_nextn_predict_layers = 1;
    c.bos_token_id = 0;
    c.eos_token_ids = {1};
    c.pad_token_id = 2;
    Decoder decoder(c, Numerics{});
    decoder.allocate(DType::kF32);
    decoder.init_weights(5, 0.1);
    save_model(decoder, model(), DType::kF32, "");
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  void SetUp() override {
    if (!folder_) GTEST_SKIP() << "no " << program() << ": build the target `fathom` first";
  }
  static std::string model() { return *folder_ / "model"; }
  static std::string path(const std::string& name) { return *folder_ / name; }

  static Result run(const std::vector<std::string>& arguments, const std::string& input = "") {
    write_file_atomic(path("stdin"), input);
    return wait_for(start(arguments));
  }
  // The two halves of run(), for what happens on the way.
  static pid_t start(const std::vector<std::string>& arguments) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::dup2(::open(path("stdin").c_str(), O_RDONLY), 0);
      ::dup2(::open(path("stdout").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
      ::dup2(::open(path("stderr").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
      execute(arguments);
    }
    return child;
  }
  static Result wait_for(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), read_file(path("stdout")), read_file(path("stderr"))};
  }
  [[noreturn]] static void execute(const std::vector<std::string>& arguments) {
    const std::string name = program();
    std::vector<char*> argv = {const_cast<char*>(name.c_str())};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    ::execv(name.c_str(), argv.data());
    ::_exit(127);
  }
  static Json json(const Result& result) {
    EXPECT_EQ(result.code, 0) << result.err;
    return parse_json(result.out, "stdout");
  }
  // Bad input: status 2 and a message that holds `what`; nothing on stdout.
  static void expect_refused(const std::vector<std::string>& arguments, const std::string& what,
                             const std::string& input = "") {
    const Result result = run(arguments, input);
    EXPECT_EQ(result.code, 2) << arguments[0] << ": " << result.err;
    EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
    EXPECT_EQ(result.out, "");
  }

  static inline TestFolder* folder_ = nullptr;
};

}  // namespace fathom
