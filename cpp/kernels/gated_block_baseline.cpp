// The loops of a gated block for what every processor of its kind has.
#define COPYCAT_GATED_BLOCK kGatedBlockBaseline
#include "gated_block.inc"
