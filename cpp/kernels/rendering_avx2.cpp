// The loops of what only rendering needs in float32 for x86-64 with AVX2 and FMA.
#define COPYCAT_WHOLE_BLOCK kWholeBlockAvx2
#define COPYCAT_ADD_ENLARGED kAddEnlargedAvx2
#define COPYCAT_WIDTH 8
#define COPYCAT_SUMS 12
#define COPYCAT_NUMBERS Float32
#include "add_enlarged.inc"
#include "whole_block.inc"
