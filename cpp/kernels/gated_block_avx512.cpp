// The loops of a gated block for x86-64 with AVX-512 F, BW, DQ and VL.
#define COPYCAT_GATED_BLOCK kGatedBlockAvx512
#include "gated_block.inc"
