// A run's metric as a curve on the terminal.
#pragma once
#include <string>

namespace fathom {

// Prints `metric` of the run in folder `run` by step; nothing where it has fewer than two values.
void print_metric_curve(const std::string& run, const std::string& metric, const std::string& title);

}  // namespace fathom
