// The inner loops of the CPU launchers: one row of pixels at a time, compiled once per instruction set.
#pragma once

#include "operations.h"

namespace copycat {

// Elements handled together; small enough for the first cache, whole pixels only.
inline constexpr int kBlock = 256;

// The length in elements of the longest run of whole pixels within `most_elements`. A multiple of 16 where
// possible: a loop handles the elements after its last full vector one by one.
COPYCAT_HD int block_length(int channels, int most_elements) {
  int pixels = 1;
  while (pixels * channels % 16 != 0) ++pixels;
  const int unit = pixels * channels <= most_elements ? pixels * channels : channels;
  return most_elements / unit * unit;
}

// Per-element copies of a channel's numbers for a block: flat loops over them vectorise at any channel count.
// forward: (signed_log(x, scale) - subtract) * multiply; inverse: signed_exp(y * multiply + add, scale,
// inverse_scale).
struct BlockEncoding {
  int channels;
  int length;  // a multiple of channels, at most kBlock
  bool any_log;
  bool inverse;
  float scale[kBlock];
  float inverse_scale[kBlock];
  float offset[kBlock];
  float multiply[kBlock];
};

BlockEncoding expand(const Encoding& encoding, int channels, bool inverse);

// Pixels at any strides, counted in elements.
struct Row {
  const void* first;
  int64_t pixels;
  int channels;
  int64_t pixel_stride, channel_stride;
};

struct RowKernels {
  const char* name;
  void (*recode[kInputTypes][kOutputTypes])(const Row& row, const BlockEncoding& encoding, void* output);
  // Grades the layers, then encodes.
  void (*grade[kInputTypes][kOutputTypes])(const Row& row, const Grade& grade, const Layers& layers,
                                           const BlockEncoding& encoding, void* output);
  // `rows` rows that are `row_stride` elements apart become one of ceil(pixels / factor).
  void (*downsize[kInputTypes])(const Row& row, int rows, int64_t row_stride, int factor, void* output);
  // Joins the row's finite values into moments[channels].
  void (*moments[kInputTypes])(const Row& row, Moments* moments);
};

extern const RowKernels kRowsBaseline;
extern const RowKernels kRowsAvx2;
extern const RowKernels kRowsAvx512;

// The widest that this processor runs; COPYCAT_ISA=baseline, avx2 or avx512 selects a narrower one.
const RowKernels& row_kernels();

}  // namespace copycat
