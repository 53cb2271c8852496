// How a text is cut into what the model sees at once, and which tokens of each cut count.
//   sliding    windows of `context` tokens whose ends move on by `stride`: every token but a document's first is counted once,
//              with at least context - stride tokens before it (fewer only at the document's start)
//   llama.cpp  llama-perplexity's: the text cut into windows of `context`, side by side, the second half of each counted; what
//              does not fill a window is left out
// A window that does not begin its document has bos as its first token, in place of the text's, where the model wants bos.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/token_dataset.h"

namespace fathom {

enum class EvalProtocol : uint8_t { kSliding, kLlamaCpp };

struct EvalWindow {
  int64_t document = 0;
  int64_t begin = 0;            // the model sees ids [begin, last) of the document
  int64_t first = 0, last = 0;  // ids [first, last] are predicted and counted
  int64_t rows() const { return last - begin; }
};

struct WindowOptions {
  EvalProtocol protocol = EvalProtocol::kSliding;
  int64_t context = 512, stride = 256;  // 1 <= stride < context; llama.cpp: no stride
};

// In the order of the text. Error (usage) where no token can be counted, or the sizes make no sense.
std::vector<EvalWindow> plan_windows(const TokenDataset& text, const WindowOptions& options);

}  // namespace fathom
