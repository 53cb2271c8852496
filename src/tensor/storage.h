// Bytes behind tensors: 64-byte aligned (2 MiB and huge pages for large ones), reused through a cache by size,
// so that a training step after the first touches no fresh pages. From 2 MiB on the pages are interleaved over the NUMA nodes
// (base/numa.h): all of them alike, since cached memory serves weights and activations in turn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace fathom {

// Uninitialised memory of at least `bytes`; returned to the cache when the last owner lets go. Thread-safe.
std::shared_ptr<std::byte> allocate_storage(int64_t bytes);
// Zeroed memory; from 2 MiB on it costs nothing before it is written: fresh pages of the system's, which go back to it.
std::shared_ptr<std::byte> allocate_zeroed_storage(int64_t bytes);
// The same for weights, which come in thousands of small pieces and live long: those below 2 MiB stand side by side in chunks
// of huge pages (a chunk goes back when the last of its pieces does), so that reading them costs few page walks.
std::shared_ptr<std::byte> allocate_weights(int64_t bytes);
// Gives cached, unused memory back to the system: pieces of `at_least` bytes.
void trim_storage_cache(int64_t at_least = 0);
// Bytes that live tensors hold, and the most that they ever held.
int64_t storage_live_bytes();
int64_t storage_peak_bytes();

}  // namespace fathom
