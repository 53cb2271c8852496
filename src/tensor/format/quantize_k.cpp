// Q4_K and Q6_K: for each sub-block the scale (and minimum) of least squared error is searched over grids a little wider
// and narrower than the range; the sub-blocks' scales are then rounded to integers under the block's f16 scales, which are
// fitted once more by least squares, and every value takes its nearest level.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/format/block_bytes.h"
#include "tensor/format/k_scales.h"
#include "tensor/format/quantize.h"

namespace fathom {
namespace {

// Nearest whole number of a small value, ties to even: adding 1.5 * 2^23 leaves no fraction bits.
inline float nearest(float x) { return (x + 12582912.0f) - 12582912.0f; }
inline float clamped(float x, float low, float high) { return std::min(std::max(x, low), high); }

struct Affine {
  float scale = 0, min = 0;  // x = scale * q - min, both at least 0
};

// Squared error of x against scale * q - min with every q the nearest level of 0..15. q is written.
float nearest_levels(const float* x, float scale, float min, float* q) {
  const float inverse = scale >= kSmallestNormal ? 1 / scale : 0;
  float error = 0;
  for (int i = 0; i < 32; ++i) {
    q[i] = clamped(nearest((x[i] + min) * inverse), 0, 15);
    const float e = scale * q[i] - min - x[i];
    error += e * e;
  }
  return error;
}

// Scale and minimum of least squared error for given levels; the minimum may not be negative.
Affine fit(const float* x, const float* q) {
  float sum_q = 0, sum_qq = 0, sum_x = 0, sum_qx = 0;
  for (int i = 0; i < 32; ++i) {
    sum_q += q[i], sum_qq += q[i] * q[i];
    sum_x += x[i], sum_qx += q[i] * x[i];
  }
  const float det = 32 * sum_qq - sum_q * sum_q;
  Affine a;
  if (det > 0) {
    a.scale = (32 * sum_qx - sum_q * sum_x) / det;
    a.min = (sum_q * sum_qx - sum_qq * sum_x) / det;
  }
  if (a.min < 0 || det <= 0) {
    a.min = 0;
    a.scale = sum_qq > 0 ? sum_qx / sum_qq : 0;
  }
  a.scale = std::max(a.scale, 0.0f);
  return a;
}

Affine search_sub_block(const float* x) {
  const float low = std::min(0.0f, *std::min_element(x, x + 32)), high = *std::max_element(x, x + 32);
  if (high <= low) return {0, -low};
  float q[32];
  Affine best{(high - low) / 15, -low};
  float least = nearest_levels(x, best.scale, best.min, q);
  for (int step = -8; step <= 12; ++step) {  // the range as 14.2 to 16.2 steps: ends may be clipped
    const float steps = 15 + 0.1f * static_cast<float>(step);
    nearest_levels(x, (high - low) / steps, -low, q);
    for (int again = 0; again < 2; ++again) {
      const Affine a = fit(x, q);
      const float error = nearest_levels(x, a.scale, a.min, q);
      if (error < least) least = error, best = a;
    }
  }
  return best;
}

void q4_k(const float* x, uint8_t* b) {
  Affine wanted[8];
  float top_scale = 0, top_min = 0;
  for (int s = 0; s < 8; ++s) {
    wanted[s] = search_sub_block(x + 32 * s);
    top_scale = std::max(top_scale, wanted[s].scale);
    top_min = std::max(top_min, wanted[s].min);
  }
  std::memset(b, 0, 144);
  float d = top_scale / 63, dmin = top_min / 63, q[256];
  KScale k[8];
  float best_error = -1;
  for (int round = 0; round < 3; ++round) {  // integers for given d, dmin; then d, dmin for given integers
    uint8_t halves[4];
    const float hd = store_f16(halves, d), hmin = store_f16(halves + 2, dmin);
    KScale now[8];
    float levels[256], error = 0;
    for (int s = 0; s < 8; ++s) {
      const int scale = hd > 0 ? static_cast<int>(clamped(nearest(wanted[s].scale / hd), 0, 63)) : 0;
      const int min = hmin > 0 ? static_cast<int>(clamped(nearest(wanted[s].min / hmin), 0, 63)) : 0;
      float least = -1;
      for (int ds = -1; ds <= 1; ++ds)  // neighbours of the rounded pair: the two roundings interact
        for (int dm = -1; dm <= 1; ++dm) {
          const int i = scale + ds, j = min + dm;
          if (i < 0 || i > 63 || j < 0 || j > 63) continue;
          float trial[32];
          const float e = nearest_levels(x + 32 * s, hd * static_cast<float>(i), hmin * static_cast<float>(j), trial);
          if (least >= 0 && e >= least) continue;
          least = e, now[s] = {i, j};
          std::memcpy(levels + 32 * s, trial, sizeof trial);
        }
      error += least;
    }
    if (best_error >= 0 && error >= best_error) break;
    best_error = error;
    std::memcpy(b, halves, 4);
    std::copy(now, now + 8, k);
    std::memcpy(q, levels, sizeof q);
    // x = d * (scale q) - dmin * min: least squares for d and dmin over the whole block.
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
    for (int i = 0; i < 256; ++i) {
      const double u = static_cast<double>(k[i / 32].scale) * q[i], v = -static_cast<double>(k[i / 32].min);
      aa += u * u, ab += u * v, bb += v * v, ax += u * x[i], bx += v * x[i];
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb && det > 0) {
      d = static_cast<float>((ax * bb - bx * ab) / det), dmin = static_cast<float>((bx * aa - ax * ab) / det);
    } else if (aa > 0) {
      d = static_cast<float>(ax / aa);
    }
    if (!(d >= 0) || !(dmin >= 0)) break;
  }
  for (int s = 0; s < 8; ++s) pack_k_scale(b + 4, s, k[s]);
  for (int g = 0; g < 4; ++g)
    for (int i = 0; i < 32; ++i)
      b[16 + 32 * g + i] = static_cast<uint8_t>(static_cast<int>(q[64 * g + i]) | static_cast<int>(q[64 * g + 32 + i]) << 4);
}

// Squared error of 16 values against scale * q, q the nearest of -32..31.
float nearest_signed(const float* x, float scale, float* q) {
  const float inverse = std::fabs(scale) >= kSmallestNormal ? 1 / scale : 0;
  float error = 0;
  for (int i = 0; i < 16; ++i) {
    q[i] = clamped(nearest(x[i] * inverse), -32, 31);
    const float e = scale * q[i] - x[i];
    error += e * e;
  }
  return error;
}

float search_scale(const float* x) {
  float extreme = 0;
  for (int i = 0; i < 16; ++i)
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  if (extreme == 0) return 0;
  float q[16], best = extreme / -32, least = nearest_signed(x, best, q);
  for (int step = -9; step <= 9; ++step) {
    nearest_signed(x, extreme / (-32 - 0.1f * static_cast<float>(step)), q);
    float qx = 0, qq = 0;
    for (int i = 0; i < 16; ++i) qx += q[i] * x[i], qq += q[i] * q[i];
    if (qq == 0) continue;
    const float scale = qx / qq, error = nearest_signed(x, scale, q);
    if (error < least) least = error, best = scale;
  }
  return best;
}

void q6_k(const float* x, uint8_t* b) {
  float wanted[16], top = 0;
  for (int s = 0; s < 16; ++s) {
    wanted[s] = search_scale(x + 16 * s);
    if (std::fabs(wanted[s]) > std::fabs(top)) top = wanted[s];
  }
  std::memset(b, 0, 210);
  float d = top / -128, q[256] = {};
  int scales[16] = {};
  float best_error = -1;
  for (int round = 0; round < 3; ++round) {
    uint8_t half[2];
    const float hd = store_f16(half, d);
    int now[16];
    float levels[256], error = 0;
    for (int s = 0; s < 16; ++s) {
      const int scale = hd != 0 ? static_cast<int>(clamped(nearest(wanted[s] / hd), -128, 127)) : 0;
      float least = -1;
      for (int i = std::max(scale - 1, -128); i <= std::min(scale + 1, 127); ++i) {
        float trial[16];
        const float e = nearest_signed(x + 16 * s, hd * static_cast<float>(i), trial);
        if (least >= 0 && e >= least) continue;
        least = e, now[s] = i;
        std::memcpy(levels + 16 * s, trial, sizeof trial);
      }
      error += least;
    }
    if (best_error >= 0 && error >= best_error) break;
    best_error = error;
    std::memcpy(b + 208, half, 2);
    std::copy(now, now + 16, scales);
    std::memcpy(q, levels, sizeof q);
    double uu = 0, ux = 0;
    for (int i = 0; i < 256; ++i) {
      const double u = static_cast<double>(scales[i / 16]) * q[i];
      uu += u * u, ux += u * x[i];
    }
    if (uu == 0) break;
    d = static_cast<float>(ux / uu);
  }
  for (int s = 0; s < 16; ++s) b[192 + s] = static_cast<uint8_t>(static_cast<int8_t>(scales[s]));
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, quarter = i / 32 % 4, l = i % 32, v = static_cast<int>(q[i]) + 32;
    uint8_t& low = b[64 * half + 32 * (quarter % 2) + l];
    low = static_cast<uint8_t>(low | (v & 15) << (4 * (quarter / 2)));
    uint8_t& high = b[128 + 32 * half + l];
    high = static_cast<uint8_t>(high | (v >> 4) << (2 * quarter));
  }
}

}  // namespace

QuantizeBlock quantize_k(GgmlType type) {
  if (type == GgmlType::kQ4_K) return q4_k;
  if (type == GgmlType::kQ6_K) return q6_k;
  return nullptr;
}

}  // namespace fathom
