#include "ops/embedding/embedding.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/rungs.h"
#include "ops/embedding/embedding_cpu.h"

namespace fathom {
namespace {

constexpr int64_t kGrain = 16384;  // elements a piece

void check(std::span<const int32_t> ids, const Tensor& table, const Tensor& rows) {
  CHECK(table.rank() == 2 && rows.rank() == 2);
  CHECK_EQ(rows.dim(0), static_cast<int64_t>(ids.size()));
  CHECK_EQ(rows.dim(1), table.dim(1));
  const int64_t vocabulary = table.dim(0);
  for (int32_t id : ids) CHECK(id >= 0 && id < vocabulary);
}

}  // namespace

void embedding_forward(std::span<const int32_t> ids, const Tensor& table, Tensor& y) {
  check(ids, table, y);
  const int64_t width = table.dim(1);
  const auto widen = FATHOM_PICK3(widen_row);
  const bool copy = table.dtype() == DType::kF32;
  CHECK(copy || table.dtype() == DType::kBF16);
  parallel_for(y.rows(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      if (copy)
        std::memcpy(y.row<float>(t), table.row<float>(ids[t]), width * sizeof(float));
      else
        widen(table.row<bf16>(ids[t]), y.row<float>(t), width);
    }
  });
}

// Positions are sorted by (id, t); each row of the table is then summed by one thread, in the order of t.
void embedding_backward(std::span<const int32_t> ids, const Tensor& dy, Tensor& dtable) {
  check(ids, dtable, dy);
  const int64_t width = dtable.dim(1), n = static_cast<int64_t>(ids.size());
  std::vector<uint64_t> keys(n);
  for (int64_t t = 0; t < n; ++t) keys[t] = static_cast<uint64_t>(ids[t]) << 32 | static_cast<uint64_t>(t);
  std::sort(keys.begin(), keys.end());
  std::vector<int64_t> begins;
  for (int64_t i = 0; i < n; ++i)
    if (i == 0 || keys[i] >> 32 != keys[i - 1] >> 32) begins.push_back(i);
  const int64_t groups = static_cast<int64_t>(begins.size());
  begins.push_back(n);
  const auto add = FATHOM_PICK3(add_row);
  const auto add_bf16 = FATHOM_PICK3(add_row_bf16);
  const bool f32 = dy.dtype() == DType::kF32;
  CHECK(f32 || dy.dtype() == DType::kBF16);
  parallel_for(groups, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begins[begin]; i < begins[end]; ++i) {
      const int64_t id = static_cast<int64_t>(keys[i] >> 32), t = static_cast<int64_t>(keys[i] & 0xffffffffu);
      if (f32)
        add(dy.row<float>(t), dtable.row<float>(id), width);
      else
        add_bf16(dy.row<bf16>(t), dtable.row<float>(id), width);
    }
  });
}

}  // namespace fathom
