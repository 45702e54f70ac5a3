// The element types of a bank and their conversions to and from float.
#pragma once

#include "platform.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace copycat {

enum class DType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2, kUInt8 = 3 };

inline constexpr int kInputTypes = 4;   // every DType can be read
inline constexpr int kOutputTypes = 3;  // all but uint8 can be written by an encoding

// Storage only: arithmetic is always done in float.
struct Half {
  uint16_t bits;
};
struct BFloat {
  uint16_t bits;
};

COPYCAT_HD int64_t size_of(DType type) { return type == DType::kFloat32 ? 4 : type == DType::kUInt8 ? 1 : 2; }

COPYCAT_HD float half_to_float(uint16_t half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#else
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  // The product moves the exponent's bias from 15 to 127 and makes normal numbers of subnormal ones.
  const uint32_t finite = bits_of(float_of(magnitude) * float_of(0x77800000u));
  const uint32_t value = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : finite;
  return float_of(value | (half & 0x8000u) << 16);
#endif
}

// Rounds to nearest, ties to even; 65520 and above become infinity.
COPYCAT_HD uint16_t float_to_half(float value) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(value));
#else
  const uint32_t bits = bits_of(value);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  // 0.5 has the spacing 2^-24 of half's subnormal numbers, so that the sum rounds to them.
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  return static_cast<uint16_t>((magnitude >= 0x47800000u ? special : finite) | ((bits >> 16) & 0x8000u));
#endif
}

COPYCAT_HD float bfloat_to_float(uint16_t value) { return float_of(static_cast<uint32_t>(value) << 16); }

// Rounds to nearest, ties to even.
COPYCAT_HD uint16_t float_to_bfloat(float value) {
#if defined(__CUDA_ARCH__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = ((bits >> 16) & 0x8000u) | 0x7fc0u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
#endif
}

// `load` gives the value that an element stands for: an 8-bit 255 is 1.
COPYCAT_HD float load(float element) { return element; }
COPYCAT_HD float load(Half element) { return half_to_float(element.bits); }
COPYCAT_HD float load(BFloat element) { return bfloat_to_float(element.bits); }
COPYCAT_HD float load(uint8_t element) { return static_cast<float>(element) * (1.0f / 255.0f); }

COPYCAT_HD void store(float value, float& element) { element = value; }
COPYCAT_HD void store(float value, Half& element) { element.bits = float_to_half(value); }
COPYCAT_HD void store(float value, BFloat& element) { element.bits = float_to_bfloat(value); }

// The stored number itself, for averages that stay in the bank's own type.
template <typename T>
COPYCAT_HD float load_stored(T element) {
  return load(element);
}
COPYCAT_HD float load_stored(uint8_t element) { return static_cast<float>(element); }

template <typename T>
COPYCAT_HD void store_stored(float value, T& element) {
  store(value, element);
}
COPYCAT_HD void store_stored(float value, uint8_t& element) {
  // Adding 1.5 * 2^23 leaves the number rounded to nearest, ties to even, in the lowest bits.
  element = static_cast<uint8_t>(bits_of(value + 12582912.0f) & 0xffu);
}

}  // namespace copycat
