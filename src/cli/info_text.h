// fathom info: the tokenizer and the chat template of a model. Include only from .cpp files (JSON).
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/model_files.h"

namespace fathom {

struct TextInfo {
  bool present = false;
  std::string problem;  // why the tokenizer cannot be used; empty: it can, or there is none
  std::string kind;     // "byte-level BPE"
  int64_t vocab_size = 0, added_tokens = 0, special_tokens = 0;
  bool adds_bos = false;
  std::vector<std::pair<std::string, int32_t>> named_tokens;  // bos_token, eos_token, …
  std::string template_from;                                  // empty: no chat template
  std::string template_problem;

  static TextInfo of(const ModelFiles& files);
  void to_json(Json& json) const;
  // rows: of the model's embedding table; 0: not known.
  void print(int64_t rows) const;

 private:
  void take(const Tokenizer& tokenizer);
};

}  // namespace fathom
