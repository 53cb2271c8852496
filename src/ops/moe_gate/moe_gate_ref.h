// The oracle: in double, from report §2.1.2 and V2 report §2.2, with full sorts.
#pragma once
#include <cstdint>
#include <vector>

#include "ops/moe_gate/moe_gate.h"

namespace fathom::reference {
std::vector<double> gate_scores(const MoeGateConfig& config, const std::vector<double>& logits);
// Chosen experts of each row, ascending. bias empty: none.
std::vector<int32_t> gate_ids(const MoeGateConfig& config, const std::vector<double>& logits, const std::vector<double>& bias);
// Their weights.
std::vector<double> gate_weights(const MoeGateConfig& config, const std::vector<double>& logits,
                                 const std::vector<int32_t>& ids);
// begins as in balance_loss; `counted` are the ids that f_i counts.
double balance_loss(const MoeGateConfig& config, const std::vector<double>& logits, const std::vector<int32_t>& counted,
                    const std::vector<int64_t>& begins, double alpha);
}  // namespace fathom::reference
