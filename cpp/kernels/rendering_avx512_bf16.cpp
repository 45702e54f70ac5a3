// The loops of what only rendering needs in bfloat16 for x86-64 with AVX-512 F and BF16.
#include <immintrin.h>
#define COPYCAT_WHOLE_BLOCK kWholeBlockAvx512Bf16
#define COPYCAT_ADD_ENLARGED kAddEnlargedAvx512Bf16
#define COPYCAT_WIDTH 16
#define COPYCAT_SUMS 24
#define COPYCAT_NUMBERS BFloat16
#include "add_enlarged.inc"
#include "whole_block.inc"
