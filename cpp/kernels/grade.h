// Draws a sample's gain, contrast and saturation, and applies them to a pixel.
#pragma once

#include "crop_rule.h"
#include "encoding.h"

namespace copycat {

// Factors, applied in this order to file values; 1 changes nothing.
struct Grade {
  float gain, contrast, saturation;
};

// The channels of each layer's red, green and blue. A channel belongs to at most one layer; one that belongs
// to none is not graded.
struct Layers {
  int32_t count;
  int8_t channels[kMostChannels][3];
};

// The fixed point of a contrast: middle grey, scene-linear or display-referred.
COPYCAT_HD float pivot(float log_scale) { return log_scale > 0.0f ? 0.18f : 0.5f; }

// Log-uniform in 0.5 ... 2.
COPYCAT_HD float grade_factor(uint32_t word) {
  const float share = static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
  return 0.5f * (expm1_positive(share * 1.38629436f) + 1.0f);  // 2 ln 2
}

COPYCAT_HD Grade draw_grade(const CropRule& rule, int64_t index) {
  const uint64_t step = step_of(rule);
  const uint32_t sample = static_cast<uint32_t>(rule.first_sample + index);
  const uint32_t low = static_cast<uint32_t>(step);
  const uint32_t high = static_cast<uint32_t>(step >> 32);
  const Words4 chances = philox({{sample, 2, low, high}}, rule.seed);
  const Words4 factors = philox({{sample, 3, low, high}}, rule.seed);
  return {chance(chances.w[0], rule.gain) ? grade_factor(factors.w[0]) : 1.0f,
          chance(chances.w[1], rule.contrast) ? grade_factor(factors.w[1]) : 1.0f,
          chance(chances.w[2], rule.saturation) ? grade_factor(factors.w[2]) : 1.0f};
}

COPYCAT_HD bool changes_nothing(const Grade& grade) {
  return grade.gain == 1.0f && grade.contrast == 1.0f && grade.saturation == 1.0f;
}

// (x gain - pivot) contrast + pivot, rearranged to be exact for factors of 1.
COPYCAT_HD float graded(float x, const Grade& grade, float pivot) {
  return x * (grade.gain * grade.contrast) + pivot * (1.0f - grade.contrast);
}

// ITU-R BT.709.
COPYCAT_HD float luminance(float red, float green, float blue) {
  return 0.2126f * red + 0.7152f * green + 0.0722f * blue;
}

COPYCAT_HD float saturated(float x, float luminance, float saturation) {
  return luminance * (1.0f - saturation) + x * saturation;
}

}  // namespace copycat
