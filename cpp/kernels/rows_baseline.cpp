// The row loops for what every processor of its kind has.
#define COPYCAT_ROWS kRowsBaseline
#define COPYCAT_ROWS_NAME "baseline"
#include "rows.inc"
