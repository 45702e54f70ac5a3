// Numbers as a tensor of a kernel holds them.
#pragma once

#include <cstring>
#include <vector>

#include "kernels/element.h"

namespace copycat {

inline const DType kTypes[] = {DType::kFloat32, DType::kBFloat16};

// Numbers as a tensor holds them; exactly as long as it must be, so that the sanitizer sees a step too far.
class Numbers {
 public:
  Numbers(DType dtype, int64_t count)
      : dtype_(dtype), bytes_(static_cast<size_t>(count * size_of(dtype)), 0xff) {}

  static Numbers noise(DType dtype, int64_t count, uint32_t seed) {
    Numbers numbers(dtype, count);
    uint32_t state = seed * 747796405u + 2891336453u;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
      const uint16_t half = float_to_bfloat(value);
      uint8_t* at = numbers.bytes_.data() + i * size_of(dtype);
      if (dtype == DType::kFloat32) {
        memcpy(at, &value, sizeof value);
      } else {
        memcpy(at, &half, sizeof half);
      }
    }
    return numbers;
  }

  static Numbers zeros(DType dtype, int64_t count) {
    Numbers numbers(dtype, count);
    numbers.bytes_.assign(numbers.bytes_.size(), 0);
    return numbers;
  }

  double operator[](int64_t i) const {
    const uint8_t* at = bytes_.data() + i * size_of(dtype_);
    float value;
    uint16_t half;
    if (dtype_ == DType::kFloat32) {
      memcpy(&value, at, sizeof value);
      return static_cast<double>(value);
    }
    memcpy(&half, at, sizeof half);
    return static_cast<double>(bfloat_to_float(half));
  }

  void* data() { return bytes_.data(); }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  DType dtype_;
  std::vector<uint8_t> bytes_;
};

}  // namespace copycat
