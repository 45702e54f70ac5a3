"""Which files make up a sequence: frame ranges, padding patterns and the frames that exist on disk."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from fileseq.constants import PAD_STYLE_HASH1
from fileseq.exceptions import FileSeqException, MaxSizeException
from fileseq.filesequence import FileSequence
from fileseq.frameset import FrameSet

from copycat.sequence.error import SequenceError

# The places where a frame number can stand in a file name: %04d, %d, ####, @@@@, $F4, $F.
_PADDING = re.compile(r"%[0-9]*d|#+|@+|\$F[0-9]*")


def parse_frames(text: str) -> list[int]:
    """Reads a list of frame ranges.

    Args:
        text: ranges as in ``1001-1100``, ``1001-1100x5`` (each fifth), ``1001,1012``, ``-5--1`` and combinations.

    Returns:
        The frames in ascending order, each once.

    Raises:
        SequenceError: if the text is no list of frame ranges.
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


class ImageSequence:
    """The files of one sequence, by frame number.

    ``path`` also names frames that do not exist yet, so that a pattern serves for output too.

    Attributes:
        single: true for one file that holds one frame, whatever its number.
    """

    def __init__(self, text: str, folder: Path, before: str, after: str, width: int, single: int | None) -> None:
        """Use ``parse``; ``width`` is the padding in digits, ``single`` the frame of a single file."""
        self._text, self._folder, self._before, self._after = text, folder, before, after
        self._width, self._single = width, single

    @classmethod
    def parse(cls, pattern: str | Path) -> ImageSequence:
        """Reads a pattern.

        Args:
            pattern: a file name with one place for the frame number (``plate.%04d.exr``, ``plate.%d.exr``,
                ``plate.####.exr``, ``plate.@@@@.exr``, ``plate.$F4.exr``; one ``#`` or ``@`` is one digit), a directory
                that holds one sequence, or a single file, whose frame is the number in its name, else 1.

        Raises:
            SequenceError: for an empty pattern or a directory that does not hold exactly one sequence.
        """
        text = str(pattern)
        path = Path(text).expanduser()
        if not path.name:
            raise SequenceError(f"{text!r} is no image sequence; name one as in plate.%04d.exr")
        if path.is_dir():
            return _only_sequence_in(text, path)
        places = list(_PADDING.finditer(path.name))
        if places:
            start, end = places[-1].span()
            width = FileSequence.getPaddingNum(path.name[start:end], PAD_STYLE_HASH1)
            return cls(text, path.parent, path.name[:start], path.name[end:], width, None)
        numbered = _numbered(path.name)
        return cls(text, path.parent, path.name, "", 0, int(numbered[1]) if numbered else 1)

    def __str__(self) -> str:
        """The pattern as it was given."""
        return self._text

    def __repr__(self) -> str:
        """The pattern as Python source."""
        return f"ImageSequence.parse({self._text!r})"

    @property
    def single(self) -> bool:
        """Whether this is one file that holds one frame."""
        return self._single is not None

    def path(self, frame: int) -> Path:
        """The file of a frame, whether it exists or not. A single file is the file of every frame."""
        number = "" if self.single else f"{frame:0{self._width}d}"
        return self._folder / f"{self._before}{number}{self._after}"

    def frames(self) -> list[int]:
        """The frames that exist on disk, in ascending order.

        Raises:
            SequenceError: if there are none.
        """
        if self._single is not None:
            found = [self._single] if self.path(self._single).is_file() else []
        else:
            found = sorted(self._scan())
        if not found:
            raise SequenceError(f"no file matches {self._text}")
        return found

    def _scan(self) -> set[int]:
        wanted = re.compile(re.escape(self._before) + "(-?[0-9]+)" + re.escape(self._after))
        matches = (wanted.fullmatch(name) for name in _names(self._folder))
        # A name is a frame's when it is the name that the frame would be written to: 1 is not 0001.
        return {int(m[1]) for m in matches if m and self.path(int(m[1])).name == m[0]}


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
    except OSError:
        return []


def _only_sequence_in(text: str, folder: Path) -> ImageSequence:
    import OpenImageIO as oiio  # noqa: N813

    known = {
        e for row in oiio.get_string_attribute("extension_list").split(";") for e in row.partition(":")[2].split(",")
    }
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in _names(folder):
        numbered = _numbered(name)
        if numbered and not name.startswith(".") and numbered[2][1:].lower() in known:
            groups[numbered[0], numbered[2]].append(numbered[1])
    if len(groups) != 1:
        what = ", ".join(sorted(f"{before}#{after}" for before, after in groups)) or "none"
        raise SequenceError(f"the directory {text} must hold exactly one image sequence; it holds {what}")
    (before, after), numbers = groups.popitem()
    widths = {len(number) for number in numbers}
    padded = any(number.lstrip("-").startswith("0") for number in numbers)
    return ImageSequence(text, folder, before, after, min(widths) if padded or len(widths) == 1 else 1, None)
