#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/isa.h"
#include "base/thread_pool.h"
#include "ops/attention/attention_dispatch.h"
#include "ops/attention/attention_problem.h"
#include "ops/attention/attention_ref.h"

namespace fathom {
namespace {

struct Restore {
  ~Restore() {
    set_emulated_attention_for_test(false);
    set_isa_for_test(best_isa());
    set_num_threads(2);
  }
};

struct Result {
  Tensor out, lse;
};
// Under a sanitizer the widest layout and the portable kernels take minutes; their memory is proved on smaller problems.
#ifdef FATHOM_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

Result forward(const AttentionProblem& p) {
  Result r{Tensor::empty({p.q.rows(), p.layout.num_heads * p.layout.value_width}, p.q.dtype()),
           Tensor::empty({p.q.rows(), p.layout.num_heads}, DType::kF32)};
  attention_forward(p.layout, p.q, p.sequences, r.out, &r.lse);
  return r;
}
Result forward_ref(const AttentionProblem& p) {
  Result r{Tensor::empty({p.q.rows(), p.layout.num_heads * p.layout.value_width}, DType::kF32),
           Tensor::empty({p.q.rows(), p.layout.num_heads}, DType::kF32)};
  Tensor out = Tensor::empty(r.out.shape(), p.q.dtype());
  attention_forward_ref(p.layout, p.q, p.sequences, out, &r.lse);
  r.out = out.to(DType::kF32);
  return r;
}
bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// Scores of standard normal data have spread about 1. f32: a chain of `width` products and n keys each round by 2^-24:
// far below 1e-5. bf16: the rounding of P (2^-9 relative a key, averaging out) and of the output (2^-9 of it).
void expect_close(const Tensor& got, const Tensor& want, DType dtype, const char* what) {
  const Tensor g = got.to(DType::kF32);
  double worst = 0;
  for (int64_t i = 0; i < g.numel(); ++i) {
    const double w = want.data<float>()[i], bound = dtype == DType::kF32 ? 2e-5 : 0.012 * std::abs(w) + 0.006;
    worst = std::max(worst, std::abs(g.data<float>()[i] - w) / bound);
    if (!(std::abs(g.data<float>()[i] - w) <= bound)) {
      FAIL() << what << " element " << i << ": " << g.data<float>()[i] << " against " << w;
    }
  }
}

struct Named {
  const char* name;
  AttentionLayout layout;
};
std::ostream& operator<<(std::ostream& o, const Named& n) { return o << n.name; }
const Named kLayouts[] = {{"mla_48_32", expanded_layout(4, 32, 16, 32)}, {"mla_192_128", expanded_layout(2, 128, 64, 128)},
                          {"gqa_10_2", grouped_layout(10, 2, 64)},       {"mha", grouped_layout(3, 3, 32)},
                          {"absorbed_5", absorbed_layout(5, 64, 16)},    {"absorbed_8", absorbed_layout(8, 96, 16)},
                          {"gqa_12_2", grouped_layout(12, 2, 128)},      {"absorbed_50", absorbed_layout(50, 32, 16)},
                          {"odd_widths", expanded_layout(3, 7, 5, 13)}};

class Attention : public ::testing::TestWithParam<std::tuple<Named, DType>> {};
INSTANTIATE_TEST_SUITE_P(Layouts, Attention,
                         ::testing::Combine(::testing::ValuesIn(kLayouts), ::testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& i) {
                           return std::string(std::get<0>(i.param).name) +
                                  (std::get<1>(i.param) == DType::kF32 ? "_f32" : "_bf16");
                         });

TEST_P(Attention, ForwardAgainstOracle) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  const AttentionProblem p = make_attention_problem(named.layout, dtype, {1, 63, 64, 90, 600}, {1, 63, 3, 90, 3}, 3);
  const Result want = forward_ref(p);
  for (Isa isa : supported_isas()) {
    set_isa_for_test(isa);
    const Result got = forward(p);
    expect_close(got.out, want.out, dtype, std::string(isa_name(isa)).c_str());
    for (int64_t i = 0; i < got.lse.numel(); ++i) EXPECT_NEAR(got.lse.data<float>()[i], want.lse.data<float>()[i], 2e-5) << i;
  }
}

TEST_P(Attention, F32BitsAreTheSameOnEveryFloatRung) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  const AttentionProblem p = make_attention_problem(named.layout, dtype, {70, 530}, {70, 2}, 4);
  set_isa_for_test(Isa::kPortable);
  const Result want = forward(p);
  for (Isa isa : supported_isas()) {
    if (isa >= Isa::kAvx512Bf16 && dtype == DType::kBF16) continue;  // pair products: another order, another identity
    set_isa_for_test(isa);
    const Result got = forward(p);
    EXPECT_TRUE(same_bits(got.out, want.out)) << isa_name(isa);
    EXPECT_TRUE(same_bits(got.lse, want.lse)) << isa_name(isa);
  }
}

// The form over VDPBF16PS is right on the scalar emulator, and the instruction gives the emulator's bits where there is one.
class AttentionPairs : public ::testing::TestWithParam<Named> {};
INSTANTIATE_TEST_SUITE_P(Layouts, AttentionPairs, ::testing::ValuesIn(kLayouts),
                         [](const auto& i) { return std::string(i.param.name); });

TEST_P(AttentionPairs, OracleEmulatorAndInstructionAgree) {
  Restore restore;
  const AttentionProblem p = make_attention_problem(GetParam().layout, DType::kBF16, {1, 63, 70, 530}, {1, 63, 70, 2}, 5);
  const Result want = forward_ref(p);
  set_isa_for_test(Isa::kPortable);
  set_emulated_attention_for_test(true);
  const Result emulated = forward(p);
  expect_close(emulated.out, want.out, DType::kBF16, "emulated");
  set_emulated_attention_for_test(false);
  const std::vector<Isa> isas = supported_isas();
  if (std::find(isas.begin(), isas.end(), Isa::kAvx512Bf16) == isas.end()) return;  // the emulator alone was tested
  set_isa_for_test(Isa::kAvx512Bf16);
  const Result real = forward(p);
  EXPECT_TRUE(same_bits(real.out, emulated.out));
  EXPECT_TRUE(same_bits(real.lse, emulated.lse));
}

// Rows [begin, end) of the sequence as one chunk, with a store of its own whose unused slots are NaN.
Result chunk(const AttentionProblem& p, int64_t begin, int64_t end) {
  const int64_t blocks = (end + kKeyBlock - 1) / kKeyBlock, bytes = dtype_bytes(p.kv.dtype());
  Tensor store = Tensor::empty({blocks * kKeyBlock, p.layout.row_width}, p.kv.dtype());
  std::memset(store.raw(), 0xff, store.bytes());
  std::memcpy(store.raw(), p.kv.raw(), end * p.layout.row_width * bytes);
  std::vector<const void*> pointers;
  for (int64_t b = 0; b < blocks; ++b) pointers.push_back(store.raw() + b * kKeyBlock * p.layout.row_width * bytes);
  const AttentionSequence s{0, end - begin, begin, pointers};
  Result r{Tensor::empty({end - begin, p.layout.num_heads * p.layout.value_width}, p.q.dtype()),
           Tensor::empty({end - begin, p.layout.num_heads}, DType::kF32)};
  attention_forward(p.layout, p.q.slice_rows(begin, end), {&s, 1}, r.out, &r.lse);
  return r;
}

// DESIGN, strict numerics: a row's bits are the same however the sequence is cut, whoever runs beside it.
TEST_P(Attention, BitsDoNotDependOnChunksBatchOrThreads) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  if (kSanitized && named.layout.num_heads > 9) GTEST_SKIP() << "50 heads are too slow under a sanitizer";
  const bool wide = named.layout.num_heads > 9;  // then one border between super-blocks is enough
  const int64_t n = wide ? 570 : 1060;
  const AttentionProblem whole = make_attention_problem(named.layout, dtype, {n}, {n}, 5);
  for (Isa isa : supported_isas()) {
    if (isa < Isa::kAvx512) continue;  // the lower rungs run the same code: their bits are compared above
    set_isa_for_test(isa);
    set_num_threads(1);
    const Result want = forward(whole);
    set_num_threads(2);
    const Result two = forward(whole);
    ASSERT_TRUE(same_bits(two.out, want.out) && same_bits(two.lse, want.lse)) << "threads";
    auto compare = [&](const Result& got, int64_t begin, int64_t end) {
      ASSERT_TRUE(same_bits(got.out, want.out.slice_rows(begin, end)))
          << isa_name(isa) << " out of rows " << begin << ".." << end;
      ASSERT_TRUE(same_bits(got.lse, want.lse.slice_rows(begin, end)))
          << isa_name(isa) << " lse of rows " << begin << ".." << end;
    };
    for (int64_t at : {0, 1, 62, 63, 64, 65, 127, 511, 512, 513, 569, 1023, 1024, 1059})
      if (at < n) compare(chunk(whole, at, at + 1), at, at + 1);
    for (int64_t size : {7, 65, 500})
      for (int64_t at = size == 7 ? 490 : 0; at < (size == 7 ? 540 : n); at += size)
        compare(chunk(whole, at, std::min(n, at + size)), at, std::min(n, at + size));
    // Beside others: the second sequence of a batch is the one above, asked for its last 40 rows.
    AttentionProblem batch = make_attention_problem(named.layout, dtype, {30, n, 1}, {30, 40, 1}, 6);
    std::memcpy(batch.kv.slice_rows(30, 30 + n).raw(), whole.kv.raw(), whole.kv.bytes());
    const Tensor rows = whole.q.slice_rows(n - 40, n);
    std::memcpy(batch.q.slice_rows(30, 70).raw(), rows.raw(), rows.bytes());
    const Result mixed = forward(batch);
    compare({mixed.out.slice_rows(30, 70), mixed.lse.slice_rows(30, 70)}, n - 40, n);
  }
}

struct Gradients {
  Tensor dq, dkv;
};
Gradients backward(const AttentionProblem& p, const Tensor& dout) {
  const Result f = forward(p);
  Gradients g{Tensor::empty(p.q.shape(), p.q.dtype()), Tensor::empty(p.kv.shape(), p.q.dtype())};
  std::memset(g.dq.raw(), 0xff, g.dq.bytes());  // assigned, so nothing of this stays
  std::memset(g.dkv.raw(), 0xff, g.dkv.bytes());
  attention_backward(p.layout, p.q, p.kv, p.sequences, f.out, f.lse, dout, g.dq, g.dkv);
  return g;
}
Tensor random_like_output(const AttentionProblem& p) {  // the output of another problem: any numbers will do
  const AttentionLayout& l = p.layout;
  const AttentionProblem r =
      make_attention_problem(absorbed_layout(1, l.num_heads * l.value_width, 0), p.q.dtype(), {p.q.rows()}, {p.q.rows()}, 77);
  return r.kv;
}

// A gradient element sums up to 600 terms whose operands are exact (inputs) or f32: 1e-5 of the largest element covers the
// order of sums. bf16 adds the rounding of the result (2^-9) and of `out` inside D (2^-9 of |dO||O|).
void expect_gradient(const Tensor& got, const Tensor& want, DType dtype, const char* what) {
  const Tensor g = got.to(DType::kF32), w = want.to(DType::kF32);
  double largest = 0;
  for (int64_t i = 0; i < w.numel(); ++i) largest = std::max<double>(largest, std::abs(w.data<float>()[i]));
  for (int64_t i = 0; i < g.numel(); ++i) {
    const double bound = dtype == DType::kF32 ? 1e-5 * largest : 0.008 * std::abs(w.data<float>()[i]) + 0.004 * largest;
    if (!(std::abs(g.data<float>()[i] - w.data<float>()[i]) <= bound)) {
      FAIL() << what << " element " << i << ": " << g.data<float>()[i] << " against " << w.data<float>()[i] << ", largest "
             << largest;
    }
  }
}

TEST_P(Attention, BackwardAgainstOracle) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  const std::vector<int64_t> sizes =
      named.layout.num_heads > 9 ? std::vector<int64_t>{65, 130} : std::vector<int64_t>{1, 65, 270};
  const AttentionProblem p = make_attention_problem(named.layout, dtype, sizes, sizes, 13);
  const Tensor dout = random_like_output(p);
  Gradients want{Tensor::empty(p.q.shape(), dtype), Tensor::empty(p.kv.shape(), dtype)};
  attention_backward_ref(p.layout, p.q, p.kv, p.sequences, dout, want.dq, want.dkv);
  for (Isa isa : supported_isas()) {
    if (isa == Isa::kAvx512Vnni || isa == Isa::kPortable)
      continue;  // the first is kAvx512, the second compared bit by bit below
    set_isa_for_test(isa);
    const Gradients got = backward(p, dout);
    expect_gradient(got.dq, want.dq, dtype, "dq");
    expect_gradient(got.dkv, want.dkv, dtype, "dkv");
  }
}

TEST_P(Attention, GradientBitsDoNotDependOnThreadsBatchOrFloatRung) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  if (kSanitized && named.layout.num_heads > 9) GTEST_SKIP() << "50 heads are too slow under a sanitizer";
  const int64_t n = named.layout.num_heads > 9 ? 300 : 600;  // across one border of 256 keys, or two
  const AttentionProblem p = make_attention_problem(named.layout, dtype, {n}, {n}, 14);
  const Tensor dout = random_like_output(p);
  set_isa_for_test(Isa::kAvx2);
  set_num_threads(1);
  const Gradients want = backward(p, dout);
  for (Isa isa : supported_isas()) {
    if (isa == Isa::kPortable || isa == Isa::kAvx512Bf16) continue;  // see below; pair products in the forward that feeds this
    for (int threads : {1, 2, 3}) {
      set_isa_for_test(isa);
      set_num_threads(threads);
      const Gradients got = backward(p, dout);
      EXPECT_TRUE(same_bits(got.dq, want.dq) && same_bits(got.dkv, want.dkv)) << isa_name(isa) << " threads " << threads;
    }
  }
  AttentionProblem batch = make_attention_problem(named.layout, dtype, {20, n}, {20, n}, 15);
  std::memcpy(batch.kv.slice_rows(20, 20 + n).raw(), p.kv.raw(), p.kv.bytes());
  std::memcpy(batch.q.slice_rows(20, 20 + n).raw(), p.q.raw(), p.q.bytes());
  Tensor both = random_like_output(batch);
  std::memcpy(both.slice_rows(20, 20 + n).raw(), dout.raw(), dout.bytes());
  const Gradients got = backward(batch, both);
  EXPECT_TRUE(same_bits(got.dq.slice_rows(20, 20 + n), want.dq));
  EXPECT_TRUE(same_bits(got.dkv.slice_rows(20, 20 + n), want.dkv));
}

TEST_P(Attention, PortableGradientBits) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  if (kSanitized) GTEST_SKIP() << "the portable backward is too slow under a sanitizer";
  const AttentionProblem p = make_attention_problem(named.layout, dtype, {90}, {90}, 16);
  const Tensor dout = random_like_output(p);
  set_isa_for_test(Isa::kPortable);
  const Gradients want = backward(p, dout);
  set_isa_for_test(supported_isas().size() > 2 ? Isa::kAvx512 : Isa::kPortable);
  const Gradients got = backward(p, dout);
  EXPECT_TRUE(same_bits(got.dq, want.dq) && same_bits(got.dkv, want.dkv));
}

TEST(AttentionForward, LargeScoresDoNotOverflow) {
  Restore restore;
  AttentionProblem p = make_attention_problem(grouped_layout(2, 1, 16), DType::kF32, {200}, {200}, 8);
  for (int64_t i = 0; i < p.q.numel(); ++i) p.q.data<float>()[i] *= 1000;
  const Result want = forward_ref(p), got = forward(p);
  for (int64_t i = 0; i < got.out.numel(); ++i) {
    ASSERT_TRUE(std::isfinite(got.out.data<float>()[i]));
    // scores of size 1e4 are known to 1e-3 only, so weights to 1e-3 relative
    EXPECT_NEAR(got.out.data<float>()[i], want.out.data<float>()[i], 0.02);
  }
}

TEST(AttentionForward, WithoutLseAndWithEmptySequences) {
  AttentionProblem p = make_attention_problem(grouped_layout(2, 1, 16), DType::kF32, {5, 3}, {5, 3}, 9);
  const Result want = forward(p);
  p.sequences.insert(p.sequences.begin() + 1, AttentionSequence{5, 0, 0, {}});
  Tensor out = Tensor::zeros(want.out.shape(), DType::kF32);
  attention_forward(p.layout, p.q, p.sequences, out, nullptr);
  EXPECT_TRUE(same_bits(out, want.out));
}

}  // namespace
}  // namespace fathom
