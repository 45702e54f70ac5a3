// Marks functions that are compiled for the CPU and, when nvcc reads them, for the GPU as well.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define COPYCAT_HD __host__ __device__ __forceinline__
#else
// Forced, so that no out-of-line copy built for a newer instruction set can be picked by the linker for an
// older CPU.
#define COPYCAT_HD inline __attribute__((always_inline))
#endif

namespace copycat {

COPYCAT_HD uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

COPYCAT_HD float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename T>
COPYCAT_HD T least(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
COPYCAT_HD T most(T a, T b) {
  return a < b ? b : a;
}

}  // namespace copycat
