"""The commands of the guides run, in order, on small pieces of the real pictures that the pages show.

A ``console`` block holds commands that run as they are written, but for the time: ``--minutes`` becomes three steps. An
``sh`` block needs a host, a browser, a farm or another shot, and is not run.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from copycat.cli.app import main
from copycat.sequence import ImageSequence, read_frame, write_frame

DOCS = Path(__file__).parents[2] / "docs"
RGB = ("R", "G", "B")
WIDTH, HEIGHT = 128, 96
FRAMES = range(1001, 1009)
PAINTED = (1001, 1004, 1007)


def panels(name: str) -> list[np.ndarray]:
    """Input, result and truth of a picture of the pages, side by side in its file."""
    strip = read_frame(DOCS / f"pictures/{name}.jpg", RGB).pixels
    return np.split(strip[:, : strip.shape[1] // 3 * 3], 3, axis=1)


def moving(name: str, target: str, x: int, y: int, prefix: str = "plate") -> None:
    """Writes a plate that pans over a picture, and the painted frames; ``matte`` is written as channel A."""
    plate, _, truth = panels(name)
    for index, frame in enumerate(FRAMES):
        window = np.s_[y + index : y + index + HEIGHT, x + 2 * index : x + 2 * index + WIDTH]
        write_frame(f"{prefix}.{frame}.exr", plate[window], RGB)
        if frame in PAINTED and target == "matte":
            write_frame(f"matte.{frame}.exr", truth[window][..., :1], ("A",))
        elif frame in PAINTED:
            write_frame(f"{target}.{frame}.exr", truth[window], RGB)


def locked_off() -> None:
    """Writes an empty room through which a piece of the person moves, and the painted frames."""
    plate, _, truth = panels("paintout")
    room, person = truth[60 : 60 + HEIGHT, 60 : 60 + WIDTH], plate[60:120, 260:284]
    for index, frame in enumerate(FRAMES):
        picture = room.copy()
        picture[20:80, 2 + 12 * index : 26 + 12 * index] = person
        write_frame(f"plate.{frame}.exr", picture, RGB)
        if frame in PAINTED:
            write_frame(f"clean.{frame}.exr", room, RGB)


def two_shots() -> None:
    """Writes two shots with the same work."""
    moving("demo", "a_clean", 20, 40, prefix="a")
    moving("demo", "b_clean", 200, 60, prefix="b")


def retouched() -> None:
    """Writes a retouched plate, and masks that are 1 everywhere."""
    moving("repair", "retouched", 130, 60)
    for frame in PAINTED:
        write_frame(f"face.{frame}.exr", np.ones((HEIGHT, WIDTH, 1), np.float32), ("A",))


SHOTS: dict[str, Callable[[], None]] = {
    "getting-started/first-shot": lambda: moving("demo", "clean", 40, 20),
    "getting-started/installation": lambda: None,
    "guides/roto": lambda: moving("matte", "matte", 160, 20),
    "guides/clean-up-locked-off": locked_off,
    "guides/clean-up-moving": lambda: moving("demo", "clean", 40, 20),
    "guides/beauty": retouched,
    "guides/deblur": lambda: moving("deblur", "sharp", 100, 60),
    "guides/grade-and-hdr": lambda: moving("demo", "graded", 200, 60),
    "guides/several-shots": two_shots,
    "guides/choosing-frames": lambda: moving("demo", "clean", 40, 20),
    "guides/troubleshooting": lambda: moving("demo", "clean", 40, 20),
    "guides/progress": lambda: moving("demo", "clean", 40, 20),
    "guides/hosts/export": lambda: moving("matte", "matte", 160, 20),
}
# What the reader of a page has done before.
_TRAIN = "copycat train plate.%04d.exr"
BEFORE = {
    "guides/progress": f"{_TRAIN} clean.%04d.exr -d runs --run-name first --minutes 5",
    "guides/hosts/export": f"{_TRAIN} matte.%04d.exr --preset roto -d runs --run-name roto --minutes 5",
}
SLOW = {"guides/troubleshooting", "guides/clean-up-moving", "guides/clean-up-locked-off"}


def commands(page: str) -> list[str]:
    """The commands in a page's console blocks."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def short(command: str) -> list[str]:
    """The arguments of a command, with three steps instead of minutes."""
    name, *arguments = shlex.split(re.sub(r"--minutes [\d.]+", "--epochs 3", command))
    assert name == "copycat", command
    return arguments


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.long) if n in SLOW else n for n in SHOTS])
def test_the_commands_of_a_guide_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None
) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    SHOTS[name]()
    found = commands(page)
    assert found
    output = ""
    for command in [*filter(None, [BEFORE.get(name)]), *found]:
        arguments = short(command)
        with pytest.raises(SystemExit) as end:
            main(arguments)
        printed = "".join(capsys.readouterr())
        assert end.value.code in (0, None), f"{command}\n{printed}"
        output += printed
        if arguments[0] == "infer":
            plate, result = (ImageSequence.parse(pattern) for pattern in arguments[2:4])
            assert result.frames() == plate.frames() == list(FRAMES)
    if name == "guides/clean-up-locked-off":
        assert "a Clean Plate is used" in output


def test_every_guide_with_commands_is_run() -> None:
    pages = {path: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
    assert {str(path.relative_to(DOCS).with_suffix("")) for path, page in pages.items() if commands(page)} == set(SHOTS)
