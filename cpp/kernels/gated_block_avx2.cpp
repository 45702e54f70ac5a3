// The loops of a gated block for x86-64 with AVX2.
#define COPYCAT_GATED_BLOCK kGatedBlockAvx2
#include "gated_block.inc"
