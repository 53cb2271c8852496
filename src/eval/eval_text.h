// The text of an evaluation as token ids.
#pragma once
#include <string>

#include "data/token_dataset.h"
#include "text/tokenizer.h"

namespace fathom {

// A text file (plain, gzip, zstd) as one document: bos where the tokenizer wants it, then the text; special tokens in it are
// text.
TokenDataset read_eval_text(const std::string& path, const Tokenizer& tokenizer);
// JSONL, a document a line: {"text"} as above; {"messages"} and {"prompt", "completion"} through the chat template, of which
// the assistant's turns count. Error (usage) with file and line.
TokenDataset read_eval_jsonl(const std::string& path, const Tokenizer& tokenizer);

}  // namespace fathom
