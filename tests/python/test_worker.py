"""The worker without a host: frames on the wire, buffers, requests at once, cancelling, which model is meant."""

from __future__ import annotations

import json
import mmap
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat import runs
from copycat.errors import CopycatError
from copycat.settings.callbacks import CallbackError
from copycat.settings.tables import InferenceSettings
from copycat.worker import host_callbacks
from copycat.worker.buffers import Buffers, picture
from copycat.worker.greeting import greet
from copycat.worker.protocol import PROTOCOL, Channel, ProtocolError, pack
from copycat.worker.rendering import choose_model
from copycat.worker.server import Server

GOLDEN = Path(__file__).parents[1] / "ofx" / "golden_frames.txt"


class Doubler:
    """A model that doubles; waits for ``gate`` if there is one."""

    channels_in = channels_out = ("R", "G", "B")

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate

    def __call__(self, planes: Any, *, cancel: Callable[[], bool], out: Any, **_: Any) -> Any:
        while self.gate and not self.gate.wait(0.01):
            if cancel():
                raise CopycatError("the render was cancelled")
        return out.copy_(planes * 2)


class Plugin:
    """The plugin's side of the socket, and a server in a thread at the other."""

    def __init__(self, load: Callable[[str, str, bool], Any]) -> None:
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.theirs, self.heartbeat = greet(theirs.detach())
        self.server = Server(self.theirs, self.heartbeat, load)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        self.stream = ours
        greeting = self.channel.receive()
        assert greeting is not None
        self.hello = greeting[0]["hello"]
        self.beats = 0

    def close(self) -> None:
        self.stream.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.heartbeat.end()
        assert not self.thread.is_alive()
        self.stream.close()
        self.theirs._stream.close()

    def answer(self) -> dict[str, Any]:
        while True:
            received = self.channel.receive()
            assert received is not None
            if "alive" in received[0]:
                self.beats += 1
            elif "progress" not in received[0]:
                return received[0]

    def ask(self, **message: Any) -> dict[str, Any]:
        self.channel.send({"id": 1, **message})
        return self.answer()


def shared(values: np.ndarray) -> tuple[int, mmap.mmap]:
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, values.nbytes)
    memory = mmap.mmap(descriptor, values.nbytes)
    memory[:] = values.tobytes()
    return descriptor, memory


def described(values: np.ndarray, number: int = 1) -> dict[str, Any]:
    height, width, _ = values.shape
    return {
        "buffer": {"id": number, "bytes": values.nbytes},
        "picture": {"width": width, "height": height, "components": "RGBA", "depth": "float"},
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.cat"
    path.write_bytes(b"x")
    return path


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    plugin = Plugin(lambda path, device, half: Doubler())
    yield plugin
    plugin.close()


def test_frames_are_the_golden_bytes_that_the_plugin_reads() -> None:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 8
    for text, hexadecimal in zip(lines[::2], lines[1::2], strict=True):
        expected = bytes.fromhex(hexadecimal)
        assert pack(json.loads(text), expected[4]) == expected
        if expected[4] == 0:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                for byte in expected:  # however it is cut
                    ours.send(bytes([byte]))
                assert Channel(theirs).receive() == (json.loads(text), [])


def test_a_path_that_is_no_unicode_comes_through() -> None:
    path = b"/mnt/caf\xe9/\xf0\x9f\x90\x88"
    body = b'{"id":1,"path":"' + path + b'"}'
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(len(body).to_bytes(4, "little") + bytes(4) + body)
        received = Channel(theirs).receive()
        assert received is not None
        assert os.fsencode(received[0]["path"]) == path
        assert pack(received[0])[8:] == body


@pytest.mark.parametrize(
    "frame", [b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x01\0\0\0\0\0\0\0{", b"\x02\0\0\0\x01\0\0\0{}"]
)
def test_messages_that_are_none_are_refused(frame: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frame)
        with pytest.raises(ProtocolError):
            Channel(theirs).receive()


def test_the_end_of_the_stream_is_none_even_in_the_middle() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"\x08\0\0\0\0\0\0\0{")
        ours.close()
        assert Channel(theirs).receive() is None


def test_greeting_and_unknown_requests(plugin: Plugin) -> None:
    assert plugin.hello["protocol"] == PROTOCOL
    assert plugin.hello["pid"] == os.getpid()
    assert "dance" in plugin.ask(do="dance")["error"]


def test_a_picture_is_changed_in_place_and_its_buffer_kept(plugin: Plugin, model: Path) -> None:
    values = np.random.default_rng(0).random((6, 5, 4), dtype=np.float32)
    descriptor, memory = shared(values)
    request = {"do": "render", "settings": {"modelFile": str(model)}, "frame": 7, **described(values)}
    plugin.channel.send({"id": 1, **request}, [descriptor])
    os.close(descriptor)
    assert plugin.answer()["ok"]["channels_out"] == ["R", "G", "B"]
    once = np.frombuffer(memory, np.float32).reshape(values.shape)
    np.testing.assert_array_equal(once[..., :3], values[..., :3] * 2)
    np.testing.assert_array_equal(once[..., 3], values[..., 3])
    answer = plugin.ask(**request)  # the descriptor is not sent again
    assert answer["ok"]["loads"] == 1
    np.testing.assert_array_equal(once[..., :3], values[..., :3] * 4)
    assert "never handed over" in plugin.ask(**request, drop=[1])["error"]


def test_a_model_is_read_again_when_its_file_changes(plugin: Plugin, model: Path) -> None:
    values = np.zeros((2, 2, 4), np.float32)
    descriptor, _ = shared(values)
    request = {"do": "render", "settings": {"modelFile": str(model)}, **described(values)}
    plugin.channel.send({"id": 1, **request}, [descriptor])
    os.close(descriptor)
    assert plugin.answer()["ok"]["loads"] == 1
    model.write_bytes(b"another")
    assert plugin.ask(**request)["ok"]["loads"] == 2
    assert plugin.ask(**request)["ok"]["loads"] == 2


def test_it_beats_while_it_owes_an_answer_and_can_be_cancelled(model: Path) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda path, device, half: Doubler(gate))
    values = np.ones((2, 2, 4), np.float32)
    descriptor, memory = shared(values)
    request = {"do": "render", "settings": {"modelFile": str(model)}, **described(values)}
    plugin.channel.send({"id": 5, **request}, [descriptor])
    os.close(descriptor)
    plugin.channel.send({"id": 6, "do": "frames", "text": "1-3", "input": [], "ground_truth": []})
    assert plugin.answer() == {"id": 6, "ok": {"frames": [1, 2, 3]}}  # not held up by the render
    time.sleep(1.3)
    plugin.channel.send({"cancel": 5})
    answer = plugin.answer()
    assert answer["id"] == 5
    assert "cancelled" in answer["error"]
    assert plugin.beats >= 1
    assert memory[:] == values.tobytes()
    plugin.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 100}, "does not fit"),
        ({"depth": "double"}, "not described"),
        ({"components": "XYZ"}, "not described"),
        ({"height": 0}, "does not fit"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(change: dict[str, Any], words: str) -> None:
    described = {"width": 4, "height": 4, "components": "RGBA", "depth": "float", **change}
    with mmap.mmap(-1, 256) as memory, pytest.raises(ProtocolError, match=words):
        picture(memory, described)


def test_buffers_close_what_they_do_not_need() -> None:
    before = len(os.listdir("/proc/self/fd"))
    buffers = Buffers()
    for number in range(20):
        descriptor, _ = shared(np.zeros((2, 2, 4), np.float32))
        buffers.update({"buffer": {"id": number, "bytes": 64}, "drop": [number - 1]}, [descriptor])
    assert len(buffers) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 21  # of the test's own maps
    with pytest.raises(ProtocolError, match="never handed over"):
        buffers.get({"buffer": {"id": 3}})


def test_the_status_tells_warnings_from_notes(plugin: Plugin, tmp_path: Path) -> None:
    lines = [
        {"run": {"totalSteps": 9, "warnings": ["a is small"], "notes": ["a Clean Plate is used"]}},
        {"step": 1, "loss": 0.5},
        {"step": 1, "warning": "the preview cannot be made"},
        {"end": "finished", "step": 1},
    ]
    (tmp_path / "r.summary").write_text("".join(json.dumps(line) + "\n" for line in lines))
    status = plugin.ask(do="status", settings={"dataDirectory": str(tmp_path)})["ok"]["status"]
    assert status == (
        "r: finished, step 1 of 9, loss 0.5; warning: a is small; warning: the preview cannot be made; "
        "note: a Clean Plate is used"
    )


def test_which_model_is_meant(tmp_path: Path) -> None:
    for step in (10, 200, 3000):
        (tmp_path / f"shot_{step}.cat").write_bytes(b"x")
    (tmp_path / "shot.summary").write_text("")
    (tmp_path / "shot_best.cat").write_bytes(b"x")
    (tmp_path / "shot_v2_99.cat").write_bytes(b"x")
    first = str(tmp_path / "shot_10.cat")
    assert choose_model(first, 0).name == "shot_3000.cat"
    assert choose_model(first, 200).name == "shot_200.cat"
    assert choose_model(first, 2999).name == "shot_200.cat"
    with pytest.raises(CopycatError, match="at most 5 steps"):
        choose_model(first, 5)
    assert choose_model(str(tmp_path / "shot_best.cat"), 0).name == "shot_best.cat"
    assert choose_model(str(tmp_path), 0).name == "shot_3000.cat"
    assert choose_model("/nowhere/model.cat", 0) == Path("/nowhere/model.cat")
    with pytest.raises(CopycatError, match="empty"):
        choose_model("", 0)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CopycatError, match="holds no checkpoint"):
        choose_model(str(empty), 0)
    assert runs.find_runs(tmp_path)[0].name == "shot"


@pytest.mark.parametrize(
    ("message", "frames"),
    [
        ({"text": "all", "input": [1, 5], "ground_truth": [3, 9]}, [3, 4, 5]),
        ({"text": "", "input": [], "ground_truth": [3, 4]}, [3, 4]),
        ({"text": "10,12-13", "input": [1, 5], "ground_truth": [1, 5]}, [10, 12, 13]),
    ],
)
def test_frames(plugin: Plugin, message: dict[str, Any], frames: list[int]) -> None:
    assert plugin.ask(do="frames", **message)["ok"]["frames"] == frames


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"text": "all", "input": [1, 5], "ground_truth": [6, 9]}, "no frame in common"),
        ({"text": "all", "input": [], "ground_truth": []}, "does not say which frames"),
        ({"text": "all", "input": [-2147483648, 2147483647], "ground_truth": []}, "write the frames"),
        ({"text": "x", "input": [], "ground_truth": []}, "x"),
    ],
)
def test_frames_that_cannot_be_determined(plugin: Plugin, message: dict[str, Any], words: str) -> None:
    assert words in plugin.ask(do="frames", **message)["error"]


def test_callbacks_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site_notes.py").write_text("def note(known): pass\n")
    (tmp_path / "os.py").write_text("def system(known): pass\n")
    named = InferenceSettings(before_frame_render="site_notes:note")
    monkeypatch.delenv("COPYCAT_CALLBACKS", raising=False)
    with pytest.raises(CallbackError, match="COPYCAT_CALLBACKS"):
        host_callbacks.resolve(named)
    monkeypatch.setenv("COPYCAT_CALLBACKS", str(tmp_path))
    assert host_callbacks.resolve(named).before_frame_render is not None
    with pytest.raises(CallbackError, match="os:system"):
        host_callbacks.check(InferenceSettings(before_frame_render="os:system"))
    assert host_callbacks.resolve(InferenceSettings()).before_frame_render is None
