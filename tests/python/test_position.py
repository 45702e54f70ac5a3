"""Frame Position: what a network is told of where a pixel lies, in training, in tiles, in files and in exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from copycat import cat, exporter, inference, ops, position, tiles
from copycat.models import Network
from copycat.weights import StartingPoint
from torch import Tensor

PLAIN = ops.Encoding((0.0,) * 3, (0.4,) * 3, (0.2,) * 3)
CPU = torch.device("cpu")


def told_network() -> Network:
    torch.manual_seed(0)
    network = Network("Small", 3, (0, 1, 2), frame_position=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network.eval()


def header() -> cat.ModelHeader:
    channels = ("R", "G", "B")
    return cat.ModelHeader("Small", channels, channels, (0, 1, 2), PLAIN, PLAIN, frame_position=True)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "told.cat"
    cat.save(path, header(), told_network().state_dict())
    return path


def test_a_frame_reaches_from_edge_to_edge() -> None:
    (u, v), (height, width) = position.of_box((4, 8), (0, 0, 4, 8), CPU)[0], (4, 8)
    assert u[0].tolist() == [(2 * x + 1) / width - 1 for x in range(width)]
    assert v[:, 0].tolist() == [(2 * y + 1) / height - 1 for y in range(height)]
    assert torch.equal(position.of_box((4, 8), (1, 2, 3, 7), CPU)[0], torch.stack([u, v])[:, 1:3, 2:7])


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_positions_of_crops_are_what_the_sampler_would_cut_from_a_picture_of_positions(turn: float) -> None:
    size, crop = (40, 56), (16, 16) if turn else (16, 24)
    planes = position.of_box(size, (0, 0, *size), CPU).movedim(1, -1).expand(2, -1, -1, -1)
    valid = torch.tensor([[0, 0, 56, 40]] * 2, dtype=torch.int32)
    rule = ops.CropRule(crop=crop, seed=3, valid=valid, flip=0.5, flop=0.5, turn=turn)
    none = ops.Encoding((0.0,) * 2, (0.0,) * 2, (1.0,) * 2)
    cut, _, _ = ops.sample_crops(
        planes, planes, rule, step=5, batch=32, input_encoding=none, target_encoding=none, dtype=torch.float32
    )
    places = ops.crop_positions(size, rule, step=5, batch=32)
    assert places[:, 3].unique().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(position.of_crops(places, crop, size), cut, atol=1e-6, rtol=0)


def test_the_network_uses_what_it_is_told() -> None:
    network, x = told_network(), torch.rand(1, 3, 32, 32)
    whole = (64, 64)
    there, elsewhere = (network(x, position.of_box(whole, box, CPU)) for box in ((0, 0, 32, 32), (32, 32, 64, 64)))
    assert (there - elsewhere).abs().max() > 1e-3


def test_tiles_equal_the_whole_frame() -> None:
    network, image = told_network(), torch.rand(3, 230, 420)
    whole = tiles.render(network, image, (PLAIN, PLAIN))
    cut = tiles.render(network, image, (PLAIN, PLAIN), tile_size=256)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-5)


def test_a_model_file_remembers_it(model_file: Path) -> None:
    assert cat.read_header(model_file).frame_position
    image = np.random.default_rng(0).random((48, 64, 3), np.float32)
    made = inference.load(model_file, "cpu")(image)
    moved = inference.load(model_file, "cpu")(image[:, ::-1])[:, ::-1]
    assert made.shape == image.shape
    assert np.abs(made - moved).max() > 1e-4


@pytest.mark.parametrize("size", [(48, 64), (33, 50)])
def test_an_exported_program_knows_it_too(model_file: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    wanted = inference.load(model_file, "cpu")(image)
    program = torch.jit.load(str(exporter.export(model_file, tmp_path / "told.pt")))
    torch.testing.assert_close(program(image), wanted, atol=1e-5, rtol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(exporter.export(model_file, tmp_path / "told.onnx")))
    (made,) = session.run(None, {"input": image.numpy()})
    torch.testing.assert_close(torch.from_numpy(made), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, True), (True, False)])
def test_weights_may_start_a_network_that_is_told_more_or_less(before: bool, after: bool) -> None:
    torch.manual_seed(1)
    network = Network("Small", 3, (0, 1, 2), before)
    with torch.no_grad():
        network.tail.weight.normal_()
    own = cat.ModelHeader("Small", ("R", "G", "B"), ("R", "G", "B"), (0, 1, 2), PLAIN, PLAIN, frame_position=before)
    start = StartingPoint("weights", own, network.state_dict(), shipped=True)
    other = Network("Small", 3, (0, 1, 2), after)
    other.load_state_dict(start.weights_for(own.channels_in, own.channels_out, after))
    x, where = torch.rand(1, 3, 32, 32), position.of_box((32, 32), (0, 0, 32, 32), CPU)
    same = torch.allclose(network(x, where), other(x, where), atol=1e-5)
    assert same == (after or not before)


def test_it_refuses_frames_of_two_sizes(tmp_path: Path) -> None:
    from copycat.config import Settings
    from copycat.dataset import DatasetError, Pair, find_frames, load_dataset
    from copycat.sequence import write_frame

    for frame, width in ((1, 32), (2, 48)):
        for side in ("input", "truth"):
            write_frame(tmp_path / f"{side}.{frame:04d}.exr", np.zeros((32, width, 3), np.float32), ("R", "G", "B"))
    pair = Pair(str(tmp_path / "input.%04d.exr"), str(tmp_path / "truth.%04d.exr"))
    with pytest.raises(DatasetError, match=r"input\.0002\.exr.*one size.*48x32"):
        load_dataset(find_frames([pair]), Settings(frame_position=True))


def test_a_training_learns_by_heart_where_something_is(tmp_path: Path) -> None:
    """Noise that differs from frame to frame says nothing of the place, and the effect is a matter of place alone."""
    from copycat.sequence import write_frame
    from copycat.trainer import train

    random = np.random.default_rng(0)
    for frame in range(1, 4):
        plate = random.random((64, 64, 3), np.float32)
        truth = plate.copy()
        truth[16:48, 32:] += 0.5
        write_frame(tmp_path / f"plate.{frame:04d}.exr", plate, ("R", "G", "B"))
        write_frame(tmp_path / f"truth.{frame:04d}.exr", truth, ("R", "G", "B"))

    def error(told: bool) -> float:
        made = train(
            tmp_path / "plate.%04d.exr",
            tmp_path / "truth.%04d.exr",
            data_directory=str(tmp_path / f"runs{told}"),
            frame_position=told,
            model_size="Small",
            crop_size=32,
            epochs=300,
            training_frames="1,2",
            use_gpu_if_available=False,
            use_multi_resolution_training=False,
        )
        model = inference.load(made.checkpoint, "cpu")
        assert model.header.frame_position == told
        return held_out(model, tmp_path)

    with_it, without = error(True), error(False)
    assert with_it < 0.6 * without


def held_out(model: inference.Model, folder: Path) -> float:
    from copycat.sequence import read_frame

    plate, truth = (read_frame(folder / f"{side}.0003.exr", ("R", "G", "B")).pixels for side in ("plate", "truth"))
    difference: Tensor = torch.from_numpy(model(plate) - truth)
    return float(difference[20:44, 36:60].square().mean())
