#include "tensor/storage.h"

#include <gtest/gtest.h>

#include <cstring>
#include <utility>
#include <vector>

namespace fathom {
namespace {

// Pieces of weights share chunks: nobody may write into another's, nor lose its own when neighbours go.
TEST(Storage, WeightsKeepTheirBytes) {
  std::vector<std::pair<std::shared_ptr<std::byte>, int64_t>> pieces;
  const auto add = [&](int64_t bytes) {
    const int value = static_cast<int>(pieces.size() % 251);
    pieces.emplace_back(allocate_weights(bytes), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pieces.back().first.get()) % 64, 0u);
    std::memset(pieces.back().first.get(), value, static_cast<size_t>(bytes));
  };
  const auto check = [&] {
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto& [memory, bytes] = pieces[i];
      if (!memory) continue;
      for (const int64_t at : {int64_t{0}, bytes / 2, bytes - 1})
        ASSERT_EQ(static_cast<size_t>(memory.get()[at]), i % 251) << "piece " << i << " byte " << at;
    }
  };
  for (int i = 0; i < 60; ++i) add(i % 3 == 0 ? 1 << 20 : i % 3 == 1 ? 1 + i * 977 : (3 << 20) + 5);
  check();
  for (size_t i = 0; i < pieces.size(); i += 2) pieces[i].first.reset();
  for (int i = 0; i < 60; ++i) add(900000 + i);
  check();
}

}  // namespace
}  // namespace fathom
