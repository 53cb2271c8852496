// Training sequences from documents: order by a shuffle that is a function of (seed, epoch), a cursor of three integers.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "data/token_dataset.h"

namespace fathom {

struct PackedSequence {
  std::vector<int32_t> ids;
  std::vector<int32_t> targets;  // what to predict at each row: the next token of its document; -1: no loss
  std::vector<int64_t> begins;   // [S+1] rows [begins[s], begins[s+1]) are one segment; attention does not cross segments
  int64_t num_trained = 0;       // targets that are not -1
};

enum class Packing {
  kSplitDocuments,  // documents one behind the other, cut where a sequence is full; each part is a segment
  kWholeDocuments,  // only whole documents (SFT): a sequence ends before the one that does not fit; longer ones lose their tail
  kAcross,          // one stream, attention crosses documents (pre-training): windows of the stream in shuffled order
};
Packing packing_of(const std::string& name);  // "split", "whole", "across"; Error (usage)

// The whole state: equal cursors give equal sequences from there on.
struct DataCursor {
  int64_t epoch = 0;
  int64_t index = 0;   // document, or window, in the epoch's order
  int64_t offset = 0;  // token in the document
  bool operator==(const DataCursor&) const = default;
};

class SequencePacker {
 public:
  // Keeps a reference to the data. Error (usage) where it is empty, or shorter than one window.
  SequencePacker(const TokenDataset& data, int64_t sequence_length, Packing packing, uint64_t seed, bool shuffle = true);

  // At most sequence_length rows; epochs follow one another without end.
  PackedSequence next();
  // What is left of the cursor's epoch, for validation; the last sequence may be short.
  std::vector<PackedSequence> rest_of_epoch();

  const DataCursor& cursor() const { return cursor_; }
  void seek(const DataCursor& cursor);  // Error (usage) for a cursor that this data set cannot have

 private:
  void start_epoch(int64_t epoch);
  bool fill(PackedSequence& out, bool stop_at_end);
  void add_segment(PackedSequence& out, int64_t begin, int64_t count, int64_t end_of_document) const;
  int64_t num_items() const;  // of an epoch
  const TokenDataset& data_;
  int64_t length_;
  Packing packing_;
  uint64_t seed_;
  bool shuffle_;
  DataCursor cursor_;
  std::vector<int64_t> order_;  // of the cursor's epoch
  int64_t window_offset_ = 0;   // kAcross: where the epoch's first window begins
};

}  // namespace fathom
