// The row loops for x86-64 with AVX2.
#define COPYCAT_ROWS kRowsAvx2
#define COPYCAT_ROWS_NAME "avx2"
#include "rows.inc"
