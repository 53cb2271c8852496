#include "infer/ngram_drafter.h"

#include <algorithm>

namespace fathom {

void NgramDrafter::draft(std::span<const DraftJob> jobs) {
  for (const DraftJob& job : jobs) {
    const std::vector<int32_t>& tokens = job.sequence->tokens;
    const int64_t n = static_cast<int64_t>(tokens.size());
    const int32_t* t = tokens.data();
    int64_t best = min_match_ - 1, from = -1;  // length of the match; where what followed begins
    for (int64_t end = n - 1; end >= min_match_ && best < max_match_; --end) {
      if (t[end - 1] != t[n - 1] || (best > 0 && end > best && t[end - 1 - best] != t[n - 1 - best])) continue;
      const int64_t limit = std::min(max_match_, end);
      int64_t length = 1;
      while (length < limit && t[end - 1 - length] == t[n - 1 - length]) ++length;
      if (length > best) best = length, from = end;
    }
    if (from < 0) continue;
    std::vector<int32_t>& draft = job.sequence->draft;
    for (int64_t i = from; i < from + job.count; ++i)  // beyond the end: a text that repeats itself goes on repeating
      draft.push_back(i < n ? t[i] : draft[static_cast<size_t>(i - n)]);
  }
}

}  // namespace fathom
