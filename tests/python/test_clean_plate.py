"""Clean Plate: when it is used and how the network gets it, in training, in tiles, in files and in exports.

Over 400 lines: each way in which a plate is chosen, made, placed and refused, on the same small shots.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import torch
from copycat import ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset, load_dataset
from copycat.inference.export import export
from copycat.inference.model import InferenceError, Model, load
from copycat.inference.render import infer
from copycat.model import cat, tiles
from copycat.model.network import ROWS, Network
from copycat.model.starting_point import StartingPoint
from copycat.sequence import read_frame, write_frame
from copycat.sequence.pairs import DatasetError, Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training.start import resume, train
from copycat.training.step import TrainingError
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

RGB = ("R", "G", "B")
PLAIN = ops.Encoding((0.0,) * 3, (0.4,) * 3, (0.2,) * 3)
SIZE = (48, 64)

# torch says so of every program that a test loads.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.load:DeprecationWarning")


def network_with_plate(size: tuple[int, int] = SIZE) -> Network:
    torch.manual_seed(0)
    network = Network(ROWS["Small"], 3, (0, 1, 2), size)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        assert network.clean_plate is not None
        network.clean_plate.normal_()
    return network.eval()


def header(size: tuple[int, int] | None = SIZE) -> cat.ModelHeader:
    return cat.ModelHeader(ROWS["Small"], RGB, RGB, (0, 1, 2), PLAIN, PLAIN, plate_size=size)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "plate.cat"
    cat.save(path, header(), network_with_plate().state_dict())
    return path


def write_shot(
    folder: Path, frames: int = 5, still: bool = True, widths: tuple[int, ...] = (64,), grade: float = 1.0
) -> Pair:
    """A grey square that passes in front of noise, and the noise without it; the noise moves unless it is still."""
    random = np.random.default_rng(0)
    behind = random.random((64, 64, 3), np.float32)
    for frame in range(frames):
        width = widths[frame % len(widths)]
        truth = (behind if still else np.roll(behind, 7 * frame, axis=1))[:, :width]
        plate = truth.copy()
        plate[20:36, 10 * frame : 10 * frame + 16] = 0.5
        write_frame(folder / f"plate.{frame:04d}.exr", plate, RGB)
        write_frame(folder / f"clean.{frame:04d}.exr", grade * truth, RGB)
    return Pair(str(folder / "plate.%04d.exr"), str(folder / "clean.%04d.exr"))


def read_shot(pair: Pair, **knobs: object) -> Dataset:
    return load_dataset(find_frames([pair]), Settings(**knobs))  # type: ignore[arg-type]


def test_it_is_the_median_of_the_painted_frames_and_how_far_they_lie_apart() -> None:
    bank = torch.rand(5, 20, 30, 3)
    bank[:, 4:9, 5:10] = 0.25
    whole = torch.tensor([[0, 0, 30, 20]] * 5, dtype=torch.int32)
    plate = clean_plate.of_frames(bank, whole, ops.Encoding.identity(3))[0].float()
    torch.testing.assert_close(plate[..., :3], bank.median(dim=0).values, atol=1e-3, rtol=0)
    assert plate.shape == (20, 30, 4)
    assert plate[4:9, 5:10, 3].max() < plate[10:, :, 3].min() - 1


@given(
    frames=st.integers(1, 26),
    dtype=st.sampled_from([torch.half, torch.float]),
    lost=st.sampled_from([0, 1, 400]),
    cut=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_medians_and_the_spread_are_numpy_s(
    frames: int, dtype: torch.dtype, lost: int, cut: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    bank = torch.randn(frames, 16, 17, 2, generator=random, dtype=torch.float).mul(100).round().div(64).to(dtype)
    valid = torch.tensor([[0, 0, 17, 16]] * frames, dtype=torch.int32)
    mask = torch.ones(frames, 16, 17, 1) if lost else None
    kept = bank.float().numpy().copy()
    if mask is not None:
        mask.view(-1)[torch.randint(mask.numel(), (lost,), generator=random)] = 0
        kept[mask[..., 0].numpy() == 0] = np.nan
    if cut:
        valid[0] = torch.tensor([2, 1, 16, 15])
        outside = np.ones((16, 17), bool)
        outside[1:15, 2:16] = False
        kept[0, outside] = np.nan
    chosen = kept[np.round(np.linspace(0, frames - 1, min(frames, 24))).astype(int)]
    nowhere = np.isnan(chosen).all(axis=(0, -1))
    chosen[:, nowhere] = 0
    reference = np.nanmedian(chosen, axis=0)
    spread = np.nanmean(np.abs(chosen - reference), axis=(0, -1))
    spread[nowhere] = 1
    plate = clean_plate.of_frames(bank, valid, ops.Encoding.identity(2), mask)[0].numpy()
    np.testing.assert_array_equal(plate[..., :2], reference.astype(np.float16))
    np.testing.assert_allclose(plate[..., 2], np.log(spread + 0.03), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(clean_plate._median(chosen), reference)  # float32, as it is compared


def test_of_many_frames_some_are_looked_at() -> None:
    bank = torch.full((100, 16, 16, 1), 0.5)
    bank[1:99:3] = 0.9
    whole = torch.tensor([[0, 0, 16, 16]] * 100, dtype=torch.int32)
    assert (clean_plate.of_frames(bank, whole, ops.Encoding.identity(1))[0, ..., 0] == 0.5).all()
    centres, offsets = torch.full((100, 2), 8), torch.arange(101)
    none = (ops.Encoding.identity(1),) * 2
    assert clean_plate.is_shown(torch.zeros_like(bank), bank * 0 + 0.5, centres, offsets, none, (0,))


def test_only_data_counts() -> None:
    bank = torch.zeros(4, 20, 30, 1)
    bank[:, 2:18, 3:20] = 0.5
    valid = torch.tensor([[3, 2, 20, 18]] * 4, dtype=torch.int32)
    bank[0, 2:18, 20:25] = 0.75  # one frame reaches further
    valid[0, 2] = 25
    plate = clean_plate.of_frames(bank, valid, ops.Encoding.identity(1))[0, ..., 0]
    assert (plate[2:18, 3:20] == 0.5).all()
    assert (plate[2:18, 20:25] == 0.75).all()
    assert torch.isfinite(plate).all()


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_the_plate_under_a_crop_is_what_the_sampler_would_cut(turn: float) -> None:
    plate, crop = torch.rand(1, 40, 56, 3).half(), (16, 16) if turn else (16, 24)
    valid = torch.tensor([[0, 0, 56, 40]], dtype=torch.int32)
    rule = ops.CropRule(crop=crop, seed=3, valid=valid, flip=0.5, flop=0.5, turn=turn)
    none = ops.Encoding.identity(3)
    cut, _, _ = ops.sample_crops(plate, plate, rule, step=5, batch=32, input_encoding=none, target_encoding=none)
    assert ops.crop_positions((40, 56), rule, step=5, batch=32)[:, 3].unique().tolist() == [0, 1, 2, 3]
    assert torch.equal(clean_plate.of_crops(plate, rule, step=5, batch=32).to(cut.dtype), cut)


@pytest.mark.parametrize(
    ("shot", "used"),
    [
        ({}, True),
        ({"still": False}, False),
        ({"frames": 2}, True),
        ({"frames": 2, "still": False}, False),
        ({"frames": 2, "grade": 1.5}, False),
        ({"frames": 3, "grade": 1.5}, True),
        ({"frames": 1}, False),
        ({"widths": (64, 48)}, False),
    ],
)
def test_auto_sees_where_it_is_of_use(tmp_path: Path, shot: dict[str, object], used: bool) -> None:
    data = read_shot(write_shot(tmp_path, **shot))  # type: ignore[arg-type]
    assert (data.clean_plate is not None) == used
    assert any("agree where they differ from the Input" in sentence for sentence in data.notes) == used
    assert not any("Clean Plate" in sentence for sentence in data.warnings)


def test_auto_leaves_mattes_and_what_does_not_differ_alone(tmp_path: Path) -> None:
    pair = write_shot(tmp_path)
    assert read_shot(pair, ground_truth_channels="R", input_channels="G,B").clean_plate is None
    assert read_shot(Pair(pair.input, pair.input)).clean_plate is None


def test_it_can_be_asked_for_and_refused(tmp_path: Path) -> None:
    pair = write_shot(tmp_path)
    assert read_shot(pair, clean_plate="Off").clean_plate is None
    (tmp_path / "moving").mkdir()
    asked = read_shot(write_shot(tmp_path / "moving", still=False), clean_plate="On")
    assert asked.clean_plate is not None
    assert cat.ModelHeader.for_dataset(asked, ROWS["Small"]).plate_size == (64, 64)
    levels = [plate.shape for level in (2, 4) if (plate := asked.at_level(level).clean_plate) is not None]
    assert levels == [(1, 32, 32, 4), (1, 16, 16, 4)]


@pytest.mark.parametrize(
    ("shot", "sentence"),
    [({"frames": 1}, r"clean\.0000\.exr: a Clean Plate needs 2"), ({"widths": (64, 48)}, r"plate\.0003.*48x64.*64x64")],
)
def test_on_says_why_it_cannot_be(tmp_path: Path, shot: dict[str, object], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read_shot(write_shot(tmp_path, **shot), clean_plate="On")  # type: ignore[arg-type]


def test_the_network_uses_it() -> None:
    network, x = network_with_plate(), torch.rand(1, 3, 32, 32)
    plate = network.clean_plate
    assert plate is not None
    here, there = (network(x, plate[..., :32, start : start + 32]) for start in (0, 32))
    assert (here - there).abs().max() > 1e-3


def test_tiles_equal_the_whole_frame() -> None:
    network, image = network_with_plate((230, 420)), torch.rand(3, 230, 420)
    whole = tiles.render(network, image, (PLAIN, PLAIN))
    cut = tiles.render(network, image, (PLAIN, PLAIN), tile_size=256)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-5)


def test_a_model_file_remembers_it(model_file: Path) -> None:
    assert cat.read_header(model_file).plate_size == SIZE
    image = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    model = load(model_file, "cpu")
    assert torch.equal(model.network.clean_plate.half(), network_with_plate().clean_plate)
    assert np.abs(model(image) - model(image[:, ::-1])[:, ::-1]).max() > 1e-4
    assert model(image[::2, ::2]).shape == (24, 32, 3)  # a host's proxy


def test_a_frame_of_another_shape_is_refused(model_file: Path, tmp_path: Path) -> None:
    assert all(clean_plate.fits((431, 768), size) for size in ((431, 768), (216, 384), (107, 192)))
    assert not any(clean_plate.fits((432, 768), size) for size in ((432, 800), (288, 512), (864, 1536), (216, 400)))
    assert clean_plate.fits((432, 768), (144, 256), scale=1 / 3)
    assert not clean_plate.fits((432, 768), (216, 384), scale=1)
    with pytest.raises(InferenceError, match=r"plate\.cat.*64x48.*72x48.*Clean Plate Off"):
        load(model_file, "cpu")(np.zeros((48, 72, 3), np.float32))
    pair = write_shot(tmp_path)
    write_frame(tmp_path / "preview.exr", np.zeros((32, 64, 3), np.float32), RGB)
    with pytest.raises(TrainingError, match=r"preview\.exr: is 64x32, the training frames are 64x64"):
        train(
            pair.input,
            pair.ground_truth,
            data_directory=str(tmp_path / "runs"),
            preview=str(tmp_path / "preview.exr"),
            model_size="Small",
            epochs=1,
            use_gpu_if_available=False,
        )


def crop(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A window of an image; its border repeats outside."""
    rows = np.arange(y, y + height).clip(0, image.shape[0] - 1)
    return image[rows[:, None], np.arange(x, x + width).clip(0, image.shape[1] - 1)]


@pytest.fixture
def large(tmp_path: Path) -> tuple[Model, np.ndarray]:
    """A model with a clean plate of 640x480, and a frame."""
    path = tmp_path / "large.cat"
    cat.save(path, header((480, 640)), network_with_plate((480, 640)).state_dict())
    return load(path, "cpu"), np.random.default_rng(0).random((480, 640, 3), np.float32)


def test_a_part_of_the_frame_is_placed(large: tuple[Model, np.ndarray]) -> None:
    model, image = large
    whole, reach = model(image), model.network.receptive_field
    part = model(crop(image, 64, 48, 480, 360), origin=(64, 48), format=(640, 480))
    inside = (slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_allclose(part[inside], crop(whole, 64, 48, 480, 360)[inside], atol=1e-5)
    in_host = model(crop(image, 64, 48, 480, 360), bounds=(64, 480 - 408, 544, 480 - 48), scale=1)
    np.testing.assert_array_equal(in_host, part)
    border = model(crop(image, -16, -16, 672, 512), origin=(-16, -16), format=(640, 480))
    inside = (slice(reach + 16, -reach - 16), slice(reach + 16, -reach - 16))
    np.testing.assert_allclose(border[inside], crop(whole, -16, -16, 672, 512)[inside], atol=1e-5)
    assert np.isfinite(border).all()


@pytest.mark.parametrize(
    ("size", "where"),
    [
        ((320, 240), {"format": (320, 240), "scale": 1}),  # a quarter of the picture, not a proxy
        ((512, 384), {}),  # the same proportions
        ((512, 384), {"format": (512, 384)}),
        ((642, 482), {}),  # a border of a pixel
        ((656, 496), {}),
        ((320, 240), {"bounds": (0, 0, 320, 240), "scale": 1}),  # cropped in place, or moved into the corner
        ((512, 384), {"bounds": (0, 0, 512, 384), "scale": 1}),
        ((512, 384), {"bounds": (-8, -8, 504, 376), "scale": 1}),
        ((1280, 960), {}),
    ],
)
def test_a_picture_whose_position_is_not_certain_is_refused(
    large: tuple[Model, np.ndarray], size: tuple[int, int], where: dict[str, object]
) -> None:
    model, image = large
    with pytest.raises(InferenceError, match=r"large\.cat: the model knows the Clean Plate of a shot of 640x480.*Off"):
        model(crop(image, 0, 0, *size), **where)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "where"),
    [
        ((320, 240), {}),
        ((160, 120), {"format": (160, 120)}),
        ((213, 160), {"bounds": (0, 0, 213, 160), "scale": 1 / 3}),
        ((640, 480), {"bounds": (100, 200, 740, 680), "scale": 1}),
        ((672, 512), {"bounds": (-16, -16, 656, 496), "scale": 1}),
        ((336, 256), {"bounds": (-8, -8, 328, 248), "scale": 0.5}),
    ],
)
def test_proxies_and_borders_are_placed(
    large: tuple[Model, np.ndarray], size: tuple[int, int], where: dict[str, object]
) -> None:
    model, image = large
    assert model(crop(image, 0, 0, *size), **where).shape == (size[1], size[0], 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("left", "top", "width", "height"), [(-8, -6, 80, 60), (10, 8, 40, 30), (0, 0, 64, 48)])
def test_files_are_placed_by_their_windows(
    model_file: Path, tmp_path: Path, left: int, top: int, width: int, height: int
) -> None:
    spec = oiio.ImageSpec(width, height, 3, "float")
    spec.x, spec.y, spec.full_width, spec.full_height = 100 + left, 50 + top, 64, 48
    spec.full_x, spec.full_y = 100, 50
    pixels = np.random.default_rng(0).random((height, width, 3), np.float32)
    file = oiio.ImageOutput.create("x.exr")
    assert file.open(str(tmp_path / "in.exr"), spec)
    file.write_image(pixels)
    file.close()
    infer(model_file, tmp_path / "in.exr", tmp_path / "out.exr", use_gpu_if_available=False)
    plate, result = (read_frame(tmp_path / f"{name}.exr", RGB, overscan=True) for name in ("in", "out"))
    assert result.info.data_window == plate.info.data_window == (left, top, left + width, top + height)
    expected = load(model_file, "cpu")(plate.pixels, origin=plate.origin, format=(64, 48))
    x, y = left - plate.origin[0], top - plate.origin[1]
    window = (slice(y, y + height), slice(x, x + width))
    np.testing.assert_allclose(result.pixels[window], expected[window], atol=1e-5)


def test_a_file_of_another_format_is_refused(model_file: Path, tmp_path: Path) -> None:
    write_frame(tmp_path / "in.exr", np.zeros((36, 48, 3), np.float32), RGB)  # the same proportions
    with pytest.raises(InferenceError, match="the frame is 48x36"):
        infer(model_file, tmp_path / "in.exr", tmp_path / "out.exr", use_gpu_if_available=False)


@pytest.mark.parametrize("size", [(48, 64), (24, 32)])
def test_an_exported_model_has_the_plate_too(model_file: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    reference = load(model_file, "cpu")(image)
    program = torch.jit.load(str(export(model_file, tmp_path / "plate.pt")))
    torch.testing.assert_close(program(image), reference, atol=1e-5, rtol=1e-5)
    with pytest.raises(torch.jit.Error, match="not of the format of the model's Clean Plate"):
        program(torch.rand(1, 3, 36, 48))
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(export(model_file, tmp_path / "plate.onnx")))
    (output,) = session.run(None, {"input": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), reference, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(None, SIZE), (SIZE, SIZE), ((80, 96), SIZE), (SIZE, None)])
def test_weights_may_start_a_network_with_or_without_a_plate(
    before: tuple[int, int] | None, after: tuple[int, int] | None
) -> None:
    torch.manual_seed(1)
    network = Network(ROWS["Small"], 3, (0, 1, 2), before)
    with torch.no_grad():
        network.tail.weight.normal_()
    start = StartingPoint("weights", header(before), network.state_dict(), shipped=False)
    other, plate = Network(ROWS["Small"], 3, (0, 1, 2), after), torch.rand(1, 4, 32, 32)
    weights = start.weights_for(RGB, RGB, after)
    assert "clean_plate" not in weights  # the new shot has its own
    assert not other.load_state_dict(weights, strict=False).unexpected_keys
    x = torch.rand(1, 3, 32, 32)
    reference, output = (one(x, plate if size else None) for one, size in ((network, before), (other, after)))
    if before is None:
        reference = reference + torch.sigmoid(torch.tensor(-4.0)) * (plate[:, :3] - x)
    assert torch.allclose(output, reference, atol=1e-5) == (after is not None)


@pytest.mark.parametrize("size", [[0, 64], [48], "48x64", [48, 1 << 20], 3])
def test_a_size_that_cannot_be_is_a_damaged_header(size: object) -> None:
    text = replace(header(), settings={}).to_json().replace('"plateSize": [48, 64]', f'"plateSize": {_json(size)}')
    with pytest.raises((ValueError, TypeError)):
        cat.ModelHeader.from_json(text)


def _json(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("painted", ["0,1,3,4", "0,4"])
def test_a_training_finds_behind_what_it_removes_what_is_there(tmp_path: Path, one_thread: None, painted: str) -> None:
    write_shot(tmp_path)

    def trained(asked: str) -> Model:
        output = train(
            tmp_path / "plate.%04d.exr",
            tmp_path / "clean.%04d.exr",
            data_directory=str(tmp_path / asked),
            clean_plate=asked,
            model_size="Small",
            crop_size=32,
            epochs=150,
            training_frames=painted,
            checkpoint_interval=50,
            use_gpu_if_available=False,
        )
        return load(output.checkpoint, "cpu")

    with_plate, without_plate = trained("Auto"), trained("Off")
    assert with_plate.header.plate_size == (64, 64)
    assert without_plate.header.plate_size is None
    assert held_out(with_plate, tmp_path) < 0.2 * held_out(without_plate, tmp_path)
    going_on = resume(tmp_path / "Auto", epochs=170)
    assert cat.read_header(going_on.checkpoint).plate_size == (64, 64)


def held_out(model: Model, folder: Path) -> float:
    plate, truth = (read_frame(folder / f"{side}.0002.exr", RGB).pixels for side in ("plate", "clean"))
    difference: Tensor = torch.from_numpy(model(plate) - truth)
    return float(difference[20:36, 20:36].square().mean())
