#include "cli/metric_curve.h"

#include <cstdio>
#include <vector>

#include "base/progress.h"
#include "runs/run_store.h"

namespace fathom {

void print_metric_curve(const std::string& run, const std::string& metric, const std::string& title) {
  const RunStore store = RunStore::open_read_only(run + "/run.db");
  std::vector<double> x, y;
  for (const RunStore::Point& p : store.metric(metric)) x.push_back(static_cast<double>(p.step)), y.push_back(p.value);
  if (x.size() > 1) std::fputs(draw_curve(title, x.data(), y.data(), static_cast<int64_t>(x.size())).c_str(), stdout);
}

}  // namespace fathom
