#include "tasks/task.h"

#include "base/error.h"
#include "base/utf8.h"
#include "tasks/arithmetic.h"
#include "tasks/countdown.h"

namespace fathom {

std::vector<std::string> task_names() { return {"arithmetic", "countdown"}; }

std::unique_ptr<Task> make_task(const std::string& name, const std::vector<std::pair<std::string, std::string>>& options) {
  if (name == "arithmetic") return make_arithmetic(TaskOptions(name, options));
  if (name == "countdown") return make_countdown(TaskOptions(name, options));
  std::string known;
  for (const std::string& task : task_names()) known += (known.empty() ? "" : ", ") + task;
  fail_usage("task", "no task '" + printable(name) + "'; there are: " + known);
}

}  // namespace fathom
