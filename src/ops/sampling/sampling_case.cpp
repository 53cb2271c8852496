#include "ops/sampling/sampling_case.h"

#include "ops/sampling/sampling.h"

namespace fathom {

const std::vector<NamedSampling>& bench_samplings() {
  static const std::vector<NamedSampling> all = {{"greedy", {0.f, 0, 1.f, 0.f}},
                                                 {"plain", {1.f, 0, 1.f, 0.f}},
                                                 {"top-p 0.95", {0.6f, 0, 0.95f, 0.f}},
                                                 {"top-k 50", {1.f, 50, 1.f, 0.f}},
                                                 {"min-p 0.05", {1.f, 0, 1.f, 0.05f}}};
  return all;
}

std::vector<OpCase> sampling_cases() {
  std::vector<OpCase> cases;
  for (int64_t vocabulary : {4096, 16384, 129280})
    for (const NamedSampling& s : bench_samplings())
      cases.push_back({case_shape("sample_token", {vocabulary}, s.name), 14.0 * static_cast<double>(vocabulary),
                       4.0 * static_cast<double>(vocabulary), [=] {
                         const Tensor logits = case_tensor({vocabulary}, DType::kF32, 1, 3.f);
                         return [=, params = s.params, u = 0.f]() mutable {
                           u = u < 0.9f ? u + 0.0377f : 0.f;
                           sample_token({logits.data<float>(), static_cast<size_t>(vocabulary)}, vocabulary, params, u);
                         };
                       }});
  return cases;
}

}  // namespace fathom
