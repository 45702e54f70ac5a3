"""Writes a result as a ProRes movie with the plate's timing: rate, and frame numbers as its timecode.

PyAV (extra ``movies``) encodes with FFmpeg's ``prores_ks``: 10 bits, BT.709, video range. ProRes holds display-referred
values; scene-linear colour goes through the sRGB curve. The movie is written whole or not at all, and read again it has
the plate's frame numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copycat.sequence.colour import srgb, to_integers
from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo, opened
from copycat.sequence.movie import read_movie, split
from copycat.sequence.writing import check_writable, remove_leftovers, replacing

EXTENSION = ".mov"
PROFILES = {"proxy": "0", "lt": "1", "standard": "2", "hq": "3", "4444": "4", "4444xq": "5"}
_RATE = Fraction(24)
_RATE_NAMES = ("FramesPerSecond", "dpx:FrameRate", "dpx:TemporalFrameRate")
_BT709, _VIDEO_RANGE = 1, 1


class MovieWriter:
    """Writes the frames of a movie in their order. A context manager; an error within leaves no file."""

    def __init__(self, path: Path, frames: Sequence[int], channels: Sequence[str], compression: str = "") -> None:
        """Writes nothing yet.

        Args:
            path: the .mov.
            frames: the numbers of all frames.
            channels: R, G and B in this order, a fourth for alpha; or one, which becomes grey.
            compression: a key of PROFILES; by default hq, 4444 with alpha.

        Raises:
            SequenceError: these frames or channels do not fit into a movie, or PyAV is missing.
        """
        try:
            import av  # noqa: F401
        except ImportError:
            raise SequenceError(
                f"{path} is a movie; writing it needs PyAV: pip install 'copycat-vfx[movies]'"
            ) from None
        if path.suffix.lower() != EXTENSION:
            raise SequenceError(f"{path}: a movie is written as ProRes in a .mov, not {path.suffix}")
        if len(channels) not in (1, 3, 4):
            raise SequenceError(f"{path}: ProRes holds R, G, B and alpha, not {','.join(channels)}")
        if list(frames) != list(range(frames[0], frames[0] + len(frames))) or frames[0] < 0:
            raise SequenceError(f"{path}: a movie holds consecutive frames from 0 on; write an image sequence instead")
        profile = compression or ("4444" if len(channels) == 4 else "hq")
        fitting = [name for name in PROFILES if len(channels) != 4 or name.startswith("4444")]
        if profile not in fitting:
            named = ", ".join(fitting)
            raise SequenceError(f"{path}: the compression of this movie is one of {named}, not {compression!r}")
        check_writable([path])
        self._path, self._first, self._profile = path, frames[0], profile
        self._alpha = len(channels) == 4
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._count = 0

    def submit(
        self,
        path: str | Path,
        pixels: NDArray[Any],
        channels: Sequence[str],
        *,
        like: FrameInfo,
        origin: tuple[int, int] = (0, 0),
        **_others: Any,
    ) -> None:
        """Encodes the next frame; the arguments are those of `stream.Writer.submit`. Overscan is left out.

        Raises:
            SequenceError: it cannot be written, or has another size than the first.
        """
        x, y = -origin[0], -origin[1]
        picture = pixels[y : y + like.height, x : x + like.width]
        with self._errors():
            if self._container is None:
                self._open(picture.shape[1], picture.shape[0], like)
            if (self._stream.width, self._stream.height) != (picture.shape[1], picture.shape[0]):
                raise SequenceError(
                    f"{like.path} is {like.width} x {like.height}, the movie {self._path} is {self._stream.width} x "
                    f"{self._stream.height}"
                )
            self._encode(self._display_referred(picture, like.linear))

    def __enter__(self) -> MovieWriter:
        """Returns the writer."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the movie and gives it its name, or removes what there is of it after an error."""
        if error is None and self._container is not None:
            try:
                with self._errors():
                    for packet in self._stream.encode():
                        self._container.mux(packet)
                    self._container.close()
            except SequenceError as failure:
                self._stack.__exit__(type(failure), failure, failure.__traceback__)
                raise
        elif self._container is not None:
            with contextlib.suppress(Exception):  # the first failure is the one to report
                self._container.close()
        self._stack.__exit__(kind, error, trace)

    def _open(self, width: int, height: int, like: FrameInfo) -> None:
        import av

        remove_leftovers(self._path.parent)
        temporary, _ = self._stack.enter_context(replacing(self._path))
        rate, drop = _timing(like.path)
        self._container = av.open(str(temporary), "w", format="mov")
        self._stream = self._container.add_stream("prores_ks", rate=rate)
        stream, full = self._stream, self._profile.startswith("4444") or width % 2 == 1
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuva444p10le" if self._alpha else "yuv444p10le" if full else "yuv422p10le"
        profile = self._profile if self._profile.startswith("4444") or not full else "4444"
        stream.options = {"profile": PROFILES[profile], "vendor": "apl0"}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _VIDEO_RANGE
        stream.metadata["timecode"] = timecode(self._first, rate, drop)

    def _encode(self, picture: NDArray[np.uint16]) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(picture), format="rgba64le" if self._alpha else "rgb48le"
        )
        frame = VideoReformatter().reformat(
            frame,
            format=self._stream.pix_fmt,
            src_color_range="JPEG",
            dst_color_range="MPEG",
            dst_colorspace=_BT709,
        )
        frame.colorspace, frame.color_range = _BT709, _VIDEO_RANGE
        frame.pts, frame.time_base = self._count, 1 / Fraction(self._stream.codec_context.framerate)
        self._count += 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _display_referred(self, picture: NDArray[Any], linear: bool) -> NDArray[np.uint16]:
        """[H, W, 3 or 4] uint16."""
        values = picture.astype(np.float32, copy=False)
        if values.shape[2] == 1:
            values = np.repeat(values, 3, axis=2)
        elif linear:
            values = np.concatenate([srgb(values[..., :3]), values[..., 3:]], axis=2)
        integers: NDArray[np.uint16] = to_integers(values, np.uint16)
        return integers

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _named(self._path)


@contextlib.contextmanager
def _named(path: Path) -> Any:
    """PyAV's errors as a SequenceError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        raise SequenceError(f"{path} cannot be written: {reason}") from None


def timecode(frame: int, rate: Fraction, drop: bool = False) -> str:
    """The timecode of a frame number, the inverse of how `movie` reads it.

    Args:
        frame: from 0 on.
        rate: frames per second.
        drop: drop-frame: the first two of 30 numbers are left out each minute but every tenth (SMPTE ST 12-1).
    """
    base = round(rate)
    if drop:
        dropped = round(base / 15)
        minute, ten_minutes = 60 * base - dropped, 600 * base - 9 * dropped
        tens, left = divmod(frame, ten_minutes)
        frame += 9 * dropped * tens + dropped * max(0, (left - dropped) // minute)
    seconds, frames = divmod(frame, base)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{';' if drop else ':'}{frames:02d}"


def _timing(path: Path) -> tuple[Fraction, bool]:
    """Frames per second of a plate, 24 where nobody says it, and whether its timecode is drop-frame."""
    if movie := split(path):
        plate = read_movie(movie[0])
        return plate.rate, plate.drop_frame
    with opened(path) as source:
        spec = source.spec()
        for name in _RATE_NAMES:
            value = spec.getattribute(name)
            with contextlib.suppress(TypeError, ValueError, ZeroDivisionError):
                rate = Fraction(*value) if isinstance(value, tuple) else Fraction(value).limit_denominator(1001)
                if 1 <= rate <= 1000:
                    return rate, False
    return _RATE, False
