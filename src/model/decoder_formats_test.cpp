// The whole model over weights in every format: close to the same model with the dequantised values, and strict.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <map>

#include "base/error.h"
#include "base/rng.h"
#include "base/test_folder.h"
#include "base/thread_pool.h"
#include "kernels/matmul/quantize_part.h"
#include "kernels/matmul/random_part.h"
#include "model/decoder_testing.h"
#include "nn/linear.h"
#include "tensor/format/dequantize.h"

namespace fathom {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kInt8Row, WeightFormat::kQ8_0,        WeightFormat::kQ4_0,
                                     WeightFormat::kQ4_1,    WeightFormat::kQ5_0,        WeightFormat::kQ4_K,
                                     WeightFormat::kQ6_K,    WeightFormat::kInt4Group32, WeightFormat::kInt4Group128};

// Those that take int8 activations.
std::vector<WeightFormat> int8_formats() {
  std::vector<WeightFormat> formats;
  std::copy_if(std::begin(kFormats), std::end(kFormats), std::back_inserter(formats), takes_int8);
  return formats;
}

// Widths that blocks of 256 divide, and (the heads') ones that they do not: those take the fallback.
ModelConfig wide_config(const std::string& kind) {
  ModelConfig c = tiny_config(kind);
  c.hidden_size = 256, c.intermediate_size = 512, c.num_hidden_layers = 2;
  if (c.is_mla()) {
    c.q_lora_rank = c.q_lora_rank ? 96 : 0;
    c.kv_lora_rank = 64, c.qk_nope_head_dim = 32, c.qk_rope_head_dim = 16, c.v_head_dim = 32;
    c.moe_intermediate_size = 256;
  } else {
    c.head_dim = 64;
  }
  return c;
}
// Its weights are drawn once: many models are made of them, which takes minutes under a sanitizer.
Decoder wide_model(const std::string& kind, const Numerics& numerics) {
  static std::map<std::string, Decoder> drawn;
  auto it = drawn.find(kind);
  if (it == drawn.end()) {
    it = drawn.emplace(kind, Decoder(wide_config(kind), Numerics{})).first;
    it->second.init_weights(3, 0.06);
  }
  Decoder model(wide_config(kind), numerics);
  model.allocate(DType::kF32);
  const std::vector<Parameter*> from = it->second.parameters(), to = model.parameters();
  for (size_t i = 0; i < to.size(); ++i) to[i]->value.copy_from(from[i]->value);
  return model;
}
Decoder packed_model(const std::string& kind, const Numerics& numerics) {
  Decoder model = wide_model(kind, numerics);
  model.prepack();
  model.drop_values_after_prepack();
  return model;
}
// What a part's codes stand for.
Tensor dequantised(const WeightPart& part) {
  Tensor values = Tensor::empty({part.rows(), part.k()}, DType::kF32);
  for (int64_t r = 0; r < part.rows(); ++r) {
    const std::byte* row = part.values.raw() + r * part.values.row_stride();
    if (part.format() == WeightFormat::kInt8Row)
      for (int64_t i = 0; i < part.k(); ++i)
        values.row<float>(r)[i] = static_cast<float>(reinterpret_cast<const int8_t*>(row)[i]) * part.scales.data<float>()[r];
    else if (part.values.dtype() == DType::kI32)
      for (int64_t i = 0; i < part.k(); ++i)
        values.row<float>(r)[i] =
            static_cast<float>(static_cast<int>(part.values.data<int32_t>()[(r * part.k() + i) / 8] >> (i % 8 * 4) & 15) - 8) *
            part.scales.row<float>(r)[i * part.scales.dim(1) / part.k()];
    else
      dequantize_row(part.type, row, part.k(), values.row<float>(r));
  }
  return values;
}
Batch batch_of(const std::vector<int32_t>& ids) {
  Batch batch;
  batch.add(ids);
  return batch;
}

double relative_error(const Tensor& got, const Tensor& want) {
  double error = 0, power = 0;
  for (int64_t i = 0; i < got.numel(); ++i) {
    const double d = static_cast<double>(got.data<float>()[i]) - want.data<float>()[i];
    error += d * d, power += static_cast<double>(want.data<float>()[i]) * want.data<float>()[i];
  }
  EXPECT_GT(power, 0);
  return std::sqrt(error / power);
}

TEST(DecoderFormats, CloseToTheDequantisedModel) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "compares numbers; Strict runs the same products on two threads";
#endif
  for (const std::string kind : {"v3", "v2lite", "qwen2"})
    for (const WeightFormat format : kFormats) {
      Numerics numerics;
      Decoder reference = wide_model(kind, numerics);
      for (const NamedTensor& t : reference.named_tensors()) {
        if (!t.owner || t.owner->always_f32 || t.name == "lm_head.weight") continue;
        WeightPart plain;
        plain.values = t.value;
        const WeightPart part = quantize_part(plain, format);
        Tensor to = t.value;
        ASSERT_EQ(part.format(), fallback_format(format, t.value.dim(1))) << t.name;
        if (part.format() == WeightFormat::kPlain) continue;  // no whole groups in its width
        to.copy_from(dequantised(part));
      }
      numerics.weights = format;
      Decoder model = packed_model(kind, numerics);
      const auto ids = tiny_tokens(40, 4);
      const Tensor got = model.logits(model.forward(batch_of(ids), nullptr)),
                   want = reference.logits(reference.forward(batch_of(ids), nullptr));
      EXPECT_LE(relative_error(got, want), 1e-5) << kind << " " << weight_format_name(format);
    }
}

// Strict with 16-bit activations, and with int8 ones where the format takes them: logits near the others', but not the same.
TEST(DecoderFormats, Strict) {
  const auto ids = tiny_tokens(70, 5);
  const auto strict_logits = [&](Decoder model, const std::string& what) {
    const auto logits_of = [&](int64_t n) {
      return model.logits(model.forward(batch_of({ids.begin(), ids.begin() + n}), nullptr));
    };
    const Tensor whole = logits_of(70);
    for (const int64_t n : {1, 3, 17, 65}) {
      set_num_threads(n == 17 ? 1 : 2);
      const Tensor prefix = logits_of(n);
      EXPECT_EQ(std::memcmp(prefix.raw(), whole.raw(), static_cast<size_t>(prefix.bytes())), 0) << what << " " << n;
    }
    return whole;
  };
  for (const auto& [kind, mla] : {std::pair<std::string, MlaFormula>{"v3", MlaFormula::kAbsorbed},
                                  {"v2lite", MlaFormula::kExpanded},
                                  {"qwen2", MlaFormula::kExpanded}})
    for (const Compute compute : {Compute::kF32, Compute::kBF16})
      for (const WeightFormat format : kFormats) {
        const std::string what = kind + " " + std::string(weight_format_name(format));
        Numerics numerics = {compute, mla, format};
        const Tensor exact = strict_logits(packed_model(kind, numerics), what);
        // Groups of 128 do not divide the latents' widths, and plain weights take no int8.
        if (!takes_int8(format) || (format == WeightFormat::kInt4Group128 && kind != "qwen2")) continue;
        numerics.activations = Activations::kInt8;
        const double error = relative_error(strict_logits(packed_model(kind, numerics), what + " int8"), exact);
        EXPECT_LT(error, 0.2) << what;
        EXPECT_GT(error, 1e-4) << what;
      }
  set_num_threads(2);
}

// int8 rows read a row in groups of 64 k, GGUF's types in groups of 32: each has its own bits in one fused weight, too.
TEST(DecoderFormats, PartsOfOneWeightReadTheirOwnGroups) {
  const WeightPart parts[] = {random_part(WeightFormat::kInt8Row, 40, 160, 1), random_part(WeightFormat::kQ8_0, 24, 160, 2)};
  Tensor x = Tensor::empty({3, 160}, DType::kF32);
  Rng rng(3, RngStream::kTest);
  for (int64_t i = 0; i < x.numel(); ++i) x.data<float>()[i] = rng.next_normal();
  const auto product = [&](std::span<const WeightPart> weight, int64_t rows) {
    const PackedMatrix packed = PackedMatrix::pack(weight, Compute::kBF16, Activations::kInt8);
    Tensor y = Tensor::empty({3, rows}, DType::kF32);
    matmul_forward(LinearInput(x).int8({&packed, 1}), packed, nullptr, y);
    return y;
  };
  const Tensor fused = product(parts, 64), first = product({parts, 1}, 40), second = product({parts + 1, 1}, 24);
  for (int64_t r = 0; r < 3; ++r) {
    EXPECT_EQ(std::memcmp(fused.row<float>(r), first.row<float>(r), 40 * 4), 0);
    EXPECT_EQ(std::memcmp(fused.row<float>(r) + 40, second.row<float>(r), 24 * 4), 0);
  }
}

// What an outlier costs is the precision of its own group: another's products stay within the half step of their codes.
TEST(DecoderFormats, AnOutlierStaysInItsGroup) {
  for (const WeightFormat format : int8_formats()) {
    const int64_t k = 512, group = int8_layout(format).group;
    const WeightPart w = random_part(format, 32, k, 5);
    const PackedMatrix packed = PackedMatrix::pack({&w, 1}, Compute::kBF16, Activations::kInt8);
    Tensor x = Tensor::zeros({2, k}, DType::kF32);
    Rng rng(4, RngStream::kTest);
    for (int64_t i = group; i < k; ++i) x.row<float>(0)[i] = x.row<float>(1)[i] = rng.next_normal();
    x.row<float>(1)[3] = 1e5f;
    Tensor y = Tensor::empty({2, 32}, DType::kF32);
    matmul_forward(LinearInput(x).int8({&packed, 1}), packed, nullptr, y);
    const Tensor values = dequantised(w);
    for (int64_t n = 0; n < 32; ++n) {
      // The outlier's code is 127: exact, but for f32's rounding of sums of 1e5 times a weight, or times a scale and a minimum.
      EXPECT_NEAR(y.row<float>(1)[n] - 1e5f * values.row<float>(n)[3], y.row<float>(0)[n], 1e5f * 0.1f * 1e-6f)
          << weight_format_name(format) << " " << n;
    }
  }
}

TEST(DecoderFormats, Int8ActivationsWantTheirFormats) {
  Decoder plain =
      wide_model("qwen2", {Compute::kBF16, MlaFormula::kExpanded, WeightFormat::kPlain, KvType::kPlain, Activations::kInt8});
  const std::string of_plain = error_of([&] { plain.prepack(); });
  EXPECT_NE(of_plain.find("'model.layers.0.self_attn.q_proj.weight' is plain"), std::string::npos) << of_plain;
  const WeightPart fp8 = random_part(WeightFormat::kFp8Block, 128, 128, 1);
  PackOptions packing;
  packing.activations = Activations::kInt8;
  const std::string of_fp8 = error_of([&] { pack_quantised("o_proj", {&fp8, 1}, packing); });
  EXPECT_NE(of_fp8.find("'o_proj' is fp8"), std::string::npos) << of_fp8;
}

TEST(DecoderFormats, TrainingRefusesInt8Activations) {
  Decoder model =
      wide_model("qwen2", {Compute::kF32, MlaFormula::kExpanded, WeightFormat::kInt8Row, KvType::kPlain, Activations::kInt8});
  const auto ids = tiny_tokens(5, 1);
  EXPECT_THROW(model.forward_backward(batch_of(ids), ids, {}, {}), Error);
}

TEST(DecoderFormats, IdentityNamesTheFormat) {
  Numerics numerics;
  const std::string plain = numerics.identity();
  numerics.weights = WeightFormat::kQ4_0;
  EXPECT_EQ(numerics.identity(), plain + "/q4_0");
  numerics.activations = Activations::kInt8;
  EXPECT_EQ(numerics.identity(), plain + "/q4_0/activations-int8-groups");
}

}  // namespace
}  // namespace fathom
