// Conversions of every model fixture, there and back; what is lost is named; a kill is survived.
#include "convert/convert_testing.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/gguf_model.h"
#include "checkpoint/gguf_writer.h"
#include "checkpoint/hf_directory.h"
#include "checkpoint/model_files.h"
#include "checkpoint/safetensors.h"
#include "tensor/format/dequantize.h"
#include "tensor/format/quantize.h"

namespace fathom {
namespace {

bool is_fp8(const std::string& folder) { return read_json_file(folder + "/config.json").contains("quantization_config"); }

// FP8 bytes, block scales, MTP layer and small files included; in many shards too.
TEST(Convert, DirectoryToDirectoryKeepsEveryByte) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  for (const auto& folder : model_folders()) {
    TestFolder out;
    convert(folder, out / "one", kHf);
    expect_same_tensors(folder, out / "one");
    convert(folder, out / "many", kHf, "", 40000);
    EXPECT_TRUE(file_exists(out / "many/model.safetensors.index.json"));
    const auto source = SafetensorsDirectory::open(folder), shards = SafetensorsDirectory::open(out / "many");
    for (const auto& file : shards.files()) EXPECT_EQ(file->metadata(), source.files()[0]->metadata()) << file->path();
    expect_same_tensors(folder, out / "many");
    for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
      EXPECT_EQ(read_file(out / (std::string("one/") + name)), read_file(folder + "/" + name)) << folder;
    EXPECT_FALSE(file_exists(out / "many/convert.fathom"));
  }
}

// bf16 and f32 hold all values of these checkpoints, so nothing may change on the way, the MTP layer included.
TEST(Convert, ThroughGgufAndBackKeepsEveryByte) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  for (const auto& folder : model_folders()) {
    if (is_fp8(folder)) continue;
    TestFolder out;
    convert(folder, out / "model.gguf", kGguf, "bf16");
    convert(out / "model.gguf", out / "back", kHf);
    expect_same_tensors(folder, out / "back");
    convert(folder, out / "wide.gguf", kGguf, "f32");
    convert(out / "wide.gguf", out / "narrow", kHf, "bf16");
    expect_same_tensors(folder, out / "narrow");
    for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
      EXPECT_EQ(read_file(out / (std::string("back/") + name)), read_file(folder + "/" + name)) << folder;
    // The GGUF file alone computes what the directory computes.
    Decoder a = load_model(folder, Numerics{}, false), b = load_model(out / "model.gguf", Numerics{}, false);
    const std::vector<int32_t> ids = {5, 9, 2, 77, 31, 8};
    Batch batch;
    batch.add(ids, 0);
    const Tensor x = a.logits(a.forward(batch, nullptr)), y = b.logits(b.forward(batch, nullptr));
    EXPECT_EQ(std::memcmp(x.raw(), y.raw(), static_cast<size_t>(x.bytes())), 0) << folder;
  }
}

// FP8 -> f32 directory, and FP8 -> f32 GGUF -> f32 directory: the same values, byte times block scale.
TEST(Convert, Fp8IsDequantised) {
  for (const auto& folder : model_folders()) {
    if (!is_fp8(folder)) continue;
    TestFolder out;
    convert(folder, out / "plain", kHf, "f32");
    convert(folder, out / "model.gguf", kGguf, "f32");
    convert(out / "model.gguf", out / "back", kHf, "f32");
    expect_same_tensors(out / "plain", out / "back");
    EXPECT_FALSE(is_fp8(out / "plain"));
    const auto fp8 = SafetensorsDirectory::open(folder), plain = SafetensorsDirectory::open(out / "plain");
    int checked = 0;
    for (const auto& [name, located] : fp8.tensors()) {
      if (located.entry->dtype != DType::kF8E4M3) continue;
      const Tensor w = located.tensor(), s = fp8.tensors().at(name + "_scale_inv").tensor(),
                   x = plain.tensors().at(name).tensor();
      for (int64_t r = 0; r < w.dim(0); r += 7)
        for (int64_t c = 0; c < w.dim(1); c += 5) {
          const int byte = static_cast<int>(w.raw()[r * w.dim(1) + c]), e = byte >> 3 & 15, m = byte & 7;
          const double value = (byte & 128 ? -1 : 1) * (e == 0 ? m * std::pow(2.0, -9) : (1 + m / 8.0) * std::pow(2.0, e - 7));
          ASSERT_EQ(x.row<float>(r)[c], static_cast<float>(value) * s.row<float>(r / 128)[c / 128]) << name;
          ++checked;
        }
    }
    EXPECT_GT(checked, 1000);
    EXPECT_TRUE(load_model(out / "plain", Numerics{}, false).prepacked());
    EXPECT_TRUE(load_model(out / "model.gguf", Numerics{}, false).prepacked());
  }
}

Tensor logits_of(const std::string& path, const Numerics& numerics) {
  Decoder model = load_model(path, numerics, false);
  const std::vector<int32_t> ids = {5, 9, 2, 77, 31, 8};
  Batch batch;
  batch.add(ids, 0);
  return model.logits(model.forward(batch, nullptr));
}
// The largest difference, of the largest element of `want`.
float relative_distance(const Tensor& got, const Tensor& want) {
  float largest = 0, difference = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    largest = std::max(largest, std::fabs(want.data<float>()[i]));
    difference = std::max(difference, std::fabs(got.data<float>()[i] - want.data<float>()[i]));
  }
  return difference / largest;
}
float half_value(uint16_t bits) {  // normal numbers and zero
  return bits == 0 ? 0 : std::ldexp(1 + static_cast<float>(bits & 1023) / 1024, (bits >> 10) - 15);
}

// compressed-tensors' int8: codes and scales by the formula, written out here once more; what is not quantised keeps its bytes;
// what is computed is what --weights int8 computes; the way back gives code times scale.
TEST(Convert, Int8RowsAreWrittenAndRead) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  for (const auto& folder : model_folders()) {
    TestFolder out;
    const std::string plain = out / "plain", int8 = out / "int8", shards = out / "shards";
    convert(folder, plain, kHf, "f32");
    convert(folder, int8, kHf, "int8");
    convert(folder, shards, kHf, "int8", 40000);
    expect_same_tensors(int8, shards);
    convert(int8, out / "again", kHf, "int8");
    convert(int8, out / "copy", kHf);
    for (const char* copy : {"again", "copy"}) {
      expect_same_tensors(int8, out / copy);
      EXPECT_EQ(read_file(out / (std::string(copy) + "/config.json")), read_file(int8 + "/config.json"));
    }
    const Json config = read_json_file(int8 + "/config.json")["quantization_config"];
    EXPECT_EQ(config["quant_method"], "compressed-tensors");
    EXPECT_EQ(config["format"], "int-quantized");
    EXPECT_EQ(config["config_groups"]["group_0"]["weights"]["strategy"], "channel");
    EXPECT_EQ(config["ignore"][0], "lm_head");

    convert(int8, out / "back", kHf, "f32");
    EXPECT_FALSE(read_json_file(out / "back/config.json").contains("quantization_config"));
    const auto source = SafetensorsDirectory::open(plain), made = SafetensorsDirectory::open(int8),
               back = SafetensorsDirectory::open(out / "back"), original = SafetensorsDirectory::open(folder);
    int quantised = 0;
    for (const auto& [name, located] : source.tensors()) {
      const auto& stored = *made.tensors().at(name).entry;
      ASSERT_EQ(stored.shape, located.entry->shape) << name;
      const bool linear =
          name.find("_proj") != std::string::npos && name.ends_with(".weight") && !name.ends_with(".eh_proj.weight");
      ASSERT_EQ(linear, stored.dtype == DType::kI8) << name;
      if (!linear) {
        EXPECT_EQ(made.tensors().count(name + "_scale"), 0u);
        const auto& before = original.tensors().at(name);
        ASSERT_EQ(stored.dtype, before.entry->dtype) << name;
        EXPECT_TRUE(same_bits(made.tensors().at(name).tensor(), before.tensor())) << name;
        continue;
      }
      ++quantised;
      const auto& scales = made.tensors().at(name + "_scale");
      ASSERT_EQ(scales.entry->dtype, DType::kF16);
      ASSERT_EQ(scales.entry->shape, (std::vector<int64_t>{stored.shape[0], 1})) << name;
      const Tensor w = located.tensor(), codes = made.tensors().at(name).tensor(), x = back.tensors().at(name).tensor(),
                   s = scales.tensor();
      for (int64_t r = 0; r < w.dim(0); ++r) {
        float largest = 0;
        for (int64_t c = 0; c < w.dim(1); ++c) largest = std::max(largest, std::fabs(w.row<float>(r)[c]));
        const float scale = half_value(reinterpret_cast<const uint16_t*>(s.raw())[r]);
        ASSERT_NEAR(scale, largest / 127, largest / 127 / 2048) << name;
        for (int64_t c = 0; c < w.dim(1); ++c) {
          const int code = reinterpret_cast<const int8_t*>(codes.raw())[r * w.dim(1) + c];
          ASSERT_EQ(code, std::lrint(std::clamp(w.row<float>(r)[c] / scale, -127.f, 127.f))) << name;
          ASSERT_EQ(x.row<float>(r)[c], static_cast<float>(code) * scale) << name;
        }
      }
    }
    EXPECT_GT(quantised, 10) << folder;
    for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
      Numerics as_stored{compute}, while_loading{compute};
      while_loading.weights = WeightFormat::kInt8Row;
      const Tensor logits = logits_of(int8, as_stored);
      if (!is_fp8(folder)) {
        EXPECT_TRUE(same_bits(logits, logits_of(folder, while_loading))) << folder;
      }
      EXPECT_TRUE(same_bits(logits, logits_of(shards, as_stored))) << folder;
      if (compute == Compute::kBF16) continue;  // roundings may turn a choice of experts
      const Tensor expanded = logits_of(out / "back", as_stored);
      as_stored.mla = MlaFormula::kAbsorbed;
      const Tensor absorbed = logits_of(int8, as_stored);
      EXPECT_LT(relative_distance(logits, expanded), 2e-5f) << folder;
      EXPECT_LT(relative_distance(absorbed, expanded), 2e-5f) << folder;
    }
    // GGUF from it, and it from GGUF: the same values.
    convert(int8, out / "model.gguf", kGguf, "f32");
    convert(out / "model.gguf", out / "through", kHf, "f32");
    expect_same_tensors(out / "back", out / "through");
    convert(out / "model.gguf", out / "int8-again", kHf, "int8");
    EXPECT_EQ(SafetensorsDirectory::open(out / "int8-again").tensors().size(), made.tensors().size());
    EXPECT_NE(error_of([&] { load_model(int8, Numerics{}, true); }).find("fathom convert"), std::string::npos);
  }
}

// The same for 4 bits in groups of 32 and 128: what has no whole groups stays as it was, and config.json names it.
TEST(Convert, Int4GroupsAreWrittenAndRead) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  int quantised = 0, refused = 0;
  for (const auto& folder : model_folders())
    for (const auto& [dtype, group, format] :
         {std::tuple{"int4-g32", 32, WeightFormat::kInt4Group32}, std::tuple{"int4-g128", 128, WeightFormat::kInt4Group128}}) {
      TestFolder out;
      const std::string plain = out / "plain", int4 = out / "int4", back = out / "back";
      const std::string error = error_of([&] { convert(folder, int4, kHf, dtype, 40000); });
      if (!error.empty()) {
        EXPECT_NE(error.find("has rows of whole groups for int4-g128"), std::string::npos) << error;
        ++refused;
        continue;
      }
      convert(folder, plain, kHf, "f32");
      convert(int4, out / "again", kHf, dtype);
      expect_same_tensors(int4, out / "again");
      convert(int4, back, kHf, "f32");
      const Json config = read_json_file(int4 + "/config.json")["quantization_config"];
      EXPECT_EQ(config["format"], "pack-quantized");
      EXPECT_EQ(config["config_groups"]["group_0"]["weights"]["group_size"], group);
      const auto source = SafetensorsDirectory::open(plain), made = SafetensorsDirectory::open(int4),
                 values = SafetensorsDirectory::open(back);
      EXPECT_EQ(source.tensors().size(), values.tensors().size());
      for (const auto& [name, located] : source.tensors()) {
        const auto packed = made.tensors().find(name + "_packed");
        const Tensor x = values.tensors().at(name).tensor();
        if (packed == made.tensors().end()) {
          EXPECT_TRUE(made.tensors().count(name)) << name;
          const bool linear =
              name.find("_proj") != std::string::npos && name.ends_with(".weight") && name.find("eh_proj") == std::string::npos;
          const Json module = name.substr(0, name.rfind(".weight"));
          EXPECT_EQ(linear, std::find(config["ignore"].begin(), config["ignore"].end(), module) != config["ignore"].end() &&
                                name != "lm_head.weight")
              << name;
          if (linear) {
            EXPECT_NE(located.entry->shape[1] % group, 0) << name;
          }
          continue;
        }
        ++quantised;
        EXPECT_EQ(made.tensors().count(name), 0u);
        const Tensor w = located.tensor(), codes = packed->second.tensor(), s = made.tensors().at(name + "_scale").tensor(),
                     shape = made.tensors().at(name + "_shape").tensor();
        const int64_t rows = w.dim(0), k = w.dim(1);
        ASSERT_EQ(codes.dtype(), DType::kI32);
        ASSERT_EQ(codes.shape(), Shape({rows, k / 8})) << name;
        ASSERT_EQ(s.shape(), Shape({rows, k / group})) << name;
        int64_t stored_shape[2];
        ASSERT_EQ(shape.bytes(), 16);
        std::memcpy(stored_shape, shape.raw(), 16);
        EXPECT_TRUE(stored_shape[0] == rows && stored_shape[1] == k);
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t c = 0; c < k; ++c) {
            const float scale = half_value(reinterpret_cast<const uint16_t*>(s.raw())[(r * k + c) / group]);
            if (c % group == 0) {
              float largest = 0;
              for (int64_t i = 0; i < group; ++i) largest = std::max(largest, std::fabs(w.row<float>(r)[c + i]));
              ASSERT_NEAR(scale, largest / 7.5, largest / 7.5 / 2048) << name;
            }
            const int code =
                static_cast<int>(static_cast<uint32_t>(codes.data<int32_t>()[(r * k + c) / 8]) >> (c % 8 * 4) & 15) - 8;
            ASSERT_EQ(code, std::lrint(std::clamp(w.row<float>(r)[c] / scale, -8.f, 7.f))) << name;
            ASSERT_EQ(x.row<float>(r)[c], static_cast<float>(code) * scale) << name;
          }
      }
      Numerics as_stored, while_loading;
      while_loading.weights = format;
      const Tensor logits = logits_of(int4, as_stored), expanded = logits_of(back, as_stored);
      if (!is_fp8(folder)) {
        EXPECT_TRUE(same_bits(logits, logits_of(folder, while_loading))) << folder;
      }
      as_stored.mla = MlaFormula::kAbsorbed;
      const Tensor absorbed = logits_of(int4, as_stored);
      EXPECT_LT(relative_distance(logits, expanded), 2e-5f) << folder << " " << dtype;
      EXPECT_LT(relative_distance(absorbed, expanded), 2e-5f) << folder << " " << dtype;
    }
  EXPECT_GT(quantised, 100);
  EXPECT_GT(refused, 0);
}

// Every written type loads; its weights are the checkpoint's within the type's error.
TEST(Convert, QuantisedTypesLoad) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  for (const auto& folder : model_folders()) {
    const auto hf = SafetensorsDirectory::open(folder);
    for (const auto& [dtype, bound] : {std::pair{"q8_0", 0.01},
                                       {"q4_0", 0.13},
                                       {"q4_1", 0.12},
                                       {"q5_0", 0.07},
                                       {"q4_k", 0.12},
                                       {"q6_k", 0.04},
                                       {"f16", 1e-3}}) {
      TestFolder out;
      convert(folder, out / "model.gguf", kGguf, dtype);
      const GgufModel model = GgufModel::open(out / "model.gguf");
      if (is_fp8(folder)) continue;
      double error = 0, power = 0;
      for (const auto& tensor : model.tensors()) {
        const Tensor want = hf.tensors().at(tensor.name).tensor().to(DType::kF32);
        Tensor got = Tensor::empty(want.shape(), DType::kF32);
        model.read_into(tensor.name, got);
        for (int64_t i = 0; i < want.numel(); ++i) {
          const double e = static_cast<double>(got.data<float>()[i]) - want.data<float>()[i];
          if (tensor.shape.size() > 1)
            error += e * e, power += static_cast<double>(want.data<float>()[i]) * want.data<float>()[i];
        }
      }
      EXPECT_LE(std::sqrt(error / power), bound) << folder << " " << dtype;
    }
  }
}

// Every scheme, from a directory and from a GGUF file: sizes and the error are those of what lies there, by this test's own
// sums.
TEST(Convert, QuantizeSaysSizesAndError) {
  const std::string directory = models_folder() + "/llama3-tiny";
  if (!is_directory(directory)) GTEST_SKIP() << "no fixtures at " << models_folder();
  TestFolder out;
  convert(directory, out / "plain.gguf", kGguf, "f32");
  const auto plain = ModelSource::open(directory);
  for (const QuantizeScheme& scheme : quantize_schemes()) {
    if (scheme.calibrated || std::string(scheme.name) == "int4-g128") continue;  // this model's rows are shorter
    for (const std::string& from : {directory, out / "plain.gguf"}) {
      ConvertOptions options;
      options.from = from, options.to = out / (std::string(scheme.name) + (from == directory ? "" : "-gguf"));
      const QuantizeReport report = quantize_model(options, scheme.name);
      EXPECT_FALSE(report.quantised_before);
      EXPECT_EQ(report.bytes_before, ModelSource::open(from)->stored_bytes());
      const auto made = ModelSource::open(options.to);
      EXPECT_EQ(made->is_gguf(), scheme.format == kGguf);
      EXPECT_EQ(report.converted.bytes, made->stored_bytes());
      EXPECT_LT(report.converted.bytes, report.bytes_before) << scheme.name;
      double difference = 0, original = 0;
      int64_t tensors = 0;
      for (const auto& item : made->items()) {
        if (!item.quantised) continue;
        ++tensors;
        std::vector<float> a(static_cast<size_t>(item_rows(item) * item_width(item))), b(a.size());
        plain->read_rows(*plain->find(item.name), 0, item_rows(item), a.data());
        made->read_rows(item, 0, item_rows(item), b.data());
        for (size_t i = 0; i < a.size(); ++i)
          difference += std::pow(static_cast<double>(b[i]) - a[i], 2), original += static_cast<double>(a[i]) * a[i];
      }
      EXPECT_GT(tensors, 10);
      EXPECT_EQ(report.error.tensors, tensors);
      EXPECT_NEAR(report.error.relative, std::sqrt(difference / original), 1e-9) << scheme.name;
      EXPECT_GT(report.error.relative, 1e-3) << scheme.name;
      EXPECT_LT(report.error.relative, 0.13) << scheme.name;
      EXPECT_GE(report.error.worst_relative, report.error.relative);
    }
  }
  ConvertOptions options;
  options.from = directory, options.to = out / "none";
  EXPECT_NE(error_of([&] { quantize_model(options, "q3_k"); }).find("q3_k is not known; schemes are int8"), std::string::npos);
}

// The MTP layer's copies of embedding and head share the original's memory: one that is none is refused by name.
TEST(Convert, MtpCopiesInGgufMustBeCopies) {
  const std::string source = models_folder() + "/dsv3-tiny-fp8";
  if (!is_directory(source)) GTEST_SKIP() << "no fixture at " << source;
  for (const char* dtype : {"bf16", "q4_k"})
    for (const char* name : {"nextn.embed_tokens.weight", "nextn.shared_head_head.weight"}) {
      TestFolder out;
      const std::string path = out / "model.gguf";
      convert(source, path, kGguf, dtype);
      std::string bytes = read_file(path);
      const GgufFile file = GgufFile::open(path);
      const auto entry =
          std::find_if(file.entries().begin(), file.entries().end(), [&](const auto& e) { return e.name.ends_with(name); });
      ASSERT_NE(entry, file.entries().end()) << name;
      EXPECT_EQ(error_of([&] { load_model(path, Numerics{}, false); }), "");
      const size_t last = bytes.size() - static_cast<size_t>(file.data_bytes() - entry->offset - entry->bytes) - 1;
      bytes[last] = static_cast<char>(bytes[last] ^ 1);
      write_file_atomic(path, bytes);
      EXPECT_NE(error_of([&] { load_model(path, Numerics{}, false); }).find("'" + entry->name + "': differs from"),
                std::string::npos)
          << dtype << " " << name;
    }
}
// A quantiser may give copy and original different types: then they agree up to rounding, or are refused too.
TEST(Convert, MtpCopiesOfAnotherTypeAgreeUpToRounding) {
  const std::string source = models_folder() + "/dsv3-tiny-fp8";
  if (!is_directory(source)) GTEST_SKIP() << "no fixture at " << source;
  TestFolder out;
  convert(source, out / "f32.gguf", kGguf, "f32");
  const auto model = std::make_shared<const GgufFile>(GgufFile::open(out / "f32.gguf"));
  const auto with_copy = [&](float factor) {  // the copy of the head as Q8_0 of factor times the head
    GgufMetadata metadata;
    for (const auto& [key, value] : model->metadata()) metadata.copy(key, value);
    std::vector<GgufTensorPlan> plans;
    for (const auto& e : model->entries()) {
      plans.push_back({e.name, e.type, e.shape, {}, GgufTensorPlan::Part::kWhole, 0});
      if (e.name.ends_with("nextn.shared_head_head.weight")) plans.back().type = GgmlType::kQ8_0;
    }
    remove_tree(out / "mixed.gguf");
    GgufWriter writer(out / "mixed.gguf", metadata, plans, "");
    for (const auto& e : model->entries()) {
      if (e.name.ends_with("nextn.shared_head_head.weight")) {
        std::vector<std::byte> row(static_cast<size_t>(ggml_row_bytes(GgmlType::kQ8_0, e.row_size())));
        std::vector<float> values(static_cast<size_t>(e.row_size()));
        for (int64_t r = 0; r < e.rows(); ++r) {
          std::memcpy(values.data(), model->data(e) + r * e.row_bytes(), values.size() * 4);
          for (float& x : values) x *= factor;
          quantize_row(GgmlType::kQ8_0, values.data(), e.row_size(), row.data());
          writer.write(row.data(), static_cast<int64_t>(row.size()));
        }
      } else {
        writer.write(model->data(e), e.bytes);
      }
      writer.end_tensor();
    }
    writer.commit();
    return error_of([&] { load_model(out / "mixed.gguf", Numerics{}, false); });
  };
  EXPECT_EQ(with_copy(1), "");
  EXPECT_NE(with_copy(0.5f).find("nextn.shared_head_head.weight': differs from"), std::string::npos);
}

bool has_warning(const ConvertReport& report, const std::string& part) {
  for (const auto& warning : report.warnings)
    if (warning.find(part) != std::string::npos) return true;
  return false;
}

TEST(Convert, WhatIsLostIsNamed) {
  if (model_folders().empty()) GTEST_SKIP() << "no fixtures at " << models_folder();
  TestFolder out;
  const auto warned = [&](const std::string& model, const std::string& part) {
    const std::string to = out / (model + part.substr(0, 5) + ".gguf");
    if (is_directory(models_folder() + "/" + model)) {
      EXPECT_TRUE(has_warning(convert(models_folder() + "/" + model, to, kGguf, "f32"), part)) << model << ": " << part;
    }
  };
  warned("dsv3-tiny-fp8", "MTP");
  warned("dsv2-tiny", "group_limited_greedy");
  warned("dsv3-eps-tiny", "rms_norm_eps");
  if (is_directory(models_folder() + "/dsv3-tiny")) {  // mscale that differs from mscale_all_dim
    convert(models_folder() + "/dsv3-tiny", out / "changed", kHf);
    std::string config = read_file(out / "changed/config.json");
    config.replace(config.find("\"mscale\": 1.0"), 13, "\"mscale\": 0.8");
    write_file_atomic(out / "changed/config.json", config);
    EXPECT_TRUE(has_warning(convert(out / "changed", out / "changed.gguf", kGguf, "bf16"), "mscale_all_dim"));
    EXPECT_EQ(ModelFiles(out / "changed.gguf").config().rope_scaling.mscale, 0.8);  // and kept for us
  }
}

TEST(Convert, RefusesByName) {
  if (!is_directory(models_folder() + "/qwen2-tiny")) GTEST_SKIP() << "no fixtures at " << models_folder();
  TestFolder out;
  const std::string source = models_folder() + "/qwen2-tiny";
  EXPECT_NE(error_of([&] { convert(source, out.path(), kHf); }).find("exists"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(source, out / "x", kGguf, "q3_k"); }).find("q3_k"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(source, out / "y", kHf, "q4_0"); }).find("q4_0"), std::string::npos);
  EXPECT_NE(error_of([&] { convert(out / "none", out / "z", kHf); }).find("there is no"), std::string::npos);
}

// Killed again and again at any moment, then run to the end: the file is that of an undisturbed conversion.
TEST(Convert, GoesOnAfterKills) {
  const std::string source = models_folder() + "/dsv3-tiny";
  if (!is_directory(source)) GTEST_SKIP() << "no fixtures at " << models_folder();
  TestFolder out;
  convert(source, out / "whole.gguf", kGguf, "f32");
  convert(source, out / "whole", kHf, "f32", 100000);
  set_log_quiet(true);
  for (const bool gguf : {true, false}) {
    const std::string to = out / (gguf ? "killed.gguf" : "killed");
    int kills = 0;
    for (int i = 0; i < 12 && !file_exists(to) && !is_directory(to); ++i) {
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        ::signal(SIGALRM, SIG_DFL);
        ::ualarm(static_cast<useconds_t>(300 + 900 * i), 0);  // dies of it
        convert(source, to, gguf ? kGguf : kHf, "f32", 100000);
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      kills += WIFSIGNALED(status);
    }
    if (!file_exists(to) && !is_directory(to)) convert(source, to, gguf ? kGguf : kHf, "f32", 100000);
    EXPECT_GT(kills, 0);
    if (gguf)
      EXPECT_EQ(crc32_of_file(to), crc32_of_file(out / "whole.gguf"));
    else
      expect_same_tensors(out / "whole", to);
    EXPECT_FALSE(file_exists(to + ".partial") || is_directory(to + ".partial"));
  }
  set_log_quiet(false);
}

}  // namespace
}  // namespace fathom
