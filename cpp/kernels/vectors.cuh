// Moves eight neighbouring elements at once, whatever their alignment.
#pragma once

#include "element.h"

namespace copycat {

inline constexpr int kRun = 8;  // 16 bytes of a 16-bit type

// Reads kRun elements as values. Loads whole aligned words, so that up to three bytes before the first and
// after the last element are read and dropped; they lie in the same aligned word as an element and so in
// mapped memory.
template <typename In>
__device__ __forceinline__ void load_run(const In* first, In (&run)[kRun]) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(first);
  constexpr int kWords = kRun * static_cast<int>(sizeof(In)) / 4;
  uint32_t words[kWords];
  if (address % 16 == 0 && kWords >= 4) {
#pragma unroll
    for (int i = 0; i < kWords / 4; ++i) {
      const uint4 four = __ldg(reinterpret_cast<const uint4*>(address) + i);
      words[4 * i] = four.x;
      words[4 * i + 1] = four.y;
      words[4 * i + 2] = four.z;
      words[4 * i + 3] = four.w;
    }
  } else {
    const uint32_t* aligned = reinterpret_cast<const uint32_t*>(address & ~uintptr_t{3});
    const uint32_t shift = static_cast<uint32_t>(address & 3) * 8;
#pragma unroll
    for (int i = 0; i < kWords; ++i) words[i] = __ldg(aligned + i);
    if (sizeof(In) < 4 && shift != 0) {
      const uint32_t last = __ldg(aligned + kWords);
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
        words[i] = __funnelshift_r(words[i], i + 1 < kWords ? words[i + 1] : last, shift);
      }
    }
  }
  static_assert(sizeof run == sizeof words, "an element is 1, 2 or 4 bytes");
  memcpy(run, words, sizeof run);
}

// The same for 16- and 32-bit elements that begin at a multiple of 16 bytes.
template <typename In>
__device__ __forceinline__ void load_aligned_run(const In* first, In (&run)[kRun]) {
  constexpr int kQuads = kRun * static_cast<int>(sizeof(In)) / 16;
  uint4 quads[kQuads];
#pragma unroll
  for (int i = 0; i < kQuads; ++i) quads[i] = __ldg(reinterpret_cast<const uint4*>(first) + i);
  memcpy(run, quads, sizeof quads);
}

// Writes kRun elements to memory aligned to 16 bytes.
template <typename Out>
__device__ __forceinline__ void store_run(const Out (&run)[kRun], Out* first) {
  constexpr int kQuads = kRun * static_cast<int>(sizeof(Out)) / 16;
  uint4 quads[kQuads];
  memcpy(quads, run, sizeof quads);
#pragma unroll
  for (int i = 0; i < kQuads; ++i) reinterpret_cast<uint4*>(first)[i] = quads[i];
}

}  // namespace copycat
