// The element types of a bank, and the values that their elements stand for.
#pragma once

#include "half.h"

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
