#include "ops/swiglu/swiglu.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/swiglu/swiglu_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kGrain = 8192;  // elements of act a piece

bool is_bf16(const Tensor& t) {
  CHECK(t.dtype() == DType::kF32 || t.dtype() == DType::kBF16);
  return t.dtype() == DType::kBF16;
}
int64_t grain(int64_t width) { return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)); }

void check_shape(const Tensor& t, int64_t rows, int64_t columns) {
  CHECK(t.rank() == 2);
  CHECK_EQ(t.dim(0), rows);
  CHECK_EQ(t.dim(1), columns);
}

SwigluRows rows_of(const Tensor& gate_up, const Tensor* row_scale) {
  CHECK(gate_up.rank() == 2 && gate_up.dim(1) % 2 == 0);
  SwigluRows a;
  a.width = gate_up.dim(1) / 2;
  a.gate_up = gate_up.raw();
  a.gate_up_stride = gate_up.row_stride();
  a.gate_up_bf16 = is_bf16(gate_up);
  if (row_scale) {
    CHECK_EQ(row_scale->numel(), gate_up.rows());
    a.row_scale = row_scale->data<float>();
  }
  return a;
}

void set_act(SwigluRows& a, Tensor& act, int64_t rows) {
  check_shape(act, rows, a.width);
  a.act = act.raw();
  a.act_stride = act.row_stride();
  a.act_bf16 = is_bf16(act);
}

}  // namespace

void swiglu_forward(const Tensor& gate_up, const Tensor* row_scale, Tensor& act) {
  SwigluRows a = rows_of(gate_up, row_scale);
  set_act(a, act, gate_up.rows());
  const auto kernel = FATHOM_PICK3(swiglu_rows);
  parallel_for(gate_up.rows(), grain(a.width), [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

void swiglu_backward(const Tensor& dact, const Tensor& gate_up, const Tensor* row_scale, Tensor& dgate_up, Tensor* act,
                     Tensor* drow_scale) {
  const int64_t rows = gate_up.rows();
  SwigluRows a = rows_of(gate_up, row_scale);
  if (act) set_act(a, *act, rows);
  check_shape(dact, rows, a.width);
  check_shape(dgate_up, rows, 2 * a.width);
  a.dact = dact.raw();
  a.dact_stride = dact.row_stride();
  a.dact_bf16 = is_bf16(dact);
  a.dgate_up = dgate_up.raw();
  a.dgate_up_stride = dgate_up.row_stride();
  a.dgate_up_bf16 = is_bf16(dgate_up);
  if (row_scale && drow_scale) {
    CHECK_EQ(drow_scale->numel(), rows);
    a.drow_scale = drow_scale->data<float>();
  }
  const auto kernel = FATHOM_PICK3(swiglu_gradient_rows);
  parallel_for(rows, grain(a.width), [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

}  // namespace fathom
