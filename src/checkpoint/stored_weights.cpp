#include "checkpoint/stored_weights.h"

#include <map>
#include <vector>

namespace fathom {

void attach_stored_weights(Decoder& model, std::span<const NamedTensor> wanted, const StoredPart& part_of) {
  std::map<const Parameter*, std::vector<const NamedTensor*>> parts;
  for (const NamedTensor& t : wanted)
    if (t.owner) parts[t.owner].push_back(&t);
  const DType compute = compute_dtype(model.numerics().compute);
  for (Parameter* p : model.parameters()) {
    if (p->name == "model.embed_tokens.weight") {
      for (const NamedTensor& t : wanted)
        if (const auto part = t.name == p->name ? part_of(t) : std::nullopt;
            part && (part->values.dtype() == DType::kBF16 || part->values.dtype() == compute))
          p->stored = {*part};
      continue;
    }
    const auto named = parts.find(p);
    if (named == parts.end()) continue;
    std::vector<WeightPart> stored(named->second.size());
    bool all = true;
    for (const NamedTensor* t : named->second) {
      const auto part = part_of(*t);
      if (part) stored[static_cast<size_t>(t->part)] = *part;
      all = all && part;
    }
    if (all) p->stored = std::move(stored);
  }
}

}  // namespace fathom
