// Sixteen numbers at a time, in as many registers as the instruction set of the file that includes this
// needs, with the same bits everywhere. For loops over the channels of a pixel, where the order of a sum must
// be fixed. Internal linkage only: the type differs from one instruction set to another.
#pragma once

#include <cstring>

#include "element.h"
#include "limits.h"

namespace copycat {
namespace {

// A compiler that splits a wider vector does so by way of memory.
#if defined(__AVX512F__)
constexpr int kLanesOfPart = 16;
#elif defined(__AVX2__)
constexpr int kLanesOfPart = 8;
#else
constexpr int kLanesOfPart = 4;
#endif
constexpr int kParts = kLanes / kLanesOfPart;

typedef float Part __attribute__((vector_size(kLanesOfPart * 4)));
// In memory: memcpy would move it in pieces that the processor cannot forward to a wider load.
typedef Part PartInMemory __attribute__((aligned(4), may_alias));
typedef uint32_t PartBits __attribute__((vector_size(kLanesOfPart * 4)));
typedef uint16_t PartHalves __attribute__((vector_size(kLanesOfPart * 2)));

struct Lanes {
  Part part[kParts];
};

// Calls f(part) for all parts.
template <typename Function>
COPYCAT_HD void each_part(const Function& f) {
#pragma GCC unroll 4
  for (int i = 0; i < kParts; ++i) f(i);
}

COPYCAT_HD Lanes& operator+=(Lanes& a, const Lanes& b) {
  each_part([&](int i) { a.part[i] += b.part[i]; });
  return a;
}

COPYCAT_HD Lanes& operator*=(Lanes& a, const Lanes& b) {
  each_part([&](int i) { a.part[i] *= b.part[i]; });
  return a;
}

COPYCAT_HD Lanes& operator-=(Lanes& a, const Lanes& b) {
  each_part([&](int i) { a.part[i] -= b.part[i]; });
  return a;
}

COPYCAT_HD Lanes& operator-=(Lanes& a, float b) {
  each_part([&](int i) { a.part[i] -= b; });
  return a;
}

COPYCAT_HD Lanes& operator*=(Lanes& a, float b) {
  each_part([&](int i) { a.part[i] *= b; });
  return a;
}

COPYCAT_HD Lanes operator+(Lanes a, const Lanes& b) { return a += b; }
COPYCAT_HD Lanes operator-(Lanes a, const Lanes& b) { return a -= b; }
COPYCAT_HD Lanes operator*(Lanes a, const Lanes& b) { return a *= b; }
COPYCAT_HD Lanes operator-(Lanes a, float b) { return a -= b; }
COPYCAT_HD Lanes operator*(Lanes a, float b) { return a *= b; }

COPYCAT_HD void load_lanes(const float* from, Lanes& to) {
  each_part([&](int i) { to.part[i] = reinterpret_cast<const PartInMemory*>(from)[i]; });
}

COPYCAT_HD void load_lanes(const BFloat* from, Lanes& to) {
  each_part([&](int i) {
    PartHalves halves;
    memcpy(&halves, from + i * kLanesOfPart, sizeof halves);
    const PartBits bits = __builtin_convertvector(halves, PartBits) << 16;
    memcpy(&to.part[i], &bits, sizeof bits);
  });
}

COPYCAT_HD void store_lanes(const Lanes& from, float* to) {
  each_part([&](int i) { reinterpret_cast<PartInMemory*>(to)[i] = from.part[i]; });
}

// Rounds as float_to_bfloat does; every NaN becomes the same one.
COPYCAT_HD void store_lanes(const Lanes& from, BFloat* to) {
  each_part([&](int i) {
    const Part& part = from.part[i];
    PartBits bits;
    memcpy(&bits, &part, sizeof bits);
    const PartBits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const PartBits nan = PartBits{} + 0x7fc0u;
    const PartHalves halves = __builtin_convertvector(part == part ? rounded : nan, PartHalves);
    memcpy(to + i * kLanesOfPart, &halves, sizeof halves);
  });
}

template <int kCount>
struct VectorOf {
  typedef float Type __attribute__((vector_size(kCount * 4)));
};

// Halves are added first, as one instruction or several.
template <int kCount>
COPYCAT_HD float sum_of(const typename VectorOf<kCount>::Type& vector) {
  if constexpr (kCount == 4) {
    return (vector[0] + vector[2]) + (vector[1] + vector[3]);
  } else {
    typename VectorOf<kCount / 2>::Type halves[2];
    memcpy(halves, &vector, sizeof halves);
    return sum_of<kCount / 2>(halves[0] + halves[1]);
  }
}

COPYCAT_HD float sum_lanes(const Lanes& lanes) {
  Lanes sums = lanes;
#pragma GCC unroll 4
  for (int half = kParts / 2; half > 0; half /= 2)
#pragma GCC unroll 4
    for (int i = 0; i < half; ++i) sums.part[i] += sums.part[i + half];
  return sum_of<kLanesOfPart>(sums.part[0]);
}

}  // namespace
}  // namespace copycat
