"""The worker on a GPU, whose place fakes take: two frames in flight, the host's memory pinned once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat import ops
from copycat.data.host_memory import HostMemory
from copycat.errors import CopycatError
from copycat.worker import rendering
from test_frames_in_flight import LONG, Pins
from test_worker import Doubler, Plugin, described, shared


class Gates(Doubler):
    """A model that doubles a frame when its gate opens; a frame is known by its first value."""

    def __init__(self, open_gates: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.gates = {number: threading.Event() for number in range(1, 6)}
        for number in open_gates:
            self.gates[number].set()
        self.entered = threading.Semaphore(0)
        self.inside: set[int] = set()
        self.most = 0
        self._lock = threading.Lock()

    def share(self, memory: HostMemory) -> None:
        memory.pin(rendering_device())

    def __call__(self, planes: Any, *, cancel: Callable[[], bool], out: Any, **_: Any) -> Any:
        number = int(planes[0, 0, 0])
        with self._lock:
            self.inside.add(number)
            self.most = max(self.most, len(self.inside))
        self.entered.release()
        try:
            while not self.gates[number].wait(0.01):
                if cancel():
                    raise CopycatError(f"frame {number} was cancelled")
            if number == 4:
                raise CopycatError("frame 4 cannot be computed")
            return out.copy_(planes * 2)
        finally:
            with self._lock:
                self.inside.discard(number)


def rendering_device() -> Any:
    import torch

    return torch.device("cuda", 0)


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> Pins:
    pins = Pins()
    monkeypatch.setattr(ops, "pin_memory", pins.pin)
    monkeypatch.setattr(ops, "unpin_memory", pins.unpin)
    return pins


@pytest.fixture
def model() -> Gates:
    return Gates()


@pytest.fixture
def plugin(model: Gates, pins: Pins, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    monkeypatch.setattr(rendering, "_device", lambda settings, real: ("cuda:0", ""))
    plugin = Plugin(lambda path, device, half: model)
    yield plugin
    for gate in model.gates.values():
        gate.set()
    plugin.close()


@pytest.fixture
def begin(plugin: Plugin, tmp_path: Path) -> Callable[[int], np.ndarray]:
    """Asks for a frame full of a number, in a buffer of its own, and returns the buffer's pixels."""
    path = tmp_path / "model.cat"
    path.write_bytes(b"x")

    def call(number: int) -> np.ndarray:
        values = np.full((4, 5, 4), number, np.float32)
        descriptor, memory = shared(values)
        request = {"do": "render", "settings": {"modelFile": str(path)}, "frame": number, **described(values, number)}
        plugin.channel.send({"id": number, **request}, [descriptor])
        os.close(descriptor)
        return np.frombuffer(memory, np.float32).reshape(values.shape)

    return call


def test_two_requests_are_in_flight_and_a_third_waits(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray]
) -> None:
    pixels = {number: begin(number) for number in (1, 2, 3)}
    assert model.entered.acquire(timeout=LONG)
    assert model.entered.acquire(timeout=LONG)
    assert model.inside == {1, 2}
    model.gates[2].set()  # whichever is done first is answered first
    assert plugin.answer()["id"] == 2
    assert model.entered.acquire(timeout=LONG)
    assert model.inside == {1, 3}
    model.gates[3].set()
    assert plugin.answer()["id"] == 3
    model.gates[1].set()
    assert plugin.answer()["ok"]["loads"] == 1
    for number, buffer in pixels.items():
        assert (buffer[..., :3] == 2 * number).all()
        assert (buffer[..., 3] == number).all()
    assert model.most == 2


def test_an_error_is_that_of_its_request(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], pins: Pins
) -> None:
    begin(1)
    begin(4)
    assert model.entered.acquire(timeout=LONG)
    assert model.entered.acquire(timeout=LONG)
    model.gates[4].set()
    assert plugin.answer() == {"id": 4, "error": "frame 4 cannot be computed"}
    model.gates[1].set()
    assert plugin.answer()["ok"]["channels_out"] == ["R", "G", "B"]
    plugin.ask(do="frames", drop=[1, 4])
    assert pins.all_gone()  # an error keeps no memory
    begin(2)  # the place of the failed one is free
    begin(3)
    assert model.entered.acquire(timeout=LONG)
    assert model.entered.acquire(timeout=LONG)
    assert model.inside == {2, 3}


@pytest.mark.parametrize("cancelled", [2, 3])
def test_frames_in_flight_and_waiting_ones_can_be_cancelled(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], cancelled: int
) -> None:
    for number in (1, 2, 3):
        begin(number)
    assert model.entered.acquire(timeout=LONG)
    assert model.entered.acquire(timeout=LONG)
    plugin.channel.send({"cancel": cancelled})
    answer = plugin.answer()
    assert answer["id"] == cancelled
    assert "cancelled" in answer["error"]
    for number in (1, 2, 3):
        model.gates[number].set()
    assert sorted(plugin.answer()["id"] for _ in range(2)) == sorted({1, 2, 3} - {cancelled})


def test_the_host_s_memory_is_pinned_once_and_unpinned_when_it_is_dropped(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], pins: Pins, tmp_path: Path
) -> None:
    model.gates[1].set()
    pixels = begin(1)
    assert plugin.answer()["id"] == 1
    model.gates[2].set()
    request = {"do": "render", "settings": {"modelFile": str(tmp_path / "model.cat")}, **described(pixels, 1)}
    assert plugin.ask(**request)["ok"]["loads"] == 1  # it now holds 2
    assert pins.ever == [pixels.nbytes]
    assert len(pins.pinned) == 1
    assert "never handed over" in plugin.ask(**request, drop=[1])["error"]
    assert pins.all_gone()


def test_memory_is_unpinned_when_the_worker_ends(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], pins: Pins
) -> None:
    model.gates[1].set()
    begin(1)
    assert plugin.answer()["id"] == 1
    assert len(pins.pinned) == 1
    plugin.server.end()
    assert pins.all_gone()


def test_memory_that_cannot_be_pinned_is_used_as_it_is(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], pins: Pins
) -> None:
    pins.refuses = True
    model.gates[1].set()
    pixels = begin(1)
    assert plugin.answer()["ok"]["warning"] == ""
    assert (pixels[..., :3] == 2).all()


def test_a_cpu_renders_one_frame_at_a_time(
    plugin: Plugin, model: Gates, begin: Callable[[int], np.ndarray], pins: Pins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "_device", lambda settings, real: ("cpu", ""))
    for number in (1, 2, 3):
        begin(number)
        model.gates[number].set()
    assert [plugin.answer()["id"] for _ in range(3)] == [1, 2, 3]
    assert model.most == 1
    assert not pins.ever
