#include "eval/eval_windows.h"

#include <algorithm>

#include "base/error.h"

namespace fathom {
namespace {

void slide(int64_t document, int64_t num_ids, const WindowOptions& o, std::vector<EvalWindow>& windows) {
  for (int64_t counted = 0; counted < num_ids - 1;) {  // ids [1, counted] are done
    const int64_t last = std::min(num_ids - 1, counted == 0 ? o.context : counted + o.stride);
    windows.push_back({document, std::max<int64_t>(0, last - o.context), counted + 1, last});
    counted = last;
  }
}

}  // namespace

std::vector<EvalWindow> plan_windows(const TokenDataset& text, const WindowOptions& o) {
  if (o.context < 2) fail_usage("eval", "a context of " + std::to_string(o.context) + " tokens; it must be at least 2");
  const bool sliding = o.protocol == EvalProtocol::kSliding;
  if (sliding && (o.stride < 1 || o.stride >= o.context))
    fail_usage("eval", "the stride is " + std::to_string(o.stride) + "; it must be from 1 to " + std::to_string(o.context - 1) +
                           ", less than the context");
  std::vector<EvalWindow> windows;
  for (int64_t d = 0; d < text.num_documents(); ++d) {
    const int64_t n = static_cast<int64_t>(text.ids(d).size());
    if (sliding)
      slide(d, n, o, windows);
    else
      for (int64_t begin = 0; begin + o.context <= n; begin += o.context)
        windows.push_back({d, begin, begin + o.context / 2 + 1, begin + o.context - 1});
  }
  std::erase_if(windows, [](const EvalWindow& w) { return w.first > w.last; });
  if (windows.empty())
    fail_usage("eval", "the text of " + std::to_string(text.num_tokens()) + " tokens is too short: " +
                           (sliding ? "two are needed" : "a whole context of " + std::to_string(o.context) + " is needed"));
  return windows;
}

}  // namespace fathom
