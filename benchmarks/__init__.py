"""One file per question; each prints a table and writes a result (``benchmarks.record``)."""
