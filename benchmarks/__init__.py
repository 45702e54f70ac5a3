"""One file per question; each prints a table and writes a result (``benchmarks.record``)."""

from copycat.data.memory import wait_politely

wait_politely()  # as copycat's own processes do, and like them before torch is imported
