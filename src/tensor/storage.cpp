#include "tensor/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "base/numa.h"

namespace fathom {
namespace {

constexpr int64_t kHuge = int64_t{2} << 20, kPage = 4096;

struct Cache {
  std::mutex mutex;
  std::map<int64_t, std::vector<std::byte*>> free;  // by rounded size
  int64_t live = 0, peak = 0;
};
// Never destroyed: tensors of static lifetime may outlive every other object.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

// Sizes are rounded up to 1/8 of their power of two, so that near-equal shapes share a slot.
int64_t round_size(int64_t bytes) {
  int64_t step = 64;
  while (step * 16 <= bytes) step *= 2;
  return std::max<int64_t>(64, (bytes + step - 1) / step * step);
}

#ifdef FATHOM_SANITIZED
constexpr bool kMaps = false;  // the sanitizer watches the allocator's memory only
#else
constexpr bool kMaps = true;
#endif
int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
// From 2 MiB on straight from the system, at a border of huge pages: malloc would keep what is freed. What is not touched costs
// nothing, and the tail stands in small pages. Null where there is no more.
bool mapped(int64_t size) { return kMaps && size >= kHuge; }
std::byte* map_pages(int64_t size) {
  size = round_up(size, kPage);
  void* all = ::mmap(nullptr, static_cast<size_t>(size + kHuge), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return nullptr;
  std::byte* const begin = static_cast<std::byte*>(all);
  const int64_t before = (kHuge - static_cast<int64_t>(reinterpret_cast<uintptr_t>(all) % kHuge)) % kHuge;
  if (before > 0) ::munmap(begin, static_cast<size_t>(before));
  if (before < kHuge) ::munmap(begin + before + size, static_cast<size_t>(kHuge - before));
  ::madvise(begin + before, static_cast<size_t>(size / kHuge * kHuge), MADV_HUGEPAGE);
  place_memory(begin + before, size);
  return begin + before;
}
std::byte* take_memory(int64_t size) {
  return mapped(size) ? map_pages(size) : static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(size)));
}
void give_back(std::byte* p, int64_t size) {
  if (mapped(size))
    ::munmap(p, static_cast<size_t>(round_up(size, kPage)));
  else
    std::free(p);
}

void release(std::byte* p, int64_t size) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.live -= size;
#ifdef FATHOM_SANITIZED
  give_back(p, size);  // no reuse: the sanitizer then sees every use after the end
#else
  c.free[size].push_back(p);
#endif
}

}  // namespace

std::shared_ptr<std::byte> allocate_storage(int64_t bytes) {
  const int64_t size = round_size(bytes);
  Cache& c = cache();
  std::byte* p = nullptr;
  {
    std::lock_guard lock(c.mutex);
    c.live += size;
    c.peak = std::max(c.peak, c.live);
    auto it = c.free.find(size);
    if (it != c.free.end() && !it->second.empty()) {
      p = it->second.back();
      it->second.pop_back();
    }
  }
  if (!p) p = take_memory(size);
  if (!p) {
    std::lock_guard lock(c.mutex);
    c.live -= size;
    throw std::bad_alloc();
  }
  return std::shared_ptr<std::byte>(p, [size](std::byte* q) { release(q, size); });
}

std::shared_ptr<std::byte> allocate_zeroed_storage(int64_t bytes) {
  if (!mapped(bytes)) {
    auto storage = allocate_storage(bytes);
    std::memset(storage.get(), 0, static_cast<size_t>(bytes));
    return storage;
  }
  const int64_t size = round_up(bytes, kPage);
  std::byte* const p = map_pages(size);
  if (!p) throw std::bad_alloc();
  Cache& c = cache();
  {
    std::lock_guard lock(c.mutex);
    c.live += size;
    c.peak = std::max(c.peak, c.live);
  }
  return std::shared_ptr<std::byte>(p, [size](std::byte* q) {
    give_back(q, size);
    std::lock_guard lock(cache().mutex);
    cache().live -= size;
  });
}

std::shared_ptr<std::byte> allocate_weights(int64_t bytes) {
#ifdef FATHOM_SANITIZED
  return allocate_storage(bytes);  // each by itself: the sanitizer then sees every step over an end
#else
  constexpr int64_t kChunk = 16 * kHuge;
  struct Chunk {
    std::mutex mutex;
    std::shared_ptr<std::byte> memory;
    int64_t used = 0;
  };
  static Chunk* chunk = new Chunk;  // never destroyed, as the cache
  const int64_t size = (bytes + 127) / 128 * 128;
  if (size >= kHuge) return allocate_storage(bytes);
  std::lock_guard lock(chunk->mutex);
  if (!chunk->memory || chunk->used + size > kChunk) {
    chunk->memory = allocate_storage(kChunk);
    chunk->used = 0;
  }
  std::byte* p = chunk->memory.get() + chunk->used;
  chunk->used += size;
  return std::shared_ptr<std::byte>(chunk->memory, p);
#endif
}

void trim_storage_cache(int64_t at_least) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  const auto first = c.free.lower_bound(at_least);
  for (auto it = first; it != c.free.end(); ++it)
    for (std::byte* p : it->second) give_back(p, it->first);
  c.free.erase(first, c.free.end());
}

int64_t storage_live_bytes() {
  std::lock_guard lock(cache().mutex);
  return cache().live;
}
int64_t storage_peak_bytes() {
  std::lock_guard lock(cache().mutex);
  return cache().peak;
}

}  // namespace fathom
