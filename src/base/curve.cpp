// Curves of braille dots: a character is 2 dots wide and 4 high (U+2800 + one bit a dot).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

#include "base/progress.h"

namespace fathom {
namespace {

std::string label(double value) {
  char text[32];
  std::snprintf(text, sizeof text, std::fabs(value) >= 1e5 && std::fabs(value) < 1e9 ? "%.0f" : "%.4g", value);
  return text;
}
std::string pad_left(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

class Canvas {
 public:
  Canvas(int width, int height) : width_(width), height_(height), cells_(static_cast<size_t>(width) * height, 0) {}
  void dot(int x, int y) {  // (0, 0) is the upper left dot
    static constexpr unsigned char kBits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    if (x < 0 || y < 0 || x >= 2 * width_ || y >= 4 * height_) return;
    cells_[static_cast<size_t>(y / 4) * width_ + x / 2] |= kBits[y % 4][x % 2];
  }
  void line(int x0, int y0, int x1, int y1) {
    const int steps = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int i = 0; i <= steps; ++i)
      dot(x0 + static_cast<int>(std::lround(double(x1 - x0) * i / steps)),
          y0 + static_cast<int>(std::lround(double(y1 - y0) * i / steps)));
  }
  std::string row(int y) const {
    std::string text;
    for (int x = 0; x < width_; ++x) {
      const unsigned char bits = cells_[static_cast<size_t>(y) * width_ + x];
      if (bits == 0) {
        text += ' ';  // some fonts draw the empty braille cell as circles
        continue;
      }
      text += '\xE2';
      text += static_cast<char>(0xA0 | (bits >> 6));
      text += static_cast<char>(0x80 | (bits & 0x3F));
    }
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }

 private:
  int width_, height_;
  std::vector<unsigned char> cells_;
};

}  // namespace

std::string draw_curve(const std::string& title, const double* x, const double* y, int64_t n, int width, int height) {
  width = std::max(width, 24);
  height = std::max(height, 3);
  double x_low = 0, x_high = 0, y_low = 0, y_high = 0, last = 0;
  int64_t points = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i]) || !std::isfinite(y[i])) continue;
    if (points++ == 0) x_low = x_high = x[i], y_low = y_high = y[i];
    x_low = std::min(x_low, x[i]), x_high = std::max(x_high, x[i]);
    y_low = std::min(y_low, y[i]), y_high = std::max(y_high, y[i]);
    last = y[i];
  }
  if (points == 0) return title + ": no values yet\n";
  const std::string lowest = label(y_low), highest = label(y_high);
  if (y_high == y_low) {  // a flat curve runs through the middle
    const double margin = y_low == 0 ? 1 : std::fabs(y_low) * 0.1;
    y_low -= margin, y_high += margin;
  }
  const std::string top = label(y_high), middle = label((y_low + y_high) / 2), bottom = label(y_low);
  const size_t gutter = std::max({top.size(), middle.size(), bottom.size()});
  const int columns = width - static_cast<int>(gutter) - 2;
  Canvas canvas(columns, height);
  const int x_dots = 2 * columns - 1, y_dots = 4 * height - 1;
  // Points that share a column of dots are averaged; neighbouring columns are joined.
  std::vector<double> sum(static_cast<size_t>(x_dots) + 1, 0);
  std::vector<int64_t> count(sum.size(), 0);
  for (int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(x[i]) || !std::isfinite(y[i])) continue;
    const size_t column = x_high > x_low ? static_cast<size_t>(std::lround((x[i] - x_low) / (x_high - x_low) * x_dots)) : 0;
    sum[column] += y[i];
    ++count[column];
  }
  int from_x = -1, from_y = 0;
  for (size_t column = 0; column < sum.size(); ++column) {
    if (count[column] == 0) continue;
    const double mean = sum[column] / static_cast<double>(count[column]);
    const int at_x = static_cast<int>(column),
              at_y = static_cast<int>(std::lround((y_high - mean) / (y_high - y_low) * y_dots));
    if (from_x < 0)
      canvas.dot(at_x, at_y);
    else
      canvas.line(from_x, from_y, at_x, at_y);
    from_x = at_x, from_y = at_y;
  }

  std::string text =
      std::string(gutter + 2, ' ') + title + "  (last " + label(last) + ", lowest " + lowest + ", highest " + highest + ")\n";
  for (int r = 0; r < height; ++r) {
    const std::string* mark = r == 0 ? &top : r == height - 1 ? &bottom : r == height / 2 && height >= 5 ? &middle : nullptr;
    text += pad_left(mark ? *mark : "", gutter) + (mark ? " ┤" : " │") + canvas.row(r) + "\n";
  }
  text += std::string(gutter, ' ') + " └";
  for (int i = 0; i < columns; ++i) text += "─";
  const std::string left = label(x_low), right = label(x_high);
  text += "\n" + std::string(gutter + 2, ' ') + left;
  if (x_high > x_low) {
    const int gap = columns - static_cast<int>(left.size() + right.size());
    const std::string centre = label((x_low + x_high) / 2);
    if (gap > static_cast<int>(centre.size()) + 8) {
      const int before = (columns - static_cast<int>(centre.size())) / 2 - static_cast<int>(left.size());
      text += std::string(static_cast<size_t>(std::max(1, before)), ' ') + centre +
              std::string(static_cast<size_t>(std::max(1, gap - before - static_cast<int>(centre.size()))), ' ') + right;
    } else {
      text += std::string(static_cast<size_t>(std::max(1, gap)), ' ') + right;
    }
  }
  return text + "\n";
}

}  // namespace fathom
