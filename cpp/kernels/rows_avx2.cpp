// The row loops for x86-64 with AVX2 and F16C.
#define COPYCAT_ROWS kRowsAvx2
#define COPYCAT_ROWS_NAME "avx2"
#include "rows.inc"
#define COPYCAT_GATED_BLOCK kGatedBlockAvx2
#include "gated_block.inc"
