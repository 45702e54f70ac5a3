"""What the plugin should never send, what takes long, and how the worker begins and ends: no request loses another.

Over 400 lines: each way to break the protocol, against the same worker.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat.runs import Display, Run, TrainerLock, take_request
from copycat.worker import __main__ as worker_main
from copycat.worker import server as worker_server
from copycat.worker.protocol import Channel, pack
from fuzzing import for_minutes, new_seed, time_is_left
from test_worker import Doubler, Plugin, described, shared


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the log goes."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


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


def still_serves(plugin: Plugin) -> None:
    assert plugin.ask(do="frames", text="1-3")["ok"]["frames"] == [1, 2, 3]


def send_raw(plugin: Plugin, body: bytes, descriptors: tuple[int, ...] = ()) -> None:
    frame = len(body).to_bytes(4, "little") + len(descriptors).to_bytes(4, "little") + body
    if descriptors:
        socket.send_fds(plugin.stream, [frame], descriptors)
    else:
        plugin.stream.sendall(frame)


@pytest.mark.parametrize("number", ["1e300", "NaN", "-Infinity", "1.5", '"7"', "true", "null", "[1]", "{}", "9" * 400])
def test_ids_that_are_none(plugin: Plugin, number: str) -> None:
    send_raw(plugin, b'{"id":%b,"do":"frames","text":"1"}' % number.encode())
    assert "the id of a request is no whole number" in plugin.answer()["error"]
    send_raw(plugin, b'{"cancel":%b}' % number.encode())
    assert "the id of a request to cancel is no whole number" in plugin.answer()["error"]
    still_serves(plugin)


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":7,"do":"frames","text":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"id":7,"do":"frames"',
        b'{"id":7,"do":"\xff',
        b'{"id":7,"do":"frames","text":' + b"9" * 5000 + b"}",
        b'{"id":7,"do":"abandon","run":{"directory":"/\\ud800","name":"r"}}',
        b'{"id":7,"do":"abandon","run":{"directory":"/\\u0000","name":"r"}}',
    ],
)
def test_json_that_cannot_be_read_ends_one_request(plugin: Plugin, body: bytes) -> None:
    send_raw(plugin, body)
    answer = plugin.answer()
    assert (answer["id"], "ok" in answer) == (7, False)
    assert "copycat failed" not in answer["error"]
    still_serves(plugin)


def test_a_message_that_is_no_object_is_refused(plugin: Plugin) -> None:
    send_raw(plugin, b"[]")
    assert "no object" in plugin.answer()["error"]
    still_serves(plugin)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settings": None},
        {"settings": [1]},
        {"settings": {"modelFile": 7}},
        {"settings": {"modelFile": "relative.cat"}},
        {"settings": {"tileSize": float("nan")}},
        {"picture": None},
        {"picture": {"width": float("nan"), "height": 2, "components": "RGBA", "depth": "float"}},
        {"picture": {"width": 1e300, "height": 2, "components": "RGBA", "depth": "float"}},
        {"picture": {"width": 2, "height": 2, "components": [], "depth": "float"}},
        {"picture": {"width": "2", "height": 2, "components": "RGBA", "depth": "float"}},
        {"buffer": None},
        {"buffer": {"id": "1", "bytes": 64}},
        {"buffer": {"id": float("nan"), "bytes": 64}},
        {"buffer": {"id": 2, "bytes": 64}},
        {"drop": 7},
        {"drop": [float("inf")]},
        {"do": None},
        {"do": ["render"]},
        {"do": "x" * 10_000},
    ],
)
def test_requests_that_are_malformed(plugin: Plugin, model: Path, wrong: dict[str, Any]) -> None:
    values = np.ones((2, 2, 4), np.float32)
    descriptor, _ = shared(values)
    request = {"do": "render", "settings": {"modelFile": str(model)}, **described(values)}
    plugin.channel.send({"id": 1, **request}, [descriptor])
    os.close(descriptor)
    assert "ok" in plugin.answer()
    body = json.dumps({"id": 7, **request, **wrong}).encode()
    send_raw(plugin, body)
    answer = plugin.answer()
    assert answer["id"] == 7
    assert len(answer["error"]) < 400
    still_serves(plugin)


@pytest.mark.parametrize(
    "do", ["status", "begin_run", "hand_over", "train", "abandon", "newest_model", "callback", "preview"]
)
@pytest.mark.parametrize(
    "fields", [{}, {"settings": 7}, {"run": []}, {"run": {"directory": 7}}, {"settings": {}, "run": {}}]
)
def test_every_request_without_what_it_needs_says_so(plugin: Plugin, do: str, fields: dict[str, Any]) -> None:
    assert "copycat failed" not in plugin.ask(do=do, **fields)["error"]


def kinds(folder: Path) -> Iterator[tuple[str, int]]:
    (folder / "short").write_bytes(b"x" * 10)
    yield "a file that is shorter", os.open(folder / "short", os.O_RDWR)
    yield "a file that is only read", os.open(folder / "short", os.O_RDONLY)
    yield "a directory", os.open(folder, os.O_RDONLY)
    reading, writing = os.pipe()
    os.close(writing)
    yield "a pipe", reading
    yield "a socket", socket.socket().detach()
    yield "a device", os.open("/dev/null", os.O_RDWR)


def test_descriptors_that_cannot_be_mapped(plugin: Plugin, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for kind, descriptor in kinds(tmp_path):
        for size in (64, 0, -1, float("nan"), 2**60, "64", None):
            send_raw(
                plugin, json.dumps({"id": 7, "do": "purge", "buffer": {"id": 1, "bytes": size}}).encode(), (descriptor,)
            )
            assert "buffer" in plugin.answer()["error"], (kind, size)
        os.close(descriptor)
    reading, writing = os.pipe()
    send_raw(plugin, b'{"id":7,"do":"frames","text":"1"}', (reading, writing))
    assert "buffer" in plugin.answer()["error"]
    os.close(reading)
    os.close(writing)
    assert len(os.listdir("/proc/self/fd")) == before
    still_serves(plugin)


def test_a_second_request_with_an_open_id_is_refused_and_no_answer_is_lost(model: Path) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda path, device, half: Doubler(gate))
    values = np.ones((2, 2, 4), np.float32)
    descriptor, _ = shared(values)
    request = {"do": "render", "settings": {"modelFile": str(model)}, **described(values)}
    plugin.channel.send({"id": 5, **request}, [descriptor])
    os.close(descriptor)
    plugin.channel.send({"id": 5, "do": "frames", "text": "1"})
    answer = plugin.answer()
    assert answer["id"] == 5
    assert "request 5 is open already" in answer["error"]
    gate.set()
    answer = plugin.answer()
    assert (answer["id"], answer["ok"]["loads"]) == (5, 1)
    still_serves(plugin)
    plugin.close()


def test_status_and_buttons_do_not_wait_for_renders(model: Path, tmp_path: Path) -> None:
    gate = threading.Event()
    plugin = Plugin(lambda path, device, half: Doubler(gate))
    values = np.ones((2, 2, 4), np.float32)
    for number in range(1, 33):
        descriptor, _ = shared(values)
        request = {"do": "render", "settings": {"modelFile": str(model)}, **described(values, number)}
        plugin.channel.send({"id": number, **request}, [descriptor])
        os.close(descriptor)
    chosen = {"settings": {"dataDirectory": str(tmp_path)}}
    plugin.channel.send({"id": 100, "do": "status", **chosen})
    answer = plugin.answer()
    assert (answer["id"], "ok" in answer) == (100, True)
    plugin.channel.send({"id": 101, "do": "stop", **chosen})
    assert "nothing has been trained" in plugin.answer()["error"]
    plugin.channel.send({"cancel": 20})  # it waits in the queue: it is answered at once
    assert plugin.answer() == {"id": 20, "error": "cancelled"}
    gate.set()
    assert sorted(plugin.answer()["id"] for _ in range(31)) == [n for n in range(1, 33) if n != 20]
    plugin.close()


def test_numbers_that_json_has_not_become_null(plugin: Plugin) -> None:
    plugin.server._handlers["frames"] = lambda request: {
        "a": float("nan"),
        "b": [float("inf"), {"c": -1e999}],
        "d": 1.5,
    }
    assert plugin.ask(do="frames") == {"id": 1, "ok": {"a": None, "b": [None, {"c": None}], "d": 1.5}}
    plugin.server._handlers["frames"] = lambda request: {"a": {1, 2}}
    assert "copycat failed: TypeError" in plugin.ask(do="frames")["error"]
    plugin.server._handlers["frames"] = lambda request: {"a": "\ud800 and \udce9"}
    assert "ok" in plugin.ask(do="frames")
    still = pack({"a": "\udce9"})
    assert still.endswith(b'{"a":"\xe9"}')


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), MemoryError("much"), RecursionError(), KeyError("k")]
)
def test_what_is_unexpected_becomes_a_sentence_and_a_log(plugin: Plugin, state: Path, error: BaseException) -> None:
    def fail(request: Any) -> Any:
        raise error

    plugin.server._handlers["frames"] = fail
    answer = plugin.ask(do="frames")["error"]
    log = state / "copycat" / "worker.log"
    assert answer.startswith(f"copycat failed: {type(error).__name__}")
    assert answer.endswith(f"(details: {log})")
    assert "Traceback" in log.read_text()
    assert "in fail" in log.read_text()


def test_many_descriptors_are_not_tried_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    mine = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]
    monkeypatch.setattr(os, "sysconf", lambda name: 2**31 - 1)
    monkeypatch.setattr(os, "closerange", lambda low, high: pytest.fail("tried them all"))
    monkeypatch.setattr(worker_main.os, "close", closed.append)
    worker_main.close_from(mine[0])
    monkeypatch.undo()
    assert set(mine) <= set(closed)
    assert len(closed) < 1000
    for descriptor in mine:
        os.close(descriptor)


SLOW = """
import importlib.abc, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "copycat.worker.server":
            time.sleep(3.5)
sys.meta_path.insert(0, Slow())
"""


def test_it_introduces_itself_and_beats_before_what_takes_long_to_import(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "copycat.worker", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    theirs.close()
    channel = Channel(ours)
    kinds = []
    channel.send({"id": 1, "do": "frames", "text": "4"})
    while not kinds or "id" not in kinds[-1]:
        received = channel.receive()
        assert received is not None
        kinds.append(received[0])
    assert "hello" in kinds[0]
    assert sum("alive" in message for message in kinds) >= 2
    assert kinds[-1] == {"id": 1, "ok": {"frames": [4]}}
    began = time.monotonic()
    ours.close()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 10


def test_the_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(worker_server, "_END_SECONDS", 0.2)
    statuses: list[int] = []

    def end(status: int) -> None:
        statuses.append(status)
        ended.set()

    monkeypatch.setattr(worker_server.os, "_exit", end)

    class Stuck:
        def end(self) -> None:
            assert ended.wait(20)  # a disk that does not answer

    worker_server._end(Stuck())  # type: ignore[arg-type]
    assert statuses[0] == 0


def chosen(directory: object) -> dict[str, Any]:
    return {"settings": {"dataDirectory": str(directory)}}


@pytest.mark.parametrize("do", ["newest_model", "resume", "finish", "stop"])
def test_before_any_training_the_buttons_say_what_to_do(plugin: Plugin, tmp_path: Path, do: str) -> None:
    for directory in (tmp_path, tmp_path / "not yet"):
        answer = plugin.ask(do=do, **chosen(directory))["error"]
        assert answer == f"nothing has been trained in {directory} yet: press Start Training first"
    assert plugin.ask(do=do, **chosen(""))["error"].startswith("Data Directory is empty: choose the directory")


def test_a_run_without_checkpoint_or_resume_state_says_what_to_do(plugin: Plugin, tmp_path: Path) -> None:
    (tmp_path / "r.summary").write_text('{"step": 1, "loss": 1}\n')
    assert (
        "r has not saved a model yet: wait for its first" in plugin.ask(do="newest_model", **chosen(tmp_path))["error"]
    )
    for do in ("resume", "finish"):
        assert "r has not saved a state to resume from yet (r.ost" in plugin.ask(do=do, **chosen(tmp_path))["error"]
    (tmp_path / "copycat.json").write_text('{"active": "../../x"}')
    assert plugin.ask(do="status", **chosen(tmp_path))["ok"]["status"].startswith("r: killed, step 1")


@pytest.mark.parametrize("do", ["status", "begin_run", "newest_model", "loss_curve", "open_progress"])
def test_a_relative_data_directory_is_refused(
    plugin: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = plugin.ask(do=do, **chosen("copycat/data"))["error"]
    assert answer == "Data Directory is 'copycat/data', which is relative: choose it with its full path"
    assert list(tmp_path.glob("copycat*")) == []


@pytest.mark.parametrize(
    ("knob", "label"), [("checkpointFile", "Checkpoint File"), ("validationInput", "Validation Input")]
)
def test_other_relative_paths_are_refused_before_frames_are_fetched(
    plugin: Plugin, tmp_path: Path, knob: str, label: str
) -> None:
    settings = {"dataDirectory": str(tmp_path), "validationGroundTruth": "/a/b.cat", "validationInput": "/a"}
    settings[knob] = "a/b.cat"
    assert f"{label} is 'a/b.cat', which is relative" in plugin.ask(do="begin_run", settings=settings)["error"]
    assert "Model File is 'a.cat', which is" in plugin.ask(do="render", settings={"modelFile": "a.cat"})["error"]


@pytest.mark.parametrize(
    ("text", "words"), [("1-500000", "500000 frames"), ("5-", "no list of frames"), (",", "no list")]
)
def test_frame_lists_that_are_none(plugin: Plugin, text: str, words: str) -> None:
    assert words in plugin.ask(do="frames", text=text)["error"]


def test_start_training_twice_is_refused_while_the_first_run_lives(plugin: Plugin, tmp_path: Path) -> None:
    run = Run(tmp_path, "first")
    lock = TrainerLock(run)
    Display(tmp_path, "first").write()
    lock.inheritance()
    assert "run first is starting already" in plugin.ask(do="begin_run", **chosen(tmp_path))["error"]
    status = plugin.ask(do="status", **chosen(tmp_path))["ok"]
    assert status["status"].startswith("first: starting")
    assert not status["can_resume"]
    assert plugin.ask(do="stop", **chosen(tmp_path))["ok"]["status"] == "first: saves and stops"
    assert plugin.ask(do="finish", **chosen(tmp_path))["ok"]["status"].startswith("first: ")
    taken = [take_request(run), take_request(run)]
    assert [request.action for request in taken if request] == ["stop", "finish"]
    run.summary.write_text('{"step": 1, "loss": 1}\n')
    lock._beat()
    assert "run first is being trained: stop it" in plugin.ask(do="begin_run", **chosen(tmp_path))["error"]
    lock.release(run)
    started_run = plugin.ask(do="begin_run", **chosen(tmp_path))["ok"]["run"]
    assert "no frame to train on" in plugin.ask(do="train", run=started_run, **chosen(tmp_path))["error"]
    assert plugin.ask(do="abandon", run=started_run) == {"id": 1, "ok": {}}
    assert not Run(tmp_path, started_run["name"]).exists()


def mutated(body: bytes, rng: random.Random) -> bytes:
    """The body with a few bytes, numbers or pieces changed."""
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        how = rng.randrange(4)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at : at + rng.randrange(8)] = b""
        elif how == 2:
            data[at:at] = rng.choice([b"NaN", b"1e999", b"-1", b"null", b"[[[", b'"', b"\\ud800", b"9" * 30])
        else:
            data[at:at] = data[max(0, at - 20) : at]
        if not data:
            return b"{}"
    return bytes(data)


def fuzz(plugin: Plugin, folder: Path, rounds: Callable[[], bool], seed: int) -> None:
    rng = random.Random(seed)
    settings = {"dataDirectory": str(folder / "data"), "modelFile": str(folder / "model.cat"), "epochs": 5}
    run = {"directory": str(folder / "data"), "name": "r"}
    picture = {"width": 2, "height": 2, "components": "RGBA", "depth": "float"}
    message = {
        "settings": settings,
        "display": {"smoothness": 0.5},
        "run": run,
        "clip": "input",
        "frame": 1,
        "text": "1-5",
    }
    message |= {"buffer": {"id": 1, "bytes": 64}, "picture": picture, "input": [1, 2], "name": "before_render"}
    requests = ("render", "preview", "contact_sheet", "loss_curve", "frames", "status", "stop", "abandon", "hand_over")
    messages = [{"do": do, **message} for do in (*requests, "newest_model", "callback", "purge", "finish")]
    while rounds():
        body = mutated(json.dumps({"id": 7, **rng.choice(messages)}).encode(), rng)
        descriptors = (os.memfd_create("fuzz"),) if rng.random() < 0.3 else ()
        for descriptor in descriptors:
            os.ftruncate(descriptor, rng.choice([0, 1, 64, 4096]))
        send_raw(plugin, body, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        answer = plugin.answer()
        assert ("error" in answer) != ("ok" in answer), (seed, body)
        assert "copycat failed" not in answer.get("error", ""), (seed, body, answer)


def test_mutated_messages(plugin: Plugin, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    left = iter(range(400))
    fuzz(plugin, tmp_path, lambda: next(left, None) is not None, 1)
    still_serves(plugin)


@for_minutes
def test_mutated_messages_for_minutes(plugin: Plugin, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    fuzz(plugin, tmp_path, time_is_left(), new_seed())
    still_serves(plugin)
