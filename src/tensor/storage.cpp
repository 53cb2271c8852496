#include "tensor/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace fathom {
namespace {

constexpr int64_t kHuge = int64_t{2} << 20;

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

void release(std::byte* p, int64_t size) {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.live -= size;
#ifdef FATHOM_SANITIZED
  std::free(p);  // no reuse: the sanitizer then sees every use after the end
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
  if (!p) {
    const int64_t alignment = size >= kHuge ? kHuge : 64;
    const int64_t padded = (size + alignment - 1) / alignment * alignment;
    p = static_cast<std::byte*>(std::aligned_alloc(alignment, padded));
    if (!p) {
      std::lock_guard lock(c.mutex);
      c.live -= size;
      throw std::bad_alloc();
    }
    if (size >= kHuge)
      madvise(p, size / kHuge * kHuge, MADV_HUGEPAGE);  // the tail in small pages: what is not used costs nothing
  }
  return std::shared_ptr<std::byte>(p, [size](std::byte* q) { release(q, size); });
}

std::shared_ptr<std::byte> allocate_zeroed_storage(int64_t bytes) {
#ifdef FATHOM_SANITIZED
  const bool map = false;  // the sanitizer watches the allocator's memory only
#else
  const bool map = bytes >= kHuge;
#endif
  if (!map) {
    auto storage = allocate_storage(bytes);
    std::memset(storage.get(), 0, static_cast<size_t>(bytes));
    return storage;
  }
  const int64_t size = (bytes + kHuge - 1) / kHuge * kHuge;
  // One huge page more, so that a border of huge pages lies in it.
  void* mapped = ::mmap(nullptr, static_cast<size_t>(size + kHuge), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  std::byte* p = static_cast<std::byte*>(mapped);
  p += (kHuge - static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) % kHuge)) % kHuge;
  madvise(p, static_cast<size_t>(bytes / kHuge * kHuge), MADV_HUGEPAGE);
  Cache& c = cache();
  {
    std::lock_guard lock(c.mutex);
    c.live += size;
    c.peak = std::max(c.peak, c.live);
  }
  return std::shared_ptr<std::byte>(p, [mapped, size](std::byte*) {
    ::munmap(mapped, static_cast<size_t>(size + kHuge));
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

void trim_storage_cache() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  for (auto& [size, blocks] : c.free)
    for (std::byte* p : blocks) std::free(p);
  c.free.clear();
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
