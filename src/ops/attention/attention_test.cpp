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
                          {"odd_widths", expanded_layout(3, 7, 5, 13)},  {"gqa_200", grouped_layout(4, 1, 200)},
                          {"gqa_7", grouped_layout(7, 1, 32)},           {"ragged_keys", expanded_layout(2, 21, 5, 16)},
                          {"absorbed_16", absorbed_layout(16, 64, 16)}};

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
    if (isa == Isa::kPortable) continue;  // its one form is compared with the others' above
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

// Sequences whose first blocks are the same memory have the bits that each has alone, for decode rows and short chunks, beside
// sequences that share less, nothing, or are longer than what is shared.
TEST_P(Attention, SharedBlocksGiveTheBitsOfEachAlone) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  if (kSanitized && named.layout.num_heads > 9) GTEST_SKIP() << "50 heads are too slow under a sanitizer";
  struct Member {
    int64_t shared, positions, queries;  // positions [0, shared) are the first sequence's
  };
  const Member members[] = {{0, 1100, 1},    {1024, 1024, 1}, {1024, 1030, 3},  {512, 1100, 2}, {576, 700, 1},
                            {1024, 1536, 1}, {0, 600, 1},     {1024, 1090, 60}, {512, 513, 1}};
  std::vector<int64_t> positions, queries;
  for (const Member& m : members) positions.push_back(m.positions), queries.push_back(m.queries);
  AttentionProblem p = make_attention_problem(named.layout, dtype, positions, queries, 31);
  for (size_t i = 0; i < std::size(members); ++i)
    for (int64_t b = 0; b < members[i].shared / kKeyBlock; ++b)
      p.blocks[i][static_cast<size_t>(b)] = p.blocks[0][static_cast<size_t>(b)];
  for (size_t i = 0; i < std::size(members); ++i) p.sequences[i].blocks = p.blocks[i];
  for (Isa isa : supported_isas()) {
    if (isa == Isa::kPortable && named.layout.num_heads > 9) continue;
    set_isa_for_test(isa);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const Result together = forward(p);
      for (size_t i = 0; i < std::size(members); ++i) {
        AttentionProblem alone = p;
        alone.sequences = {p.sequences[i]};
        const Result want = forward(alone);
        const int64_t begin = p.sequences[i].query_begin, end = begin + p.sequences[i].num_queries;
        ASSERT_TRUE(same_bits(together.out.slice_rows(begin, end), want.out.slice_rows(begin, end)))
            << isa_name(isa) << " sequence " << i << " threads " << threads;
        ASSERT_TRUE(same_bits(together.lse.slice_rows(begin, end), want.lse.slice_rows(begin, end)))
            << isa_name(isa) << " lse of sequence " << i << " threads " << threads;
      }
    }
  }
}

// Over records a row has the bits that it has over the plain rows which those records give back, and the records are the
// oracle's byte for byte.
TEST_P(Attention, RecordsGiveTheBitsOfTheRowsThatTheyGiveBack) {
  Restore restore;
  const auto& [named, dtype] = GetParam();
  if (kSanitized && named.layout.num_heads > 9) GTEST_SKIP() << "50 heads are too slow under a sanitizer";
  for (const KvType type : {KvType::kInt8, KvType::kFp8}) {
    AttentionProblem p = make_attention_problem(named.layout, dtype, {1, 70, 530, 90}, {1, 70, 2, 90}, 21);
    for (int64_t i = 0; i < p.layout.row_width; ++i) {  // rows of all sizes, one of zeros
      const auto scale_row = [&](int64_t row, float by) {
        if (dtype == DType::kF32)
          p.kv.row<float>(row)[i] *= by;
        else
          p.kv.row<bf16>(row)[i] = to_bf16(to_float(p.kv.row<bf16>(row)[i]) * by);
      };
      scale_row(3, 0), scale_row(5, 1e-4f), scale_row(100, 3.f);
    }
    AttentionProblem stored = p;
    stored.layout.store = type;
    const int64_t bytes = kv_row_bytes(stored.layout, dtype), rows = p.kv.rows();
    Tensor want_records = Tensor::zeros({rows, bytes}, DType::kU8),
           records = Tensor::zeros({rows + kKeyBlock, bytes}, DType::kU8);
    write_kv_records_ref(stored.layout, p.kv, want_records.raw());
    std::vector<std::byte*> places;
    for (int64_t t = 0; t < rows; ++t) places.push_back(records.raw() + t * bytes);
    for (Isa isa : supported_isas()) {
      set_isa_for_test(isa);
      std::memset(records.raw(), 0, static_cast<size_t>(records.bytes()));
      write_kv_records(stored.layout, p.kv, places.data());
      ASSERT_EQ(std::memcmp(records.raw(), want_records.raw(), static_cast<size_t>(want_records.bytes())), 0)
          << isa_name(isa) << " " << kv_type_name(type);
    }
    std::memset(records.raw() + rows * bytes, 0xff, static_cast<size_t>(kKeyBlock * bytes));  // unused slots: NaN scales
    AttentionProblem back = p;
    back.kv = Tensor::zeros({rows + kKeyBlock, p.layout.row_width}, dtype).slice_rows(0, rows);
    read_kv_records_ref(stored.layout, records.raw(), back.kv);
    back.blocks = packed_blocks(back.kv, p.kv_begins);
    stored.blocks.clear();
    for (size_t s = 0; s + 1 < p.kv_begins.size(); ++s) {
      stored.blocks.emplace_back();
      for (int64_t row = p.kv_begins[s]; row < p.kv_begins[s + 1]; row += kKeyBlock)
        stored.blocks.back().push_back(records.raw() + row * bytes);
    }
    for (size_t s = 0; s < p.sequences.size(); ++s)
      stored.sequences[s].blocks = stored.blocks[s], back.sequences[s].blocks = back.blocks[s];
    for (Isa isa : supported_isas()) {
      set_isa_for_test(isa);
      const Result want = forward(back), got = forward(stored);
      ASSERT_TRUE(same_bits(got.out, want.out)) << isa_name(isa) << " " << kv_type_name(type);
      ASSERT_TRUE(same_bits(got.lse, want.lse)) << isa_name(isa) << " " << kv_type_name(type);
    }
  }
}

// What comes back is within half a step of what went in: 1/254 of the group's largest element; E4M3 has 3 mantissa bits.
TEST_P(Attention, RecordsGiveBackNearlyWhatWentIn) {
  const auto& [named, dtype] = GetParam();
  const AttentionProblem p = make_attention_problem(named.layout, dtype, {40}, {40}, 22);
  for (const KvType type : {KvType::kInt8, KvType::kFp8}) {
    AttentionLayout layout = p.layout;
    layout.store = type;
    Tensor records = Tensor::zeros({40, kv_row_bytes(layout, dtype)}, DType::kU8), back = Tensor::zeros(p.kv.shape(), dtype);
    write_kv_records_ref(layout, p.kv, records.raw());
    read_kv_records_ref(layout, records.raw(), back);
    const Tensor x = p.kv.to(DType::kF32), y = back.to(DType::kF32);
    for (int64_t t = 0; t < 40; ++t) {
      float largest = 0;
      for (int64_t i = 0; i < layout.row_width; ++i) largest = std::max(largest, std::abs(x.row<float>(t)[i]));
      for (int64_t i = 0; i < layout.row_width; ++i) {
        const float a = x.row<float>(t)[i], b = y.row<float>(t)[i];
        const float step = type == KvType::kInt8 ? largest / 254 : std::abs(a) / 16 + largest / 448 / 512;
        EXPECT_LE(std::abs(a - b), step * 1.01f + std::abs(a) / 256) << t << " " << i << " " << kv_type_name(type);
      }
    }
  }
}

TEST(KvRecord, DeepSeeksLatentsTake656Bytes) {
  AttentionLayout l = absorbed_layout(128, 512, 64);
  l.store = KvType::kFp8;
  EXPECT_EQ(kv_row_bytes(l, DType::kBF16), 656);  // 512 E4M3, 4 scales, 64 bf16
  l.store = KvType::kPlain;
  EXPECT_EQ(kv_row_bytes(l, DType::kBF16), 1152);
  AttentionLayout g = grouped_layout(12, 2, 128);
  g.store = KvType::kInt8;
  EXPECT_EQ(kv_row_bytes(g, DType::kBF16), 4 * (128 + 4));
}

TEST(KvRecord, NotANumberStaysOne) {
  for (const KvType type : {KvType::kInt8, KvType::kFp8})
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      AttentionLayout l = grouped_layout(1, 1, 32);
      l.store = type;
      Tensor kv = Tensor::zeros({1, 64}, DType::kF32), back = Tensor::zeros({1, 64}, DType::kF32);
      kv.data<float>()[5] = bad;
      Tensor record = Tensor::zeros({1, kv_row_bytes(l, DType::kF32)}, DType::kU8);
      std::byte* row = record.raw();
      write_kv_records(l, kv, &row);
      read_kv_records_ref(l, record.raw(), back);
      for (int i = 0; i < 32; ++i) EXPECT_TRUE(std::isnan(back.data<float>()[i]));
      for (int i = 32; i < 64; ++i) EXPECT_EQ(back.data<float>()[i], 0.f);
    }
}

// The backward over VDPBF16PS likewise. Its P and dS are rounded to bf16: 2^-9 of a term, within the bound of `out`'s rounding.
TEST_P(AttentionPairs, GradientsOfOracleEmulatorAndInstructionAgree) {
  Restore restore;
  const bool wide = GetParam().layout.num_heads > 9;
  if (kSanitized && wide) GTEST_SKIP() << "the emulated backward is too slow under a sanitizer";
  const std::vector<int64_t> sizes = wide ? std::vector<int64_t>{1, 70} : std::vector<int64_t>{1, 63, 130};
  const AttentionProblem p = make_attention_problem(GetParam().layout, DType::kBF16, sizes, sizes, 17);
  const Tensor dout = random_like_output(p);
  Gradients want{Tensor::empty(p.q.shape(), DType::kBF16), Tensor::empty(p.kv.shape(), DType::kBF16)};
  attention_backward_ref(p.layout, p.q, p.kv, p.sequences, dout, want.dq, want.dkv);
  set_isa_for_test(Isa::kPortable);
  set_emulated_attention_for_test(true);
  const Gradients emulated = backward(p, dout);
  expect_gradient(emulated.dq, want.dq, DType::kBF16, "dq, emulated");
  expect_gradient(emulated.dkv, want.dkv, DType::kBF16, "dkv, emulated");
  set_emulated_attention_for_test(false);
  const std::vector<Isa> isas = supported_isas();
  if (std::find(isas.begin(), isas.end(), Isa::kAvx512Bf16) == isas.end()) return;  // the emulator alone was tested
  set_isa_for_test(Isa::kAvx512Bf16);
  const Gradients real = backward(p, dout);
  EXPECT_TRUE(same_bits(real.dq, emulated.dq));
  EXPECT_TRUE(same_bits(real.dkv, emulated.dkv));
}

TEST_P(AttentionPairs, GradientBitsDoNotDependOnThreadsOrBatch) {
  Restore restore;
  const std::vector<Isa> isas = supported_isas();
  if (std::find(isas.begin(), isas.end(), Isa::kAvx512Bf16) == isas.end()) GTEST_SKIP() << "no VDPBF16PS here";
  set_isa_for_test(Isa::kAvx512Bf16);
  const int64_t n = GetParam().layout.num_heads > 9 ? 300 : 600;  // across one border of 256 keys, or two
  const AttentionProblem p = make_attention_problem(GetParam().layout, DType::kBF16, {n}, {n}, 18);
  const Tensor dout = random_like_output(p);
  set_num_threads(1);
  const Gradients want = backward(p, dout);
  for (int threads : {2, 3}) {
    set_num_threads(threads);
    const Gradients got = backward(p, dout);
    EXPECT_TRUE(same_bits(got.dq, want.dq) && same_bits(got.dkv, want.dkv)) << "threads " << threads;
  }
  AttentionProblem batch = make_attention_problem(GetParam().layout, DType::kBF16, {21, n}, {21, n}, 19);
  std::memcpy(batch.kv.slice_rows(21, 21 + n).raw(), p.kv.raw(), p.kv.bytes());
  std::memcpy(batch.q.slice_rows(21, 21 + n).raw(), p.q.raw(), p.q.bytes());
  Tensor both = random_like_output(batch);
  std::memcpy(both.slice_rows(21, 21 + n).raw(), dout.raw(), dout.bytes());
  const Gradients got = backward(batch, both);
  EXPECT_TRUE(same_bits(got.dq.slice_rows(21, 21 + n), want.dq));
  EXPECT_TRUE(same_bits(got.dkv.slice_rows(21, 21 + n), want.dkv));
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
