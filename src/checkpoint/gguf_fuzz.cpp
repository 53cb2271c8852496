// libFuzzer: any bytes are a GGUF file or an Error; every value of every tensor can be read; the model and the tokenizer that
// the metadata describes are made or refused.
#include "base/error.h"
#include "base/log.h"
#include "checkpoint/gguf_model.h"
#include "tensor/format/dequantize.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fathom;
  set_log_quiet(true);
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const GgufFile file = GgufFile::from_bytes(bytes, "fuzz");
    std::vector<float> row;
    for (const auto& entry : file.entries()) {
      if (!ggml_type_info(entry.type).real || entry.row_size() > (1 << 16)) continue;
      row.resize(static_cast<size_t>(entry.row_size()));
      for (int64_t r = 0; r < std::min<int64_t>(entry.rows(), 8); ++r)
        dequantize_row(entry.type, file.data(entry) + r * entry.row_bytes(), entry.row_size(), row.data());
    }
    try {
      if (const auto files = tokenizer_from_gguf(file)) {
        const auto tokenizer = Tokenizer::from_text(files->tokenizer_json, files->tokenizer_config, "fuzz", files->scores);
        tokenizer.decode(tokenizer.encode("the thing  \u4F60<s>", Tokenizer::Specials::kRecognise));
      }
    } catch (const Error&) {
    }
    const GgufModel model = GgufModel::from_file(std::make_shared<const GgufFile>(file));
    for (const auto& tensor : model.tensors()) {
      int64_t n = 1;
      for (const int64_t s : tensor.shape) n *= s;
      if (n <= (1 << 16)) model.read(tensor.name);
    }
    model.generation_json();
  } catch (const Error&) {
  }
  return 0;
}
