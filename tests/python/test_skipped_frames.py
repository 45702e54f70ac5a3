"""Frames that a render leaves out because their output is there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Outcome, Shot, picture, random_model
from copycat.inference.model import Model
from copycat.inference.render import RenderError, infer
from copycat.sequence import write_frame


@pytest.fixture
def model(tmp_path: Path, tiny: None) -> Model:
    return Model(random_model(tmp_path / "m.cat"), torch.device("cpu"))


def test_only_whole_outputs_are_skipped(
    model: Model, shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    first = infer(model, shot.input, tmp_path / "out.%04d.exr")
    for path, size in ((first[1], 900), (first[2], 0)):
        path.write_bytes(path.read_bytes()[:size])
    write_frame(first[3], picture(1, channels=1), ("matte",))
    kept = first[0].stat().st_mtime_ns
    said: list[str] = []
    again = infer(model, shot.input, tmp_path / "out.%04d.exr", skip_existing=True, warn=said.append)
    assert again == first[1:]
    assert first[0].stat().st_mtime_ns == kept
    assert said == ["1 of 4 frames were skipped: their output exists"]
    status, out, err = copycat("infer", model.path, shot.input, tmp_path / "out.%04d.exr", "--skip-existing")
    assert (status, err) == (0, "")
    assert "0 frames written" in out
    first[2].unlink()
    (shot.folder / "plate.1003.exr").write_text("no image")
    said.clear()
    with pytest.raises(RenderError, match="1 of 4 frames could not be rendered: frame 1003"):
        infer(model, shot.input, tmp_path / "out.%04d.exr", skip_existing=True, warn=said.append)
    assert said == ["3 of 4 frames were skipped: their output exists"]


def test_frames_older_than_the_model_or_the_plate_are_rendered_again(
    model: Model, shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    output = tmp_path / "out.%04d.exr"
    first = infer(model, shot.input, output)
    assert infer(model, shot.input, output, skip_current=True) == []
    os.utime(first[1], (1, 1))
    first[2].write_bytes(first[2].read_bytes()[:900])
    later = time.time() + 10
    os.utime(shot.folder / "plate.1004.exr", (later, later))
    said: list[str] = []
    assert infer(model, shot.input, output, skip_current=True, warn=said.append) == first[1:]
    assert said == ["1 of 4 frames were skipped: their output is newer than the model"]
    os.utime(model.path, (later, later))
    status, out, err = copycat("infer", model.path, shot.input, output, "--skip-current")
    assert (status, err) == (0, "")
    assert "4 frames written" in out
