"""Frames on their way through a GPU, on a stand-in: pinned memory, who waits for whom, two at a time, errors.

Over 400 lines: the stand-in for pinned memory, and what a GPU must show of the same.
"""

from __future__ import annotations

import ctypes
import dataclasses
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Shot, picture, random_model
from copycat import ops
from copycat.data.host_memory import HostMemory
from copycat.inference import model as inference
from copycat.inference.model import InferenceError, Model
from copycat.inference.render import RenderError, infer
from copycat.model import frames_in_flight, tiles
from copycat.model.frames_in_flight import Frame, FramesInFlight
from copycat.model.network import Network
from copycat.sequence import read_frame
from stand_in_cuda import StandInStreams
from torch import Tensor

CPU = torch.device("cpu")
RGB = ("R", "G", "B")
LONG = 120.0  # seconds; what is waited for comes at once, or never


class Pins:
    """The host's memory that CUDA has pinned; ``refuses`` says whether it pins more."""

    def __init__(self) -> None:
        self.pinned: dict[int, int] = {}
        self.ever: list[int] = []
        self.refuses = False
        self._changed = threading.Condition()

    def pin(self, address: int, size: int, device: torch.device) -> bool:
        assert not any(a < address + size and address < a + s for a, s in self.pinned.items()), "pinned already"
        if not self.refuses:
            self.pinned[address] = size
            self.ever.append(size)
        return not self.refuses

    def unpin(self, address: int) -> None:
        with self._changed:
            ctypes.string_at(address, self.pinned.pop(address))  # a crash if it is unmapped already
            self._changed.notify_all()

    def all_gone(self) -> bool:
        """Waits for threads to let go of what is pinned."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.pinned, LONG)

    def hold(self, tensor: Tensor) -> bool:
        return any(a <= tensor.data_ptr() < a + size for a, size in self.pinned.items())


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Pins:
    pins = Pins()
    monkeypatch.setattr(ops, "pin_memory", pins.pin)
    monkeypatch.setattr(ops, "unpin_memory", pins.unpin)
    monkeypatch.setattr(frames_in_flight, "is_pinned", pins.hold)
    return pins


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, pins: Pins, tiny: None) -> StandInStreams:
    """Models that are made from now on render on the stand-in."""
    cuda = StandInStreams()
    monkeypatch.setattr(inference, "flight_for", lambda device: FramesInFlight(device, cuda))
    return cuda


@pytest.fixture
def here(tmp_path: Path, tiny: None) -> Model:
    """On the CPU, whatever comes after."""
    return Model(random_model(tmp_path / "m.cat"), CPU)


@pytest.fixture
def there(here: Model, cuda: StandInStreams) -> Model:
    return Model(here.path, CPU)


def shared(values: np.ndarray) -> tuple[HostMemory, np.ndarray]:
    """A picture in memory as a host hands it over."""
    memory = HostMemory(-1, values.nbytes)
    pixels = np.frombuffer(memory, values.dtype).reshape(values.shape)
    pixels[:] = values
    return memory, pixels


def planes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[:3]


# -- results, and what they pass through ------------------------------------------------------------------------------


@pytest.mark.parametrize("tile_size", [0, 160])
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("refuses", [False, True])
def test_results_are_the_cpu_s(
    here: Model, there: Model, cuda: StandInStreams, pins: Pins, tile_size: int, bad: bool, refuses: bool
) -> None:
    pins.refuses = refuses
    for frame, size in enumerate([(90, 80), (60, 50), (90, 80)]):  # a larger frame, a smaller one, and again
        image = picture(frame, size)
        if bad:
            image[40, 50, 1] = np.nan
        result = there(image, tile_size=tile_size)
        np.testing.assert_array_equal(result, here(image, tile_size=tile_size))
        planar = torch.from_numpy(image).movedim(-1, 0).contiguous()
        got = there(planar, tile_size=tile_size)
        assert got.is_contiguous()
        assert torch.equal(got.nan_to_num(7), torch.from_numpy(result).movedim(-1, 0).nan_to_num(7))
        assert cuda.idle
    assert (not pins.ever) == refuses
    assert len(pins.ever) <= 4  # two buffers for each of the two frames that can be in flight


def test_mattes_stay_within_0_and_1(tmp_path: Path, cuda: StandInStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_model(tmp_path / "matte.cat", channels_out=("A",))
    there = Model(path, CPU)
    monkeypatch.setattr(inference, "flight_for", lambda device: None)
    here = Model(path, CPU)
    for model in (here, there):
        encoding = dataclasses.replace(model.header.target_encoding, matte=(True,), std=(3.0,))
        model.header = dataclasses.replace(model.header, target_encoding=encoding)
    result = there(picture(1, (100, 90)))
    assert (result == 0).any()
    assert (result == 1).any()
    np.testing.assert_array_equal(result, here(picture(1, (100, 90))))


@pytest.mark.parametrize("tile_size", [0, 160])
def test_shared_memory_is_read_and_written_in_place(
    here: Model, there: Model, cuda: StandInStreams, pins: Pins, tile_size: int
) -> None:
    values = np.concatenate([picture(1, (90, 80)), np.full((80, 90, 1), 0.25, np.float32)], axis=-1)
    memory, pixels = shared(values)
    for _ in range(3):
        pixels[:] = values
        there.share(memory)
        there(planes(pixels), out=planes(pixels), tile_size=tile_size)
        np.testing.assert_array_equal(pixels[..., :3], here(values[..., :3], tile_size=tile_size))
        np.testing.assert_array_equal(pixels[..., 3], values[..., 3])
    # Once for the mapping; tiles that would be read after their neighbours are written need a place of their own.
    assert pins.ever.count(values.nbytes) == 1
    assert len(pins.ever) == (1 if not tile_size else 1 + frames_in_flight.MOST_FRAMES)


def test_memory_is_unpinned_once_before_it_is_unmapped(there: Model, pins: Pins) -> None:
    memory, pixels = shared(np.zeros((90, 100, 4), np.float32))
    there.share(memory)
    there.share(memory)
    there(planes(pixels), out=planes(pixels))
    assert list(pins.pinned.values()) == [pixels.nbytes]
    del memory
    assert pins.pinned  # the picture still lies in it
    del pixels
    assert not pins.pinned


def test_the_buffers_of_frames_go_with_the_model(here: Model, cuda: StandInStreams, pins: Pins) -> None:
    there = Model(here.path, CPU)
    there(picture(1, (90, 80)))
    assert len(pins.pinned) == 2
    del there
    assert not pins.pinned


def test_a_cpu_pins_nothing(here: Model, pins: Pins) -> None:
    memory, pixels = shared(np.zeros((90, 100, 4), np.float32))
    here.share(memory)
    here(planes(pixels), out=planes(pixels))
    assert here.frames_in_flight == 1
    assert not pins.ever


def test_this_build_pins_memory_or_says_that_it_does_not() -> None:
    memory = HostMemory(-1, 4096)
    assert memory.pin(torch.device("cuda", 0)) == memory.pin(torch.device("cuda", 0)) == ops.cuda_available()


# -- the order of copies and kernels ----------------------------------------------------------------------------------


def steps(cuda: StandInStreams) -> list[str]:
    """The streams in the order of their launches, without repeats."""
    names = [name for name, _ in cuda.log]
    return [name for i, name in enumerate(names) if not i or names[i - 1] != name]


def test_pixels_come_are_computed_and_go(there: Model, cuda: StandInStreams) -> None:
    there(picture(1, (100, 90)))
    assert steps(cuda) == ["coming", "main", "going"]
    assert ("coming", "copycat.recode.default") in cuda.log
    assert ("going", "copycat.decode_into.default") in cuda.log


@pytest.mark.parametrize("stream", ["main", "going"])
def test_the_stand_in_finds_a_stream_that_does_not_wait(
    there: Model, cuda: StandInStreams, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = next(one for one in cuda.streams if one.name == stream)
    monkeypatch.setattr(late, "wait_event", lambda event: None)
    with pytest.raises(AssertionError, match=f"{stream} does not wait for"):
        there(picture(1, (100, 90)))


def test_a_frame_of_any_size_is_whole(there: Model, cuda: StandInStreams) -> None:
    for size in ((91, 33), (17, 95), (96, 80)):
        cuda.log.clear()
        there(picture(1, size))
        assert [what for _, what in cuda.log].count("copycat.decode_into.default") == 1


def test_few_tiles_are_launched_ahead(there: Model, cuda: StandInStreams, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    real = Frame.tile

    def tile(self: Frame, *arguments: Any) -> None:
        real(self, *arguments)
        waiting.append(len(self._running))

    monkeypatch.setattr(Frame, "tile", tile)
    there(picture(1, (90, 80)), tile_size=160)
    assert waiting[:3] == [1, 2, 2]
    assert max(waiting) == 2


# -- two at a time ----------------------------------------------------------------------------------------------------


@pytest.fixture
def overlap(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Holds the first frame's network up until a second frame is in flight; how many were, at each beginning."""
    counts: list[int] = []
    now = 0
    lock, second = threading.Lock(), threading.Event()
    real_frame, real_forward = FramesInFlight.frame, Network.forward

    @contextmanager
    def frame(self: FramesInFlight) -> Iterator[Frame]:
        nonlocal now
        with real_frame(self) as one:
            with lock:
                now += 1
                counts.append(now)
                if now == 2:
                    second.set()
            try:
                yield one
            finally:
                with lock:
                    now -= 1

    def forward(self: Network, *arguments: Any) -> Tensor:
        assert second.wait(LONG), "the second frame waits for the first"
        return real_forward(self, *arguments)

    monkeypatch.setattr(FramesInFlight, "frame", frame)
    monkeypatch.setattr(Network, "forward", forward)
    yield counts
    assert second.is_set()


def test_a_render_has_two_frames_in_flight_and_the_same_results(
    here: Model, there: Model, shot: Shot, tmp_path: Path, cuda: StandInStreams, overlap: list[int]
) -> None:
    reports: list[int] = []
    infer(there, shot.input, tmp_path / "there.%04d.exr", progress=lambda report: reports.append(report.frame))
    infer(here, shot.input, tmp_path / "here.%04d.exr")
    for frame in (1001, 1002, 1003, 1004):
        got, expected = (read_frame(tmp_path / f"{name}.{frame}.exr", RGB).pixels for name in ("there", "here"))
        np.testing.assert_array_equal(got, expected)
    assert reports == [1001, 1002, 1003, 1004]
    assert len(overlap) == 4
    assert max(overlap) == 2
    assert cuda.idle


def test_more_threads_wait_for_their_turn(there: Model, overlap: list[int]) -> None:
    threads = [threading.Thread(target=there, args=(picture(i, (100, 90)),)) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overlap) == 5
    assert max(overlap) == 2


# -- what goes wrong --------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[Tensor], Exception | None]) -> None:
    """Has the network raise what ``error`` makes of its pixels."""
    real = Network.forward

    def forward(self: Network, x: Tensor, *arguments: Any) -> Tensor:
        wrong = error(x)
        if wrong:
            raise wrong
        return real(self, x, *arguments)

    monkeypatch.setattr(Network, "forward", forward)


def test_the_error_of_a_frame_is_that_frame_s(
    here: Model,
    there: Model,
    shot: Shot,
    tmp_path: Path,
    cuda: StandInStreams,
    pins: Pins,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    second = there.header.input_encoding
    wrong = ops.normalize(
        torch.from_numpy(read_frame(shot.folder / "plate.1002.exr", RGB).pixels).movedim(-1, 0)[None], second
    )
    failing(monkeypatch, lambda x: InferenceError("a fault") if torch.equal(x, wrong) else None)
    reports: list[tuple[int, str]] = []
    with pytest.raises(RenderError) as raised:
        infer(
            there,
            shot.input,
            tmp_path / "out.%04d.exr",
            progress=lambda report: reports.append((report.frame, report.message)),
        )
    assert raised.value.failed == {1002: "a fault"}
    assert reports == [(1001, ""), (1002, "failed: a fault"), (1003, ""), (1004, "")]
    assert [path.name for path in raised.value.written] == [f"out.{frame}.exr" for frame in (1001, 1003, 1004)]
    assert len(pins.ever) <= 4  # the failed frame has given its place back


def test_the_first_error_ends_a_render_that_shall_not_go_on(
    there: Model, shot: Shot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda x: InferenceError("a fault"))
    with pytest.raises(InferenceError, match=r"^a fault$"):
        infer(there, shot.input, tmp_path / "out.%04d.exr", keep_going=False)
    assert not list(tmp_path.glob("out.*"))


def test_short_memory_makes_smaller_tiles(
    here: Model, there: Model, cuda: StandInStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(1, (700, 300))
    expected = here(image, tile_size=512)
    error = torch.OutOfMemoryError("CUDA out of memory")
    failing(monkeypatch, lambda x: error if max(x.shape[2:]) > 512 else None)
    warnings: list[str] = []
    np.testing.assert_array_equal(there(image, warn=warnings.append), expected)
    assert warnings == ["memory is short: rendering in tiles of 512 pixels"]


def test_a_cancelled_frame_ends_before_its_next_tile(there: Model, cuda: StandInStreams, pins: Pins) -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(len(cuda.log))
        return len(asked) == 3

    with pytest.raises(tiles.CancelledError):
        there(picture(1, (90, 80)), tile_size=160, cancel=cancel)
    assert len(cuda.log) == asked[-1]  # nothing was launched after it
    assert sum(what == "copycat.decode_into.default" for _, what in cuda.log) == 2
    assert cuda.idle


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("tile_size", [0, 512])
def test_on_a_gpu_shared_memory_is_rendered_in_place_as_a_copy_is(tmp_path: Path, tile_size: int) -> None:
    model = Model(random_model(tmp_path / "m.cat"), torch.device("cuda", 0))
    values = np.concatenate([picture(1, (1000, 700)), np.full((700, 1000, 1), 0.25, np.float32)], axis=-1)
    image = torch.from_numpy(values[..., :3].copy()).movedim(-1, 0)
    encodings = model.header.input_encoding, model.header.target_encoding
    expected = tiles.render(model.network, image, encodings, tile_size=tile_size)
    memory, pixels = shared(values)
    model.share(memory)
    assert planes(pixels).is_pinned()
    model(planes(pixels), out=planes(pixels), tile_size=tile_size)
    torch.testing.assert_close(planes(pixels), expected, rtol=1e-5, atol=1e-5)
    assert (pixels[..., 3] == 0.25).all()
    torch.testing.assert_close(model(image, tile_size=tile_size), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_on_a_gpu_frames_of_several_threads_are_each_their_own(tmp_path: Path) -> None:
    model = Model(random_model(tmp_path / "m.cat"), torch.device("cuda", 0))
    images = [picture(i, (900 + 16 * i, 500)) for i in range(6)]
    expected = [model(image) for image in images]
    for _ in range(5):
        with ThreadPoolExecutor(3) as pool:
            for got, right in zip(pool.map(model, images), expected, strict=True):
                np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_on_a_gpu_memory_can_be_pinned_again_where_it_was_unpinned() -> None:
    for _ in range(20):
        memory = HostMemory(-1, 1 << 22)
        assert memory.pin(torch.device("cuda", 0))
        del memory
    assert torch.zeros(1, device="cuda").item() == 0  # nothing has left an error behind
