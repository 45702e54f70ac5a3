// The value encoding of a channel and its inverse: identity or signed logarithm, then (x - mean) / std.
#pragma once

#include "limits.h"
#include "platform.h"

namespace copycat {

// Per channel; log_scale 0 means identity.
struct Encoding {
  float log_scale[kMostChannels];
  float mean[kMostChannels];
  float std[kMostChannels];
};

inline constexpr float kLn2High = 0.693359375f;  // few bits, so that its product with an exponent is exact
inline constexpr float kLn2Low = -2.12194440e-4f;

// log(1 + u) for u >= 0, within a few units in the last place. Branch-free, so that compilers vectorise it.
// log(1 + f) = 2 atanh(f / (2 + f)), Abramowitz & Stegun 4.1.27; here z <= 0.0295 and the series ends at z^4.
COPYCAT_HD float log1p_positive(float u) {
  const float v = 1.0f + u;
  const float lost = u < 1.0f ? u - (v - 1.0f) : 1.0f - (v - u);  // what the sum above rounded away
  const uint32_t offset = bits_of(v) - 0x3f3504f3u;  // sqrt(1/2), so that m is in 0.707 ... 1.414
  const uint32_t exponent = offset & 0xff800000u;
  const float m = float_of(bits_of(v) - exponent);
  const float e = static_cast<float>(static_cast<int32_t>(exponent) >> 23);
  const float f = m - 1.0f;
  const float s = f / (2.0f + f);
  const float z = s * s;
  const float series = z * (1.0f / 3 + z * (1.0f / 5 + z * (1.0f / 7 + z * (1.0f / 9))));
  const float log_m = 2.0f * s + 2.0f * s * series;
  const float result = e * kLn2High + (log_m + (e * kLn2Low + lost / v));
  return u <= 3.4028234e38f ? result : u;
}

// exp(y) - 1 for y >= 0, within a few units in the last place; overflows to infinity above 88.72.
COPYCAT_HD float expm1_positive(float y) {
  const float bounded = y > 89.0f ? 89.0f : y;
  const float shifted =
      bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the integer stands in the lowest bits
  const float k = shifted - 12582912.0f;
  const float r = (bounded - k * kLn2High) - k * kLn2Low;
  const float tail =
      1.0f / 2 + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040)))));
  const float p = r + r * r * tail;
  const float half_power =
      float_of((bits_of(shifted) - 0x4b400000u + 126u) << 23);  // 2^(k-1): 2^128 is no float
  return (half_power * p + (half_power - 0.5f)) * 2.0f;
}

COPYCAT_HD float with_sign_of(float magnitude, float sign) {
  return float_of(bits_of(magnitude) | (bits_of(sign) & 0x80000000u));
}

COPYCAT_HD float signed_log(float x, float log_scale) {
  const float magnitude = log1p_positive(log_scale * float_of(bits_of(x) & 0x7fffffffu));
  return log_scale > 0.0f ? with_sign_of(magnitude, x) : x;
}

// The caller passes 1 / log_scale too (anything where log_scale is 0), which saves a division per value.
COPYCAT_HD float signed_exp(float y, float log_scale, float inverse_log_scale) {
  const float magnitude = expm1_positive(float_of(bits_of(y) & 0x7fffffffu)) * inverse_log_scale;
  return log_scale > 0.0f ? with_sign_of(magnitude, y) : y;
}

}  // namespace copycat
