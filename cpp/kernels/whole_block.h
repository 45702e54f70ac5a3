// A gated block without gradients, as rendering needs it, in one pass over memory: what lies between its
// convolutions never leaves the cache. The 3x3 convolution is conv3x3.h's. On the CPU only.
#pragma once

#include "conv3x3.h"

namespace copycat {

// A normalisation, a convolution to twice the channels, the product of their halves, and a convolution of it
// that is scaled and added to the block's input.
struct BlockHalf {
  const void *norm_weight, *norm_bias;    // [channels]
  const void *inner_weight, *inner_bias;  // [2 * channels, 3, 3, channels], or 1x1: [2 * channels, channels]
  const void *outer_weight, *outer_bias;  // [channels, channels]
  const void* scale;                      // [channels]
};

// x, output [batch, height, width, channels]; they must not overlap.
struct WholeBlock {
  int32_t batch, height, width, channels;
  DType dtype;  // float32 or bfloat16
  BlockHalf spatial, pointwise;
  const void* x;
  void* output;
};

// Runs where conv3x3_is_fast. The result does not depend on the number of threads.
void run_on_cpu(const WholeBlock& operation, int threads);

// --- the loops, compiled once per instruction set -------------------------------------------------

// A tile is some groups of patches, one below the other; a group goes through all stages at once.
inline constexpr int kPatchesAcross = 16, kPatchesDown = kPatches / kPatchesAcross;
inline constexpr int kTileWidth = 2 * kPatchesAcross, kTileGroups = 4;
inline constexpr int kTileHeight = 2 * kPatchesDown * kTileGroups;

struct WholeBlockKernels {
  // Writes all weights in the order in which they are multiplied: weights_bytes bytes.
  void (*arrange)(const WholeBlock&, void* weights);
  int64_t (*weights_bytes)(int channels);
  // Computes the tile whose top left pixel is (x, y) of a picture. scratch: scratch_bytes bytes.
  void (*compute)(const WholeBlock&, const void* weights, int picture, int y, int x, void* scratch);
  int64_t (*scratch_bytes)(int channels);
};

void run_with(const WholeBlockKernels&, const WholeBlock&, int threads);

extern const WholeBlockKernels kWholeBlockAvx2;        // float32
extern const WholeBlockKernels kWholeBlockAvx512;      // float32
extern const WholeBlockKernels kWholeBlockAvx512Bf16;  // bfloat16

}  // namespace copycat
