// What the engine's steps computed for whom, for a picture: a lane a request, time to the right.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "infer/scheduler.h"

namespace fathom {

class StepTrace {
 public:
  enum class Kind : uint8_t {
    kFound,
    kPrompt,
    kToken,
    kGuess
  };  // positions found computed; rows: of a prompt, a token, guesses
  struct Part {
    uint64_t request;
    Kind kind;
    int64_t positions;
  };
  struct Step {
    double begin, end;  // seconds, on the engine's clock
    std::vector<Part> parts;
    std::vector<uint64_t> preempted;  // requests that gave their blocks back before it
  };

  explicit StepTrace(size_t max_steps = 120) : max_steps_(max_steps) {}  // later ones are counted only
  // A step is about to compute the plan's rows, guesses included.
  void begin(const StepPlan& plan, double now);
  void end(double now);
  const std::vector<Step>& steps() const { return steps_; }
  size_t num_steps() const { return num_steps_; }  // all
  std::string svg() const;                         // a drawing that stands alone

 private:
  const size_t max_steps_;
  size_t num_steps_ = 0;
  std::vector<Step> steps_;
  std::set<uint64_t> begun_;  // requests that had rows, since their last pre-emption
};

}  // namespace fathom
