// fathom runs: what training runs left in their run.db: lists them, draws the curves of one, compares two.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "runs/run_store.h"

namespace fathom {
namespace {

using Points = std::vector<RunStore::Point>;

// A run is given by its folder, or by its name below the runs' folder.
std::string find_run(const std::string& given, const std::string& runs) {
  for (const std::string& folder : {given, runs + "/" + given})
    if (file_exists(folder + "/run.db")) return folder;
  fail_usage("runs", "no run '" + given + "': neither '" + given + "/run.db' nor '" + runs + "/" + given +
                         "/run.db' exists; `fathom runs list` shows what is there");
}
std::string name_of(std::string folder) {
  while (folder.size() > 1 && folder.back() == '/') folder.pop_back();
  const size_t slash = folder.rfind('/');
  return slash == std::string::npos ? folder : folder.substr(slash + 1);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}
Json json_number(double value) {
  return std::isfinite(value) ? Json(value) : Json(std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}
std::string json_text(const std::string& text) { return first_invalid_utf8(text) < 0 ? text : printable(text, 1 << 20); }

struct Summary {
  int64_t count = 0, last_step = 0;
  double first = NAN, last = NAN, low = NAN, high = NAN;
};
Summary summarise(const Points& points) {
  Summary s;
  for (const auto& p : points) {
    if (s.count++ == 0) s.first = p.value;
    s.last = p.value;
    s.last_step = p.step;
    s.low = std::fmin(s.low, p.value);  // fmin takes the number beside a NaN
    s.high = std::fmax(s.high, p.value);
  }
  return s;
}
Json summary_to_json(const Summary& s) {
  return {{"points", s.count},           {"last_step", s.last_step},     {"first", json_number(s.first)},
          {"last", json_number(s.last)}, {"lowest", json_number(s.low)}, {"highest", json_number(s.high)}};
}

int64_t last_step(const RunStore& store) {
  int64_t step = 0;
  for (const auto& name : store.metric_names())
    if (const Points points = store.metric(name); !points.empty()) step = std::max(step, points.back().step);
  return step;
}
// What is drawn unless metrics are named: losses, rewards and shares solved.
std::vector<std::string> main_metrics(const RunStore& store) {
  std::vector<std::string> names;
  for (const auto& name : store.metric_names())
    for (const char* part : {"loss", "reward", "pass", "accuracy"})
      if (name.find(part) != std::string::npos) {
        names.push_back(name);
        break;
      }
  return names.empty() ? store.metric_names() : names;
}
void draw(const std::string& title, const Points& points, int width, int height) {
  std::vector<double> x, y;
  for (const auto& p : points) x.push_back(static_cast<double>(p.step)), y.push_back(p.value);
  std::printf("%s\n", draw_curve(title, x.data(), y.data(), static_cast<int64_t>(x.size()), width, height).c_str());
}

int list_runs(const std::string& runs, bool json_output) {
  Json json = {{"runs", Json::array()}};
  std::vector<std::vector<std::string>> rows = {{"run", "stage", "steps", "last values"}};
  if (!is_directory(runs)) {
    if (!json_output) fail_usage("runs", "no folder '" + runs + "'; `fathom train` makes it, --dir names another one");
  } else {
    for (const auto& name : list_directory(runs)) {
      const std::string folder = runs + "/" + name;
      if (!file_exists(folder + "/run.db")) continue;
      try {
        const RunStore store = RunStore::open_read_only(folder + "/run.db");
        const auto info = store.info();
        const std::string stage = info.count("stage") ? info.at("stage") : "";
        const int64_t steps = last_step(store);
        Json last = Json::object();
        std::string shown;
        for (const auto& metric : main_metrics(store)) {
          const Summary s = summarise(store.metric(metric));
          last[metric] = json_number(s.last);
          if (last.size() <= 3) shown += (shown.empty() ? "" : "  ") + metric + " " + number(s.last);
        }
        json["runs"].push_back(
            {{"name", name}, {"path", folder}, {"stage", json_text(stage)}, {"steps", steps}, {"last", last}});
        rows.push_back({printable(name), printable(stage), std::to_string(steps), shown});
      } catch (const Error& e) {  // one damaged run does not hide the others
        json["runs"].push_back({{"name", json_text(name)}, {"path", json_text(folder)}, {"error", e.what()}});
        rows.push_back({printable(name), "", "", e.what()});
      }
    }
  }
  if (json_output) {
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  if (rows.size() == 1) {
    std::printf("no runs in '%s' yet\n", runs.c_str());
    return 0;
  }
  size_t width[3] = {0, 0, 0};
  for (const auto& row : rows)
    for (size_t i = 0; i < 3; ++i) width[i] = std::max(width[i], row[i].size());
  for (const auto& row : rows)
    std::printf("%-*s  %-*s  %*s  %s\n", static_cast<int>(width[0]), row[0].c_str(), static_cast<int>(width[1]), row[1].c_str(),
                static_cast<int>(width[2]), row[2].c_str(), row[3].c_str());
  return 0;
}

void check_metrics(const RunStore& store, const std::vector<std::string>& wanted, const std::string& run) {
  const auto names = store.metric_names();
  for (const auto& name : wanted)
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      std::string all;
      for (const auto& n : names) all += (all.empty() ? "" : ", ") + n;
      fail_usage("runs", "run '" + run + "' has no metric '" + name + "'; it has " + (all.empty() ? "none" : all));
    }
}

int show_run(const std::string& folder, const std::vector<std::string>& wanted, bool all, int64_t num_samples,
             bool json_output) {
  const RunStore store = RunStore::open_read_only(folder + "/run.db");
  check_metrics(store, wanted, name_of(folder));
  const auto info = store.info();
  const auto events = store.events();
  auto samples = store.samples(-1);
  if (static_cast<int64_t>(samples.size()) > num_samples) samples.erase(samples.begin(), samples.end() - num_samples);
  if (json_output) {
    Json json = {{"name", json_text(name_of(folder))},
                 {"path", json_text(folder)},
                 {"info", Json::object()},
                 {"metrics", Json::object()}};
    for (const auto& [key, value] : info) json["info"][json_text(key)] = json_text(value);
    for (const auto& name : wanted.empty() ? store.metric_names() : wanted) {
      const Points points = store.metric(name);
      Json metric = summary_to_json(summarise(points));
      metric["steps"] = Json::array(), metric["values"] = Json::array();
      for (const auto& p : points) metric["steps"].push_back(p.step), metric["values"].push_back(json_number(p.value));
      json["metrics"][json_text(name)] = metric;
    }
    json["events"] = Json::array();
    for (const auto& e : events)
      json["events"].push_back({{"step", e.step}, {"kind", json_text(e.kind)}, {"text", json_text(e.text)}});
    json["samples"] = Json::array();
    for (const auto& s : samples)
      json["samples"].push_back({{"step", s.step},
                                 {"index", s.index},
                                 {"prompt", json_text(s.prompt)},
                                 {"completion", json_text(s.completion)},
                                 {"reward", json_number(s.reward)},
                                 {"reason", json_text(s.reason)}});
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  std::printf("run %s\n", name_of(folder).c_str());
  for (const auto& [key, value] : info)
    if (value.find('\n') == std::string::npos)
      std::printf("  %-12s %s\n", printable(key).c_str(), printable(value, 200).c_str());
  std::printf("\n");
  const auto drawn = !wanted.empty() ? wanted : all ? store.metric_names() : main_metrics(store);
  for (const auto& name : drawn) draw(name, store.metric(name), 76, 10);
  std::set<std::string> shown(drawn.begin(), drawn.end());
  for (const auto& name : store.metric_names()) {
    if (shown.count(name) || !wanted.empty()) continue;
    const Summary s = summarise(store.metric(name));
    std::printf("  %-24s last %-10s lowest %-10s highest %s\n", printable(name).c_str(), number(s.last).c_str(),
                number(s.low).c_str(), number(s.high).c_str());
  }
  for (const auto& e : events)
    std::printf("  step %lld  %s: %s\n", static_cast<long long>(e.step), printable(e.kind).c_str(),
                printable(e.text, 200).c_str());
  for (const auto& s : samples) {
    std::printf("\n-- sample %lld of step %lld, reward %s%s%s\n", static_cast<long long>(s.index),
                static_cast<long long>(s.step), number(s.reward).c_str(), s.reason.empty() ? "" : ": ",
                printable(s.reason).c_str());
    for (const std::string* text : {&s.prompt, &s.completion}) {
      size_t at = 0;  // line by line, nothing that could drive the terminal
      while (at < text->size()) {
        const size_t end = std::min(text->find('\n', at), text->size());
        std::printf("%s%s\n", text == &s.prompt ? "> " : "", printable(text->substr(at, end - at), 4000).c_str());
        at = end + 1;
      }
    }
  }
  return 0;
}

int compare_runs(const std::string& first, const std::string& second, const std::vector<std::string>& wanted,
                 bool json_output) {
  const RunStore a = RunStore::open_read_only(first + "/run.db"), b = RunStore::open_read_only(second + "/run.db");
  std::vector<std::string> names = wanted;
  if (wanted.empty()) {
    names = a.metric_names();
    for (const auto& name : b.metric_names())
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  const auto info_a = a.info(), info_b = b.info();
  std::set<std::string> keys;
  for (const auto* info : {&info_a, &info_b})
    for (const auto& [key, value] : *info) keys.insert(key);
  const auto value_of = [](const std::map<std::string, std::string>& info, const std::string& key) {
    return info.count(key) ? info.at(key) : std::string("(none)");
  };
  if (json_output) {
    Json json = {{"runs", {json_text(name_of(first)), json_text(name_of(second))}},
                 {"info_differs", Json::object()},
                 {"metrics", Json::object()}};
    for (const auto& key : keys)
      if (value_of(info_a, key) != value_of(info_b, key))
        json["info_differs"][json_text(key)] = {json_text(value_of(info_a, key)), json_text(value_of(info_b, key))};
    for (const auto& name : names)
      json["metrics"][json_text(name)] = {summary_to_json(summarise(a.metric(name))),
                                          summary_to_json(summarise(b.metric(name)))};
    std::printf("%s\n", json.dump().c_str());
    return 0;
  }
  const std::string left = name_of(first), right = name_of(second);
  for (const auto& key : keys) {
    const std::string va = value_of(info_a, key), vb = value_of(info_b, key);
    if (va == vb) continue;
    if (va.find('\n') == std::string::npos && vb.find('\n') == std::string::npos) {
      std::printf("  %-12s %s  |  %s\n", printable(key).c_str(), printable(va).c_str(), printable(vb).c_str());
      continue;
    }
    // A text of lines (the recipe): the lines that only one of the two has.
    std::printf("  %s\n", printable(key).c_str());
    const auto lines = [](const std::string& text) {
      std::vector<std::string> all;
      for (size_t at = 0; at < text.size();) {
        const size_t end = std::min(text.find('\n', at), text.size());
        all.push_back(text.substr(at, end - at));
        at = end + 1;
      }
      return all;
    };
    const auto la = lines(va), lb = lines(vb);
    for (const auto& line : la)
      if (std::find(lb.begin(), lb.end(), line) == lb.end()) std::printf("    %s: %s\n", left.c_str(), printable(line).c_str());
    for (const auto& line : lb)
      if (std::find(la.begin(), la.end(), line) == la.end())
        std::printf("    %s: %s\n", right.c_str(), printable(line).c_str());
  }
  std::printf("\n%-24s  %26s  %26s  %12s\n", "", left.substr(0, 26).c_str(), right.substr(0, 26).c_str(), "");
  std::printf("%-24s  %12s  %12s  %12s  %12s  %12s\n", "metric", "last", "lowest", "last", "lowest", "difference");
  for (const auto& name : names) {
    const Summary sa = summarise(a.metric(name)), sb = summarise(b.metric(name));
    const auto cell = [](const Summary& s, double value) { return s.count == 0 ? std::string("-") : number(value); };
    std::printf("%-24s  %12s  %12s  %12s  %12s  %12s\n", printable(name).c_str(), cell(sa, sa.last).c_str(),
                cell(sa, sa.low).c_str(), cell(sb, sb.last).c_str(), cell(sb, sb.low).c_str(),
                sa.count && sb.count ? number(sb.last - sa.last).c_str() : "-");
  }
  std::printf("\n");
  for (const auto& name : wanted.empty() ? main_metrics(a) : names) {
    draw(name + ", " + left, a.metric(name), 76, 8);
    draw(name + ", " + right, b.metric(name), 76, 8);
  }
  return 0;
}

}  // namespace

int command_runs(int argc, char** argv) {
  CommandLine command(
      "What training runs left behind: their curves, samples and events, read from each run's run.db (also while it trains).",
      "fathom runs");
  command.require_subcommand();
  std::string runs = "runs", first, second;
  std::vector<std::string> metrics;
  bool json_output = false, all = false;
  int64_t num_samples = 0;
  command.add_option("--dir", runs, "folder of the runs").show_default();
  const auto common = [&](CommandLine& subcommand) {
    subcommand.add_flag("--json", json_output, "one JSON object on stdout");
    subcommand.fallthrough();  // --dir may stand behind too
  };
  CommandLine& list = command.add_subcommand("list", "one line for every run");
  common(list);
  CommandLine& show = command.add_subcommand("show", "one run: what it was, its curves, events, samples");
  show.add_option("RUN", first, "run folder, or its name below --dir").required();
  show.add_option("--metric", metrics, "draw this metric (again for more); else losses and rewards");
  show.add_flag("--all", all, "draw every metric");
  show.add_option("--samples", num_samples, "print the last N samples").range(0, 1000000);
  common(show);
  CommandLine& compare = command.add_subcommand("compare", "two runs side by side: what differs, metrics, curves");
  compare.add_option("RUN_A", first, "run folder, or its name below --dir").required();
  compare.add_option("RUN_B", second, "the other one").required();
  compare.add_option("--metric", metrics, "only this metric (again for more)");
  common(compare);
  if (const auto code = command.parse(argc, argv)) return *code;

  if (list.parsed()) return list_runs(runs, json_output);
  if (show.parsed()) return show_run(find_run(first, runs), metrics, all, num_samples, json_output);
  return compare_runs(find_run(first, runs), find_run(second, runs), metrics, json_output);
}

}  // namespace fathom
