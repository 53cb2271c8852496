// Times the cases of the ops against the machine's measured peak. A new op adds its list to all_op_cases().
#pragma once
#include <string>
#include <vector>

#include "kernels/op_case.h"

namespace fathom {

std::vector<OpCase> all_op_cases();

struct OpResult {
  std::string name;
  double seconds = 0;                    // the shortest run: interruptions only add
  double tera_flops = 0, gigabytes = 0;  // a second
  // The roofline: the time that peak arithmetic or memory bandwidth alone would take, whichever is longer, as a share of
  // `seconds`. Above 1 where the operands stay in cache from run to run.
  double share = 0;
  bool memory_bound = false;
};
// Runs the case for about `budget_s`, at least three times after one warm-up.
OpResult run_op_case(const OpCase& c, double budget_s);

}  // namespace fathom
