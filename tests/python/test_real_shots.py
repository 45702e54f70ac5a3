"""The real shots and their scores, on pictures of a few pixels."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from copycat.sequence import ImageSequence, write_frame
from copycat.sequence.colour import srgb
from copycat.training.pictures import write_png

from benchmarks import real_shots, record
from benchmarks.shotbench.task import Task
from benchmarks.shots import RGB, Shot
from benchmarks.tasks import build


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Frames of 40x32 with a square that is to be painted out; the clean plate is a grey of 0.18."""
    clean = np.full((32, 40, 3), 0.18, np.float32)
    square = np.zeros_like(clean)
    square[10:20, 12:24] = 1
    for frame in (1001, 1002, 1003, 1005, 1006):
        for name, pixels in (("clean", clean), ("plate", np.maximum(clean, square))):
            write_frame(tmp_path / f"shots/paintout_table/{name}.{frame}.exr", pixels, RGB, dtype="half")
        write_png(tmp_path / f"shots/paintout_table/patch.{frame}.png", square)
    return tmp_path / "shots"


def test_a_real_shot_becomes_pictures_as_displayed(tmp_path: Path, shots: Path) -> None:
    task = build("paintout", tmp_path, shots)
    names = {path.relative_to(task).as_posix() for path in task.rglob("*.png")}
    frames = [("train", 1001), ("train", 1006), ("test", 1002), ("test", 1003), ("test", 1005)]
    assert names == {f"{split}/{side}/{f}.png" for split, f in frames for side in ("src", "dst", "mask")}
    source, target, mask = (cv2.imread(str(task / f"test/{side}/1002.png")) for side in ("src", "dst", "mask"))
    assert np.all(target == 118)  # 0.18 through the sRGB curve is 0.4614
    assert np.all(source[10:20, 12:24] == 255)
    assert np.all(mask[10:20, 12:24] == 255)
    assert mask.sum() == 10 * 12 * 3 * 255


def test_it_is_scored_inside_and_outside_of_the_patch_and_at_its_own_neighbours(tmp_path: Path, shots: Path) -> None:
    task = build("paintout", tmp_path, shots)

    def blink(frames: Path, rendered: Path) -> None:
        shutil.copytree(frames, rendered)
        brighter = cv2.imread(str(rendered / "1003.png"))
        brighter[:16] += np.where(brighter[:16] < 200, 6, 0).astype(np.uint8)
        cv2.imwrite(str(rendered / "1003.png"), brighter)

    scores = Task("paintout", task, 1.0).scores
    nothing = scores(tmp_path / "nothing", shutil.copytree)
    assert nothing["inside"] == pytest.approx(20 * np.log10(255 / (255 - 118)))
    assert nothing["outside"] > 100
    assert nothing["flicker"] == 0
    # 1002 and 1003 are the only neighbours; of 32 x 40 pixels 16 x 40 - 6 x 12 became brighter.
    assert scores(tmp_path / "blink", blink)["flicker"] == pytest.approx(6 * (640 - 72) / 1280)


def test_a_real_shot_wants_to_know_where_the_shots_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="paintout is a real shot"):
        build("paintout", tmp_path)


def test_real_shots_write_their_figures_beside_those_of_doing_nothing(
    tmp_path: Path, shots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_shots, "work", lambda out, shot, knobs: (shot.truth, 12.5))
    words = [str(shots), "--only", "paintout", "--minutes", "1", "--json", str(tmp_path / "results")]
    monkeypatch.setattr(sys, "argv", ["real_shots", *words])
    real_shots.main()
    (row,) = record.read(tmp_path / "results/real_shots-paintout.json").rows
    assert (row["shot"], row["minutes"], row["cpu_seconds"]) == ("paintout", 1, 12.5)
    assert row["inside_nothing"] == pytest.approx(-20 * np.log10(1 - srgb(np.float32(0.18))), rel=1e-3)
    assert row["inside"] == row["outside"] == 100  # a perfect result
    assert row["flicker"] == 0


def test_a_matte_is_compared_with_the_nearest_painted_frame(tmp_path: Path) -> None:
    for frame in range(1001, 1010):
        picture = np.full((8, 8, 4), 0.25, np.float32)
        picture[:, :4, 3] = frame == 1005
        write_frame(tmp_path / f"fg.{frame}.exr", picture, (*RGB, "A"))
    frames = ImageSequence.parse(tmp_path / "fg.%04d.exr")
    figures, _ = real_shots.covered(Shot(frames, frames, (1001,), target_channels=("A",)), frames)
    assert figures["error"] == 0
    # The painted frame has 0 in its left half; of eight other frames one has 1 there.
    assert figures["error_nothing"] == pytest.approx(0.5 / 8)
