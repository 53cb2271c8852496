#include "base/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>

namespace fathom {
namespace {

// Read by the signal handler: a slot counts while `begin` is set, which is stored last and cleared first.
struct Slot {
  std::atomic<const std::byte*> begin{nullptr};
  std::atomic<int64_t> bytes{0};
  std::atomic<const char*> path{nullptr};
};
constexpr int kSlots = 4096;
Slot slots[kSlots];
std::mutex slots_mutex;
struct sigaction previous;

void say(const char* text) { [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, text, std::strlen(text)); }

void on_bus_error(int signal, siginfo_t* info, void*) {
  const auto* at = static_cast<const std::byte*>(info->si_addr);
  for (const Slot& slot : slots) {
    const std::byte* begin = slot.begin.load(std::memory_order_acquire);
    if (!begin || at < begin || at >= begin + slot.bytes.load(std::memory_order_relaxed)) continue;
    say("fathom: [files] '");
    say(slot.path.load(std::memory_order_relaxed));
    say("' could not be read any further: it has become shorter since it was opened, or its disk fails; restore the file and "
        "start again\n");
    _exit(1);
  }
  ::sigaction(signal, &previous, nullptr);  // not ours: the access is made again, under the handler from before
}

}  // namespace

MappingGuard::MappingGuard(const std::byte* data, int64_t bytes, const char* path) {
  std::lock_guard lock(slots_mutex);
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigemptyset(&action.sa_mask);
    return ::sigaction(SIGBUS, &action, &previous) == 0;
  }();
  if (!installed) return;
  for (int i = 0; i < kSlots && slot_ < 0; ++i)
    if (!slots[i].begin.load(std::memory_order_relaxed)) slot_ = i;
  if (slot_ < 0) return;
  slots[slot_].bytes.store(bytes, std::memory_order_relaxed);
  slots[slot_].path.store(path, std::memory_order_relaxed);
  slots[slot_].begin.store(data, std::memory_order_release);
}

MappingGuard::~MappingGuard() {
  if (slot_ >= 0) slots[slot_].begin.store(nullptr, std::memory_order_release);
}

void give_back_file_pages(const std::byte* data, int64_t bytes) {
  std::lock_guard lock(slots_mutex);  // the mapping stays while its slot is held
  for (const Slot& slot : slots) {
    const std::byte* const begin = slot.begin.load(std::memory_order_relaxed);
    if (!begin || data < begin || data + bytes > begin + slot.bytes.load(std::memory_order_relaxed)) continue;
    const int64_t page = ::sysconf(_SC_PAGESIZE);  // mappings begin at one
    const int64_t first = (data - begin + page - 1) / page * page, last = (data - begin + bytes) / page * page;
    if (last > first) ::madvise(const_cast<std::byte*>(begin) + first, static_cast<size_t>(last - first), MADV_DONTNEED);
    return;
  }
}

}  // namespace fathom
