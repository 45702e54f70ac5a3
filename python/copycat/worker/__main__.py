"""``python -m copycat.worker DESCRIPTOR``: serves the plugin at the other end of that socket."""

from __future__ import annotations

import os
import sys

from copycat.data.memory import keep_memory, wait_politely


def main() -> None:
    """Runs the worker; the plugin starts it with the descriptor of its socket."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit("copycat.worker is started by the OpenFX plugin; usage: python -m copycat.worker DESCRIPTOR")
    descriptor = int(sys.argv[1])
    # A host opens files without the close-on-exec flag; none of them is the worker's business.
    os.closerange(descriptor + 1, max(os.sysconf("SC_OPEN_MAX"), 4096))
    wait_politely()
    keep_memory()
    from copycat.worker.server import serve

    serve(descriptor)


if __name__ == "__main__":
    main()
