"""Five kinds of work on real shots: training frames, scored frames, and masks of the work.

The shots are a directory with ``tos_captain``, ``dancer_alpha`` and ``paintout_table``. Inputs that do not exist are
computed from the plates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from copycat.sequence import ImageSequence, read_frame, read_info, write_frame
from copycat.training.pictures import write_png

RGB = ("R", "G", "B")


@dataclass(frozen=True)
class Shot:
    """A pair of sequences and its training frames; all others are held out.

    Attributes:
        mask: pictures that are white where the work is, or None.
        target_channels: of the truth; the plate has R, G, B.
    """

    plate: ImageSequence
    truth: ImageSequence
    training: tuple[int, ...]
    mask: ImageSequence | None = None
    target_channels: tuple[str, ...] = RGB

    @property
    def held_out(self) -> list[int]:
        """Every frame without training."""
        return [frame for frame in self.plate.frames() if frame not in self.training]

    def inside(self, frame: int) -> np.ndarray:
        """The mask of a frame, [H, W] bool."""
        assert self.mask
        path = self.mask.path(frame)
        inside: np.ndarray = read_frame(path, read_info(path).channels[:1]).pixels[..., 0] > 0.5
        return inside


PAINTOUT_TRAINING = (1001, 1006, 1012, 1017, 1023, 1028, 1034, 1040)
_FIVE = (1001, 1007, 1013, 1018, 1024)


def deblur(shots: Path, out: Path) -> Shot:
    """tos_captain, 1920x800: the Input is the plate under a disc defocus of our own."""
    sharp = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    disc = np.zeros((9, 9), np.float32)
    cv2.circle(disc, (4, 4), 3, 1.0, -1)
    for frame in sharp.frames():
        pixels = read_frame(sharp.path(frame), RGB).pixels
        soft = cv2.filter2D(pixels, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)
        write_frame(out / f"soft/soft.{frame:04d}.exr", soft, RGB, dtype="half")
    return Shot(ImageSequence.parse(out / "soft/soft.%04d.exr"), sharp, _FIVE)


def repair(shots: Path, out: Path) -> Shot:
    """tos_captain: the Input is the plate with a blemish of 40 pixels that drifts over the face."""
    clean = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    for frame in clean.frames():
        pixels = read_frame(clean.path(frame), RGB).pixels
        rows, columns = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
        offset = frame - clean.frames()[0]
        distance = np.hypot(columns - (900 + 4 * offset), rows - (330 + 2 * offset))
        opacity = 0.7 * np.clip((20 - distance) / 6, 0, 1)[..., None].astype(np.float32)
        stained = pixels * (1 - opacity) + np.array([0.12, 0.02, 0.02], np.float32) * opacity
        write_frame(out / f"stained/stained.{frame:04d}.exr", stained, RGB, dtype="half")
        (out / "blemish").mkdir(exist_ok=True)
        inside = (distance < 20)[..., None].astype(np.float32)
        write_png(out / f"blemish/blemish.{frame:04d}.png", np.repeat(inside, 3, axis=-1))
    stained_frames = ImageSequence.parse(out / "stained/stained.%04d.exr")
    return Shot(stained_frames, clean, _FIVE, ImageSequence.parse(out / "blemish/blemish.%04d.png"))


def highlights(shots: Path, out: Path) -> Shot:
    """tos_captain spread to values from -0.1 to 60, which gets a colour grade."""
    plate = ImageSequence.parse(shots / "tos_captain/plate.%04d.exr")
    grade = np.array([1.12, 1.0, 0.86], np.float32)
    for frame in plate.frames():
        pixels = read_frame(plate.path(frame), RGB).pixels
        wide = pixels + 240 * np.maximum(pixels - 0.6, 0) ** 2 - 0.1 * np.exp(-np.maximum(pixels, 0) / 0.01)
        wide = np.clip(wide, -0.1, 60).astype(np.float32)
        write_frame(out / f"wide/wide.{frame:04d}.exr", wide, RGB, dtype="half")
        write_frame(out / f"graded/graded.{frame:04d}.exr", wide * grade, RGB, dtype="half")
    graded = ImageSequence.parse(out / "graded/graded.%04d.exr")
    return Shot(ImageSequence.parse(out / "wide/wide.%04d.exr"), graded, _FIVE)


def matte(shots: Path, out: Path) -> Shot:
    """dancer_alpha, 640x360: rgb -> alpha."""
    comp, foreground = (ImageSequence.parse(shots / f"dancer_alpha/{name}.%04d.exr") for name in ("comp", "fg"))
    return Shot(comp, foreground, _FIVE, target_channels=("A",))


def paintout(shots: Path, out: Path) -> Shot:
    """paintout_table, 768x432: a woman is painted out of a locked-off shot."""
    plate, clean = (ImageSequence.parse(shots / f"paintout_table/{name}.%04d.exr") for name in ("plate", "clean"))
    return Shot(plate, clean, PAINTOUT_TRAINING, ImageSequence.parse(shots / "paintout_table/patch.%04d.png"))


# Each writes its files below its second argument.
SHOTS: dict[str, Callable[[Path, Path], Shot]] = {
    "deblur": deblur,
    "repair": repair,
    "highlights": highlights,
    "matte": matte,
    "paintout": paintout,
}
