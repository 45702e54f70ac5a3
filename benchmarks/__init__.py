"""One file per question; each prints a table and writes a result (``benchmarks.record``)."""

import contextlib

with contextlib.suppress(ImportError):  # `benchmarks.on_gpu` begins before copycat is built
    from copycat.data.memory import wait_politely

    wait_politely()  # as copycat's own processes do, and like them before torch is imported
