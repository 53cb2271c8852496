#include "infer/request.h"

#include <cmath>
#include <string>

#include "base/error.h"
#include "ops/sampling/sampling_fields.h"

namespace fathom {

void check_request(const Request& request, int64_t vocab_size) {
  if (request.prompt.empty()) fail_usage("infer", "the prompt is empty; give at least one token");
  if (request.max_tokens < 1)
    fail_usage("infer", "max_tokens is " + std::to_string(request.max_tokens) + "; it must be at least 1");
  for (const int32_t id : request.prompt)
    if (id < 0 || id >= vocab_size)
      fail_usage("infer", "token id " + std::to_string(id) + " is outside of the vocabulary of " + std::to_string(vocab_size) +
                              "; was the text encoded for another model?");
  for (const SamplingField& f : sampling_fields())
    if (const double value = f.get(request.sampling); !f.holds(value))
      fail_usage("infer", std::string(f.name) + " is " + std::to_string(value) + "; it must be " + f.range());
  for (const TokenBias& b : request.sampling.logit_bias) {
    if (b.id < 0 || b.id >= vocab_size)
      fail_usage("infer", "logit_bias has the id " + std::to_string(b.id) + ", which is outside of the vocabulary of " +
                              std::to_string(vocab_size));
    if (!(std::fabs(b.bias) <= kLargestBias))
      fail_usage("infer", "the logit_bias of id " + std::to_string(b.id) + " is " + std::to_string(b.bias) +
                              "; it must be a number from -1000 to 1000");
  }
  if (!(request.deadline_seconds >= 0))
    fail_usage("infer", "deadline_seconds is " + std::to_string(request.deadline_seconds) +
                            "; give the seconds that the request may take, or 0 for no deadline");
  if (request.top_logprobs < 0 || request.top_logprobs > vocab_size)
    fail_usage("infer", "top_logprobs is " + std::to_string(request.top_logprobs) + "; it must be from 0 to the vocabulary's " +
                            std::to_string(vocab_size));
}

}  // namespace fathom
