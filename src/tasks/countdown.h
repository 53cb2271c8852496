// Countdown: make a target from given numbers, each used once (TinyZero's task), with a search as the worked thinking.
#pragma once
#include <memory>

#include "tasks/options.h"
#include "tasks/task.h"

namespace fathom {

// count: how many numbers; max: the largest; target_max; tries: lines of search in a trace at most.
std::unique_ptr<Task> make_countdown(TaskOptions options);

}  // namespace fathom
