"""What is wrong gets one clear sentence that names file and value, a status that is not 0, and loses nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from conftest import (
    Outcome,
    Shot,
    graded,
    picture,
    random_model,
    run_copycat,
    write_shot,
)
from copycat.model import cat
from copycat.runs import find_run, read_info
from copycat.sequence import write_frame

Copycat = Callable[..., Outcome]


@pytest.fixture
def refused(copycat: Copycat, shot: Shot, tmp_path: Path) -> Callable[..., str]:
    """Trains through the command line, which must refuse; returns the sentence."""

    def call(*more: object, input: object = shot.input, ground_truth: object = shot.ground_truth) -> str:
        small = ("--data-directory", tmp_path / "runs", "--model-size", "Small", "--crop-size", 32, "--epochs", 4)
        return sentence(copycat("train", input, ground_truth, *small, *more))

    return call


def sentence(outcome: Outcome) -> str:
    """The one line on standard error."""
    status, out, err = outcome
    assert status == 1, (out, err)
    assert "Traceback" not in out + err
    lines = err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def test_a_missing_frame(refused: Callable[..., str], shot: Shot) -> None:
    said = refused("--frames", "1001-1003,1017")
    assert said == f"{shot.folder}/plate.1017.exr: frame 1017 of the Input is missing"
    (shot.folder / "clean.1002.exr").unlink()
    said = refused("--frames", "1001-1003", "--no-watch-training-frames")
    assert said == f"{shot.folder}/clean.1002.exr: frame 1002 of the Ground Truth is missing"
    assert refused("--frames", "1002") == said  # there is nothing to begin with


def test_no_frame_at_all(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(input=tmp_path / "none.%04d.exr")
    assert said == f"no file matches {tmp_path}/none.%04d.exr; {tmp_path} holds no image"


def test_no_frame_in_common(refused: Callable[..., str], tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other", (2001, 2002))
    assert "have no frame in common" in refused(ground_truth=other.ground_truth)


def test_sizes_that_differ(refused: Callable[..., str], shot: Shot) -> None:
    write_frame(shot.folder / "clean.1003.exr", picture(1003, (64, 62)), ("R", "G", "B"))
    said = refused()
    assert f"{shot.folder}/clean.1003.exr: the Ground Truth is 64x62, its Input plate.1003.exr is 64x64" == said


def test_a_channel_that_is_not_there(refused: Callable[..., str], shot: Shot) -> None:
    said = refused("--input-channels", "R,G,B,depth.Z")
    assert f"{shot.folder}/plate.1001.exr has no channel or layer 'depth.Z', only R, G, B" in said


def test_a_channel_that_one_frame_lacks(refused: Callable[..., str], shot: Shot) -> None:
    write_frame(shot.folder / "clean.1003.exr", picture(1003, channels=1), ("R",))
    assert f"{shot.folder}/clean.1003.exr has no channel 'G'; it has R" in refused()


def test_a_truncated_exr(refused: Callable[..., str], shot: Shot) -> None:
    path = shot.folder / "plate.1002.exr"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert str(path) in refused()


def test_a_file_that_is_no_image(refused: Callable[..., str], shot: Shot) -> None:
    path = shot.folder / "plate.1002.exr"
    path.write_text("not an image")
    assert f"{path} cannot be read" in refused()


def test_nan_pixels(refused: Callable[..., str], shot: Shot) -> None:
    image = graded(picture(1002))
    image[3, 4:9, 1] = np.nan
    write_frame(shot.folder / "clean.1002.exr", image, ("R", "G", "B"))
    said = refused()
    assert f"{shot.folder}/clean.1002.exr: 5 pixels are NaN or infinite" in said
    assert "Non-Finite Pixels" in said


def test_a_mask_of_another_size(refused: Callable[..., str], shot: Shot) -> None:
    for frame in (1001, 1002, 1003, 1004):
        write_frame(shot.folder / f"mask.{frame}.exr", picture(frame, (32, 64), 1), ("A",))
    said = refused("--mask", shot.folder / "mask.%04d.exr")
    assert "mask.1001.exr: the mask is 32x64, its Input plate.1001.exr is 64x64" in said


def test_a_batch_larger_than_the_data_set(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused("--batch-size-type", "Manual", "--batch-size", 9)
    assert "Batch Size 9 is larger than the data set of 4 pairs" in said
    assert not (tmp_path / "runs").exists()


def test_a_crop_larger_than_the_frame_is_a_warning_and_trains(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    status, out, err = copycat(
        "train", shot.input, shot.ground_truth, "--data-directory", tmp_path / "runs",
        "--model-size", "Small", "--crop-size", 256, "--epochs", 3,
    )  # fmt: skip
    assert status == 0, err
    assert "warning: the frames are smaller than the Crop Size 256: training on crops of 64x64" in out
    assert read_info(find_run(tmp_path / "runs")).header["warnings"]


def test_frames_too_small_to_train_on(refused: Callable[..., str], tmp_path: Path) -> None:
    tiny_shot = write_shot(tmp_path / "stamp", size=(12, 40))
    assert "12x40 is too small" in refused(input=tiny_shot.input, ground_truth=tiny_shot.ground_truth)


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
def test_the_smallest_frames_train(copycat: Copycat, tmp_path: Path, size: tuple[int, int]) -> None:
    stamp = write_shot(tmp_path / "stamp", size=size)
    status, _, err = copycat(
        "train", stamp.input, stamp.ground_truth, "--data-directory", tmp_path / "runs",
        "--model-size", "Small", "--crop-size", 32, "--epochs", 6,
    )  # fmt: skip
    assert status == 0, err


def test_a_wrong_range(refused: Callable[..., str]) -> None:
    assert "'1001..1003' is no list of frames" in refused("--frames", "1001..1003")


def test_only_one_of_the_two(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    said = sentence(copycat("train", shot.input, "--data-directory", tmp_path))
    assert said == f"a training needs both an Input and a Ground Truth; there is only {shot.input}"


def test_no_data_directory(copycat: Copycat, shot: Shot) -> None:
    assert "Data Directory is not set" in sentence(copycat("train", shot.input, shot.ground_truth))


# -- the Data Directory -------------------------------------------------------------------------------------------


def test_a_data_directory_below_a_file(refused: Callable[..., str], tmp_path: Path) -> None:
    """Where a directory cannot be written to even by an administrator."""
    (tmp_path / "file").write_text("mine")
    said = refused("--data-directory", tmp_path / "file" / "runs")
    assert said.startswith(f"{tmp_path}/file/runs: the Data Directory cannot be made: Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("directory", ["/proc/copycat", "/sys/kernel"])
def test_a_data_directory_that_cannot_be_written(refused: Callable[..., str], directory: str) -> None:
    assert refused("--data-directory", directory).startswith(directory)


def test_a_data_directory_without_runs(copycat: Copycat, tmp_path: Path) -> None:
    assert sentence(copycat("resume", tmp_path)) == f"{tmp_path}: the Data Directory holds no run"
    missing = tmp_path / "missing"
    for command in ("resume", "runs"):
        assert sentence(copycat(command, missing)).startswith(f"{missing}: the Data Directory cannot be read")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for the first checkpoints only: a small tmpfs where that can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "copycat-test", disk], stderr=subprocess.DEVNULL
    )
    yield disk
    if mounted:
        subprocess.check_call(["umount", disk])


def test_a_full_disk_loses_nothing_that_was_written(small_disk: Path, shot: Shot, tmp_path: Path, tiny: None) -> None:
    if os.path.ismount(small_disk):
        limit = None
    else:  # no file may grow beyond this, which looks the same to the trainer

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (900_000, 900_000))

    outcome = run_copycat(
        "train", shot.input, shot.ground_truth, "--data-directory", small_disk,
        "--model-size", "Small", "--crop-size", 32, "--epochs", 60, "--checkpoint-interval", 2,
        preexec_fn=limit,
    )  # fmt: skip
    said = sentence(outcome)
    assert said.startswith(f"{small_disk}/Training_")
    assert "cannot be written: " in said
    run = find_run(small_disk)
    for _, path in run.checkpoints():
        cat.load(path)
    if os.path.ismount(small_disk):
        assert run.checkpoints()
        subprocess.check_call(["mount", "-o", "remount,size=50m", small_disk])
        status, _, err = run_copycat("resume", small_disk)
        assert status == 0, err


# -- models -------------------------------------------------------------------------------------------------------


@pytest.fixture
def not_rendered(copycat: Copycat, shot: Shot, tmp_path: Path) -> Callable[..., str]:
    """Renders through the command line, which must refuse; returns the sentence."""

    def call(model: object, *more: object, plate: object = shot.input, out: object = None) -> str:
        return sentence(copycat("infer", model, plate, out or tmp_path / "out.%04d.exr", *more))

    return call


def test_a_file_that_is_not_a_cat(not_rendered: Callable[..., str], shot: Shot, copycat: Copycat) -> None:
    path = shot.folder / "plate.1001.exr"
    assert not_rendered(path) == f"{path}: this is not a .cat of copycat"
    assert not_rendered("no.cat") == "no.cat: the model file does not exist"
    text = shot.folder / "text.cat"
    text.write_text("hello")
    assert sentence(copycat("info", text)) == f"{text}: this is not a .cat of copycat"


def test_nukes_own_cat(not_rendered: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "nuke.cat"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/code/__torch__/net.py", "def forward(self, x): return x")
        archive.writestr("model/data.pkl", b"\x80\x02}.")
    assert not_rendered(path) == f"{path}: this is Nuke's .cat; copycat cannot read it"


def test_a_cat_of_a_newer_format(not_rendered: Callable[..., str], tmp_path: Path) -> None:
    path = random_model(tmp_path / "new.cat")
    header, weights = cat.load(path)
    text = json.dumps(json.loads(header.to_json()) | {"format": 7})
    path.write_bytes(safetensors.torch.save(weights, {"copycat": text}))
    said = not_rendered(path)
    assert said == f"{path}: was written by a newer copycat (format 7); this one reads up to format 3"


def test_a_plate_without_the_models_channels(not_rendered: Callable[..., str], tmp_path: Path, shot: Shot) -> None:
    path = random_model(tmp_path / "depth.cat", ("R", "G", "B", "depth.Z"))
    assert f"{shot.folder}/plate.1001.exr has no channel or layer 'depth.Z'" in not_rendered(path)


def test_a_plate_frame_that_is_missing_or_torn(not_rendered: Callable[..., str], tmp_path: Path, shot: Shot) -> None:
    model = random_model(tmp_path / "m.cat")
    assert f"frame 1009: {shot.folder}/plate.1009.exr is missing" in not_rendered(model, "--frames", "1001,1009")
    torn = shot.folder / "plate.1003.exr"
    torn.write_bytes(torn.read_bytes()[:900])
    assert str(torn) in not_rendered(model)
    assert sorted(path.name for path in tmp_path.glob("out.*")) == ["out.1001.exr", "out.1002.exr", "out.1004.exr"]


def test_an_output_that_cannot_be(not_rendered: Callable[..., str], tmp_path: Path, shot: Shot) -> None:
    model = random_model(tmp_path / "m.cat")
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/out.1001.exr cannot be written" in not_rendered(model, out=tmp_path / "file/out.%04d.exr")
    assert "the output would overwrite a file that is read" in not_rendered(model, out=shot.input)
    assert "is a single file, but 4 frames are to be rendered" in not_rendered(model, out=tmp_path / "out.exr")
    assert "is no image format" in not_rendered(model, out=tmp_path / "out.%04d.docx")


def test_settings_that_are_none(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    assert refused("--settings", path) == f"{path}: the settings file cannot be read: No such file or directory"
    for text, said in {
        "{": "not a JSON settings file",
        "[1]": "a settings file is a JSON object",
        '{"epoch": 3}': "unknown knob 'epoch'",
        '{"epochs": "many"}': "Epochs (epochs) is a number, not 'many'",
        "\0\xff": "not a JSON settings file",
    }.items():
        path.write_text(text)
        answer = refused("--settings", path)
        assert answer.startswith(f"{path}: ")
        assert said in answer
