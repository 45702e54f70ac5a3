// A 1x1 convolution to four times the channels, whose result is shuffled to twice the width and height and
// added to a picture of that size, in one pass over memory; without gradients. On the CPU only.
#pragma once

#include "conv3x3.h"

namespace copycat {

// skip[b, 2y + dy, 2x + dx, c] += weight[4c + 2dy + dx, i] * x[b, y, x, i], summed up over i.
struct AddEnlarged {
  int32_t batch, height, width, channels_in, channels;  // height and width of x; multiples of 16 channels
  DType dtype;                                          // float32 or bfloat16
  const void *x, *weight;  // [batch, height, width, channels_in], [4 * channels, channels_in]
  void* skip;              // [batch, 2 * height, 2 * width, channels]

  int64_t pixels() const { return static_cast<int64_t>(batch) * height * width; }
};

// Runs where conv3x3_is_fast. The result does not depend on the number of threads.
void run_on_cpu(const AddEnlarged& operation, int threads);

// The loops, compiled once per instruction set.
struct AddEnlargedKernels {
  void (*arrange)(const AddEnlarged&, void* weights);  // weights_bytes bytes
  int64_t (*weights_bytes)(const AddEnlarged&);
  // Computes what becomes of x's pixels begin ... end - 1. scratch: scratch_bytes bytes.
  void (*compute)(const AddEnlarged&, const void* weights, int64_t begin, int64_t end, void* scratch);
  int64_t (*scratch_bytes)(const AddEnlarged&);
};

void run_with(const AddEnlargedKernels&, const AddEnlarged&, int threads);

extern const AddEnlargedKernels kAddEnlargedAvx2;        // float32
extern const AddEnlargedKernels kAddEnlargedAvx512;      // float32
extern const AddEnlargedKernels kAddEnlargedAvx512Bf16;  // bfloat16

}  // namespace copycat
