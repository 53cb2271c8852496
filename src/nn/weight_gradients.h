// Weight gradients, run at once or later: pipeline schedules (zero-bubble, DualPipe: report §3.2.1) split a backward into
// the input's gradient (B), which the next stage waits for, and the weights' (W), which fill bubbles.
#pragma once
#include <functional>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace fathom {

class WeightGradients {
 public:
  explicit WeightGradients(bool deferred = false) : deferred_(deferred) {}
  // `job` holds the tensors that it reads; what later code overwrites in place goes through keep() first.
  template <class Job>
  void run(Job&& job) {
    if (deferred_) {
      jobs_.emplace_back(std::forward<Job>(job));
    } else {
      job();
    }
  }
  Tensor keep(const Tensor& t) const { return deferred_ ? t.clone() : t; }
  // First in, first out: the sums of a shared parameter keep their order.
  void flush() {
    for (auto& job : jobs_) job();
    jobs_.clear();
  }
  size_t pending() const { return jobs_.size(); }

 private:
  bool deferred_;
  std::vector<std::function<void()>> jobs_;
};

}  // namespace fathom
