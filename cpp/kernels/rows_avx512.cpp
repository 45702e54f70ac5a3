// The row loops for x86-64 with AVX-512 F, BW, DQ and VL.
#define COPYCAT_ROWS kRowsAvx512
#define COPYCAT_ROWS_NAME "avx512"
#include "rows.inc"
