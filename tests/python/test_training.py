"""A training and its files: names, steps, records, what the loss does with odd pixels, channels and sizes.

Over 400 lines: one test for each promise about the files of a run, on the same small shots.
"""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from conftest import FRAMES, Shot, graded, losses, picture, random_model, summary, write_shot
from copycat.errors import CopycatError
from copycat.inference.model import load
from copycat.inference.render import infer
from copycat.model import cat
from copycat.model import starting_point as weights
from copycat.runs import Run, find_run, read_info, read_json
from copycat.sequence import read_frame, write_frame
from copycat.sequence.pairs import Pair
from copycat.training.start import Result, TrainingError
from copycat.training.step import Learner, Loss, ops

Train = Callable[..., Result]


def names(run: Run) -> set[str]:
    """What the run's files are called after its name."""
    return {path.name.removeprefix(run.name) for path in run.files()}


def test_the_files_of_a_run(train: Train, tmp_path: Path) -> None:
    """5000 steps at an interval of 1000 make five .cat files; here a hundredth of that."""
    result = train(epochs=50, checkpoint_interval=10, image_interval=25, preview=str(tmp_path / "shot/plate.1001.exr"))
    checkpoints = {f"_{step}.cat" for step in (10, 20, 30, 40, 50)}
    pictures = {"_25.png", "_50.png", "_25_preview.png", "_50_preview.png"}
    assert names(result.run) == checkpoints | pictures | {".summary", ".ost", ".json"}
    assert result.checkpoint == result.run.checkpoint(50)
    assert (result.ended, result.step) == ("finished", 50)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {path.name for path in result.run.files()}


def test_the_last_step_always_writes_a_checkpoint_and_a_sheet(train: Train) -> None:
    run = train(epochs=7, checkpoint_interval=5, image_interval=4).run
    assert [step for step, _ in run.checkpoints()] == [5, 7]
    assert [step for step, _ in run.contact_sheets()] == [4, 7]


def test_the_summary_says_what_the_runs_package_says(train: Train) -> None:
    run = train(epochs=12).run
    first, *steps, last = summary(run)
    header = first["run"]
    assert header["totalSteps"] == 12
    assert header["stages"] == [[4, 1, 2], [2, 3, 4], [1, 5, 12]]
    assert (header["pairs"], header["batch"], header["channels"]) == (4, 4, "rgb -> rgb")
    assert (header["modelSize"], header["device"]) == ("Small", "CPU")
    assert [record["step"] for record in steps] == list(range(1, 13))
    assert [record["level"] for record in steps] == [4] * 2 + [2] * 2 + [1] * 8
    for record in steps:
        assert set(record) == {"step", "loss", "parts", "level", "lr", "time"}
        assert math.isfinite(record["loss"])
        assert set(record["parts"]) == {"l1", "l2"}
    times = [record["time"] for record in steps]
    assert times == sorted(times)
    assert (last["end"], last["reason"], last["step"]) == ("finished", "", 12)
    info = read_info(run)
    assert (info.state, info.steps, info.total_steps) == ("finished", 12, 12)


def test_provenance_is_enough_to_find_the_frames_again(
    train: Train, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shot.folder)
    result = train("plate.%04d.exr", "clean.%04d.exr", training_frames="1001,1003", preview="plate.1002.exr")
    stored = read_json(result.run.provenance)
    assert [entry["frame"] for entry in stored["frames"]] == [1001, 1003]
    assert all(Path(entry["input"]).is_absolute() for entry in stored["frames"])
    assert stored["settings"]["preview"] == str(shot.folder / "plate.1002.exr")
    assert stored["settings"]["cropSize"] == 32


def test_the_model_says_what_it_is(train: Train) -> None:
    result = train(epochs=3, run_name="hero")
    assert result.run.name == "hero"
    header, weights = cat.load(result.run.checkpoint(3))
    assert (header.run, header.step, header.level, header.model_size) == ("hero", 3, 1, "Small")
    assert header.loss == pytest.approx(losses(result.run)[-1])
    assert header.settings["epochs"] == 3
    assert all(torch.isfinite(weight).all() for weight in weights.values())


def test_a_name_that_is_taken(train: Train) -> None:
    train(epochs=1, run_name="hero")
    with pytest.raises(CopycatError, match="there is already a run 'hero'"):
        train(epochs=1, run_name="hero")


def test_two_runs_of_one_second_have_two_names(train: Train) -> None:
    assert len({train(epochs=1).run.name for _ in range(3)}) == 3


def test_it_learns(train: Train, shot: Shot, tmp_path: Path) -> None:
    result = train(epochs=150, checkpoint_interval=150, image_interval=150)
    curve = losses(result.run)
    assert np.mean(curve[-10:]) < 0.2 * np.mean(curve[:5])
    unseen = picture(1010)
    model = load(result.run.checkpoint(150), "cpu")
    error = np.abs(model(unseen) - graded(unseen)).mean()
    assert error < 0.25 * np.abs(unseen - graded(unseen)).mean()


def test_the_same_seed_trains_the_same_model(train: Train) -> None:
    a, b, c = (train(epochs=8, seed=seed).run for seed in (3, 3, 4))
    assert losses(a) == losses(b) != losses(c)
    assert cat.load(a.checkpoint(8))[1].keys() == cat.load(b.checkpoint(8))[1].keys()
    for name, weight in cat.load(a.checkpoint(8))[1].items():
        assert torch.equal(weight, cat.load(b.checkpoint(8))[1][name])


def test_validation_pairs_give_psnr_and_the_best_checkpoint(train: Train, tmp_path: Path) -> None:
    held = write_shot(tmp_path / "held", (2001, 2002))
    run = train(
        epochs=30, checkpoint_interval=10, validation_input=held.input, validation_ground_truth=held.ground_truth
    ).run
    psnrs = {record["step"]: record["psnr"] for record in summary(run) if "psnr" in record}
    assert list(psnrs) == [10, 20, 30]
    best = max(psnrs, key=lambda step: psnrs[step])
    assert cat.read_header(run.best).step == best
    assert read_info(run).best_psnr == psnrs[best]


@pytest.mark.parametrize(
    "knobs",
    [
        {"validation_input": "{}/missing.%04d.exr", "validation_ground_truth": "{}/missing.%04d.exr"},
        {"preview": "{}/missing.exr"},
    ],
    ids=["validation", "preview"],
)
def test_what_will_be_read_later_is_looked_for_at_once(train: Train, tmp_path: Path, knobs: dict[str, str]) -> None:
    with pytest.raises(CopycatError, match="missing"):
        train(**{name: value.format(tmp_path) for name, value in knobs.items()})


def test_a_validation_pair_without_the_channels(train: Train, tmp_path: Path, shot: Shot) -> None:
    for name in ("v.1.exr", "w.1.exr"):
        write_frame(tmp_path / name, picture(1, channels=1), ("Y",))
    with pytest.raises(CopycatError, match=r"v\.1\.exr: there is no channel 'R'"):
        train(validation_input=str(tmp_path / "v.1.exr"), validation_ground_truth=str(tmp_path / "w.1.exr"))


def test_few_names_lead_from_train_to_the_crop_kernel(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads on from ``copycat.train`` passes ten names of the package at most."""
    ways: list[list[str]] = []
    real = ops.sample_crops

    def noted(*arguments: Any, **more: Any) -> Any:
        frames = traceback.extract_stack()
        names = [f.name for f in frames if "/copycat/training/" in f.filename]
        ways.append(names[names.index("train") :])
        return real(*arguments, **more)

    monkeypatch.setattr(ops, "sample_crops", noted)
    train(epochs=1)
    # From sample_crops it is torch's dispatcher and the operator's kernel.
    assert ways[0][0] == "train"
    assert len([*ways[0], "sample_crops", "_sample_crops"]) <= 10, ways[0]


# -- batches ------------------------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_batch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory halves what goes through the network at a time, which changes nothing but rounding."""
    whole = train(epochs=4, use_multi_resolution_training=False).run
    real, asked = ops.sample_crops, []

    def short_of_memory(*banks: Any, batch: int, **more: Any) -> Any:
        asked.append(batch)
        if batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*banks, batch=batch, **more)

    monkeypatch.setattr(ops, "sample_crops", short_of_memory)
    monkeypatch.setattr("copycat.training.outputs.contact_sheet", lambda *_: np.zeros((96, 96, 3), np.float32))
    messages: list[str] = []
    parts = train(
        epochs=4, use_multi_resolution_training=False, progress=lambda report: messages.append(report.message)
    ).run
    assert asked[:6] == [4, 2, 1, 1, 1, 1]
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-3)
    assert "warning: memory is short: 1 crops go through the network at a time" in messages


@pytest.mark.parametrize(("crop", "advised"), [(128, False), (256, True)])
def test_on_a_cpu_smaller_crops_are_advised(train: Train, tmp_path: Path, crop: int, advised: bool) -> None:
    large = write_shot(tmp_path / "large", (1001,), size=(192, 176))
    run = train(large.input, large.ground_truth, crop_size=crop, epochs=1, use_gpu_if_available=False).run
    warnings = read_info(run).header["warnings"]
    assert any("on a CPU, a Crop Size of 128" in warning for warning in warnings) == advised


def test_a_time_limit_that_ends_while_reading_says_so(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Time Limit of 0\.0001 minutes was over before the first step"):
        train(minutes=0.0001)
    assert not list((tmp_path / "runs").glob("*.cat"))


def test_no_memory_for_one_crop_fails_with_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_memory(*_: Any, **__: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")

    monkeypatch.setattr(ops, "sample_crops", no_memory)
    with pytest.raises(TrainingError, match="not enough memory for one crop of 32x32 through a Small model"):
        train()
    assert "not enough memory" in summary(find_run(tmp_path / "runs"))[-1]["reason"]


def test_no_memory_for_the_data_set_fails_with_a_sentence(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("copycat.data.banks.np.zeros", no_memory)
    with pytest.raises(CopycatError, match="not enough memory for this training"):
        train(bank="host")
    assert summary(find_run(tmp_path / "runs"))[-1]["end"] == "failed"


@pytest.mark.parametrize(
    "knobs", [{"crops_per_pair": 3}, {"batch_size_type": "Manual", "batch_size": 3}, {"bank": "disk"}]
)
def test_other_batches_and_banks(train: Train, knobs: dict[str, Any]) -> None:
    run = train(epochs=6, **knobs).run
    assert summary(run)[0]["run"]["batch"] == {"crops_per_pair": 12, "batch_size_type": 3}.get(next(iter(knobs)), 4)
    assert summary(run)[-1]["step"] == (8 if "batch_size" in knobs else 6)
    assert not [path for path in run.directory.iterdir() if path not in run.files()]


def test_crops_that_are_turned_are_square(train: Train, tmp_path: Path) -> None:
    wide = write_shot(tmp_path / "wide", size=(96, 40))
    run = train(
        wide.input, wide.ground_truth, epochs=6, crop_size=64, rotation_probability=1.0, flip_probability=0.5
    ).run
    assert len(losses(run)) == 6


# -- a loss that is not finite ------------------------------------------------------------------------------------


class Poison:
    """Wraps the training's loss; at some steps it is NaN."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bad: Callable[[int], bool]) -> None:
        self.step = 0
        real = Loss.__call__

        def poisoned(loss: Any, *arguments: Any) -> Any:
            objective, parts = real(loss, *arguments)
            self.step += 1
            factor = float("nan") if bad(self.step) else 1.0
            return objective * factor, parts * factor

        monkeypatch.setattr(Loss, "__call__", poisoned)


def test_a_step_with_a_non_finite_loss_changes_no_weight(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, lambda step: step == 4)
    weights = []
    real = Learner.learn

    def learn(self: Learner, *arguments: Any) -> Any:
        output = real(self, *arguments)
        weights.append(self.parameters.weights.detach().clone())
        return output

    monkeypatch.setattr(Learner, "learn", learn)
    run = train(epochs=6).run
    same = [torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert same == [False, False, True, False, False]
    assert [record["step"] for record in summary(run) if "loss" in record and record["loss"] is None] == [4]
    assert all(torch.isfinite(weight).all() for weight in cat.load(run.checkpoint(6))[1].values())


def test_a_hundred_in_a_row_fail_the_training(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Poison(monkeypatch, lambda step: step > 20)
    with pytest.raises(TrainingError, match=r"the loss has not been finite for 1\d\d steps in a row"):
        train(epochs=200, checkpoint_interval=20)
    run = find_run(tmp_path / "runs")
    assert "has not been finite" in summary(run)[-1]["reason"]
    assert (run.checkpoints()[0][0], summary(run)[-1]["end"]) == (20, "failed")


def test_a_hundred_here_and_there_do_not(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    Poison(monkeypatch, lambda step: step % 3 != 0)
    assert train(epochs=160, checkpoint_interval=500, image_interval=500).ended == "finished"


# -- channels, values, windows ------------------------------------------------------------------------------------


def write_channels(path: Path, **planes: np.ndarray) -> None:
    """Writes named planes [H, W] as one float EXR; ``depth_Z`` stands for depth.Z."""
    names = [name.replace("_", ".") for name in planes]
    write_frame(path, np.stack(list(planes.values()), axis=-1).astype(np.float32), names, dtype="float")


def test_rgb_to_alpha(train: Train, tmp_path: Path) -> None:
    for frame in FRAMES:
        image = picture(frame)
        write_channels(tmp_path / f"comp.{frame}.exr", R=image[..., 0], G=image[..., 1], B=image[..., 2])
        write_channels(
            tmp_path / f"fg.{frame}.exr", **dict.fromkeys("RGB", image[..., 0]), A=(image[..., 0] > 0.5) * 1.0
        )
    result = train(
        str(tmp_path / "comp.%04d.exr"), str(tmp_path / "fg.%04d.exr"),
        epochs=30, input_channels="R,G,B", ground_truth_channels="A",
    )  # fmt: skip
    header = cat.read_header(result.run.checkpoint(30))
    assert (header.channels_out, header.residual) == (("A",), (-1,))
    assert summary(result.run)[0]["run"]["channels"] == "rgb -> alpha"
    infer(result.checkpoint, tmp_path / "comp.%04d.exr", tmp_path / "out.%04d.exr")
    assert read_frame(tmp_path / "out.1001.exr", ["A"]).info.channels == ("A",)


def test_rgb_and_depth_to_rgba_through_parts(train: Train, tmp_path: Path) -> None:
    """The depth lies in a second part of the file, as renderers write it."""
    for frame in FRAMES:
        image = picture(frame)
        specs = [oiio.ImageSpec(64, 64, 3, "half"), oiio.ImageSpec(64, 64, 1, "float")]
        specs[1].channelnames = ("depth.Z",)
        for spec, name in zip(specs, ("rgb", "depth"), strict=True):
            spec.attribute("oiio:subimagename", name)
        path = str(tmp_path / f"beauty.{frame}.exr")
        out = oiio.ImageOutput.create(path)
        assert out.open(path, specs)
        out.write_image(image)
        assert out.open(path, specs[1], "AppendSubimage")
        out.write_image(image[..., :1] * 1000)
        out.close()
        write_frame(tmp_path / f"fg.{frame}.exr", picture(frame, channels=4), ("R", "G", "B", "A"))
    result = train(
        str(tmp_path / "beauty.%04d.exr"), str(tmp_path / "fg.%04d.exr"),
        epochs=6, input_channels="rgb,depth.Z", ground_truth_channels="rgba",
    )  # fmt: skip
    model = load(result.checkpoint, "cpu")
    assert (model.channels_in, model.channels_out) == (("R", "G", "B", "depth.Z"), ("R", "G", "B", "A"))
    infer(model, tmp_path / "beauty.%04d.exr", tmp_path / "out.%04d.exr", frames="1002")
    assert read_frame(tmp_path / "out.1002.exr", ["R", "G", "B", "A"]).info.channels == ("R", "G", "B", "A")


def test_scene_linear_values_pass_without_clipping(train: Train, tmp_path: Path) -> None:
    for frame in FRAMES:
        image = picture(frame)
        image[8:16, 8:16] = 60.0
        image[40:48, 40:48] = -0.1
        for name in ("plate", "same"):
            write_frame(tmp_path / f"{name}.{frame}.exr", image, ("R", "G", "B"))
    result = train(str(tmp_path / "plate.%04d.exr"), str(tmp_path / "same.%04d.exr"), epochs=6)
    assert min(cat.read_header(result.checkpoint).input_encoding.log_scale) > 0
    infer(result.checkpoint, tmp_path / "plate.%04d.exr", tmp_path / "out.%04d.exr")
    output = read_frame(tmp_path / "out.1001.exr", ["R", "G", "B"]).pixels
    assert output[10:14, 10:14].min() > 50
    assert -0.15 < output[42:46, 42:46].mean() < -0.05


def test_pairs_of_different_sizes_train_together(train: Train, tmp_path: Path) -> None:
    small = write_shot(tmp_path / "small", (1001, 1002), size=(48, 80))
    large = write_shot(tmp_path / "large", (1001,), size=(90, 50))
    pairs = [Pair(small.input, small.ground_truth), Pair(large.input, large.ground_truth)]
    run = train(pairs=pairs, epochs=9).run
    assert summary(run)[0]["run"]["pairs"] == 3
    assert len(losses(run)) == 9


def test_a_data_window_is_all_that_is_trained_on(train: Train, tmp_path: Path) -> None:
    for frame in FRAMES:
        for name in ("plate", "clean"):
            spec = oiio.ImageSpec(40, 44, 3, "half")
            spec.x, spec.y, spec.full_width, spec.full_height = 12, 8, 64, 64
            path = str(tmp_path / f"{name}.{frame}.exr")
            out = oiio.ImageOutput.create(path)
            assert out.open(path, spec)
            out.write_image(picture(frame, (40, 44)) * (0.5 if name == "clean" else 1))
            out.close()
    messages: list[str] = []
    result = train(
        str(tmp_path / "plate.%04d.exr"), str(tmp_path / "clean.%04d.exr"),
        epochs=30, crop_size=64, progress=lambda report: messages.append(report.message),
    )  # fmt: skip
    assert any("smaller than the Crop Size 64: training on crops of 32x32" in message for message in messages)
    infer(result.checkpoint, tmp_path / "plate.%04d.exr", tmp_path / "out.%04d.exr", frames=[1001])
    output = read_frame(tmp_path / "out.1001.exr", ["R", "G", "B"])
    assert output.valid == (12, 8, 52, 52)
    assert (output.info.width, output.info.height) == (64, 64)


def test_a_mask_weights_the_loss(train: Train, shot: Shot, tmp_path: Path) -> None:
    """Where the mask is black, the ground truth may be anything."""
    half = np.zeros((64, 64, 1), np.float32)
    half[:, :32] = 1
    for frame in FRAMES:
        spoiled = graded(picture(frame))
        spoiled[:, 32:] = 1e4
        write_frame(tmp_path / f"spoiled.{frame}.exr", spoiled, ("R", "G", "B"), dtype="float")
        write_frame(tmp_path / f"mask.{frame}.exr", half, ("A",))
        with_mask = np.concatenate([spoiled, half], axis=-1)
        write_frame(tmp_path / f"channel.{frame}.exr", with_mask, ("R", "G", "B", "garbage.mask"), dtype="float")
    for target, knobs in (
        ("spoiled", {"mask": str(tmp_path / "mask.%04d.exr")}),
        ("channel", {"mask_channel": "garbage.mask"}),
    ):
        run = train(shot.input, str(tmp_path / f"{target}.%04d.exr"), epochs=3, difference_share=0.0, **knobs).run
        assert len(losses(run)) == 3
        record = summary(run)[-2]
        assert record["parts"]["l2"] < 10 * record["parts"]["l1"]


def test_non_finite_pixels_can_be_left_out(train: Train, shot: Shot, tmp_path: Path) -> None:
    spoiled = graded(picture(1002))
    spoiled[:20, :20] = np.nan
    spoiled[30, 30] = np.inf
    write_frame(Path(shot.folder / "clean.1002.exr"), spoiled, ("R", "G", "B"))
    messages: list[str] = []
    run = train(epochs=9, non_finite="Mask", progress=lambda report: messages.append(report.message)).run
    assert all(loss is not None for loss in losses(run))
    assert any("clean.1002.exr: 401 pixels are NaN or infinite" in message for message in messages)


# -- initial weights ----------------------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_initial_weights(train: Train) -> None:
    first = train(epochs=60, use_multi_resolution_training=False).run
    second = train(
        epochs=6, use_multi_resolution_training=False, initial_weights="Checkpoint",
        checkpoint_file=str(first.checkpoint(60)),
    ).run  # fmt: skip
    assert np.mean(losses(second)) < 0.5 * losses(first)[0]
    assert summary(second)[0]["run"]["step"] == 0
    assert cat.read_header(second.checkpoint(6)).input_encoding == cat.read_header(first.checkpoint(60)).input_encoding


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"checkpoint_file": "{}/none.cat"}, "none.cat: the model file does not exist"),
        ({}, "Checkpoint File is empty"),
        ({"initial_weights": "Deblur"}, "Initial Weights Deblur for Small are not part of this version"),
        ({"checkpoint_file": "{}/alpha.cat"}, "its weights map R,G,B -> A, the data set R,G,B -> R,G,B"),
        ({"checkpoint_file": "{}/large.cat"}, "is a Large model, but Model Size is Small"),
    ],
)
def test_initial_weights_that_do_not_fit(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, str], sentence: str
) -> None:
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    random_model(tmp_path / "alpha.cat", channels_out=("A",))
    random_model(tmp_path / "large.cat", size="Large")
    with pytest.raises(CopycatError, match=sentence.replace(".", r"\.")):
        train(**{"initial_weights": "Checkpoint"} | {name: value.format(tmp_path) for name, value in knobs.items()})
