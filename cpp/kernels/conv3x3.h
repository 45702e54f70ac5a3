// A 3x3 convolution with padding of 1 and its gradients on the CPU, with 16 multiplications where the
// definition has 36: Winograd's F(2x2, 3x3), from Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks" (CVPR 2016). Pictures are [batch, height, width, channels], weights [channels_out, 3, 3,
// channels_in], all without gaps; channels are multiples of 16. Sums are kept in float. In bfloat16, the
// transformed patches are rounded once more before they are multiplied.
#pragma once

#include "element.h"
#include "limits.h"

namespace copycat {

struct Conv3x3 {
  int32_t batch, height, width, channels_in, channels_out;
  DType dtype;  // float32 or bfloat16

  // Of 2x2 pixels of the output each.
  int64_t patches() const { return static_cast<int64_t>(batch) * ((height + 1) / 2) * ((width + 1) / 2); }
};

// output = convolution of input with weight, plus bias, which may be null.
struct Conv3x3Forward : Conv3x3 {
  const void *input, *weight, *bias;
  void* output;
};

// The gradient of the input from that of the output.
struct Conv3x3InputGradient : Conv3x3 {
  const void *gradient, *weight;
  void* output;
};

// The gradients of weight and bias from that of the output.
struct Conv3x3WeightGradient : Conv3x3 {
  const void *input, *gradient;
  void *weight_gradient, *bias_gradient;
};

// Whether this processor has the instructions of the loops, and no matrix units, with which torch's
// convolutions are faster.
bool conv3x3_is_fast(DType dtype);

// Results do not depend on the number of threads.
void run_on_cpu(const Conv3x3Forward& operation, int threads);
void run_on_cpu(const Conv3x3InputGradient& operation, int threads);
void run_on_cpu(const Conv3x3WeightGradient& operation, int threads);

// --- the loops, compiled once per instruction set -------------------------------------------------

inline constexpr int kFrequencies = 16;  // of a transformed patch of 4x4 pixels
inline constexpr int kPatches = 48;      // that are convolved together, at most
inline constexpr int kPart = 16;         // patches of which the weights' gradient is transformed together
inline constexpr int kRowsTogether = 8;  // output channels whose weights' gradient is summed together

// A convolution, or the gradient of one with respect to its input, as the loops compute it.
struct Convolution : Conv3x3 {
  bool transposed;  // weight is [channels_in, 3, 3, channels_out] then, and turned by 180 degrees
  const void *input, *weight, *bias;
  void* output;
};

struct Conv3x3Kernels {
  // Output channels that are transformed and multiplied together.
  int (*group)(int channels);

  // Writes the transformed weights of the output channels `first` ... `first + group - 1`.
  void (*transform_weights)(const Convolution&, int first, void* transformed);

  // Convolves the patches begin ... end - 1, at most kPatches. scratch: patches_scratch_bytes bytes.
  void (*convolve)(const Convolution&, const void* transformed, int64_t begin, int64_t end, void* scratch);
  int64_t (*patches_scratch_bytes)(const Convolution&);

  // Transforms the kPart patches that begin with `first`, and the output's gradient there, to
  // part_scratch_bytes bytes each; patches beyond the last are 0. Writes sums [channels_out], the bias'
  // gradient of these patches.
  void (*transform_part)(const Conv3x3WeightGradient&, int64_t first, void* patches, void* gradients,
                         float* sums);
  int64_t (*part_scratch_bytes)(int channels);

  // Writes the products of some parts to sums [kFrequencies, kRowsTogether, channels_in], or adds them, for
  // the output channels that begin with `row`.
  void (*accumulate)(const Conv3x3WeightGradient&, int64_t parts, const void* patches, const void* gradients,
                     int row, bool add, float* sums);

  // Writes the gradient of these output channels' weights.
  void (*finish_weights)(const Conv3x3WeightGradient&, const float* sums, int row);
  void (*store_bias)(const Conv3x3WeightGradient&, const float* sums);
};

void run_with(const Conv3x3Kernels&, const Conv3x3Forward&, int threads);
void run_with(const Conv3x3Kernels&, const Conv3x3InputGradient&, int threads);
void run_with(const Conv3x3Kernels&, const Conv3x3WeightGradient&, int threads);

extern const Conv3x3Kernels kConv3x3Avx2;        // float32
extern const Conv3x3Kernels kConv3x3Avx512;      // float32
extern const Conv3x3Kernels kConv3x3Avx512Bf16;  // bfloat16

}  // namespace copycat
