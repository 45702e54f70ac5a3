"""Checks the files of a render before it starts: nothing that was read is overwritten, and each can be written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813

from copycat.errors import CopycatError
from copycat.sequence import SequenceError, check_writable, read_frame, read_info, write_frame
from copycat.sequence.movie import file_of


def check_outputs(
    outputs: Iterable[Path], inputs: Iterable[Path], channels: Sequence[str], compression: str = ""
) -> None:
    """Refuses outputs that would fail or destroy something.

    Args:
        outputs: files to write; their folders are made.
        inputs: files that were read, or belong to a sequence that was read.
        channels: names of the channels to write.
        compression: of the files, as OpenImageIO names it.

    Raises:
        SequenceError: an output is one of the inputs, in whatever spelling, is of no image format or of one without
            room for the channels, or its folder cannot be written.
    """
    outputs = list(outputs)
    check_overwriting(outputs, inputs)
    check_writable(outputs)
    longest = max(outputs, key=lambda path: len(path.name))
    _rehearse(longest, channels, compression)


def check_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises SequenceError if an output is the same file as an input: by another path, a link or a hard link."""
    read = {}
    for path in inputs:
        with suppress(OSError):
            status = file_of(path).stat()
            read[status.st_dev, status.st_ino] = path
    for path in outputs:
        with suppress(OSError):
            status = path.stat()
            source = read.get((status.st_dev, status.st_ino))
            if source:
                same = "" if path == source else f", which is {source}"
                raise SequenceError(f"{path}: the output would overwrite a file that is read{same}")


def is_whole(path: Path, channels: Sequence[str]) -> bool:
    """Whether an output exists with these channels and can be read to its last pixel."""
    try:
        info = read_info(path)
        if info.format == "openexr" and not set(channels) <= set(info.channels):
            return False
        read_frame(path, info.channels)
    except CopycatError:
        return False
    return True


def is_newer(path: Path, sources: Iterable[Path]) -> bool:
    """Whether a file exists and was written after all of its sources."""
    try:
        return path.stat().st_mtime_ns >= max(file_of(source).stat().st_mtime_ns for source in sources)
    except OSError:
        return False


def _rehearse(path: Path, channels: Sequence[str], compression: str) -> None:
    """Raises SequenceError if the file's format cannot hold the channels, by writing a small picture elsewhere."""
    with tempfile.TemporaryDirectory(prefix="copycat-") as folder:
        small = Path(folder) / f"rehearsal{path.suffix}"
        try:
            write_frame(small, np.zeros((16, 16, len(channels)), np.float32), channels, compression=compression or None)
        except SequenceError as error:
            raise SequenceError(str(error).replace(str(small), str(path))) from None
        finally:
            oiio.geterror()  # the library prints what nobody has fetched
