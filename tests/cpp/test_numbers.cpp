// Conversions between element types against all their values, and the accuracy of the signed logarithm.
#include <cmath>
#include <limits>

#include "check.h"
#include "kernels/element.h"
#include "kernels/encoding.h"

using namespace copycat;

namespace {

// Half precision by its definition, in double.
double half_value(uint32_t bits) {
  const double sign = bits & 0x8000u ? -1 : 1;
  const int exponent = static_cast<int>(bits >> 10 & 31u);
  const double mantissa = bits & 1023u;
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

}  // namespace

TEST(every_half_is_read_and_written_back) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = half_to_float(static_cast<uint16_t>(bits));
    if ((bits & 0x7c00u) == 0x7c00u) {
      EQUAL(std::isnan(value), (bits & 1023u) != 0);
      EQUAL(std::isinf(value), (bits & 1023u) == 0);
      EQUAL(std::isnan(half_to_float(float_to_half(value))), std::isnan(value));
      continue;
    }
    EQUAL(static_cast<double>(value), half_value(bits));
    EQUAL(float_to_half(value), bits);
  }
}

TEST(floats_round_to_the_nearest_half_and_ties_to_even) {
  for (uint32_t bits = 0; bits < 0x7bffu; ++bits) {
    const double low = half_value(bits);
    const double high = half_value(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    EQUAL(float_to_half(middle), bits + (bits & 1u));
    EQUAL(float_to_half(std::nextafter(middle, 0.0f)), bits);
    EQUAL(float_to_half(-std::nextafter(middle, 1e9f)), 0x8000u + bits + 1);
  }
  EQUAL(float_to_half(65519.0f), 0x7bffu);
  EQUAL(float_to_half(65520.0f), 0x7c00u);
  EQUAL(float_to_half(1e30f), 0x7c00u);
}

TEST(floats_round_to_the_nearest_bfloat_and_ties_to_even) {
  EQUAL(float_to_bfloat(float_of(0x3f808000u)), 0x3f80u);
  EQUAL(float_to_bfloat(float_of(0x3f818000u)), 0x3f82u);
  EQUAL(float_to_bfloat(float_of(0x3f808001u)), 0x3f81u);
  EQUAL(float_to_bfloat(float_of(0x7f7fffffu)), 0x7f80u);
  EQUAL(float_to_bfloat(-std::numeric_limits<float>::infinity()), 0xff80u);
  EQUAL(std::isnan(bfloat_to_float(float_to_bfloat(float_of(0x7f800001u)))), true);
  for (uint32_t bits = 0; bits < 0x7f80u; ++bits) {
    EQUAL(float_to_bfloat(bfloat_to_float(static_cast<uint16_t>(bits))), bits);
  }
}

TEST(eight_bit_averages_round_ties_to_even) {
  uint8_t element = 0;
  const float values[] = {0.0f, 0.5f, 1.5f, 2.5f, 254.4f, 254.5f, 254.75f, 255.0f};
  const int expected[] = {0, 0, 2, 2, 254, 254, 255, 255};
  for (size_t i = 0; i < 8; ++i) {
    store_stored(values[i], element);
    EQUAL(static_cast<int>(element), expected[i]);
  }
}

TEST(logarithm_and_exponential_are_accurate) {
  double worst_log = 0;
  double worst_exp = 0;
  for (int i = -1200; i <= 880; ++i) {
    const auto u = static_cast<float>(std::pow(10.0, i / 40.0));
    worst_log = std::max(worst_log, std::fabs(log1p_positive(u) / std::log1p(static_cast<double>(u)) - 1));
  }
  for (int i = -1200; i <= 77; ++i) {
    const auto y = static_cast<float>(std::pow(10.0, i / 40.0));
    worst_exp = std::max(worst_exp, std::fabs(expm1_positive(y) / std::expm1(static_cast<double>(y)) - 1));
  }
  NEAR(worst_log, 0, 4e-7);
  NEAR(worst_exp, 0, 4e-7);
}

TEST(decoding_gives_back_what_was_encoded) {
  double worst = 0;
  for (float scale : {0.01f, 1.0f, 20.0f, 1000.0f}) {
    for (int i = -320; i <= 192; ++i) {
      const auto x = static_cast<float>((i % 2 ? -1 : 1) * std::pow(10.0, i / 40.0));
      const float back = signed_exp(signed_log(x, scale), scale, 1.0f / scale);
      worst = std::max(worst, std::fabs(static_cast<double>(back) / static_cast<double>(x) - 1));
    }
  }
  NEAR(worst, 0, 1e-5);
}

TEST(edges_of_the_encoding) {
  EQUAL(signed_log(0.0f, 5.0f), 0.0f);
  EQUAL(std::signbit(signed_log(-0.0f, 5.0f)), true);
  EQUAL(signed_log(-123.25f, 0.0f), -123.25f);
  EQUAL(signed_exp(-123.25f, 0.0f, 0.0f), -123.25f);
  EQUAL(std::isinf(signed_log(std::numeric_limits<float>::infinity(), 5.0f)), true);
  EQUAL(std::isnan(signed_log(std::numeric_limits<float>::quiet_NaN(), 5.0f)), true);
  EQUAL(std::isnan(signed_exp(std::numeric_limits<float>::quiet_NaN(), 5.0f, 0.2f)), true);
  EQUAL(std::isinf(expm1_positive(100.0f)), true);
  EQUAL(std::isfinite(expm1_positive(88.7f)), true);
}
