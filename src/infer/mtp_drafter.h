// Guesses from the checkpoint's MTP module (report §2.2): row i joins the model's hidden state of position i with the token at
// i + 1 and predicts the token at i + 2; further guesses reuse the module on its own output. Its keys and values are the
// cache's last layer, in the blocks of the sequence.
//
// A row goes through the module when a guess is wanted, or many wait: a decoding sequence without guesses pays for a copy of
// its hidden states only. Row i depends on token i + 1, so the last row of a shared prefix is that of whoever wrote it last;
// such a row can make a guess worse, never a result wrong.
#pragma once
#include <unordered_map>
#include <vector>

#include "infer/drafter.h"
#include "model/decoder.h"

namespace fathom {

class MtpDrafter : public Drafter {
 public:
  // `cache` has num_cache_layers() + 1 layers. Error where the model has no MTP module. Both outlive this.
  MtpDrafter(Decoder& model, KvCache& cache, int64_t num_valid);
  void draft(std::span<const DraftJob> jobs) override;
  void observe(std::span<const ComputedRows> rows, const Tensor& hidden) override;
  void forget(const Sequence& sequence) override { waiting_.erase(sequence.id); }
  int64_t bytes_per_draft() const override;

 private:
  // Hidden states of positions [begin, begin + count): computed by the model, not yet by the module.
  struct Waiting {
    int64_t begin = 0, count = 0;
    std::vector<std::byte> hidden;
    int64_t end() const { return begin + count; }
  };
  struct Piece {  // the first `count` waiting rows of a sequence
    const Sequence* sequence;
    Waiting* waiting;
    int64_t count;
  };
  Tensor compute(std::span<const Piece> pieces);  // [rows, d], the head's input

  Decoder& model_;
  KvCache& cache_;
  int64_t num_valid_, row_bytes_;
  std::unordered_map<uint64_t, Waiting> waiting_;  // by sequence
};

}  // namespace fathom
