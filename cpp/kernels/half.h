// Half and bfloat16 to float and back, number by number, for the kernels and for the OpenFX plugin. No step
// reads or makes a subnormal float, which hosts let their render threads take for 0.
#pragma once

#include "platform.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace copycat {

COPYCAT_HD float half_to_float(uint16_t half) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(half));
#else
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  // 2^-14 has the spacing of half's subnormal numbers.
  const uint32_t subnormal = bits_of(float_of(magnitude | 0x38800000u) - float_of(0x38800000u));
  const uint32_t finite = magnitude < 0x00800000u ? subnormal : magnitude + 0x38000000u;
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

}  // namespace copycat
