// The oracle: torch.optim.AdamW's update in double, as its documentation writes it.
#pragma once
#include <vector>

#include "ops/adamw/adamw.h"

namespace fathom::reference {
void adamw(const AdamWStep& step, const std::vector<double>& grad, std::vector<double>& value, std::vector<double>& m,
           std::vector<double>& v);
}  // namespace fathom::reference
