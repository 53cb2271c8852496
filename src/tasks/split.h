// Which split a problem belongs to: decided by a hash of the problem itself, so that train and test are disjoint whatever
// the seed.
#pragma once
#include <cstdint>
#include <string>

#include "base/rng.h"
#include "tasks/task.h"

namespace fathom {

bool is_test_problem(const std::string& key);  // one in ten
void check_split(const std::string& split);    // Error (usage): neither "train" nor "test"
// Draws problems with `draw(Rng&, Problem&) -> key` ("" for one to be thrown away) until one lies in the split.
template <class Draw>
Problem draw_in_split(const std::string& task, uint64_t seed, const std::string& split, uint64_t index, Draw&& draw);
[[noreturn]] void fail_no_problem(const std::string& task, const std::string& split);

template <class Draw>
Problem draw_in_split(const std::string& task, uint64_t seed, const std::string& split, uint64_t index, Draw&& draw) {
  check_split(split);
  const bool test = split == "test";
  for (uint64_t attempt = 0; attempt < 100'000; ++attempt) {
    Rng rng(seed, RngStream::kTask, index, test, attempt);
    Problem problem;
    const std::string key = draw(rng, problem);
    if (!key.empty() && is_test_problem(task + ":" + key) == test) return problem;
  }
  fail_no_problem(task, split);
}

}  // namespace fathom
