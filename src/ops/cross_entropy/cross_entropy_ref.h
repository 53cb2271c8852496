// The oracle: in double, from the formula.
#pragma once
#include <cstdint>
#include <vector>

namespace fathom::reference {
// log softmax(logits[t, 0..valid))[target[t]] for each row of `width`; 0 where the target is negative.
std::vector<double> log_probs(const std::vector<double>& logits, const std::vector<int32_t>& targets, int64_t width,
                              int64_t valid);
// -sum p log p of each row, in nats.
std::vector<double> entropy(const std::vector<double>& logits, int64_t width, int64_t valid);
// sum p (log p - log q) of each row, in nats.
std::vector<double> kl_divergence(const std::vector<double>& p, const std::vector<double>& q, int64_t width, int64_t valid);
}  // namespace fathom::reference
