// The loops of a 3x3 convolution in float32 for x86-64 with AVX2 and FMA.
#define COPYCAT_CONV3X3 kConv3x3Avx2
#define COPYCAT_WIDTH 8
#define COPYCAT_SUMS 12
#define COPYCAT_NUMBERS Float32
#include "conv3x3.inc"
