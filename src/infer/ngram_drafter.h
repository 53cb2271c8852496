// Prompt look-up: what followed the last place where the sequence's last tokens stood before. Costs no forward.
#pragma once
#include "infer/drafter.h"

namespace fathom {

class NgramDrafter : public Drafter {
 public:
  // The longest match of at least `min_match` and at most `max_match` tokens counts; among equal ones the latest.
  explicit NgramDrafter(int64_t min_match = 2, int64_t max_match = 8) : min_match_(min_match), max_match_(max_match) {}
  void draft(std::span<const DraftJob> jobs) override;

 private:
  int64_t min_match_, max_match_;
};

}  // namespace fathom
