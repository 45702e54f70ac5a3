// The row loops for any processor of the architecture.
#define COPYCAT_ROWS kRowsBaseline
#define COPYCAT_ROWS_NAME "baseline"
#include "rows.inc"
#define COPYCAT_GATED_BLOCK kGatedBlockBaseline
#include "gated_block.inc"
