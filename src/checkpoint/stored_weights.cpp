#include "checkpoint/stored_weights.h"

#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "checkpoint/published_tensors.h"

namespace fathom {

std::vector<NamedTensor> original_tensors(Decoder& model) {
  std::vector<NamedTensor> list = model.named_tensors();
  std::erase_if(list, [&](const NamedTensor& t) { return !published_original(t.name, model.config()).empty(); });
  return list;
}

void attach_stored_weights(Decoder& model, std::span<const NamedTensor> wanted, const StoredParts& parts_of) {
  std::map<const Parameter*, std::vector<const NamedTensor*>> named;
  for (const NamedTensor& t : wanted)
    if (t.owner) named[t.owner].push_back(&t);
  const DType compute = compute_dtype(model.numerics().compute);
  for (Parameter* p : model.parameters()) {
    if (p->name == "model.embed_tokens.weight") {
      for (const NamedTensor& t : wanted) {
        if (t.name != p->name) continue;
        std::vector<WeightPart> parts = parts_of(t);
        if (parts.empty()) continue;
        const DType dtype = parts[0].values.dtype();
        if (dtype == DType::kBF16 || dtype == compute || dtype == DType::kU8) p->stored = std::move(parts);
      }
      continue;
    }
    const auto it = named.find(p);
    if (it == named.end()) continue;
    std::vector<WeightPart> stored;
    if (it->second.size() == 1) {
      stored = parts_of(*it->second[0]);
    } else {
      stored.resize(it->second.size());
      for (const NamedTensor* t : it->second) {
        const std::vector<WeightPart> part = parts_of(*t);
        CHECK(part.size() <= 1);
        if (part.empty()) {
          stored.clear();
          break;
        }
        stored[static_cast<size_t>(t->part)] = part[0];
      }
    }
    p->stored = std::move(stored);
  }
}

}  // namespace fathom
