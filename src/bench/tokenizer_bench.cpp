#include "bench/tokenizer_bench.h"

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>

#include "base/files.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/thread_pool.h"

namespace fathom {

TokenizerBenchResult run_tokenizer_bench(const Tokenizer& tokenizer, const std::vector<std::string>& texts, bool all_threads,
                                         int runs) {
  TokenizerBenchResult result;
  result.threads = all_threads ? num_threads() : 1;
  for (const std::string& text : texts) result.bytes += static_cast<int64_t>(text.size());
  std::vector<double> seconds;
  for (int run = 0; run <= runs; ++run) {
    std::atomic<int64_t> tokens = 0;
    const double start = now_seconds();
    if (all_threads) {
      parallel_for(static_cast<int64_t>(texts.size()), 4, [&](int64_t begin, int64_t end) {
        int64_t n = 0;
        for (int64_t i = begin; i < end; ++i)
          n += static_cast<int64_t>(tokenizer.encode(texts[static_cast<size_t>(i)], Tokenizer::Specials::kAsText).size());
        tokens += n;
      });
    } else {
      for (const std::string& text : texts)
        tokens += static_cast<int64_t>(tokenizer.encode(text, Tokenizer::Specials::kAsText).size());
    }
    if (run > 0) seconds.push_back(now_seconds() - start);
    result.tokens = tokens;
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2], megabytes = static_cast<double>(result.bytes) / 1e6;
  result.mb_per_s = megabytes / median;
  result.best_mb_per_s = megabytes / seconds.front();
  result.spread = (seconds.back() - seconds.front()) / median;
  result.mtokens_per_s = static_cast<double>(result.tokens) / 1e6 / median;
  return result;
}

std::vector<std::string> sample_texts(int64_t bytes) {
  constexpr int kWords = 20000, kDocument = 4000;
  const char* const syllables[] = {"ta",  "ri", "on",  "en",  "the", "ing", "co", "st", "er", "al",   "pro", "un",
                                   "ver", "is", "com", "ble", "na",  "li",  "mo", "de", "re", "tion", "ge",  "wa"};
  Rng rng(1, RngStream::kTest);
  std::vector<std::string> words(kWords), texts;
  for (std::string& word : words)
    for (uint64_t n = 1 + rng.next_below(4); n > 0; --n) word += syllables[rng.next_below(std::size(syllables))];
  for (int64_t size = 0; size < bytes; size += static_cast<int64_t>(texts.back().size())) {
    std::string text;
    while (text.size() < kDocument) {
      const uint64_t kind = rng.next_below(40);
      // Frequent words are frequent: the place of a word falls off as Zipf's law has it.
      const double u = static_cast<double>(rng.next_below(1 << 20)) / (1 << 20);
      const auto place = static_cast<size_t>(std::pow(static_cast<double>(kWords), u)) - 1;
      text += kind == 0   ? "\n"
              : kind == 1 ? ", "
              : kind == 2 ? ". "
              : kind == 3 ? " " + std::to_string(rng.next_below(100000))
                          : " ";
      text += words[std::min<size_t>(place, kWords - 1)];
    }
    texts.push_back(std::move(text));
  }
  return texts;
}

Tokenizer sample_tokenizer(const std::vector<std::string>& texts, int64_t vocab_size) {
  const std::string folder = (std::filesystem::temp_directory_path() / ("fathom-bench-" + std::to_string(::getpid()))).string();
  make_directories(folder);
  TokenizerTraining training;
  training.vocab_size = vocab_size;
  const std::vector<std::string_view> views(texts.begin(),
                                            texts.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(250, texts.size())));
  train_tokenizer(views, training, folder);
  Tokenizer tokenizer = Tokenizer::from_directory(folder);
  remove_tree(folder);
  return tokenizer;
}

}  // namespace fathom
