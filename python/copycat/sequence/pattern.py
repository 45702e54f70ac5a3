"""Which files make up a sequence: frame ranges, padding patterns and the frames that exist on disk."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from fileseq import findSequencesOnDisk
from fileseq.constants import PAD_STYLE_HASH1
from fileseq.exceptions import FileSeqException, MaxSizeException
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet

from copycat.sequence.error import SequenceError
from copycat.sequence.movie import frame_path, is_movie, read_movie

# A frame number's padding: %04d, ####, @@@@, $F4. The short forms count as padding only where the name goes on with
# neither a letter nor a digit: "plate@2x.exr", "shot#12.exr" and "100%done.exr" are names.
_CLEAR_PADDING = re.compile(r"%[0-9]+d|##+|@@+|\$F[0-9]+|(?:%d|#|@|\$F)(?![A-Za-z0-9])")
_ANY_PADDING = re.compile(r"%[0-9]*d|#+|@+|\$F[0-9]*")
_WIDEST = 64
_LISTED = 4


def parse_frames(text: str) -> list[int]:
    """Reads a list of frame ranges.

    Args:
        text: ranges as in ``1001-1100``, ``1001-1100x5`` (each fifth), ``1001,1012``, ``-5--1`` and combinations.

    Returns:
        The frames in ascending order, each once.

    Raises:
        SequenceError: the text is no list of frame ranges.
    """
    try:
        # fileseq drops blanks, which would make one number of two.
        found = [] if re.search(r"\d\s+\d", text) else list(FrameSet(text))
    except (FileSeqException, MaxSizeException):
        found = []
    frames = sorted({frame for frame in found if isinstance(frame, int)})
    if not frames or not all(isinstance(frame, int) for frame in found):
        raise SequenceError(
            f"{text!r} is no list of frames; write it as in 1001-1100, 1001-1100x5 or 1001,1012,1024-1030"
        )
    return frames


def format_frames(frames: Sequence[int]) -> str:
    """Writes frames as a compact list of ranges that ``parse_frames`` reads back, "" for none."""
    return str(FrameSet(sorted(set(frames)))) if frames else ""


def missing_frames(frames: Sequence[int]) -> list[int]:
    """The frames that a sequence lacks between its first and its last.

    Args:
        frames: the frames that exist. Their step is the largest that leads to all of them: 1001, 1006, 1016 is each
            fifth frame and lacks 1011.
    """
    there = sorted(set(frames))
    step = math.gcd(*(b - a for a, b in pairwise(there)))
    return sorted(set(range(there[0], there[-1], step)) - set(there)) if step else []


class ImageSequence:
    """The files of one sequence, by frame number.

    Also names files that do not exist yet, so that a pattern serves for output too.

    Attributes:
        single: whether this is one file, which holds one frame.
        numbered: whether the frame number stands in the file name; false only for a single file without one.
    """

    def __init__(self, text: str, folder: Path, before: str, after: str, width: int, frame: int | None = None) -> None:
        """Use ``parse``.

        Args:
            text: the pattern as given.
            folder: the files' folder.
            before, after: the name around the frame number; all of it in ``before`` for a single file.
            width: the padding in digits.
            frame: the frame of a single file, else None.
        """
        self._text, self._folder, self._before, self._after = text, folder, before, after
        self._width, self._frame = width, frame
        self._found: dict[int, str] = {}
        self._left_out: list[str] = []
        self.single = frame is not None
        self.numbered = frame is None or _numbered(before) is not None

    @classmethod
    def parse(cls, pattern: str | Path) -> ImageSequence:
        """Reads a pattern.

        The disk decides where a name can be read in two ways: a file named ``plate@2x.1001.exr`` or ``100%done.exr`` is
        that file.

        Args:
            pattern: a file name with padding for the frame number (``plate.%04d.exr``, ``plate.%d.exr``,
                ``plate.####.exr``, ``plate.@@@@.exr``, ``plate.$F4.exr``; one ``#`` or ``@`` is one digit), a directory
                that holds one sequence, a movie, or a single file, whose frame is the number in its name, else 1.

        Raises:
            SequenceError: for an empty pattern or a directory that does not hold exactly one sequence.
        """
        if not isinstance(pattern, (str, os.PathLike)):
            raise SequenceError(
                f"an image sequence is a name, as in plate.%04d.exr, not of type {type(pattern).__name__}"
            )
        text = str(pattern)
        path = Path(os.path.expanduser(text))
        if not path.name or "\0" in text:
            raise SequenceError(f"{text!r} is no image sequence; name one as in plate.%04d.exr")
        if os.path.isdir(path):
            return _only_sequence_in(text, path)
        if is_movie(path):
            return _MovieSequence(text, path)
        numbered = _numbered(path.name)
        single = cls(text, path.parent, path.name, "", 0, int(numbered[1]) if numbered else 1)
        clear = [cls._padded(text, path, match) for match in reversed(list(_CLEAR_PADDING.finditer(path.name)))]
        any_padding = [cls._padded(text, path, match) for match in reversed(list(_ANY_PADDING.finditer(path.name)))]
        for one in (*clear, single, *any_padding):
            if one._scan():
                return one
        return clear[0] if clear else single

    @classmethod
    def _padded(cls, text: str, path: Path, padding: re.Match[str]) -> ImageSequence:
        width = FileSequence.getPaddingNum(padding[0], PAD_STYLE_HASH1)
        if width > _WIDEST:
            raise SequenceError(f"{text!r} pads the frame number to {width} digits; {_WIDEST} are the most")
        return cls(text, path.parent, path.name[: padding.start()], path.name[padding.end() :], width)

    def __str__(self) -> str:
        """The pattern as it was given."""
        return self._text

    def __repr__(self) -> str:
        """The pattern as Python source."""
        return f"ImageSequence.parse({self._text!r})"

    def path(self, frame: int) -> Path:
        """The file of a frame: the one that ``frames`` found, else the name that the pattern gives it.

        A single file is the file of every frame.
        """
        return self._folder / self._found.get(frame, self._name(frame))

    def frames(self) -> list[int]:
        """Lists the frames that exist on disk, in ascending order.

        A number with more or fewer digits than the padding counts too (``%04d`` finds 998, 0999 and 10000), unless a
        frame exists with several widths: then another sequence lies in the folder, and only the padding's own names
        count.

        Raises:
            SequenceError: there are none; the message lists the images in the folder.
        """
        self._found, self._left_out = self._scan(), []
        if not self.single and self._found:
            own = {self._name(frame) for frame in self._found}
            if set(self._found.values()) <= own:
                self._left_out = sorted(name for _, name in self._numbers() if name not in own)
        if not self._found:
            raise SequenceError(f"no file matches {self._text}; {self._neighbours()}")
        return sorted(self._found)

    def files(self) -> list[Path]:
        """The files of all frames that exist on disk, in ascending order.

        Raises:
            SequenceError: see ``frames``.
        """
        return [self.path(frame) for frame in self.frames()]

    @property
    def left_out(self) -> str:
        """A sentence about files that ``frames`` left out for the width of their numbers, empty if there are none."""
        count = len(self._left_out)
        if not count:
            return ""
        more = f" and {count - 1} more" if count > 1 else ""
        return f"{self._text}: left out {self._left_out[0]}{more}, whose frame numbers have another number of digits"

    def _name(self, frame: int) -> str:
        return self._before if self.single else f"{self._before}{frame:0{self._width}d}{self._after}"

    def _scan(self) -> dict[int, str]:
        """The names on disk by frame."""
        if self._frame is not None:
            return {self._frame: self._before} if os.path.exists(self._folder / self._before) else {}
        numbers = self._numbers()
        own = {frame: name for frame, name in numbers if name == self._name(frame)}
        return dict(numbers) if len(dict(numbers)) == len(numbers) else own

    def _numbers(self) -> list[tuple[int, str]]:
        """Frame and name of every file that has any number where the padding stands."""
        form = re.compile(re.escape(self._before) + "(-?[0-9]+)" + re.escape(self._after))
        return [(int(match[1]), match[0]) for match in map(form.fullmatch, _names(self._folder)) if match]

    def _neighbours(self) -> str:
        """What lies in the folder instead."""
        if not os.path.isdir(self._folder):
            return f"the directory {self._folder} does not exist"
        there = [_described(one) for one in _images_in(self._folder)]
        more = f" and {len(there) - _LISTED} more" if len(there) > _LISTED else ""
        return f"{self._folder} holds {', '.join(there[:_LISTED]) or 'no image'}{more}"


class _MovieSequence(ImageSequence):
    """The frames of a movie file."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text, path.parent, path.name, "", 0)

    def path(self, frame: int) -> Path:
        """The path of a frame, as `copycat.sequence.movie` has it."""
        return frame_path(self._folder / self._before, frame)

    def frames(self) -> list[int]:
        """The frame numbers; raises SequenceError if the movie cannot be read."""
        return list(read_movie(self._folder / self._before).frames)


def _numbered(name: str) -> tuple[str, str, str] | None:
    """Splits a file name at its frame number: ("plate.", "1001", ".exr"); None when it has none.

    The number stands before the extension, set apart from the name (plate.1001.exr, 0001.png, plate.-005.exr) or long
    enough to be no version (plate1001.exr). "shot_v2.exr" has none.
    """
    match = re.fullmatch(r"(.*?)([0-9]+)(\.[^.]+)", name)
    if not match:
        return None
    before, number, after = match.groups()
    if before.endswith(".-"):
        return before[:-1], f"-{number}", after
    return (before, number, after) if before[-1:] in ("", ".", "_", "-") or len(number) >= 4 else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


def _images_in(folder: Path) -> list[FileSequence]:
    """The sequences and single images in a folder."""
    import OpenImageIO as oiio  # noqa: N813

    extensions = {
        f".{extension}"
        for row in oiio.get_string_attribute("extension_list").split(";")
        for extension in row.partition(":")[2].split(",")
    }
    try:
        found = findSequencesOnDisk(str(folder))
    except (FileSeqException, OSError):
        return []
    return sorted((one for one in found if one.extension().lower() in extensions), key=str)


def _described(images: FileSequence) -> str:
    """``plate.####.exr (1001-1100)``, or the name of a single image."""
    frames = images.frameSet()
    if not frames:
        return f"{images.basename()}{images.extension()}"
    return f"{images.basename()}{'#' * images.zfill()}{images.extension()} ({frames})"


def _only_sequence_in(text: str, folder: Path) -> ImageSequence:
    groups: dict[tuple[str, str], list[FileSequence]] = {}
    for images in _images_in(folder):
        frames = images.frameSet()
        version = re.search(r"(^|[._-])v$", images.basename(), re.IGNORECASE)
        if frames and not version and (len(frames) > 1 or _numbered(os.path.basename(images[0]))):
            groups.setdefault((images.basename(), images.extension()), []).append(images)
    if len(groups) != 1:
        listed = ", ".join(_described(images) for group in groups.values() for images in group) or "none"
        raise SequenceError(f"the directory {text} must hold exactly one image sequence; it holds {listed}")
    ((before, after), group) = groups.popitem()
    return ImageSequence(text, folder, before, after, min(images.zfill() for images in group))
