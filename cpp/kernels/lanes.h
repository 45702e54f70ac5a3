// Sixteen numbers at a time, in the compiler's vector types: one register with AVX-512, more of them
// elsewhere, the same bits everywhere. For loops over the channels of a pixel, where the order of a sum must
// be fixed.
#pragma once

#include "element.h"

namespace copycat {

inline constexpr int kLanes = 16;

#if !defined(__CUDACC__)  // nvcc knows no vector types

typedef float Lanes __attribute__((vector_size(kLanes * 4)));
typedef uint32_t LaneBits __attribute__((vector_size(kLanes * 4)));
typedef uint16_t LaneHalves __attribute__((vector_size(kLanes * 2)));

COPYCAT_HD void load_lanes(const float* from, Lanes& to) { memcpy(&to, from, sizeof to); }

COPYCAT_HD void load_lanes(const BFloat* from, Lanes& to) {
  LaneHalves halves;
  memcpy(&halves, from, sizeof halves);
  const LaneBits bits = __builtin_convertvector(halves, LaneBits) << 16;
  memcpy(&to, &bits, sizeof to);
}

COPYCAT_HD void store_lanes(const Lanes& from, float* to) { memcpy(to, &from, sizeof from); }

// Rounds as float_to_bfloat does; every NaN becomes the same one.
COPYCAT_HD void store_lanes(const Lanes& from, BFloat* to) {
  LaneBits bits;
  memcpy(&bits, &from, sizeof bits);
  const LaneBits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const LaneBits nan = LaneBits{} + 0x7fc0u;
  const LaneHalves halves = __builtin_convertvector(from == from ? rounded : nan, LaneHalves);
  memcpy(to, &halves, sizeof halves);
}

COPYCAT_HD float sum_lanes(const Lanes& lanes) {
  Lanes sum = lanes;
  sum += __builtin_shufflevector(sum, sum, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  sum += __builtin_shufflevector(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  sum += __builtin_shufflevector(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return sum[0] + sum[1];
}

#endif

}  // namespace copycat
