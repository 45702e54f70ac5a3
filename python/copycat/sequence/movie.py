"""Movie files as sequences: each frame of ``clip.mov`` has a path of its own, ``clip.mov/00001001``.

PyAV (extra ``movies``) decodes; everything else treats such a path as that of a file. Frame numbers come from the
movie's timecode, else they start at 1. Values are those of the decoded picture, display-referred: YUV is converted to
RGB with the matrix and range that the movie names; by default BT.709 from 720 lines on, BT.601 below, video range.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence.colour import from_integers
from copycat.sequence.error import SequenceError

EXTENSIONS = (".mov", ".mp4", ".mxf")
_DIGITS = 8
_DECODED_KEPT = 12  # frames: threads that read ahead request them slightly out of order
_OPEN_MOVIES = 8
_TIMECODE = re.compile(r"(\d+):(\d\d):(\d\d)([:;.])(\d\d+)")
_FULL_RANGE = 2
# From the numbers of ISO/IEC 23091-2 to those of FFmpeg's converter.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5


@dataclass(frozen=True)
class Movie:
    """What a movie file holds.

    Attributes:
        path: the file.
        width, height: in pixels.
        channels: R, G, B and A if it has alpha, or Y.
        bits: of a channel; more than 8 are delivered as 16.
        rate: frames per second.
        first: number of the first frame.
        times: presentation time of each frame, in the stream's units, rising.
        drop_frame: whether its timecode is drop-frame.
    """

    path: Path
    width: int
    height: int
    channels: tuple[str, ...]
    bits: int
    rate: Fraction
    first: int
    times: tuple[int, ...]
    drop_frame: bool = False

    @property
    def dtype(self) -> str:
        """Depth of the pixels: "uint8" or "uint16"."""
        return "uint8" if self.bits <= 8 else "uint16"

    @property
    def frames(self) -> range:
        """The frame numbers."""
        return range(self.first, self.first + len(self.times))


def is_movie(path: Path) -> bool:
    """Whether a path is that of a movie file that exists."""
    return path.suffix.lower() in EXTENSIONS and os.path.isfile(path)


def frame_path(movie: Path, frame: int) -> Path:
    """The path of a movie's frame."""
    return movie / f"{frame:0{_DIGITS}d}"


def split(path: Path) -> tuple[Path, int] | None:
    """Splits a movie frame's path into the movie file and the frame; None for any other path."""
    if path.parent.suffix.lower() not in EXTENSIONS or not re.fullmatch(r"-?\d+", path.name):
        return None
    return (path.parent, int(path.name)) if os.path.isfile(path.parent) else None


def file_of(path: Path) -> Path:
    """The file on disk: the movie of a movie's frame, else the path itself."""
    found = split(path)
    return found[0] if found else path


def exists(path: Path) -> bool:
    """Whether a file is there, or a movie that has the frame; one that cannot be read counts as there."""
    found = split(path)
    if not found:
        return path.exists()
    try:
        return found[1] in read_movie(found[0]).frames
    except SequenceError:
        return True


def read_movie(path: Path) -> Movie:
    """Reads the headers and the index of a movie; the last few movies are remembered.

    Raises:
        SequenceError: PyAV is missing, or the file holds no picture that it can decode.
    """
    return _decoder(path).movie


def read_pixels(path: Path, frame: int) -> NDArray[Any]:
    """Decodes a frame; any thread may call it.

    Returns:
        [H, W, C] uint8 or uint16, the full range of which is 0 to 1.

    Raises:
        SequenceError: the movie has no such frame, or is damaged there.
    """
    decoder = _decoder(path)
    return decoder.pixels(frame)


def close_movies() -> None:
    """Forgets the open movies, so that files which were written over without a trace are read anew."""
    _open.cache_clear()


class MovieSource:
    """A movie's frame, with the methods of OpenImageIO's ``ImageInput`` that `copycat.sequence` uses."""

    def __init__(self, path: Path, frame: int) -> None:
        """Decodes the frame.

        Raises:
            SequenceError: see ``read_pixels``.
        """
        self._movie, self._pixels = read_movie(path), read_pixels(path, frame)

    def format_name(self) -> str:
        """The format, as OpenImageIO would name it."""
        return "movie"

    def spec(self) -> Any:
        """The picture's ``ImageSpec``."""
        import OpenImageIO as oiio  # noqa: N813

        movie = self._movie
        spec = oiio.ImageSpec(movie.width, movie.height, len(movie.channels), movie.dtype)
        spec.channelnames = movie.channels
        return spec

    def read_scanlines(
        self, _part: int, _level: int, begin: int, end: int, _z: int, first: int, last: int, dtype: str
    ) -> NDArray[Any]:
        """Rows of some channels: integers as they are, or 0 to 1."""
        rows = self._pixels[begin:end, :, first:last]
        if dtype.startswith("uint"):
            return rows
        return from_integers(rows).astype(np.float16 if dtype == "half" else np.float32)

    def geterror(self) -> str:
        """Errors are raised, so there is none."""
        return ""

    def close(self) -> None:
        """Does nothing: the movie stays open for the next frame."""


def _decoder(path: Path) -> _Decoder:
    try:
        status = path.stat()
    except OSError as error:
        raise SequenceError(f"{path} cannot be read: {error.strerror}") from None
    return _open(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(_OPEN_MOVIES)
def _open(path: Path, *_status: int) -> _Decoder:
    return _Decoder(path)


class _Decoder:
    """An open movie. Threads share it: one at a time seeks and decodes, each converts its own frame."""

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError:
            raise SequenceError(
                f"{path} is a movie; reading it needs PyAV: pip install 'copycat-vfx[movies]'"
            ) from None
        self._path = path
        self._errors = (av.FFmpegError, OSError, ValueError)
        self._lock = threading.Lock()
        self._decoded: OrderedDict[int, Any] = OrderedDict()
        try:
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise SequenceError(f"{path} holds no picture")
            self._stream = self._container.streams.video[0]
            self._stream.thread_type = "AUTO"
            times = {
                packet.pts
                for packet in self._container.demux(self._stream)
                if packet.pts is not None and not packet.is_discard
            }
            if not times:
                raise SequenceError(f"{path} holds no picture")
            self._times = tuple(sorted(times))
            self._last = len(self._times)  # nothing has been decoded: seek first
            self._frames: Iterator[Any] = iter(())
            picture = self._at(0)
        except self._errors as error:
            raise self._unreadable(error) from None
        self.movie = self._describe(picture)

    def pixels(self, frame: int) -> NDArray[Any]:
        """See ``read_pixels``."""
        movie = self.movie
        if frame not in movie.frames:
            raise SequenceError(f"{self._path} has no frame {frame}; it has {movie.frames[0]}-{movie.frames[-1]}")
        try:
            with self._lock:
                picture = self._at(frame - movie.first)
            return self._converted(picture)
        except self._errors as error:
            raise self._unreadable(error, frame) from None

    def _describe(self, picture: Any) -> Movie:
        rate = Fraction(self._stream.average_rate or self._stream.guessed_rate or 24)
        components = picture.format.components
        alpha = any(component.is_alpha for component in components)
        grey = len(components) == 1 and not picture.format.is_rgb and "pal" not in picture.format.name
        return Movie(
            path=self._path,
            width=picture.width,
            height=picture.height,
            channels=("Y",) if grey else ("R", "G", "B", "A") if alpha else ("R", "G", "B"),
            bits=max(component.bits for component in components),
            rate=rate,
            first=self._first_frame(rate),
            times=self._times,
            drop_frame=(match := self._timecode()) is not None and match[4] != ":",
        )

    def _first_frame(self, rate: Fraction) -> int:
        """The number of the first frame: its timecode in frames, or 1."""
        match = self._timecode()
        if match is None:
            return 1
        hours, minutes, seconds, frames = (int(match[i]) for i in (1, 2, 3, 5))
        base = round(rate)
        number = ((hours * 60 + minutes) * 60 + seconds) * base + frames
        if match[4] != ":":  # drop frame: two of 30 numbers are left out each minute but every tenth (SMPTE ST 12-1)
            total = hours * 60 + minutes
            number -= round(base / 15) * (total - total // 10)
        return number

    def _timecode(self) -> re.Match[str] | None:
        holders = (self._stream, self._container, *self._container.streams)
        found = (_TIMECODE.fullmatch(holder.metadata.get("timecode", "")) for holder in holders)
        return next(filter(None, found), None)

    def _at(self, index: int) -> Any:
        """The decoded picture of the frame with this index; call with the lock held."""
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        if not self._last < index <= self._last + 2 * _DECODED_KEPT:
            self._container.seek(self._times[index], stream=self._stream)
            self._frames = self._container.decode(self._stream)
        time = self._times[index]
        for picture in self._frames:
            if picture.pts is None:
                continue
            found = self._index(picture.pts)
            self._last = found
            self._decoded[found] = picture
            while len(self._decoded) > _DECODED_KEPT:
                self._decoded.popitem(last=False)
            if picture.pts >= time:
                if picture.pts == time:
                    return picture
                break
        self._last = len(self._times)
        raise ValueError("the picture cannot be decoded")

    def _index(self, time: int) -> int:
        return int(np.searchsorted(self._times, time))

    def _converted(self, picture: Any) -> NDArray[Any]:
        """[H, W, C] of a picture in RGB, with alpha if it has any."""
        movie = self.movie
        deep = movie.bits > 8
        name = {1: ("gray", "gray16le"), 3: ("rgb24", "rgb48le"), 4: ("rgba", "rgba64le")}[len(movie.channels)][deep]
        options: dict[str, Any] = {}
        if not picture.format.is_rgb:
            full = int(picture.color_range) == _FULL_RANGE or picture.format.name.startswith("yuvj")
            default = _BT709 if picture.height >= 720 else _BT601
            options = {
                "src_colorspace": _MATRICES.get(int(picture.colorspace), default),
                "src_color_range": "JPEG" if full else "MPEG",
                "dst_color_range": "JPEG",
            }
        # A converter of its own: threads that request the same frame would share the picture's.
        from av.video.reformatter import VideoReformatter

        converted = VideoReformatter().reformat(picture, format=name, threads=1, **options)
        pixels: NDArray[Any] = converted.to_ndarray()
        return pixels.reshape(movie.height, movie.width, len(movie.channels))

    def _unreadable(self, error: BaseException, frame: int | None = None) -> SequenceError:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        where = "" if frame is None else f" at frame {frame}"
        return SequenceError(f"{self._path} cannot be read{where}: {reason}")
