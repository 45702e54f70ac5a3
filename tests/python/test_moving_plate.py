"""A clean plate that moves: when it is used, what it is made of, and its way through training, files and renders."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from copycat import ops
from copycat.data import clean_plate, moving_plate, painted_frames
from copycat.data.dataset import Dataset, load_dataset
from copycat.data.painted_frames import PaintedFrames
from copycat.data.plate_alignment import View
from copycat.inference.export import ExportError, export
from copycat.inference.model import Model, load
from copycat.model import cat
from copycat.model.network import ROWS, Network
from copycat.runs import find_run, stop
from copycat.sequence import read_frame, write_frame
from copycat.sequence.pairs import DatasetError, Pair, find_frames
from copycat.settings.tables import Settings
from copycat.training.start import resume, train
from moving_camera import write_shot

RGB = ("R", "G", "B")
PLAIN = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.2,) * 3)
SQUARE = np.s_[40:80, 64:96]  # of frame 2


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return write_shot(tmp_path_factory.mktemp("moving"))


@pytest.fixture(scope="module")
def data(shot: Pair) -> Dataset:
    return read(shot)


def read(pair: Pair, **knobs: object) -> Dataset:
    return load_dataset(find_frames([pair]), Settings(**knobs))  # type: ignore[arg-type]


def pixels(pair: Pair, side: str, frame: int) -> np.ndarray:
    return read_frame(Path((pair.input if side == "plate" else pair.ground_truth) % frame), RGB).pixels


def test_auto_uses_it_where_the_camera_moves_and_says_why(data: Dataset) -> None:
    assert data.clean_plate is not None
    assert data.painted is not None
    assert data.clean_plate.shape == (5, 128, 176, 4)
    (note,) = data.notes
    assert "aligned, are" in note
    assert note.endswith("dB nearer to the Ground Truth than the Input is; a clean plate needs 13 dB")


def test_auto_tries_large_frames_reduced(shot: Pair, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copycat.data.dataset._PROBED_SIDE", 90)
    reduced = read(shot)
    assert reduced.notes != data.notes
    assert "nearer to the Ground Truth" in reduced.notes[0]
    assert reduced.clean_plate is not None
    assert data.clean_plate is not None
    assert torch.equal(reduced.clean_plate, data.clean_plate)


def test_auto_leaves_alone_what_other_frames_do_not_show_and_says_why(tmp_path: Path) -> None:
    other = read(write_shot(tmp_path, same=False))
    assert other.clean_plate is None
    assert other.painted is None
    assert "than the Input is; a clean plate needs 13 dB" in other.notes[0]


def test_auto_takes_the_still_plate_where_the_camera_stands(tmp_path: Path) -> None:
    pair = write_shot(tmp_path)
    for frame in range(1, 5):  # the same ground under another square
        truth = pixels(pair, "clean", 0)
        plate = truth.copy()
        plate[40:80, 20 + 22 * frame : 52 + 22 * frame] = 0.5
        write_frame(tmp_path / f"plate.{frame:04d}.exr", plate, RGB)
        write_frame(tmp_path / f"clean.{frame:04d}.exr", truth, RGB)
    steady = read(pair)
    assert steady.painted is None
    assert steady.clean_plate is not None
    assert len(steady.clean_plate) == 1


def test_moving_asks_for_it_and_says_why_it_cannot_be(shot: Pair) -> None:
    assert read(shot, clean_plate="Moving").painted is not None
    assert read(shot, clean_plate="On").painted is None
    assert read(shot, clean_plate="Off").clean_plate is None
    with pytest.raises(DatasetError, match=r"clean\.0000\.exr: a moving Clean Plate needs Ground Truth channels that"):
        read(shot, clean_plate="Moving", ground_truth_channels="R", input_channels="G,B")
    with pytest.raises(DatasetError, match=r"clean\.0000\.exr: a moving Clean Plate needs 3 painted frames or more"):
        load_dataset(find_frames([shot], "0-1"), Settings(clean_plate="Moving"))


def test_it_is_said_how_far_the_plates_are(shot: Pair) -> None:
    """At UHD each takes some ten seconds."""
    said: list[tuple[str, int, int]] = []
    frames = find_frames([shot])
    load_dataset(frames, Settings(clean_plate="Moving"), progress=lambda *how_far: said.append(how_far))
    assert said == [(what, n, 5) for what in ("reading frame pairs", "making clean plates") for n in range(1, 6)]


def test_a_plate_shows_what_is_behind(shot: Pair, data: Dataset) -> None:
    assert data.clean_plate is not None
    values = data.clean_plate[2, ..., :3].float().movedim(-1, 0)[None]
    plate = ops.denormalize(values, data.target_encoding)[0].movedim(0, -1).numpy()
    truth = pixels(shot, "clean", 2)
    assert np.abs(plate - truth)[SQUARE].mean() < 0.01
    assert np.abs(pixels(shot, "plate", 2) - truth)[SQUARE].mean() > 0.1


@pytest.mark.parametrize("threads", [1, 3])
def test_a_plate_does_not_depend_on_threads(shot: Pair, data: Dataset, threads: int) -> None:
    assert data.painted is not None
    values = clean_plate.normalised(torch.from_numpy(pixels(shot, "plate", 2)), data.target_encoding)
    view = View.of(moving_plate.grey(values))
    alone = moving_plate.plate_of(view, values.shape[:2], data.painted.frames)
    with ThreadPoolExecutor(threads) as pool:
        shared = moving_plate.plate_of(view, values.shape[:2], data.painted.frames, pool=pool)
    assert alone.sources == shared.sources == 5
    np.testing.assert_array_equal(alone.planes, shared.planes)


@pytest.mark.parametrize("zoom", [0.5, 1.0, 2.1])
def test_what_a_moved_frame_shows_ends_at_its_edges(zoom: float) -> None:
    frame = moving_plate.painted_frame(np.ones((40, 60, 3), np.float32))
    matrix = np.array([[zoom, 0, 3.0], [0, zoom, -2.0], [0, 0, 1]])
    moved = moving_plate._moved(frame, matrix, (90, 90))
    y, x = np.mgrid[:90, :90]
    u, v = zoom * x + 3, zoom * y - 2
    inside = (u >= -0.5) & (u <= 59.5) & (v >= -0.5) & (v <= 39.5)
    np.testing.assert_array_equal(~np.isnan(moved).any(axis=-1), inside)
    np.testing.assert_allclose(moved[inside], 1, atol=1e-3)


def test_a_pair_s_plate_is_made_of_the_other_painted_frames(tmp_path: Path) -> None:
    pair = write_shot(tmp_path)
    truth = pixels(pair, "clean", 2)
    truth[100:120, 60:110] = 0.9  # what no other frame shows
    write_frame(tmp_path / "clean.0002.exr", truth, RGB)
    loaded = read(pair, clean_plate="Moving")
    assert loaded.clean_plate is not None
    values = loaded.clean_plate[2, ..., :3].float().movedim(-1, 0)[None]
    plate = ops.denormalize(values, loaded.target_encoding)[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(plate[102:118, 62:108], pixels(pair, "plate", 2)[102:118, 62:108], atol=0.1)


def test_pixels_of_weight_0_are_in_no_plate(tmp_path: Path) -> None:
    pair = write_shot(tmp_path)
    for frame in (0, 1, 3, 4):
        truth = pixels(pair, "clean", frame)
        mask = np.ones((*truth.shape[:2], 1), np.float32)
        mask[:64] = 0
        truth[:64] = 0.9
        write_frame(tmp_path / f"clean.{frame:04d}.exr", truth, RGB)
        write_frame(tmp_path / f"mask.{frame:04d}.exr", mask, ("A",))
    write_frame(tmp_path / "mask.0002.exr", np.ones((128, 176, 1), np.float32), ("A",))
    loaded = read(replace(pair, mask=str(tmp_path / "mask.%04d.exr")), clean_plate="Moving")
    assert loaded.clean_plate is not None
    plate = ops.denormalize(loaded.clean_plate[2, ..., :3].float().movedim(-1, 0)[None], loaded.target_encoding)[0]
    truth = pixels(pair, "clean", 2)
    shown = loaded.clean_plate[2, ..., 3].float() < 0  # elsewhere the spread is that of a pixel that no frame shows
    assert shown[80:].all()
    difference = (plate.movedim(0, -1).numpy() - truth)[shown.numpy()]
    assert np.abs(difference).mean() < 0.02
    assert np.abs(difference).max() < 0.25


def test_crops_get_the_plate_of_their_own_pair() -> None:
    plates = torch.rand(3, 40, 56, 3).half()
    valid = torch.tensor([[0, 0, 56, 40]] * 3, dtype=torch.int32)
    rule = ops.CropRule(crop=(16, 16), seed=3, valid=valid, flip=0.5, flop=0.5, turn=0.7)
    none = ops.Encoding.identity(3)
    cut, _, _ = ops.sample_crops(plates, plates, rule, step=5, batch=32, input_encoding=none, target_encoding=none)
    assert torch.equal(clean_plate.of_crops(plates, rule, step=5, batch=32).to(cut.dtype), cut)


def test_what_no_frame_shows_is_unknown() -> None:
    random = np.random.default_rng(0)
    painted = moving_plate.painted_frame(random.normal(0, 1, (64, 64, 3)).astype(np.float32))
    view = View.of(random.random((48, 48), np.float32) * 255)
    loaded = moving_plate.plate_of(view, (48, 48), [painted])
    assert loaded.sources == 0
    assert (loaded.planes[..., :3] == 0).all()
    np.testing.assert_allclose(loaded.planes[..., 3], np.log(1.03), atol=1e-3)


# -- files ------------------------------------------------------------------------------------------------------------


def told_model(data: Dataset, path: Path) -> Path:
    """A .cat whose untrained network shows the plate where the Input is grey."""
    header = cat.ModelHeader.for_dataset(data, ROWS["Small"])
    torch.manual_seed(0)
    network = header.network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        assert network.tail.bias is not None
        network.tail.bias[-4:] = 1.0  # opaque
    cat.save(path, header, network.state_dict(), painted=data.painted)
    return path


@pytest.fixture
def model_file(data: Dataset, tmp_path: Path) -> Path:
    return told_model(data, tmp_path / "told.cat")


def test_a_model_file_keeps_the_painted_frames(data: Dataset, model_file: Path) -> None:
    header = cat.read_header(model_file)
    assert (header.plate, header.plate_size) == ("moving", (128, 176))
    kept = cat.load_painted(model_file, header)
    assert kept is not None
    assert data.painted is not None
    for mine, theirs in zip(kept.frames, data.painted.frames, strict=True):
        np.testing.assert_array_equal(mine.view.features.points, theirs.view.features.points)
        np.testing.assert_array_equal(mine.view.features.descriptors, theirs.view.features.descriptors)
        assert np.square(mine.picture.astype(float) - theirs.picture).mean() < 1e-3  # 30 dB below the picture's spread


def test_only_a_model_with_a_moving_plate_is_of_the_newer_format(data: Dataset) -> None:
    header = cat.ModelHeader.for_dataset(data, ROWS["Small"])
    assert '"format": 3' in header.to_json()
    assert '"format": 2' in replace(header, plate_moves=False).to_json()
    assert cat.ModelHeader.from_json(header.to_json()) == header
    for wrong in ({"plate_size": None}, {"residual": (0, 1, -1)}):
        with pytest.raises(ValueError, match="do not fit together"):
            cat.ModelHeader.from_json(replace(header, **wrong).to_json())  # type: ignore[arg-type]


def test_what_counts_of_a_painted_frame_is_kept(data: Dataset) -> None:
    assert data.painted is not None
    shown = np.ones((128, 176), bool)
    shown[:, :50] = False
    frame = replace(data.painted.frames[0], shown=shown)
    kept = PaintedFrames.from_tensors(PaintedFrames([frame], data.target_encoding).tensors(), data.target_encoding)
    np.testing.assert_array_equal(kept.frames[0].shown, shown)


def test_painted_frames_take_no_more_than_their_limit(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data.painted is not None

    def size(limit: int) -> tuple[int, int]:
        monkeypatch.setattr("copycat.data.painted_frames._MOST_BYTES", limit)
        tensors = PaintedFrames(data.painted.frames, data.target_encoding).tensors()  # type: ignore[union-attr]
        return sum(tensor.nbytes for tensor in tensors.values()), len(tensors) // 3

    whole, count = size(100_000_000)
    assert count == 5
    tighter, same = size(whole - 2000)
    assert tighter <= whole - 2000
    assert same == 5  # coded with more loss
    least, fewer = size(whole // 3)
    assert least <= whole // 3
    assert 1 <= fewer < 5


def test_a_model_file_has_less_than_100_mb() -> None:
    weights = max(
        sum(part.nbytes for part in Network(row, 4, (0, 1, 2)).state_dict().values()) for row in ROWS.values()
    )
    assert painted_frames._MOST_BYTES + weights < 99_000_000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("painted.1.picture", lambda tensor: tensor[:100]),
        ("painted.1.picture", lambda tensor: tensor.float()),
        ("painted.1.picture", None),
        ("painted.1.points", lambda tensor: tensor[:-1]),
        ("painted.1.points", lambda tensor: tensor * float("nan")),
        ("painted.1.descriptors", lambda tensor: tensor[:, :64]),
        ("painted.edit", lambda tensor: tensor[:2]),
        ("painted.edit", lambda tensor: tensor.int()),
        ("painted.edit", lambda tensor: tensor * float("nan")),
    ],
)
def test_damaged_painted_frames_are_a_damaged_model_file(
    data: Dataset, model_file: Path, name: str, change: object
) -> None:
    assert data.painted is not None
    tensors = dict(data.painted.tensors())
    if change is None:
        del tensors[name]
    else:
        tensors[name] = change(tensors[name])  # type: ignore[operator]

    class Damaged:
        def tensors(self) -> dict[str, torch.Tensor]:
            return {key: tensor.contiguous() for key, tensor in tensors.items()}

    header, weights = cat.load(model_file)
    cat.save(model_file, header, weights, painted=Damaged())  # type: ignore[arg-type]
    with pytest.raises(cat.ModelFileError, match=r"told\.cat: the painted frames in the model file are damaged"):
        load(model_file, "cpu")


def test_an_exported_program_cannot_have_it(model_file: Path, tmp_path: Path) -> None:
    for name in ("model.pt", "model.onnx"):
        with pytest.raises(ExportError, match=r"told\.cat: the model's Clean Plate is made anew for each frame, which"):
            export(model_file, tmp_path / name)


# -- renders ----------------------------------------------------------------------------------------------------------


def test_tiles_equal_the_whole_frame(shot: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = read(write_shot(tmp_path, frames=3, size=(130, 300)), clean_plate="Moving")
    model, image = load(told_model(large, tmp_path / "told.cat"), "cpu"), read_frame(tmp_path / "plate.0002.exr", RGB)
    aligned = []
    monkeypatch.setattr(
        PaintedFrames, "plate", lambda self, *a, own=PaintedFrames.plate: aligned.append(a) or own(self, *a)
    )
    whole = model(image.pixels)
    cut = model(image.pixels, tile_size=256)
    np.testing.assert_allclose(cut, whole, atol=1e-4)
    assert len(aligned) == 2  # once for each frame, not for each tile


def test_a_part_of_a_frame_is_aligned_by_what_it_shows(shot: Pair, model_file: Path) -> None:
    model, plate = load(model_file, "cpu"), pixels(shot, "plate", 2)
    for where in ({}, {"bounds": (16, 8, 160, 120), "scale": 1.0}):
        part = model(plate[8:120, 16:160], **where)  # type: ignore[arg-type]
        whole = model(plate)[8:120, 16:160]
        assert np.abs(part - whole)[20:-20, 20:-20].mean() < 0.02


def test_a_frame_that_shows_something_else_is_rendered_with_a_warning(model_file: Path) -> None:
    warnings: list[str] = []
    result = load(model_file, "cpu")(np.random.default_rng(0).random((64, 80, 3), np.float32), warn=warnings.append)
    assert np.isfinite(result).all()
    assert warnings == ["no painted frame could be aligned with it, so it is rendered without a Clean Plate"]


# -- training ---------------------------------------------------------------------------------------------------------


def trained(shot: Pair, folder: Path, epochs: int, **knobs: object) -> Path:
    return train(
        shot.input,
        shot.ground_truth,
        data_directory=str(folder),
        run_name="run",
        model_size="Small",
        crop_size=64,
        epochs=epochs,
        training_frames="0,1,3,4",
        checkpoint_interval=10,  # steps after which requests are looked at
        use_gpu_if_available=False,
        **knobs,  # type: ignore[arg-type]
    ).checkpoint


def test_a_training_finds_behind_what_it_removes_what_is_there(shot: Pair, tmp_path: Path, one_thread: None) -> None:
    with_plate, without_plate = (
        load(trained(shot, tmp_path / plate, 120, clean_plate=plate), "cpu") for plate in ("Auto", "Off")
    )
    assert with_plate.header.plate == "moving"
    assert without_plate.header.plate == "none"
    assert held_out(with_plate, shot) < 0.1 * held_out(without_plate, shot)


def test_a_stopped_and_resumed_training_is_the_same_to_the_bit(shot: Pair, tmp_path: Path, one_thread: None) -> None:
    def stop_early(facts: Mapping[str, object]) -> None:
        if facts["frame"] == 5:
            stop(find_run(tmp_path / "parts"))

    whole = trained(shot, tmp_path / "whole", 30)
    stopped = trained(shot, tmp_path / "parts", 30, after_frame_render=stop_early)
    parts = resume(tmp_path / "parts").checkpoint
    assert cat.read_header(stopped).step < cat.read_header(parts).step == 30
    (header, weights), (_, same) = (cat.load(path) for path in (whole, parts))
    assert header.plate == "moving"
    assert all(torch.equal(weight, same[name]) for name, weight in weights.items())
    kept, resumed = (cat.load_painted(path, header) for path in (whole, parts))
    assert kept is not None
    assert resumed is not None
    for mine, theirs in zip(kept.frames, resumed.frames, strict=True):
        np.testing.assert_array_equal(mine.picture, theirs.picture)


def held_out(model: Model, shot: Pair) -> float:
    difference = model(pixels(shot, "plate", 2)) - pixels(shot, "clean", 2)
    return float(np.square(difference[SQUARE]).mean())
