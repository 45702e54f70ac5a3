"""Reads and writes frames in threads while the caller computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from copycat.machine import usable_cores
from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo
from copycat.sequence.reading import Frame, read_frame
from copycat.sequence.writing import remove_leftovers, write_whole_frame


def read_frames_parallel(
    paths: Sequence[str | Path],
    channels: Sequence[str],
    dtype: DTypeLike = np.float32,
    *,
    out: NDArray[Any] | None = None,
    threads: int | None = None,
    look_ahead: int | None = None,
    overscan: bool = False,
) -> Iterator[Frame]:
    """Reads frames in threads and yields them in order.

    Args:
        paths: the files.
        channels: full channel names, the same for all files.
        dtype: float32 or float16.
        out: a bank ``[N, H, W, C]``; frame i is read into ``out[i]``.
        threads: how many frames are read at a time; None = one for each usable core, 4 at most.
        look_ahead: how many frames may be read or wait beyond the one last yielded; None = one for each thread.
        overscan: whether pixels outside the display window are read too.

    Yields:
        The frames in the order of ``paths``.

    Raises:
        SequenceError: in the turn of a frame that cannot be read, after all frames before it.
    """
    threads = threads or min(4, usable_cores())
    ahead = max(1, threads if look_ahead is None else look_ahead)
    pending: deque[Future[Frame]] = deque()
    with ThreadPoolExecutor(threads, "copycat-read") as pool:
        try:
            for index, path in enumerate(paths):
                target = None if out is None else out[index]
                pending.append(pool.submit(read_frame, path, channels, dtype, target, overscan=overscan))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


class Writer:
    """Writes frames in threads while the caller computes the next ones.

    A context manager: leaving it waits until all frames are on disk. The next ``submit``, or leaving, raises the first
    failure and drops the frames that no thread has started. One thread may call it.
    """

    def __init__(self, threads: int = 2, pending: int | None = None) -> None:
        """Starts the threads.

        Args:
            threads: frames written at a time.
            pending: frames not yet on disk at which ``submit`` waits; None for one more than there are threads.
        """
        self._pool = ThreadPoolExecutor(threads, "copycat-write")
        self._pending: set[Future[None]] = set()
        self._folders: set[Path] = set()
        self._most = max(1, threads + 1 if pending is None else pending)

    def submit(
        self,
        path: str | Path,
        pixels: NDArray[Any],
        channels: Sequence[str],
        *,
        like: FrameInfo | None = None,
        dtype: str | None = None,
        passthrough: bool = False,
        compression: str | None = None,
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        """Queues a frame; the arguments are those of ``write_frame``. ``pixels`` must not change afterwards.

        Raises:
            SequenceError: an earlier frame could not be written.
        """
        while len(self._pending) >= self._most:
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        self._collect({future for future in self._pending if future.done()})
        path = Path(path)
        if path.parent not in self._folders:
            self._folders.add(path.parent)
            remove_leftovers(path.parent)
        arguments = path, pixels, channels, like, dtype, passthrough, compression, origin
        self._pending.add(self._pool.submit(write_whole_frame, *arguments))

    def close(self) -> None:
        """Waits until all frames are on disk.

        Raises:
            SequenceError: a frame could not be written.
        """
        try:
            while self._pending:
                self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._pending.clear()

    def __enter__(self) -> Writer:
        """Returns the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for all frames; an error of the body takes precedence over one of theirs."""
        try:
            self.close()
        except SequenceError:
            if error is None:
                raise

    def _collect(self, done: set[Future[None]]) -> None:
        self._pending -= done
        for future in done:
            future.result()
