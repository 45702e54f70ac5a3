// Sixteen numbers at a time, in the compiler's vector types: one register with AVX-512, more of them
// elsewhere, the same bits everywhere. For loops over the channels of a pixel, where the order of a sum must
// be fixed.
#pragma once

#include "element.h"
#include "limits.h"

namespace copycat {

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

// Halves are added first, as one instruction or several.
COPYCAT_HD float sum_lanes(const Lanes& lanes) {
  typedef float Eight __attribute__((vector_size(32)));
  typedef float Four __attribute__((vector_size(16)));
  Eight eights[2];
  memcpy(eights, &lanes, sizeof eights);
  const Eight eight = eights[0] + eights[1];
  Four fours[2];
  memcpy(fours, &eight, sizeof fours);
  const Four four = fours[0] + fours[1];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

#endif

}  // namespace copycat
