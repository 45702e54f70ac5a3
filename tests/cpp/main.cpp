// Runs the tests of the kernels.
#include "check.h"

int main() { return check::run_all(); }
