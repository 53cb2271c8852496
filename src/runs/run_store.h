// run.db: metrics, samples and events of one run in SQLite; crash-safe (WAL), and exact on resume: rows past the
// checkpoint's step are removed when a run continues from it. One writer, any number of readers at the same time.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace fathom {

class RunStore {
 public:
  static RunStore open(const std::string& path);  // creates the schema where new
  static RunStore open_read_only(const std::string& path);
  RunStore(RunStore&&) noexcept;
  ~RunStore();
  void set_info(const std::string& key, const std::string& value);  // recipe, seed, numerics, commit, machine
  std::map<std::string, std::string> info() const;
  // Everything that `body` adds becomes visible together (one transaction a step); a call outside is a transaction of its own.
  void transaction(const std::function<void()>& body);
  void add_metrics(int64_t step, const std::vector<std::pair<std::string, double>>& values);
  void add_sample(int64_t step, int64_t index, const std::string& prompt, const std::string& completion, double reward,
                  const std::string& reason);
  void add_event(int64_t step, const std::string& kind, const std::string& text);
  void truncate_after(int64_t step);  // on resume: drop rows with a later step
  // Forces what was added to the disk (kill -9 loses nothing without it, a power cut may): call before a checkpoint is written.
  void sync();
  struct Point {
    int64_t step;
    double value;
  };
  std::vector<std::string> metric_names() const;
  std::vector<Point> metric(const std::string& name) const;
  struct Sample {
    int64_t step, index;
    std::string prompt, completion;
    double reward;
    std::string reason;
  };
  std::vector<Sample> samples(int64_t step) const;  // of that step; all where step < 0
  struct Event {
    int64_t step;
    std::string kind, text;
  };
  std::vector<Event> events() const;

 private:
  RunStore();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fathom
