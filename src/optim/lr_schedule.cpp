#include "optim/lr_schedule.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace fathom {

double LrSchedule::at(int64_t tokens_before, int64_t tokens_after, int64_t total_tokens) const {
  double warm = 1;
  if (warmup_tokens > 0) warm = std::min(1.0, static_cast<double>(tokens_after) / static_cast<double>(warmup_tokens));
  if (schedule == "constant" || warm < 1) return lr * warm;
  const bool wsd = schedule == "wsd";
  const int64_t decay_begin = wsd ? total_tokens - decay_tokens : warmup_tokens;
  const int64_t length = std::max<int64_t>(1, total_tokens - decay_begin);
  const double x = std::clamp(static_cast<double>(tokens_before - decay_begin) / static_cast<double>(length), 0.0, 1.0);
  const std::string& shape = wsd ? decay_shape : schedule;
  double left = 1 - x;  // linear
  if (shape == "cosine") left = 0.5 * (1 + std::cos(M_PI * x));
  if (shape == "sqrt") left = 1 - std::sqrt(x);
  return min_lr + (lr - min_lr) * left;
}

void LrSchedule::validate(int64_t total_tokens) const {
  if (min_lr > lr)
    fail_usage("optim", "min_lr " + std::to_string(min_lr) + " is above lr " + std::to_string(lr) + "; lower it");
  if (schedule == "constant") return;
  if (total_tokens <= 0)
    fail_usage("optim", "schedule " + schedule + " needs the run's total tokens; set them or use constant");
  if (warmup_tokens > total_tokens)
    fail_usage("optim", "warmup_tokens " + std::to_string(warmup_tokens) + " exceed the run's " + std::to_string(total_tokens) +
                            " tokens; lower them");
  if (schedule == "wsd" && warmup_tokens + decay_tokens > total_tokens)
    fail_usage("optim", "warmup_tokens " + std::to_string(warmup_tokens) + " and decay_tokens " + std::to_string(decay_tokens) +
                            " exceed the run's " + std::to_string(total_tokens) + " tokens; lower them");
}

void StepSchedule::validate(const std::string& field, const std::vector<double>& pairs) {
  const std::string form = "; give [share, value, share, value, …] with shares ascending from 0 to below 1";
  if (pairs.size() % 2 != 0) fail_usage("optim", field + " has " + std::to_string(pairs.size()) + " numbers" + form);
  for (size_t i = 0; i < pairs.size(); i += 2) {
    const bool ok = i == 0 ? pairs[0] == 0 : pairs[i] > pairs[i - 2] && pairs[i] < 1;
    if (!ok)
      fail_usage("optim", field + " has share " + std::to_string(pairs[i]) + " in place " + std::to_string(i / 2) + form);
    if (!(pairs[i + 1] >= 0))
      fail_usage("optim", field + " has value " + std::to_string(pairs[i + 1]) + "; values are 0 or more");
  }
}

double StepSchedule::at(const std::vector<double>& pairs, int64_t tokens, int64_t total_tokens) {
  const double share = total_tokens > 0 ? static_cast<double>(tokens) / static_cast<double>(total_tokens) : 0;
  double value = 0;
  for (size_t i = 0; i + 1 < pairs.size(); i += 2)
    if (share >= pairs[i]) value = pairs[i + 1];
  return value;
}

}  // namespace fathom
