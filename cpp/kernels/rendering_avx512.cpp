// The loops of what only rendering needs in float32 for x86-64 with AVX-512 F.
#define COPYCAT_WHOLE_BLOCK kWholeBlockAvx512
#define COPYCAT_ADD_ENLARGED kAddEnlargedAvx512
#define COPYCAT_WIDTH 16
#define COPYCAT_SUMS 24
#define COPYCAT_NUMBERS Float32
#include "add_enlarged.inc"
#include "whole_block.inc"
