#include "checkpoint/gguf_load.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/thread_pool.h"

namespace fathom {
Decoder load_gguf_model(const GgufModel& source, const Numerics& numerics) {
  const DType dtype = compute_dtype(numerics.compute);
  Decoder model(source.config(), numerics);
  model.allocate(dtype);
  std::vector<NamedTensor> wanted = model.named_tensors();
  std::set<std::string> there;
  bool quantised = false;
  for (const auto& t : source.tensors()) {
    there.insert(t.name);
    quantised |= ggml_type_info(source.stored_type(t.name)).block > 1;
  }
  // Copies share their original's memory (decoder.h): the original is read.
  std::erase_if(wanted, [&](const NamedTensor& t) { return !published_original(t.name, source.config()).empty(); });
  for (const NamedTensor& t : wanted) CHECK(there.count(t.name) && "named_tensors() and published_tensors() agree");
  if (quantised)
    log_info("'" + source.file().path() + "' (" + source.summary() + "): quantised tensors are expanded to " +
             std::string(dtype_name(dtype)) + " in memory");
  parallel_for(static_cast<int64_t>(wanted.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      source.read_into(wanted[static_cast<size_t>(i)].name, wanted[static_cast<size_t>(i)].value);
  });
  model.prepack();
  model.drop_values_after_prepack();
  return model;
}

}  // namespace fathom
