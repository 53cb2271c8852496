#include "data/sequence_packer.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/error.h"
#include "base/rng.h"
#include "base/utf8.h"

namespace fathom {

Packing packing_of(const std::string& name) {
  if (name == "split") return Packing::kSplitDocuments;
  if (name == "whole") return Packing::kWholeDocuments;
  if (name == "across") return Packing::kAcross;
  fail_usage("data", "no packing '" + printable(name) + "'; there are split, whole and across");
}

SequencePacker::SequencePacker(const TokenDataset& data, int64_t sequence_length, Packing packing, uint64_t seed, bool shuffle)
    : data_(data), length_(sequence_length), packing_(packing), seed_(seed), shuffle_(shuffle) {
  if (sequence_length < 1) fail_usage("data", "the sequence length " + std::to_string(sequence_length) + " is below 1");
  if (data.num_tokens() == 0) fail_usage("data", "the data set is empty");
  if (packing == Packing::kAcross && data.num_tokens() < sequence_length + 1)
    fail_usage("data", "the data set has " + std::to_string(data.num_tokens()) + " tokens; a sequence of " +
                           std::to_string(sequence_length) + " needs one more than that");
  start_epoch(0);
}

int64_t SequencePacker::num_items() const {
  // A window needs the token behind it as its last target.
  return packing_ == Packing::kAcross ? (data_.num_tokens() - 1 - window_offset_) / length_ : data_.num_documents();
}

void SequencePacker::start_epoch(int64_t epoch) {
  Rng rng(seed_, RngStream::kShuffle, static_cast<uint64_t>(epoch));
  cursor_ = {epoch, 0, 0};
  // Other windows in each epoch, as far as there is room for at least one.
  const int64_t room = std::min(length_, data_.num_tokens() - length_);
  window_offset_ =
      packing_ == Packing::kAcross && shuffle_ ? static_cast<int64_t>(rng.next_below(static_cast<uint64_t>(room))) : 0;
  order_.resize(static_cast<size_t>(num_items()));
  std::iota(order_.begin(), order_.end(), 0);
  if (!shuffle_) return;
  for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.next_below(i)]);
}

void SequencePacker::add_segment(PackedSequence& out, int64_t begin, int64_t count, int64_t end_of_document) const {
  const auto ids = data_.all_ids();
  for (int64_t i = begin; i < begin + count; ++i) {
    const bool has_target = i + 1 < end_of_document && data_.is_trained(i + 1);
    out.ids.push_back(ids[static_cast<size_t>(i)]);
    out.targets.push_back(has_target ? ids[static_cast<size_t>(i) + 1] : -1);
    out.num_trained += has_target;
  }
  out.begins.push_back(static_cast<int64_t>(out.ids.size()));
}

// False where nothing is left of the epoch and the next one is not to begin.
bool SequencePacker::fill(PackedSequence& out, bool stop_at_end) {
  out = {};
  out.begins = {0};
  while (static_cast<int64_t>(out.ids.size()) < length_) {
    if (cursor_.index == num_items()) {
      if (stop_at_end) return !out.ids.empty();
      start_epoch(cursor_.epoch + 1);
    }
    const int64_t item = order_[static_cast<size_t>(cursor_.index)];
    if (packing_ == Packing::kAcross) {
      add_segment(out, window_offset_ + item * length_, length_, data_.num_tokens());
      ++cursor_.index;
      break;
    }
    const int64_t room = length_ - static_cast<int64_t>(out.ids.size());
    const int64_t document = data_.first_token(item), end = data_.first_token(item + 1);
    const int64_t begin = document + cursor_.offset, left = end - begin;
    if (packing_ == Packing::kWholeDocuments) {
      if (left > room && !out.ids.empty()) break;
      const int64_t count = std::min(left, room);
      if (count > 0) add_segment(out, begin, count, begin + count);
      ++cursor_.index;
      continue;
    }
    const int64_t count = std::min(left, room);
    if (count > 0) add_segment(out, begin, count, end);
    cursor_.offset += count;
    if (count == left) {
      ++cursor_.index;
      cursor_.offset = 0;
    }
  }
  return true;
}

PackedSequence SequencePacker::next() {
  PackedSequence out;
  fill(out, false);
  return out;
}

std::vector<PackedSequence> SequencePacker::rest_of_epoch() {
  std::vector<PackedSequence> out;
  for (PackedSequence sequence; fill(sequence, true);) out.push_back(std::move(sequence));
  return out;
}

void SequencePacker::seek(const DataCursor& cursor) {
  const auto refuse = [&] {
    fail_usage("data", "the cursor (epoch " + std::to_string(cursor.epoch) + ", index " + std::to_string(cursor.index) +
                           ", offset " + std::to_string(cursor.offset) +
                           ") does not belong to this data set; the data or the sequence length changed since");
  };
  if (cursor.epoch < 0 || cursor.index < 0 || cursor.offset < 0) refuse();
  start_epoch(cursor.epoch);
  if (cursor.index > num_items()) refuse();
  if (cursor.offset > 0) {
    if (packing_ != Packing::kSplitDocuments || cursor.index == num_items()) refuse();
    const int64_t item = order_[static_cast<size_t>(cursor.index)];
    if (cursor.offset >= data_.first_token(item + 1) - data_.first_token(item)) refuse();
  }
  cursor_ = cursor;
}

}  // namespace fathom
