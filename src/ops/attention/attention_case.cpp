#include "ops/attention/attention_case.h"

#include <memory>

#include "ops/attention/attention_problem.h"

namespace fathom {
namespace {

struct Shaped {
  const char* name;
  AttentionLayout layout;
  DType dtype;
  int64_t sequences, positions, queries;  // the last `queries` of `positions`
  bool trained;
};

// Two operations a product: q k and p v in forward, once more each with the gradients in backward and q k again.
double flops(const Shaped& c, bool backward) {
  const double pairs = static_cast<double>(c.sequences * c.queries) *
                       (static_cast<double>(c.positions - c.queries) + 0.5 * static_cast<double>(c.queries + 1));
  const double key = static_cast<double>(c.layout.query_width()), value = static_cast<double>(c.layout.value_width);
  return 2 * pairs * c.layout.num_heads * (backward ? 3 * key + 2 * value : key + value);
}

struct Operands {
  AttentionProblem problem;
  Tensor out, lse, dout, dq, dkv;
  explicit Operands(const Shaped& c)
      : problem(make_attention_problem(c.layout, c.dtype, std::vector<int64_t>(c.sequences, c.positions),
                                       std::vector<int64_t>(c.sequences, c.queries), 1)) {
    out = Tensor::zeros({problem.q.rows(), c.layout.num_heads * c.layout.value_width}, c.dtype);
    lse = Tensor::zeros({problem.q.rows(), c.layout.num_heads}, DType::kF32);
  }
  void forward() { attention_forward(problem.layout, problem.q, problem.sequences, out, &lse); }
  void backward() { attention_backward(problem.layout, problem.q, problem.kv, problem.sequences, out, lse, dout, dq, dkv); }
};

}  // namespace

std::vector<OpCase> attention_cases() {
  const DType f32 = DType::kF32, bf16 = DType::kBF16;
  const Shaped shapes[] = {
      {"mla 192/128 h16", expanded_layout(16, 128, 64, 128), bf16, 1, 2048, 2048, true},
      {"mha 128 h16", grouped_layout(16, 16, 128), bf16, 1, 2048, 2048, true},
      {"mla 48/32 h4", expanded_layout(4, 32, 16, 32), f32, 4, 512, 512, true},
      {"mla 96/64 h12", expanded_layout(12, 64, 32, 64), bf16, 4, 512, 512, true},
      {"gqa 64 h10/2", grouped_layout(10, 2, 64), bf16, 4, 512, 512, true},
      {"absorbed mla h8", absorbed_layout(8, 512, 64), bf16, 1, 4096, 1, false},
      {"absorbed mla h8", absorbed_layout(8, 512, 64), bf16, 1, 65536, 1, false},
      {"absorbed mla h16", absorbed_layout(16, 512, 64), bf16, 1, 4096, 1, false},
      {"absorbed mla h128", absorbed_layout(128, 512, 64), bf16, 1, 4096, 1, false},
      {"mla 192/128 h16", expanded_layout(16, 128, 64, 128), bf16, 1, 4096, 1, false},
      {"gqa 128 h28/4", grouped_layout(28, 4, 128), bf16, 1, 4096, 1, false},
      {"mla 48/32 h4", expanded_layout(4, 32, 16, 32), f32, 64, 300, 1, false},
  };
  std::vector<OpCase> cases;
  for (const Shaped& c : shapes) {
    const std::string shape = std::string(c.name) + " " + std::to_string(c.sequences) + "x" + std::to_string(c.queries) +
                              " of " + std::to_string(c.positions) + (c.dtype == f32 ? " f32" : " bf16");
    const double size = static_cast<double>(dtype_bytes(c.dtype)), heads = c.layout.num_heads;
    const double rows = static_cast<double>(c.sequences * c.queries),
                 store = static_cast<double>(c.sequences * c.positions * c.layout.row_width);
    const double queries = rows * heads * static_cast<double>(c.layout.query_width()),
                 outs = rows * heads * static_cast<double>(c.layout.value_width);
    cases.push_back({"attention forward " + shape, flops(c, false), size * (queries + store + outs),
                     [c] {
                       auto operands = std::make_shared<Operands>(c);
                       return [operands] { operands->forward(); };
                     },
                     c.dtype == bf16});
    if (!c.trained) continue;
    cases.push_back({"attention backward " + shape, flops(c, true), size * (2 * queries + 2 * store + 2 * outs),
                     [c] {
                       auto operands = std::make_shared<Operands>(c);
                       operands->forward();
                       operands->dout = operands->out.clone();
                       operands->dq = operands->problem.q.clone();
                       operands->dkv = operands->problem.kv.clone();
                       return [operands] { operands->backward(); };
                     },
                     c.dtype == bf16});
  }
  return cases;
}

}  // namespace fathom
