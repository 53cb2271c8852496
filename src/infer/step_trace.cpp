#include "infer/step_trace.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

namespace fathom {
namespace {

constexpr const char* kColours[] = {"#8fbf8f", "#4878a8", "#e0883a", "#f3cfa0"};  // by Kind
constexpr const char* kNames[] = {"found in the cache", "prompt", "next token", "guesses"};
constexpr double kLeft = 84, kWidth = 1080, kTop = 58, kLane = 24, kBar = 16, kRowsHeight = 70;

template <class... Args>
void append(std::string& to, const char* format, Args... args) {
  char text[400];
  std::snprintf(text, sizeof text, format, args...);
  to += text;
}
void rectangle(std::string& to, double x, double y, double width, double height, const char* colour, const std::string& title) {
  append(to, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>", x, y, std::max(width, 0.4),
         height, colour);
  to += title + "</title></rect>\n";
}
void label(std::string& to, double x, double y, const char* anchor, const std::string& text, const char* colour = "#333") {
  append(to, "<text x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor, colour);
  to += text + "</text>\n";
}
// 1, 2 or 5 times a power of ten: about `count` of them in `length`.
double tick_of(double length, double count) {
  const double raw = length / count, power = std::pow(10, std::floor(std::log10(raw)));
  return raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : raw / power < 7.5 ? 5 * power : 10 * power;
}
std::string describe(const StepTrace::Part& part, size_t step) {
  return "request " + std::to_string(part.request) + ", step " + std::to_string(step + 1) + ": " +
         std::to_string(part.positions) + " " + kNames[static_cast<int>(part.kind)];
}

}  // namespace

void StepTrace::begin(const StepPlan& plan, double now) {
  if (++num_steps_ > max_steps_) return;
  Step step{now, now, {}, plan.preempted};
  for (const uint64_t id : plan.preempted) begun_.erase(id);
  for (const StepPlan::Rows& rows : plan.rows) {
    const uint64_t id = rows.sequence->id;
    const bool is_new = begun_.insert(id).second;
    // What it starts behind was computed by others, by itself before, or by the one that it follows.
    if (is_new && rows.begin > 0) step.parts.push_back({id, Kind::kFound, rows.begin});
    const int64_t guesses = std::min(rows.num_draft, rows.end - rows.begin);
    if (const int64_t own = rows.end - rows.begin - guesses; own > 0)
      step.parts.push_back({id, rows.prefill ? Kind::kPrompt : Kind::kToken, own});
    if (guesses > 0) step.parts.push_back({id, Kind::kGuess, guesses});
  }
  steps_.push_back(std::move(step));
}

void StepTrace::end(double now) {
  if (num_steps_ <= max_steps_) steps_.back().end = now;
}

std::string StepTrace::svg() const {
  const size_t count = steps_.size();
  std::map<uint64_t, int> lanes;
  int64_t most_rows = 1;
  for (size_t i = 0; i < count; ++i) {
    int64_t rows = 0;
    for (const Part& part : steps_[i].parts) {
      lanes.emplace(part.request, 0);
      if (part.kind != Kind::kFound) rows += part.positions;
    }
    most_rows = std::max(most_rows, rows);
  }
  int next = 0;
  for (auto& [request, lane] : lanes) lane = next++;
  const double first = count ? steps_[0].begin : 0, seconds = count ? std::max(1e-9, steps_[count - 1].end - first) : 1;
  const auto x_of = [&](double t) { return kLeft + (t - first) / seconds * kWidth; };
  const double below = kTop + static_cast<double>(lanes.size()) * kLane, rows_base = below + 18 + kRowsHeight;
  const double height = rows_base + 34;

  std::string out;
  append(out,
         "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
         "font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
         kLeft + kWidth + 16, height, kLeft + kWidth + 16, height);
  label(out, kLeft, 18, "start",
        std::to_string(count) + (count < num_steps_ ? " of " + std::to_string(num_steps_) : std::string()) +
            " steps of the engine; a column is a step, a lane a request, a number its positions in the step");
  double x = kLeft;
  for (int kind = 0; kind < 4; ++kind) {
    rectangle(out, x, 28, 12, 12, kColours[kind], kNames[kind]);
    label(out, x + 17, 38, "start", kNames[kind]);
    x += 150;
  }
  label(out, x, 38, "start", "✕ pre-empted: computed again later", "#b02020");

  for (const auto& [request, lane] : lanes) {
    const double y = kTop + lane * kLane;
    if (lane % 2 == 0)
      append(out, "<rect x=\"%.0f\" y=\"%.2f\" width=\"%.0f\" height=\"%.0f\" fill=\"#f5f5f5\"/>\n", kLeft, y, kWidth, kLane);
    label(out, kLeft - 8, y + 16, "end", "request " + std::to_string(request));
  }
  for (size_t i = 0; i < count; ++i) {
    const Step& step = steps_[i];
    const double left = x_of(step.begin), width = x_of(step.end) - left, gap = std::min(1.0, 0.15 * width);
    // A request's parts share its cell: what was found lies as a thin line above, guesses take the lower third.
    int64_t found = 0;  // by the request whose rows come next
    for (const Part& part : step.parts) {
      const double y = kTop + lanes[part.request] * kLane + 4;
      const char* colour = kColours[static_cast<int>(part.kind)];
      const std::string title = describe(part, i);
      if (part.kind == Kind::kFound)
        rectangle(out, left, y - 3.5, std::max(width - gap, 3.0), 3, colour, title);
      else if (part.kind == Kind::kGuess)
        rectangle(out, left, y + kBar * 0.62, width - gap, kBar * 0.38, colour, title);
      else
        rectangle(out, left, y, width - gap, kBar, colour, title);
      if (part.kind == Kind::kFound) found = part.positions;
      if (part.kind != Kind::kPrompt) continue;
      const std::string own = std::to_string(part.positions), behind = found > 0 ? std::to_string(found) + " found, " : "";
      found = 0;
      for (const std::string& text : {behind + own, own}) {
        if (width < 6.5 * static_cast<double>(text.size())) continue;
        label(out, left + width / 2, y + 12, "middle", text, "#fff");
        break;
      }
    }
    for (const uint64_t id : step.preempted)
      if (lanes.count(id)) label(out, left, kTop + lanes[id] * kLane + 16, "middle", "✕", "#b02020");
    // Below: the rows of the step, stacked.
    double base = rows_base;
    for (const Kind kind : {Kind::kPrompt, Kind::kToken, Kind::kGuess}) {
      int64_t rows = 0;
      for (const Part& part : step.parts) rows += part.kind == kind ? part.positions : 0;
      const double bar = static_cast<double>(rows) / static_cast<double>(most_rows) * kRowsHeight;
      base -= bar;
      if (rows > 0)
        rectangle(out, left, base, width - gap, bar, kColours[static_cast<int>(kind)],
                  "step " + std::to_string(i + 1) + ": " + std::to_string(rows) + " rows, " + kNames[static_cast<int>(kind)]);
    }
  }
  label(out, kLeft - 8, rows_base - kRowsHeight + 8, "end", std::to_string(most_rows) + " rows");
  label(out, kLeft - 8, rows_base, "end", "0");
  append(out, "<path d=\"M%.0f %.2fH%.0f\" stroke=\"#888\"/>\n", kLeft, rows_base, kLeft + kWidth);
  const double tick = tick_of(seconds, 10);
  for (int i = 0; i * tick <= seconds * 1.0001; ++i) {
    append(out, "<path d=\"M%.2f %.2fv4\" stroke=\"#888\"/>\n", x_of(first + i * tick), rows_base);
    char text[32];
    std::snprintf(text, sizeof text, "%g ms", std::round(i * tick * 1e6) / 1e3);
    label(out, x_of(first + i * tick), rows_base + 17, "middle", text);
  }
  out += "</svg>\n";
  return out;
}

}  // namespace fathom
