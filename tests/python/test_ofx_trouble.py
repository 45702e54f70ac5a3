"""Trouble between plugin and worker: deaths, aborts, silence, hosts that lack things, and what must not grow."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import ofx_host
import pytest
from ofx_host import inverted, pixels, worker_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("renders")
    (folder / "stand-in.cat").write_bytes(b"a model of one line")
    return folder


@pytest.fixture(scope="module")
def python(folder: Path) -> dict[str, str]:
    return {"COPYCAT_PYTHON": str(ofx_host.stand_in(folder))}


def is_running(pid: int) -> bool:
    try:
        threads = len(os.listdir(f"/proc/{pid}/task"))  # the first may be gone before the others
        return threads > 1 or "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs after {seconds} s"
        time.sleep(0.05)


def ready(host: ofx_host.Host, folder: Path) -> np.ndarray:
    """Makes an instance with a source and the stand-in model."""
    assert host.create("Inference", modelFile=str(folder / "stand-in.cat")) == 0
    source = pixels()
    host.clip("Source", source)
    return source


def test_a_render_whose_worker_is_killed_gets_another(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "2"}) as host:
        source = ready(host, folder)
        host.render(source)
        first = worker_of(host)
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {first}"])
        np.testing.assert_array_equal(host.render(source), inverted(source))
        killer.wait()
        assert worker_of(host) != first
        assert host.messages() == []


def test_a_worker_killed_between_renders_is_replaced_unseen(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, python) as host:
        source = ready(host, folder)
        host.render(source)
        first = worker_of(host)
        os.kill(first, signal.SIGKILL)
        wait_until_gone(first, 5)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert host.messages() == []


def test_abort_in_the_middle_of_a_render(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "1"}) as host:
        source = ready(host, folder)
        host.render(source)
        host.do("abort", after=5)
        answer = host.do("render", output=host.output(source))
        assert answer["seconds"] < 0.9
        host.do("abort", after=-1)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert all("Error" not in m["type"] for m in host.messages())


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("other protocol", "speaks protocol 999"),
        ("no greeting", "did not start: the stand-in does not start"),
        ("death", "the stand-in gave up"),
        ("silence", "silent for 5 seconds"),
    ],
)
def test_a_bad_worker_is_reported_to_the_user(folder: Path, python: dict[str, str], how: str, words: str) -> None:
    patience = {"COPYCAT_START_SECONDS": "5"} if how == "silence" else {}
    with ofx_host.Host(folder, {**python, **patience, "COPYCAT_STAND_IN": how}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert words in host.last_message()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_worker_that_is_silent_but_works_is_waited_for(folder: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(folder, {**python, "COPYCAT_START_SECONDS": "2", "COPYCAT_STAND_IN": "slow import"}) as host:
        host.render(ready(host, folder))
        assert host.messages() == []


def test_a_host_that_forks(tmp_path: Path, python: dict[str, str]) -> None:
    """The child gets a worker of its own; the parent's goes on, and what the parent has asked stays the parent's."""
    gate = tmp_path / "gate"
    withheld = {"COPYCAT_STAND_IN": "withhold", "COPYCAT_STAND_IN_WITHHOLDS": "status"}
    with ofx_host.Host(tmp_path, {**python, **withheld, "COPYCAT_STAND_IN_GATE": str(gate)}) as host:
        assert host.create("CopyCat", "General", dataDirectory="/runs") == 0
        assert host.do("change", param="stopTraining")["status"] == 0
        worker = worker_of(host)
        assert host.do("change", param="epochs", value=5)["status"] == 0  # asks for a status, which does not come
        stop = {"do": "change", "param": "stopTraining"}
        asks = [{"do": "ask", "action": action} for action in ("IsIdentity", "PurgeCaches")]
        answer = host.do("fork", commands=[*asks, stop, {"do": "messages"}, {"do": "destroy"}, {"do": "unload"}])
        assert answer["status"] == 0  # it has not hung
        assert answer["answers"][2]["status"] == 0
        assert answer["answers"][3]["messages"][-1]["text"] == "Training_1: the gate is open"
        host.do("messages")
        gate.touch()
        deadline = time.monotonic() + 30
        while host.last_message() != "Training_1: the gate is open":
            assert time.monotonic() < deadline
            host.do("ask", action="IsIdentity")
            time.sleep(0.05)
        assert host.do("change", param="stopTraining")["status"] == 0
        assert worker_of(host) == worker


def test_no_interpreter(folder: Path) -> None:
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": "/nowhere/python"}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert "/nowhere/python" in host.last_message()
    with ofx_host.Host(folder, {"COPYCAT_PYTHON": ""}) as host:
        source = ready(host, folder)
        host.render(source, expect=1)
        assert "copycat ofx install" in host.last_message()


def test_hosts_with_hollow_or_no_message_suites(folder: Path, python: dict[str, str]) -> None:
    for missing in (["persistent"], ["OfxMessageSuite", "OfxProgressSuite", "OfxTimeLineSuite"]):
        with ofx_host.Host(folder, python, missing=missing) as host:
            assert host.create("Inference") == 0
            source = pixels()
            host.clip("Source", source)
            np.testing.assert_array_equal(host.render(source), source)
            types = ["OfxMessageWarning"] if missing == ["persistent"] else []
            assert [message["type"] for message in host.messages()] == types
            host.do("set", param="modelFile", value="/nowhere/model.cat")
            host.render(source, expect=1)
            assert missing != ["persistent"] or "/nowhere/model.cat" in host.last_message()


def test_worker_gets_a_clean_environment_and_no_descriptors(folder: Path, python: dict[str, str]) -> None:
    dirty = {
        "PYTHONPATH": "/nowhere",
        "PYTHONHOME": "/nowhere",
        "LD_LIBRARY_PATH": "/nowhere",
        "VIRTUAL_ENV": "/x",
        "CONDA_PREFIX": "/x",
    }
    with ofx_host.Host(folder, {**python, **dirty}) as host:
        source = ready(host, folder)
        host.render(source)
        worker = worker_of(host)
        names = {entry.partition("=")[0] for entry in Path(f"/proc/{worker}/environ").read_text().split("\0")}
        assert not names & set(dirty)
        assert "COPYCAT_PYTHON" in names
        targets = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir() if fd.exists()}
        assert targets.pop("1") == targets.pop("2")  # the plugin reads both
        assert not [target for target in targets.values() if target.endswith(".raw") or target.startswith("pipe:")]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_worker_ends_with_its_host(folder: Path, python: dict[str, str], how: signal.Signals) -> None:
    host = ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_SECONDS": "0.2"})
    source = ready(host, folder)
    host.render(source)
    worker = worker_of(host)
    held = [os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir() if fd.exists()]
    mapped = re.findall(r"/dev/shm/\S+", Path(f"/proc/{worker}/maps").read_text())
    host.process.send_signal(how)
    host.process.wait()
    host.close()
    wait_until_gone(worker, 5)
    assert not [path for path in [*held, *mapped] if path.startswith("/dev/shm/") and os.path.exists(path)]


def test_two_hosts_have_a_worker_each(folder: Path, python: dict[str, str], tmp_path: Path) -> None:
    slow = {**python, "COPYCAT_STAND_IN_SECONDS": "0.1"}
    with ofx_host.Host(folder, slow) as one, ofx_host.Host(tmp_path, slow) as other:

        def renders(host: ofx_host.Host) -> int:
            source = ready(host, folder)
            for _ in range(5):
                np.testing.assert_array_equal(host.render(source), inverted(source))
            return worker_of(host)

        with ThreadPoolExecutor(2) as threads:
            workers = list(threads.map(renders, (one, other)))  # at the same time
        assert len(set(workers)) == 2


def cycle(host: ofx_host.Host, folder: Path, count: int) -> None:
    source = pixels(height=32, width=48)
    clip = {"clip": "Source", "connected": True, "frames": [{"time": 1, **host.picture(source)}]}
    model = {"param": "modelFile", "value": str(folder / "stand-in.cat")}
    answer = host.do(
        "cycles",
        count=count,
        create={"plugin": "Inference", "context": "Filter"},
        values=[model],
        clips=[clip],
        render={"output": host.output(source)},
    )
    assert answer["status"] == 0


def test_a_thousand_cycles_grow_nothing(folder: Path, python: dict[str, str], tmp_path: Path) -> None:
    loads = tmp_path / "loads"
    with ofx_host.Host(folder, {**python, "COPYCAT_STAND_IN_LOADS": str(loads)}) as host:
        cycle(host, folder, 50)
        worker = worker_of(host)

        def measures() -> list[float]:
            own = host.do("measure")
            status = Path(f"/proc/{worker}/status").read_text()
            memory = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
            return [own["kilobytes"], own["descriptors"], float(memory), len(os.listdir(f"/proc/{worker}/fd"))]

        before = measures()
        cycle(host, folder, 1000)
        after = measures()
        assert worker_of(host) == worker
        assert len(loads.read_text().splitlines()) == 1  # instances come and go, the model stays
        assert after[1] == before[1]
        assert after[3] == before[3]
        assert after[0] < before[0] + 512, (before, after)  # kilobytes of the host
        assert after[2] < before[2] + 8192, (before, after)  # and of the worker


def test_sanitizers_find_nothing(tmp_path: Path, folder: Path, python: dict[str, str]) -> None:
    host = ofx_host.Host(tmp_path, {**python, "ASAN_OPTIONS": "detect_leaks=1"}, sanitize=True)
    for plugin in ("CopyCat", "Inference"):
        for context in ("General", "Filter"):
            host.do("describe", plugin=plugin, context=context)
    source = ready(host, folder)
    for layout in ({"padding": 20}, {"upside_down": True}, {"at": (-3, 9)}):
        host.clip("Source", source, **layout)
        np.testing.assert_array_equal(host.render(source, layout=layout), inverted(source))
    host.clip("Source", {float(time): source for time in range(8)})
    renders = [{"time": time, "output": host.output(source)} for time in range(8)]
    assert {answer["status"] for answer in host.do("render_together", renders=renders)["answers"]} == {0}
    os.kill(worker_of(host), signal.SIGKILL)
    host.do("render", output=host.output(source))
    host.render(source)
    host.do("ask", action="PurgeCaches")
    host.do("destroy")
    cycle(host, folder, 20)
    host.do("misuse", plugin="Inference", action="OfxImageEffectActionRender")
    assert host.close() == 0


def test_sanitizers_find_nothing_in_a_training(tmp_path: Path) -> None:
    host = ofx_host.Host(tmp_path, {"COPYCAT_PYTHON": sys.executable}, sanitize=True)
    source = pixels(height=40, width=56)
    knobs = {"modelSize": "Small", "cropSize": "32", "epochs": 4, "checkpointInterval": 2, "useGPUIfAvailable": False}
    assert host.create("CopyCat", "General", dataDirectory=str(tmp_path / "data"), **knobs) == 0
    host.clip("Input", {1.0: source, 2.0: source}, upside_down=True)
    host.clip("GroundTruth", {1.0: source / 2, 2.0: source / 2}, padding=12)
    host.clip("Preview", source)
    assert host.do("change", param="startTraining", cancel_at=0.4)["status"] == 0
    assert host.do("change", param="startTraining")["status"] == 0, host.messages()
    deadline = time.monotonic() + 120
    while not list((tmp_path / "data").glob("*_4.cat")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    for view in ("Input", "Preview", "Contact Sheet"):
        host.do("set", param="view", value=view)
        host.render(source)
    for button in ("addTrainingFrame", "stopTraining", "createInference", "resumeTraining", "stopTraining"):
        host.do("change", param=button)
    host.do("destroy")
    assert host.close() == 0
