// Comparing what was written, for tests.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "checkpoint/safetensors.h"

namespace fathom {

// The tensors of two directories: names, types, shapes and bytes.
inline void expect_same_tensors(const std::string& a, const std::string& b) {
  const auto before = SafetensorsDirectory::open(a), after = SafetensorsDirectory::open(b);
  EXPECT_EQ(before.tensors().size(), after.tensors().size()) << b;
  for (const auto& [name, x] : before.tensors()) {
    const auto it = after.tensors().find(name);
    ASSERT_NE(it, after.tensors().end()) << b << " lacks " << name;
    const auto& y = it->second;
    ASSERT_EQ(x.entry->dtype, y.entry->dtype) << name;
    ASSERT_EQ(x.entry->shape, y.entry->shape) << name;
    const int64_t bytes = x.entry->end - x.entry->begin;
    ASSERT_EQ(std::memcmp(x.tensor().raw(), y.tensor().raw(), static_cast<size_t>(bytes)), 0) << a << " " << name;
  }
}

}  // namespace fathom
