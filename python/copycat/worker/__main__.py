"""``python -m copycat.worker DESCRIPTOR``: serves the plugin at the other end of that socket."""

from __future__ import annotations

import contextlib
import os
import sys

from copycat.data.memory import keep_memory, wait_politely


def main() -> None:
    """Runs the worker; the plugin starts it with the descriptor of its socket."""
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit("copycat.worker is started by the OpenFX plugin; usage: python -m copycat.worker DESCRIPTOR")
    descriptor = int(sys.argv[1])
    # A host opens files without the close-on-exec flag; none of them is the worker's business.
    close_from(descriptor + 1)
    wait_politely()
    keep_memory()
    from copycat.worker.greeting import greet

    channel, heartbeat = greet(descriptor)
    from copycat.worker.server import serve  # may take long on a network disk; the heart beats meanwhile

    serve(channel, heartbeat)


def close_from(first: int) -> None:
    """Closes every open descriptor from ``first`` on.

    It lists the open ones: where descriptors are unlimited, trying every number takes minutes.
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                if name.isdecimal() and int(name) >= first:
                    with contextlib.suppress(OSError):  # the listing's own is closed already
                        os.close(int(name))
            return
    os.closerange(first, 65536)


if __name__ == "__main__":
    main()
