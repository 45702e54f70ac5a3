// Random numbers without state: Philox-4x32-10 and a keyed permutation are pure functions of their arguments.
#pragma once

#include "platform.h"

namespace copycat {

struct Words4 {
  uint32_t w[4];
};

// Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
COPYCAT_HD Words4 philox(Words4 counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = static_cast<uint64_t>(counter.w[0]) * 0xd2511f53u;
    const uint64_t b = static_cast<uint64_t>(counter.w[2]) * 0xcd9e8d57u;
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.w[1] ^ k0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.w[3] ^ k1, static_cast<uint32_t>(a)}};
    k0 += 0x9e3779b9u;  // the golden ratio and sqrt(3) - 1, as in the paper
    k1 += 0xbb67ae85u;
  }
  return counter;
}

// A whole number in 0 ... range - 1; the bias is below range / 2^32.
COPYCAT_HD int32_t uniform_below(uint32_t word, int32_t range) {
  return static_cast<int32_t>((static_cast<uint64_t>(word) * static_cast<uint32_t>(range)) >> 32);
}

// True with the given probability; 0 is never, 1 always.
COPYCAT_HD bool chance(uint32_t word, float probability) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f) < probability;
}

// The permutation of 0 ... size - 1 that belongs to (key, epoch), at `index`. A Feistel network permutes a
// range of a power of four, whatever its round function; repeating it until the result is below `size` makes
// it a permutation of 0 ... size - 1 (Black and Rogaway: "Ciphers with arbitrary finite domains", CT-RSA
// 2002).
COPYCAT_HD uint32_t shuffled(uint32_t index, uint32_t size, uint64_t epoch, uint64_t key) {
  uint32_t half_bits = 1;
  while (half_bits < 16 && (1u << (2 * half_bits)) < size) ++half_bits;
  const uint32_t mask = (1u << half_bits) - 1;
  const Words4 round_keys =
      philox({{static_cast<uint32_t>(epoch), static_cast<uint32_t>(epoch >> 32), 0x73687566u, size}}, key);
  do {
    uint32_t left = index >> half_bits;
    uint32_t right = index & mask;
    for (uint32_t round = 0; round < 8; ++round) {
      uint32_t mixed = (right + round_keys.w[round & 3] + round * 0x9e3779b9u) * 0x85ebca6bu;
      mixed = (mixed ^ (mixed >> 15)) * 0xc2b2ae35u;
      const uint32_t next = left ^ ((mixed ^ (mixed >> 16)) & mask);
      left = right;
      right = next;
    }
    index = left << half_bits | right;
  } while (index >= size);
  return index;
}

}  // namespace copycat
