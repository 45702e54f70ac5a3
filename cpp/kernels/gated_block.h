// Gate and normalised residual sum of a gated block, forward and backward: one pass over memory each. Every
// tensor is [pixels, channels] without gaps, float32 or bfloat16, arithmetic in float. On a GPU its address
// is a multiple of 16.
#pragma once

#include "element.h"
#include "limits.h"

namespace copycat {

// input [pixels, 2 * channels] = (u, v) -> output [pixels, channels] = u * v.
struct Gate {
  int64_t pixels;
  int32_t channels;
  DType dtype;
  const void* input;
  void* output;
};

// gradient [pixels, channels] of Gate's output -> output [pixels, 2 * channels], that of its input.
struct GateGradient {
  int64_t pixels;
  int32_t channels;
  DType dtype;
  const void *input, *gradient;
  void* output;
};

// sum = x + branch * scale; normed = (sum - mean) / sqrt(variance + kNormEpsilon) * weight + bias, over the
// channels of each pixel. Without a branch sum is x and is not written; without a weight nothing is
// normalised.
struct ResidualNorm {
  int64_t pixels;
  int32_t channels;
  DType dtype;
  const void *x, *branch, *scale, *weight, *bias;
  void *sum, *normed;
};

// The gradients of ResidualNorm's arguments from those of its results. `sum` is its result, or x without a
// branch. Without a weight, x's gradient is that of sum and is not written.
struct ResidualNormGradient {
  int64_t pixels;
  int32_t channels;
  DType dtype;
  const void *sum, *branch, *scale, *weight;
  const void *sum_gradient, *normed_gradient;  // sum_gradient is null if only `normed` was used
  void *x_gradient, *branch_gradient;
  float* partial;  // room for partial_count x [3, channels]; each part sums as many pixels, in order
  int64_t partial_count;
  float* output;  // [3, channels]: of weight, bias and scale; 0 for an absent one
};

void run_on_cpu(const Gate& operation, int threads);
void run_on_cpu(const GateGradient& operation, int threads);
void run_on_cpu(const ResidualNorm& operation, int threads);
void run_on_cpu(const ResidualNormGradient& operation, int threads);

// The loops over pixels begin ... end - 1, compiled once per instruction set.
struct GatedBlockKernels {
  void (*gate)(const Gate&, int64_t begin, int64_t end);
  void (*gate_gradient)(const GateGradient&, int64_t begin, int64_t end);
  void (*residual_norm)(const ResidualNorm&, int64_t begin, int64_t end);
  // Writes the range's sums of the [3, channels] gradients.
  void (*residual_norm_gradient)(const ResidualNormGradient&, int64_t begin, int64_t end, float* sums);
};

extern const GatedBlockKernels kGatedBlockBaseline[2];  // float32, bfloat16
extern const GatedBlockKernels kGatedBlockAvx2[2];
extern const GatedBlockKernels kGatedBlockAvx512[2];

}  // namespace copycat
