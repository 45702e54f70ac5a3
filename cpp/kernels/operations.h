// The operations of the kernels: one plain struct each, and one launcher per operation and device.
#pragma once

#include "crop_rule.h"
#include "element.h"
#include "encoding.h"
#include "grade.h"

namespace copycat {

// Pixels [count, height, width, channels] at any strides, counted in elements.
struct Pixels {
  void* data;
  DType dtype;
  int64_t count, height, width;
  int32_t channels;
  int64_t count_stride, row_stride, pixel_stride, channel_stride;
};

// One of the pictures that a crop is cut from: where it comes from, how it is encoded, where it goes. The
// output is [batch, height, width, channels] without gaps. Its layers are graded before they are encoded.
struct CropPlane {
  Pixels source;
  void* output;
  DType output_dtype;
  Encoding encoding;
  Layers layers;
};

// Cuts all planes at the same positions and grades them alike.
struct SampleCrops {
  CropRule rule;
  int64_t batch;
  int32_t plane_count;
  CropPlane planes[3];  // input, target, mask
};

// Whether a sample can be graded at all.
inline bool any_grade(const SampleCrops& operation) {
  const CropRule& rule = operation.rule;
  int32_t layers = 0;
  for (int p = 0; p < operation.plane_count; ++p) layers += operation.planes[p].layers.count;
  return layers > 0 && (rule.gain > 0.0f || rule.contrast > 0.0f || rule.saturation > 0.0f);
}

// The positions of SampleCrops' crops. Output [batch,5]: see write_placement.
struct CropPositions {
  CropRule rule;
  int64_t batch;
  int32_t* output;
};

// Area average by 2 or 4 into [count, ceil(height / factor), ceil(width / factor), channels] without gaps,
// same dtype.
struct Downsize {
  Pixels source;
  int32_t factor;
  void* output;
};

// Applies an encoding or its inverse. The output is [count, height, width, channels] without gaps, or, where
// `picture.data` is given, those pixels instead: float32 at any strides, of the inverse alone.
struct Recode {
  Pixels source;
  Encoding encoding;
  bool inverse;
  void* output;
  DType output_dtype;
  Pixels picture = {};
  uint32_t mattes = 0;  // of a picture: bit c clamps channel c to 0..1
};

// NaN stays.
COPYCAT_HD float matte(float value) { return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value; }

// Running moments of one channel.
struct Moments {
  double count, mean, squares;  // squares: sum of (x - mean)^2
  double minimum, maximum;
  double non_finite;  // pixels that no other member counts
};

// Moments of every channel over the valid rectangles. `partial` is scratch memory for `partial_count` x
// channels Moments, each of a part of the rows; they are joined into `output`.
struct Statistics {
  Pixels source;
  const int32_t* valid;  // [count,4]
  Moments* partial;
  int64_t partial_count;
  Moments* output;  // [channels]
};

// Chan, Golub, LeVeque: "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
COPYCAT_HD void join(Moments& into, const Moments& other) {
  into.non_finite += other.non_finite;
  if (other.count == 0) return;
  const double count = into.count + other.count;
  const double delta = other.mean - into.mean;
  into.mean += delta * (other.count / count);
  into.squares += other.squares + delta * delta * (into.count * (other.count / count));
  into.count = count;
  into.minimum = least(into.minimum, other.minimum);
  into.maximum = most(into.maximum, other.maximum);
}

COPYCAT_HD Moments no_moments() { return {0, 0, 0, 1e300, -1e300, 0}; }

void run_on_cpu(const SampleCrops& operation, int threads);
void run_on_cpu(const CropPositions& operation, int threads);
void run_on_cpu(const Downsize& operation, int threads);
void run_on_cpu(const Recode& operation, int threads);
void run_on_cpu(const Statistics& operation, int threads);

}  // namespace copycat
