"""Rendering sequences: which frames and channels, bad frames, outputs that must not be, and what Python users pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import copycat
import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from conftest import Outcome, Shot, environment, picture, random_model, write_shot
from copycat.errors import CopycatError
from copycat.inference.model import InferenceError, Model, load
from copycat.inference.render import RenderError, infer
from copycat.inference.review import review
from copycat.sequence import SequenceError, read_frame, read_info, write_frame
from copycat.settings.knob import SettingsError
from copycat.settings.tables import InferenceSettings, Settings

RGB = ("R", "G", "B")
CPU = torch.device("cpu")


@pytest.fixture
def model(tmp_path: Path, tiny: None) -> Model:
    return Model(random_model(tmp_path / "m.cat"), CPU)


# -- bad frames -----------------------------------------------------------------------------------------------------


@pytest.fixture
def torn(shot: Shot) -> Path:
    """The shot's frame 1002, cut off."""
    path = shot.folder / "plate.1002.exr"
    path.write_bytes(path.read_bytes()[:900])
    return path


def test_other_frames_are_rendered_and_the_bad_ones_listed(
    model: Model, shot: Shot, torn: Path, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    messages: list[str] = []
    with pytest.raises(RenderError, match=r"2 of 5 frames .*frame 1002: .*plate\.1002\.exr.*frame 1009") as raised:
        infer(
            model,
            shot.input,
            tmp_path / "out.%04d.exr",
            frames=[1001, 1002, 1003, 1004, 1009],
            progress=lambda report: messages.append(report.message),
        )
    assert [path.name for path in raised.value.written] == ["out.1001.exr", "out.1003.exr", "out.1004.exr"]
    assert set(raised.value.failed) == {1002, 1009}
    assert sorted(path.name for path in tmp_path.glob("out.*")) == ["out.1001.exr", "out.1003.exr", "out.1004.exr"]
    assert [bool(message) for message in messages] == [False, True, False, False]
    status, out, err = copycat("infer", model.path, shot.input, tmp_path / "again.%04d.exr")
    assert status == 1
    assert err.startswith("error: 1 of 4 frames could not be rendered: frame 1002: ")
    assert "[Frame:2/4] 1002 failed: " in out
    assert len(list(tmp_path.glob("again.*"))) == 3


def test_stopping_at_a_bad_frame(
    model: Model, shot: Shot, torn: Path, tmp_path: Path, copycat: Callable[..., Outcome]
) -> None:
    with pytest.raises(SequenceError, match=str(torn)):
        infer(model, shot.input, tmp_path / "out.%04d.exr", keep_going=False)
    assert [path.name for path in tmp_path.glob("out.*")] == ["out.1001.exr"]
    status, _, err = copycat("infer", model.path, shot.input, tmp_path / "again.%04d.exr", "--no-keep-going")
    assert (status, str(torn) in err) == (1, True)
    with pytest.raises(SequenceError, match="frame 1009 of the plate is missing"):
        infer(model, shot.input, tmp_path / "third.%04d.exr", frames="1001,1009", keep_going=False)
    assert not list(tmp_path.glob("third.*"))


def test_the_first_frame_may_be_bad(model: Model, shot: Shot, tmp_path: Path) -> None:
    (shot.folder / "plate.1001.exr").write_text("no image")
    with pytest.raises(RenderError) as raised:
        infer(model, shot.input, tmp_path / "out.%04d.exr")
    assert len(raised.value.written) == 3


def test_frames_none_of_which_exist_are_refused(model: Model, shot: Shot, tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match="frame 1 of the plate is missing"):
        infer(model, shot.input, tmp_path / "out.%04d.exr", frames="1-10")


def test_a_gap_is_said_once_at_the_end(model: Model, tmp_path: Path) -> None:
    shot = write_shot(tmp_path / "shot", (1001, 1002, 1005, 1009))
    said: list[str] = []
    infer(model, shot.input, tmp_path / "out.%04d.exr", warn=said.append)
    assert said == [f"{shot.input}: the plate has no frame 1003-1004,1006-1008"]
    said.clear()
    infer(model, shot.input, tmp_path / "out.%04d.exr", frames="1001,1005", warn=said.append)
    assert said == []
    for frame in (998, 999):
        write_frame(tmp_path / f"shot/plate.{frame}.exr", picture(frame), RGB)
    write_frame(tmp_path / "shot/plate.0999.exr", picture(999), RGB)
    infer(model, shot.input, tmp_path / "out.%04d.exr", frames="1001", warn=said.append)
    assert len(said) == 1
    assert "left out plate.998.exr and 1 more" in said[0]


# -- channels -------------------------------------------------------------------------------------------------------


def test_other_channels_in_and_out(model: Model, tmp_path: Path, copycat: Callable[..., Outcome]) -> None:
    left, right = picture(1), picture(2)
    names = (*RGB, "right.R", "right.G", "right.B")
    write_frame(tmp_path / "stereo.1001.exr", np.concatenate([left, right], axis=-1), names, dtype="float")
    status, _, err = copycat(
        "infer", model.path, tmp_path / "stereo.1001.exr", tmp_path / "right.1001.exr",
        "--input-channels", "right.R,right.G,right.B", "--output-channels", "made.R,made.G,made.B", "--passthrough",
    )  # fmt: skip
    assert status == 0, err
    result = read_frame(tmp_path / "right.1001.exr", ("made.R", "made.G", "made.B", *names)).pixels
    np.testing.assert_allclose(result[..., :3], model(right), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(result[..., 3:6], left)
    matte = random_model(tmp_path / "matte.cat", RGB, ("A",))
    infer(matte, tmp_path / "stereo.1001.exr", tmp_path / "a.exr", output_channels="matte.A", input_channels="right")
    assert read_info(tmp_path / "a.exr").channels == ("matte.A",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_channels": "R,G"}, "the model takes 3 channels .*Input Channels names 2"),
        ({"input_channels": "depth"}, "no channel or layer 'depth'"),
        ({"output_channels": "A"}, "Output Channels needs as many different names, not 'A'"),
        ({"output_channels": "x,x,y"}, "as many different names"),
        ({"output_channels": "x,,y"}, "as many different names"),
    ],
)
def test_channels_that_do_not_fit(model: Model, shot: Shot, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises((InferenceError, SequenceError), match=said):
        infer(model, shot.input, tmp_path / "out.%04d.exr", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("out.*"))


# -- outputs that must not be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", ["dots", "linked folder", "link", "hard link", "another frame", "a frame not requested"]
)
def test_nothing_that_was_read_is_overwritten(model: Model, shot: Shot, tmp_path: Path, way: str) -> None:
    before = {path: path.read_bytes() for path in shot.folder.glob("plate.*")}
    output, frames = str(tmp_path / "out.%04d.exr"), "all"
    if way == "dots":
        output = str(shot.folder / ".." / shot.folder.name / "plate.%04d.exr")
    elif way == "linked folder":
        (tmp_path / "link").symlink_to(shot.folder)
        output = str(tmp_path / "link/plate.%04d.exr")
    elif way == "link":
        (tmp_path / "out.1003.exr").symlink_to(shot.folder / "plate.1003.exr")
    elif way == "hard link":
        os.link(shot.folder / "plate.1003.exr", tmp_path / "out.1003.exr")
    elif way == "another frame":
        (tmp_path / "out.1003.exr").symlink_to(shot.folder / "plate.1001.exr")
    else:
        frames, output = "1001", str(shot.folder / "plate.1004.exr")
    with pytest.raises(SequenceError, match="would overwrite a file that is read"):
        infer(model, shot.input, output, frames=frames)
    assert {path: path.read_bytes() for path in shot.folder.glob("plate.*")} == before


def test_a_model_is_not_overwritten(shot: Shot, tmp_path: Path, tiny: None) -> None:
    path = random_model(tmp_path / "model.exr")
    before = path.read_bytes()
    with pytest.raises(SequenceError, match="would overwrite"):
        infer(path, shot.folder / "plate.1001.exr", path, use_gpu_if_available=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["o.%04d.xyz", "o.%04d", "file/o.%04d.exr", "n" * 250 + ".%04d.exr", "o.%04d.jpg"])
def test_outputs_that_cannot_be_are_refused_before_anything_is_read(
    shot: Shot, tmp_path: Path, tiny: None, name: str
) -> None:
    (tmp_path / "file").touch()
    channels = tuple(f"c{i}" for i in range(5)) if name.endswith("jpg") else RGB
    path = random_model(tmp_path / "m.cat", RGB, channels)
    called: list[object] = []
    with pytest.raises(SequenceError, match="cannot"):
        infer(path, shot.input, tmp_path / name, before_render=called.append, use_gpu_if_available=False)
    assert called == []


def test_no_library_writes_to_standard_error(shot: Shot, tmp_path: Path) -> None:
    path = random_model(tmp_path / "m.cat")
    command = [sys.executable, "-m", "copycat", "infer", path, shot.folder / "plate.1001.exr", tmp_path / "o.%04d.xyz"]
    done = subprocess.run(list(map(str, command)), env=environment(), text=True, capture_output=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/o.1001.xyz cannot be written: .xyz is no image format\n"


# -- what Python users pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "largest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_mean_0_to_1(model: Model, dtype: type[np.generic], largest: int) -> None:
    image = (picture(1) * largest).astype(dtype)
    expected = model(image.astype(np.float32) / np.float32(largest))
    np.testing.assert_array_equal(model(image), expected)
    planes = torch.from_numpy(image).movedim(-1, 0)
    np.testing.assert_allclose(model(planes).movedim(0, -1).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "int8", "int64", "bool", "complex64"])
def test_other_numbers_are_no_picture(model: Model, dtype: str) -> None:
    with pytest.raises(InferenceError, match=f"the image is {dtype}"):
        model(picture(1).astype(dtype))
    with pytest.raises(InferenceError, match=f"the image is {dtype}"):
        model(torch.zeros(3, 64, 64, dtype=getattr(torch, dtype)))


@pytest.mark.parametrize("dtype", ["float64", "float16", ">f4"])
def test_any_floating_point_is(model: Model, dtype: str) -> None:
    image = picture(1).astype(dtype)
    image.flags.writeable = False
    np.testing.assert_allclose(model(image), model(image.astype(np.float32)), atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_float64_beyond_float32_is_a_bad_pixel(model: Model) -> None:
    image = picture(1).astype(np.float64)
    image[3, 4] = 1e300
    said: list[str] = []
    assert np.isfinite(model(image, warn=said.append)).sum() == image.size - 3
    assert len(said) == 1


@pytest.mark.parametrize("frames", [1002, np.int64(1002), [1002], (1002,), "1002", range(1002, 1003), np.array([1002])])
def test_frames_as_anyone_writes_them(model: Model, shot: Shot, tmp_path: Path, frames: object) -> None:
    written = infer(model, shot.input, tmp_path / "o.%04d.exr", frames=frames)  # type: ignore[arg-type]
    assert [path.name for path in written] == ["o.1002.exr"]
    found = review(model, shot.input, frames=frames, ground_truth_frames=1001)  # type: ignore[arg-type]
    assert [one.frame for one in found.frames] == [1002]


@pytest.mark.parametrize("frames", [None, 1.5, ["x"], object()])
def test_frames_that_are_none(model: Model, shot: Shot, tmp_path: Path, frames: object) -> None:
    with pytest.raises(SequenceError, match="no frames"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", frames=frames)  # type: ignore[arg-type]


def test_an_unknown_knob_is_refused_with_a_list_of_the_valid_ones(model: Model, shot: Shot, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unknown knob 'tilesize'; the knobs are .*tile_size"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", tilesize=512)
    for name in ("frame", "tile_overlap", "before_render"):
        with pytest.raises(SettingsError, match=rf"unknown knob '{name}'; the knobs of review are .*tile_size"):
            review(model, shot.input, **{name: 1})
    with pytest.raises(SettingsError, match="Checkpoint chooses a checkpoint in a host"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", checkpoint=500)
    with pytest.raises(SettingsError, match="name a model each"):
        infer(model, shot.input, tmp_path / "o.%04d.exr", model_file="other.cat")


def test_a_device_by_name(model: Model) -> None:
    assert load(str(model.path), "CPU").device == CPU
    if not torch.cuda.is_available():
        with pytest.raises(InferenceError, match="there is no device 'gpu'; this machine has cpu"):
            load(model.path, "gpu")
    with pytest.raises(InferenceError, match="there is no device 'tpu:0'; this machine has cpu"):
        load(model.path, "tpu:0")


def test_home_is_expanded(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(model.path.parent))
    assert load("~/m.cat", "cpu").path == model.path
    assert Settings(data_directory="~/runs").data_directory == str(model.path.parent / "runs")


def test_lists_of_frames_and_channels_are_knob_values() -> None:
    settings = Settings().replace(training_frames=[1001, 1005], input_channels=("R", "G"))
    assert (settings.training_frames, settings.input_channels) == ("1001,1005", "R,G")
    assert Settings(training_frames=range(3)).training_frames == "0,1,2"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "implied"),
    [
        ({"checkpoint_file": "a.cat"}, {"initial_weights": "Checkpoint"}),
        ({"checkpoint_file": "a.cat", "initial_weights": "checkpoint"}, {"initial_weights": "Checkpoint"}),
        ({"batch_size": 3}, {"batch_size_type": "Manual"}),
        ({"gpu_index": 1}, {"use_gpu_if_available": True}),
        ({"checkpoint_file": ""}, {"initial_weights": "None"}),
    ],
)
def test_a_knob_implies_what_it_needs(given: dict[str, object], implied: dict[str, object]) -> None:
    settings = Settings(use_gpu_if_available=False).replace(**given)
    assert {name: getattr(settings, name) for name in implied} == implied


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"checkpoint_file": "a.cat", "initial_weights": "None"}, "Checkpoint File .*Initial Weights is None"),
        ({"batch_size": 3, "batch_size_type": "Auto"}, "no effect while Batch Size is Auto: set it to Manual"),
        ({"perceptual_backbone": "vgg.pth"}, "Perceptual Backbone has no effect while Perceptual Weight is 0"),
        ({"gpu_index": "2", "use_gpu_if_available": False}, "GPU has no effect while Use GPU if available is off"),
    ],
)
def test_a_knob_without_effect_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings().replace(**given)
    if "gpu_index" in given:
        with pytest.raises(SettingsError, match=said):
            InferenceSettings().replace(**given)


def test_what_is_stored_is_not_refused() -> None:
    stored = {"checkpointFile": "old.cat", "initialWeights": "None", "batchSize": 4, "batchSizeType": "Auto"}
    assert Settings.from_dict(stored).respelt(checkpoint_file="/old.cat").initial_weights == "None"
    assert (
        Settings.from_dict(stored).replace(epochs=3).initial_weights == "None"
    )  # a host keeps a file that is not used


# -- windows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("passthrough", [False, True])
def test_overscan_is_rendered_like_any_picture(model: Model, tmp_path: Path, passthrough: bool) -> None:
    whole = np.random.default_rng(1).random((80, 96, 3), np.float32)
    write_frame(tmp_path / "whole.1.exr", whole, RGB, dtype="float")
    spec = oiio.ImageSpec(96, 80, 3, "float")
    spec.x, spec.y, spec.full_x, spec.full_y, spec.full_width, spec.full_height = -7, -5, 0, 0, 80, 64
    output = oiio.ImageOutput.create("plate.exr")
    assert output.open(str(tmp_path / "plate.1.exr"), spec)
    assert output.write_image(whole)
    assert output.close()
    for name in ("whole", "plate"):
        infer(model, tmp_path / f"{name}.1.exr", tmp_path / f"{name}_out.1.exr", passthrough=passthrough)
    info = read_info(tmp_path / "plate_out.1.exr")
    assert (info.data_window, info.display_window) == ((-7, -5, 89, 75), (0, 0, 80, 64))
    expected = read_frame(tmp_path / "whole_out.1.exr", RGB).pixels
    assert np.abs(expected - whole).max() > 0.01
    np.testing.assert_array_equal(read_frame(info.path, RGB, overscan=True).pixels, expected)


def test_a_leftover_checkpoint_file_is_not_trained_from(shot: Shot, tmp_path: Path, tiny: None) -> None:
    settings = Settings(checkpoint_file="gone.cat", model_size="Small", crop_size=32, epochs=1)
    result = copycat.train(
        shot.input, shot.ground_truth, settings, data_directory=str(tmp_path / "runs"), use_gpu_if_available=False
    )
    assert result.ended == "finished"


def test_arrays_are_no_files(model: Model, shot: Shot, tmp_path: Path) -> None:
    image = picture(1)
    with pytest.raises(CopycatError, match=r"the Input is of type ndarray: name the files, as in plate"):
        copycat.train(image, image, data_directory=tmp_path)
    with pytest.raises(CopycatError, match="the Mask is of type ndarray"):
        copycat.train(shot.input, shot.ground_truth, mask=image, data_directory=tmp_path)
    with pytest.raises(CopycatError, match="the Ground Truth is of type ndarray"):
        copycat.train(pairs=[(shot.input, image)], data_directory=tmp_path)
    with pytest.raises(CopycatError, match="is no pair"):
        copycat.train(pairs=[shot.input], data_directory=tmp_path)
    with pytest.raises(CopycatError, match="not of type ndarray"):
        copycat.infer(model, image, tmp_path / "o.%04d.exr")
    with pytest.raises(CopycatError, match="not of type ndarray"):
        copycat.review(model, image)
    with pytest.raises(CopycatError, match="there is no model"):
        copycat.infer("", shot.input, tmp_path / "o.%04d.exr")
