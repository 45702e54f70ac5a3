// The loops of a 3x3 convolution in bfloat16 for x86-64 with AVX-512 F and BF16.
#include <immintrin.h>
#define COPYCAT_CONV3X3 kConv3x3Avx512Bf16
#define COPYCAT_WIDTH 16
#define COPYCAT_SUMS 24
#define COPYCAT_NUMBERS BFloat16
#include "conv3x3.inc"
