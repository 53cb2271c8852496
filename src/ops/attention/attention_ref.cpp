#include "ops/attention/attention_ref.h"

#include <cmath>

#include "base/check.h"

namespace fathom {
namespace {

double value_at(const void* row, DType dtype, int64_t i) {
  return dtype == DType::kF32 ? static_cast<const float*>(row)[i] : to_float(static_cast<const bf16*>(row)[i]);
}
double value_at(const Tensor& t, int64_t row, int64_t i) {
  return t.dtype() == DType::kF32 ? t.row<float>(row)[i] : to_float(t.row<bf16>(row)[i]);
}
void put(Tensor& t, int64_t row, int64_t i, double x) {
  if (t.dtype() == DType::kF32)
    t.row<float>(row)[i] = static_cast<float>(x);
  else
    t.row<bf16>(row)[i] = to_bf16(static_cast<float>(x));
}

// One query head's view: column of the i-th element of its key and value in a row of the store.
struct Columns {
  const AttentionLayout& l;
  int64_t g;
  int64_t key(int64_t i) const {
    return i < l.key_width ? l.key_offset + g * l.key_stride + i : l.shared_offset + i - l.key_width;
  }
  int64_t value(int64_t i) const { return l.value_offset + g * l.value_stride + i; }
};

// softmax(scale q k^T) over positions 0..last; row(j) is position j's row of the store. Returns the log-sum-exp.
template <class Row>
double probabilities(const Columns& c, const Tensor& q, int64_t query, int64_t head, int64_t last, DType dtype, const Row& row,
                     std::vector<double>& p) {
  const int64_t width = c.l.query_width();
  double largest = -INFINITY, sum = 0;
  p.assign(last + 1, 0);
  for (int64_t j = 0; j <= last; ++j) {
    for (int64_t i = 0; i < width; ++i) p[j] += value_at(q, query, head * width + i) * value_at(row(j), dtype, c.key(i));
    p[j] *= c.l.scale;
    largest = std::max(largest, p[j]);
  }
  for (double& s : p) sum += s = std::exp(s - largest);
  for (double& s : p) s /= sum;
  return largest + std::log(sum);
}

}  // namespace

void attention_forward_ref(const AttentionLayout& layout, const Tensor& q, std::span<const AttentionSequence> sequences,
                           Tensor& out, Tensor* lse) {
  const int64_t group = layout.num_heads / layout.num_kv_heads;
  std::vector<double> p;
  for (const AttentionSequence& s : sequences)
    for (int64_t i = 0; i < s.num_queries; ++i)
      for (int64_t h = 0; h < layout.num_heads; ++h) {
        const Columns c{layout, h / group};
        const int64_t last = s.first_position + i, query = s.query_begin + i;
        auto row = [&](int64_t j) -> const void* {
          return static_cast<const char*>(s.blocks[j / kKeyBlock]) + j % kKeyBlock * layout.row_width * dtype_bytes(q.dtype());
        };
        const double l = probabilities(c, q, query, h, last, q.dtype(), row, p);
        if (lse) lse->row<float>(query)[h] = static_cast<float>(l);
        for (int64_t d = 0; d < layout.value_width; ++d) {
          double sum = 0;
          for (int64_t j = 0; j <= last; ++j) sum += p[j] * value_at(row(j), q.dtype(), c.value(d));
          put(out, query, h * layout.value_width + d, sum);
        }
      }
}

// dV_j = sum p_j dO;  dS_j = p_j (dO.V_j - sum_k p_k dO.V_k);  dq = scale sum dS_j k_j;  dK_j = scale sum dS_j q.
void attention_backward_ref(const AttentionLayout& layout, const Tensor& q, const Tensor& kv,
                            std::span<const AttentionSequence> sequences, const Tensor& dout, Tensor& dq, Tensor& dkv) {
  const int64_t group = layout.num_heads / layout.num_kv_heads, width = layout.query_width();
  std::vector<double> p, dp, drow(width), dstore(kv.rows() * layout.row_width, 0.0);
  for (const AttentionSequence& s : sequences)
    for (int64_t i = 0; i < s.num_queries; ++i)
      for (int64_t h = 0; h < layout.num_heads; ++h) {
        const Columns c{layout, h / group};
        const int64_t query = s.query_begin + i;
        auto row = [&](int64_t j) -> const void* {
          return kv.raw() + (s.query_begin + j) * kv.row_stride() * dtype_bytes(kv.dtype());
        };
        probabilities(c, q, query, h, i, kv.dtype(), row, p);
        double mean = 0;
        dp.assign(i + 1, 0);
        for (int64_t j = 0; j <= i; ++j) {
          double* store = &dstore[(s.query_begin + j) * layout.row_width];
          for (int64_t d = 0; d < layout.value_width; ++d) {
            const double g = value_at(dout, query, h * layout.value_width + d);
            dp[j] += g * value_at(row(j), kv.dtype(), c.value(d));
            store[c.value(d)] += p[j] * g;
          }
          mean += p[j] * dp[j];
        }
        drow.assign(width, 0);
        for (int64_t j = 0; j <= i; ++j) {
          const double ds = p[j] * (dp[j] - mean) * layout.scale;
          double* store = &dstore[(s.query_begin + j) * layout.row_width];
          for (int64_t k = 0; k < width; ++k) {
            drow[k] += ds * value_at(row(j), kv.dtype(), c.key(k));
            store[c.key(k)] += ds * value_at(q, query, h * width + k);
          }
        }
        for (int64_t k = 0; k < width; ++k) put(dq, query, h * width + k, drow[k]);
      }
  for (int64_t t = 0; t < kv.rows(); ++t)
    for (int64_t k = 0; k < layout.row_width; ++k) put(dkv, t, k, dstore[t * layout.row_width + k]);
}

}  // namespace fathom
