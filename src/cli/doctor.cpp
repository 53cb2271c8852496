// fathom doctor: what this machine can do, measured, and what limits it.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "backend/cpu/isa.h"
#include "backend/cpu/peak.h"
#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/numa.h"
#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/doctor_numa.h"
#include "cli/measured_machine.h"

namespace fathom {
namespace {

// "always [madvise] never" -> "madvise"
std::string huge_pages() {
  std::ifstream in("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  std::getline(in, text);
  const size_t a = text.find('['), b = text.find(']');
  return a == std::string::npos || b == std::string::npos ? "unknown" : text.substr(a + 1, b - a - 1);
}

struct Rate {
  PeakKind kind;
  double one, all;
};

Json report() {
  const int threads = num_threads();
  Json j;
  j["processor"] = processor_name();
  j["processors_online"] = num_processors();
  j["threads"] = threads;
  const char* forced = std::getenv("FATHOM_ISA");
  j["isa"] = {{"chosen", isa_name(isa())}, {"best", isa_name(best_isa())}, {"forced_by_FATHOM_ISA", forced && *forced}};
  Json ladder = Json::array();
  for (Isa rung : {Isa::kAmx, Isa::kAvx512Bf16, Isa::kAvx512Vnni, Isa::kAvx512, Isa::kAvx2, Isa::kPortable})
    ladder.push_back(
        {{"name", isa_name(rung)}, {"supported", isa_supported(rung)}, {"chosen", rung == isa()}, {"note", isa_note(rung)}});
  j["isa"]["ladder"] = ladder;
  Json peaks = Json::array();
  for (PeakKind kind : supported_peaks())
    peaks.push_back({{"name", peak_name(kind)},
                     {"tera_ops_one_thread", measure_peak(kind, 1)},
                     {"tera_ops_all_threads", measure_peak(kind, threads)}});
  j["peaks"] = peaks;
  const int64_t l2 = cache_bytes(2) > 0 ? cache_bytes(2) : 1 << 20, l3 = cache_bytes(3);
  j["caches_bytes"] = {{"l1", cache_bytes(1)}, {"l2", cache_bytes(2)}, {"l3", l3}};
  Json bandwidth = Json::array();
  const auto add = [&](const char* name, int64_t bytes, double one, double all) {
    bandwidth.push_back(
        {{"name", name}, {"bytes_per_thread", bytes}, {"gb_per_s_one_thread", one / 1e9}, {"gb_per_s_all_threads", all / 1e9}});
  };
  add("cache (half of L2)", l2 / 2, measure_read_bandwidth(l2 / 2, 1), measure_read_bandwidth(l2 / 2, threads));
  const int64_t big = int64_t{512} << 20;
  add("memory", big, measure_read_bandwidth(big, 1), memory_bandwidth());
  j["read_bandwidth"] = bandwidth;
  j["memory_bytes"] = {{"total", memory_total_bytes()}, {"available", memory_available_bytes()}};
  j["page_bytes"] = sysconf(_SC_PAGESIZE);
  j["transparent_huge_pages"] = huge_pages();
  j["numa"] = numa_report(numa_topology(), numa_placement());
  Json missing = Json::array();
  if (best_isa() < Isa::kAvx2) missing.push_back("no AVX2: training is tens of times slower than on any processor since 2013");
  if (isa() < best_isa())
    missing.push_back("FATHOM_ISA forces " + std::string(isa_name(isa())) + " below " + std::string(isa_name(best_isa())));
  if (!isa_supported(Isa::kAmx)) missing.push_back("no AMX: bf16 products run on vector units, up to 8 times slower");
  if (huge_pages() == "never")
    missing.push_back("transparent huge pages are off: large weights cost more TLB misses; set them to madvise");
  if (threads < num_processors())
    missing.push_back("only " + std::to_string(threads) + " threads of " + std::to_string(num_processors()) +
                      " processors are used");
  if (const std::string limit = numa_limit(j["numa"]); !limit.empty()) missing.push_back(limit);
  missing.push_back("no GPU backend in this build");
  j["limits"] = missing;
  return j;
}

void print(const Json& j) {
  const auto text = [](const Json& v) { return v.get<std::string>(); };
  std::printf("processor    %s, %d online, %d threads used\n\n", text(j["processor"]).c_str(),
              j["processors_online"].get<int>(), j["threads"].get<int>());
  std::printf("instruction sets (highest first; FATHOM_ISA=name forces one)\n");
  for (const Json& r : j["isa"]["ladder"])
    std::printf("  %s %-12s %-3s  %s\n", r["chosen"].get<bool>() ? ">" : " ", text(r["name"]).c_str(),
                r["supported"].get<bool>() ? "yes" : "no", text(r["note"]).c_str());
  std::printf("\npeak rate (10^12 operations/s)   1 thread  %d threads\n", j["threads"].get<int>());
  for (const Json& p : j["peaks"])
    std::printf("  %-30s %8.3f %10.3f\n", text(p["name"]).c_str(), p["tera_ops_one_thread"].get<double>(),
                p["tera_ops_all_threads"].get<double>());
  std::printf("\nread bandwidth (GB/s)            1 thread  %d threads\n", j["threads"].get<int>());
  for (const Json& b : j["read_bandwidth"])
    std::printf("  %-30s %8.1f %10.1f\n", text(b["name"]).c_str(), b["gb_per_s_one_thread"].get<double>(),
                b["gb_per_s_all_threads"].get<double>());
  const Json &caches = j["caches_bytes"], &memory = j["memory_bytes"];
  std::printf(
      "\ncaches       L1 %lld KiB, L2 %lld KiB, L3 %lld MiB\n", static_cast<long long>(caches["l1"].get<int64_t>() >> 10),
      static_cast<long long>(caches["l2"].get<int64_t>() >> 10), static_cast<long long>(caches["l3"].get<int64_t>() >> 20));
  std::printf("memory       %.1f GiB, %.1f GiB available; pages of %lld bytes, huge pages: %s\n",
              static_cast<double>(memory["total"].get<int64_t>()) / (1 << 30),
              static_cast<double>(memory["available"].get<int64_t>()) / (1 << 30),
              static_cast<long long>(j["page_bytes"].get<int64_t>()), text(j["transparent_huge_pages"]).c_str());
  std::printf("%s", numa_text(j["numa"]).c_str());
  std::printf("\nwhat limits it\n");
  for (const Json& m : j["limits"]) std::printf("  - %s\n", text(m).c_str());
}

}  // namespace

int command_doctor(int argc, char** argv) {
  CommandLine command{
      "What this machine can do: instruction sets, measured peak rates, bandwidth, memory. The read bandwidth is kept in "
      "$XDG_CACHE_HOME/fathom (~/.cache/fathom) for `fathom info`, which tells with it how fast a model could decode.",
      "fathom doctor"};
  bool json = false;
  command.add_flag("--json", json, "one JSON object on stdout");
  add_threads_option(command);
  if (const auto code = command.parse(argc, argv)) return *code;
  const Json j = report();
  try {
    keep_measurement({memory_bandwidth(), num_threads(), today_utc()});
  } catch (const Error& e) {
    log_warning("the bandwidth is not kept for `fathom info`: " + std::string(e.what()));
  }
  if (json)
    std::printf("%s\n", j.dump(2).c_str());
  else
    print(j);
  return 0;
}

}  // namespace fathom
