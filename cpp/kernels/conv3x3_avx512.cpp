// The loops of a 3x3 convolution in float32 for x86-64 with AVX-512 F.
#define COPYCAT_CONV3X3 kConv3x3Avx512
#define COPYCAT_WIDTH 16
#define COPYCAT_SUMS 24
#define COPYCAT_NUMBERS Float32
#include "conv3x3.inc"
