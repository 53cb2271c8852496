// Sums, differences and products of natural numbers, worked digit by digit as on paper.
#pragma once
#include <memory>

#include "tasks/options.h"
#include "tasks/task.h"

namespace fathom {

// digits: of the operands; terms: how many; ops: which; parentheses; limit: no value on the way is larger.
std::unique_ptr<Task> make_arithmetic(TaskOptions options);

}  // namespace fathom
