// How fast texts become tokens: MB/s of text on one thread and on all.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace fathom {

struct TokenizerBenchResult {
  int threads = 1;
  int64_t bytes = 0, tokens = 0;
  double mb_per_s = 0, best_mb_per_s = 0, spread = 0;  // median, best, (slowest - fastest) / median of the runs
  double mtokens_per_s = 0;
};
// Every text by itself, as user text (no added token recognised); one run to warm up, then `runs`. On more than one
// thread the texts are handed out one by one.
TokenizerBenchResult run_tokenizer_bench(const Tokenizer& tokenizer, const std::vector<std::string>& texts, bool all_threads,
                                         int runs);

// A text to measure on where none is given: English-like words with numbers, punctuation and lines, `bytes` long.
std::vector<std::string> sample_texts(int64_t bytes);
// A tokenizer for it, trained on its first part.
Tokenizer sample_tokenizer(const std::vector<std::string>& texts, int64_t vocab_size);

}  // namespace fathom
