#include "checkpoint/gguf_load.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include "base/check.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "checkpoint/stored_weights.h"

namespace fathom {
namespace {

// How far `copy` is from `original`, as root mean squares, difference to original.
double relative_difference(const GgufModel& source, const PublishedTensor& copy, const std::string& original) {
  const int64_t rows = copy.shape[0], width = copy.shape[1], grain = 256, parts = (rows + grain - 1) / grain;
  std::vector<double> error(static_cast<size_t>(parts)), power(static_cast<size_t>(parts));
  parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> a(static_cast<size_t>(width)), b(a.size());
    for (int64_t p = begin; p < end; ++p)
      for (int64_t r = p * grain; r < std::min(rows, (p + 1) * grain); ++r) {
        source.read_rows(copy.name, r, r + 1, a.data());
        source.read_rows(original, r, r + 1, b.data());
        for (size_t i = 0; i < a.size(); ++i) {
          const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
          error[static_cast<size_t>(p)] += d * d;
          power[static_cast<size_t>(p)] += static_cast<double>(b[i]) * static_cast<double>(b[i]);
        }
      }
  });
  const double e = std::accumulate(error.begin(), error.end(), 0.0), p = std::accumulate(power.begin(), power.end(), 0.0);
  return e == 0 ? 0 : std::sqrt(e / p);  // NaN and infinity where there is nothing to compare with
}

// The MTP layer's copies of embedding and head share their original's memory (decoder.h), so a copy in the file must be one:
// byte for byte where both have one type; up to rounding where a quantiser gave them different ones.
void check_copies(const GgufModel& source) {
  constexpr double kRounding = 0.25;  // of the coarsest types; unrelated weights differ by more than 1
  for (const PublishedTensor& t : source.tensors()) {
    const std::string original = published_original(t.name, source.config());
    if (original.empty()) continue;
    const auto *copy = source.file().find(gguf_place(source.config(), t.name).tensor),
               *main = source.file().find(gguf_place(source.config(), original).tensor);
    CHECK(copy && main);
    const bool same_type = copy->type == main->type;
    if (same_type ? std::memcmp(source.file().data(*copy), source.file().data(*main), static_cast<size_t>(copy->bytes)) == 0
                  : relative_difference(source, t, original) < kRounding)
      continue;
    source.file().refuse("tensor '" + copy->name + "'", "differs from '" + main->name +
                                                            "', whose copy it must be (MTP); weights that differ are not "
                                                            "supported here");
  }
}

}  // namespace

Decoder read_gguf_model(const GgufModel& source, const Numerics& numerics) {
  check_copies(source);
  const DType dtype = compute_dtype(numerics.compute);
  Decoder model(source.config(), numerics);
  attach_stored_weights(model, original_tensors(model), [&](const NamedTensor& t) {
    return source.stored_parts(t.name, numerics.mla == MlaFormula::kAbsorbed);
  });
  model.allocate(dtype);
  const std::vector<NamedTensor> wanted = original_tensors(model);
  std::set<std::string> there;
  for (const auto& t : source.tensors()) there.insert(t.name);
  for (const NamedTensor& t : wanted) CHECK(there.count(t.name) && "named_tensors() and published_tensors() agree");
  std::map<std::string, int> expanded;
  for (const NamedTensor& t : wanted)
    if (const GgmlTypeInfo& info = ggml_type_info(source.stored_type(t.name)); t.value.defined() && info.block > 1)
      ++expanded[info.name];
  if (!expanded.empty()) {
    std::string list;
    for (const auto& [name, count] : expanded) list += (list.empty() ? "" : ", ") + name + " x" + std::to_string(count);
    log_info("'" + source.file().path() + "': these tensors are not computed on as they are and are expanded to " +
             std::string(dtype_name(dtype)) + " in memory: " + list);
  }
  parallel_for(static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (const NamedTensor& t = wanted[static_cast<size_t>(i)]; t.value.defined()) source.read_into(t.name, t.value);
  });
  return model;
}

}  // namespace fathom
