"""Writes a frame whole: under a hidden name in its folder, synced, then renamed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat import system_files
from copycat.sequence.colour import to_integers
from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo, Window, intersect, library_name, opened, pending_error, read_info, reason
from copycat.sequence.layout import Layout, OutputPart
from copycat.sequence.reading import STRIP_ROWS, read_rows, strip_rows, to_half

_TEMPORARY = re.compile(r"\.copycat-[0-9a-f]{16}(\..*)?")


def write_frame(
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
    """Writes a frame, whole or not at all, and makes its folder.

    Args:
        path: the file; the extension gives the format.
        pixels: ``[H, W, C]`` in the size of the display window or, with ``origin``, beyond it; origin top-left, float32
            or float16. Formats of
            integers take 0..1: values are clamped and rounded, NaN becomes 0. In half files finite values are clamped
            to its range.
        channels: names of the C channels.
        like: the frame that the pixels are made from. It gives windows, depth and metadata (``metadata.py`` says
            which). An EXR file has pixels where ``like`` has some.
        dtype: "half", "float", "uint8" or "uint16"; None for that of ``like`` if the format has it, else half for
            EXR, 10 bits for DPX and 8 bits for others.
        passthrough: whether to copy the other channels of ``like``: in EXR files all channels and parts, in other
            formats the alpha, if they can hold it.
        compression: as OpenImageIO spells it ("zip", "dwaa:45", "jpeg:90"); None for that of ``like``, else zip for
            EXR and TIFF, quality 95 for JPEG.
        origin: x, y of the first pixel relative to the display window, as ``Frame.origin`` of a frame read with its
            overscan. EXR files keep what lies outside the display window.

    Raises:
        SequenceError: the file cannot be written, or the arguments do not fit each other; no file is left behind.
    """
    path = Path(path)
    remove_leftovers(path.parent)
    write_whole_frame(path, pixels, channels, like, dtype, passthrough, compression, origin)


def write_whole_frame(
    path: Path,
    pixels: NDArray[Any],
    channels: Sequence[str],
    like: FrameInfo | None,
    dtype: str | None,
    passthrough: bool,
    compression: str | None,
    origin: tuple[int, int],
) -> None:
    """``write_frame`` that leaves other hidden files in the folder alone."""
    import OpenImageIO as oiio  # noqa: N813

    if pixels.ndim != 3 or pixels.shape[2] != len(channels) or not channels:
        raise SequenceError(f"{path}: pixels of shape {pixels.shape} do not hold the channels {', '.join(channels)}")
    target = oiio.ImageOutput.create(f"frame{path.suffix}")
    if target is None:
        oiio.geterror()  # the library prints unfetched messages at exit
        raise SequenceError(f"{path} cannot be written: {path.suffix or 'no extension'} is no image format")
    region = (*origin, origin[0] + pixels.shape[1], origin[1] + pixels.shape[0])
    room = 1024 if target.supports("nchannels") else 4 if target.supports("alpha") else 3
    layout = Layout(
        path=path,
        format=target.format_name(),
        region=region,
        channels=channels,
        like=like,
        dtype=dtype,
        passthrough=passthrough,
        compression=compression,
        room=room,
    )
    parts = layout.parts()
    with replacing(path) as (temporary, descriptor):
        with _reachable(temporary, descriptor, layout.format) as name:
            _write(target, name, parts, pixels, region, like, path)
        try:
            read_info(temporary)
        except SequenceError as error:  # some libraries report success for an empty file
            raise SequenceError(f"{path} cannot be written: {layout.format} wrote no complete file") from error


def check_writable(paths: Iterable[Path]) -> None:
    """Makes the folders of files to be written, and refuses files that cannot be.

    Raises:
        SequenceError: the folder cannot be made or written, or the name is too long or that of something else.
    """
    folders: set[Path] = set()
    for path in paths:
        with _system_errors(path):
            _prepare(path)
            if path.parent not in folders:
                folders.add(path.parent)
                with _temporary_in(path.parent, path.suffix):
                    pass


def _prepare(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "directory" if stat.S_ISDIR(mode) else "FIFO or device"
            raise SequenceError(f"{path} cannot be written: a {kind} has this name")


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """Turns errors of the system, and Python's about impossible file names, into a SequenceError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SequenceError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[tuple[Path, int]]:
    """Makes a hidden file beside ``path`` that replaces it in the end, or is removed if something fails.

    Yields:
        The hidden file and a descriptor of it.
    """
    with _system_errors(path):
        _prepare(path)
        with _temporary_in(path.parent, path.suffix) as hidden:
            try:
                yield hidden.path, hidden.descriptor
            except SequenceError:
                # The image libraries do not say why the system took no more bytes; the system itself does.
                with open(hidden.path, "ab") as file:
                    file.write(bytes(1 << 20))
                raise
            os.fsync(hidden.descriptor)
            if not system_files.REMOVES_OPEN_FILES:
                hidden.close()
            system_files.replace(hidden.path, path)
        with suppress(OSError):  # not every file system can sync a directory
            _sync(path.parent)


class _Hidden:
    """A hidden file that this process holds open, and locked where files can be locked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | system_files.ALWAYS, 0o666)

    def close(self) -> None:
        """Closes it, once."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


@contextmanager
def _temporary_in(folder: Path, suffix: str) -> Iterator[_Hidden]:
    """Makes a hidden file and locks it; removes it in the end unless it was renamed."""
    while True:
        hidden = _Hidden(folder / f".copycat-{secrets.token_hex(8)}{suffix}")
        try:
            with suppress(OSError):  # where files cannot be locked, nobody takes this one for a leftover
                system_files.lock(hidden.descriptor)
            if os.fstat(hidden.descriptor).st_nlink == 0:
                continue  # another process took it for a leftover before it was locked
            try:
                yield hidden
            finally:
                if not system_files.REMOVES_OPEN_FILES:
                    hidden.close()
                with suppress(OSError):
                    hidden.path.unlink()
            return
        finally:
            hidden.close()


def remove_leftovers(folder: Path) -> None:
    """Removes the hidden files of killed writers: those that nobody locks any more."""
    flags = system_files.NO_LINK | system_files.NO_WAIT | system_files.ALWAYS
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    descriptor = os.open(entry.path, os.O_RDWR | flags)
                    try:
                        left = system_files.try_lock(descriptor)
                        if left and system_files.REMOVES_OPEN_FILES:
                            os.unlink(entry.path)
                    finally:
                        os.close(descriptor)
                    if left and not system_files.REMOVES_OPEN_FILES:
                        os.unlink(entry.path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reachable(path: Path, descriptor: int, format_name: str) -> Iterator[str]:
    """Gives the name under which OpenImageIO writes the file.

    Few of its libraries report a full disk, and the one for JPEG ends the process. So all formats but EXR, whose files
    are small, are written to memory first. (The JPEG 2000 library cannot do that.)
    """
    if format_name in ("openexr", "jpeg2000"):
        yield library_name(path, descriptor)
        return
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("copycat")
        name = f"/proc/self/fd/{memory}"
    else:
        memory, name = tempfile.mkstemp()
    try:
        yield name
        with open(name, "rb") as source, open(path, "wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    finally:
        os.close(memory)
        with suppress(OSError):
            os.unlink(name)


def _write(
    target: Any,
    name: str,
    parts: list[OutputPart],
    pixels: NDArray[Any],
    region: Window,
    like: FrameInfo | None,
    path: Path,
) -> None:
    def check(done: bool) -> None:
        if not done:
            raise SequenceError(f"{path} cannot be written: {reason(pending_error(target))}")

    old = opened(like.path) if like is not None and any(part.kept for part in parts) else nullcontext()
    with old as source, _closing(target):
        specs = [part.spec for part in parts]
        check(target.open(name, specs) if len(specs) > 1 else target.open(name, specs[0]))
        for index, part in enumerate(parts):
            if index:
                check(target.open(name, part.spec, "AppendSubimage"))
            for y, rows in _strips(part, pixels, region, source, like):
                check(target.write_scanlines(y, y + rows.shape[0], 0, rows))
        check(target.close())


@contextmanager
def _closing(target: Any) -> Iterator[None]:
    try:
        yield
    finally:
        target.close()


def _strips(
    part: OutputPart, pixels: NDArray[Any], region: Window, source: Any, like: FrameInfo | None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Assembles the rows of a part: (first row in the file's coordinates, ``[rows, width, channels]``)."""
    spec = part.spec
    formats = [str(f) for f in spec.channelformats] or [str(spec.format)] * spec.nchannels
    whole = set(formats) == {"uint"}
    if "uint" in formats and not whole:
        names = ", ".join(n for n, f in zip(spec.channelnames, formats, strict=True) if f == "uint")
        raise SequenceError(f"{like and like.path}: 32 bit integers ({names}) cannot be copied beside other channels")
    old = like.parts[part.old] if like is not None and part.old is not None and part.kept else None
    left, top, right, bottom = part.window
    x0, y0, x1, y1 = intersect(region, part.window)
    x, y = region[:2]
    step = strip_rows(old.spec) if old else STRIP_ROWS
    for start in range(top, bottom, step):
        stop = min(start + step, bottom)
        rows = np.zeros((stop - start, right - left, spec.nchannels), np.uint32 if whole else np.float32)
        if old and like is not None and part.old is not None:
            a, b, c, d = intersect(old.data_window, (left, start, right, stop))
            if b < d:
                everything = (0, len(old.channels))
                strip = read_rows(source, like.path, part.old, old, (b, d), everything, "uint" if whole else "float")
                begin = old.data_window[0]
                for at, index in part.kept:
                    rows[b - start : d - start, a - left : c - left, at] = strip[:, a - begin : c - begin, index]
        first, last = max(start, y0), min(stop, y1)
        for at, channel in part.model if first < last else ():
            fresh = pixels[first - y : last - y, x0 - x : x1 - x, channel]
            fresh = to_half(fresh) if formats[at] == "half" else fresh
            rows[first - start : last - start, x0 - left : x1 - left, at] = fresh
        yield (
            spec.y + start - top,
            rows
            if formats[0] not in ("uint8", "uint16")
            else to_integers(rows, formats[0], spec.get_int_attribute("oiio:BitsPerSample")),
        )
