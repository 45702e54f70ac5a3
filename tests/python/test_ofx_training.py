"""From Start Training in a host to the trained model in an Inference effect, with the real worker and trainer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest
from copycat import runs
from copycat.sequence import read_frame, read_info

REAL = {"COPYCAT_PYTHON": sys.executable}
KNOBS = {
    "modelSize": "Small",
    "cropSize": "32",
    "useMultiResolutionTraining": False,
    "checkpointInterval": 5,
    "imageInterval": 5,
    "useGPUIfAvailable": False,
}


def pairs(depth: str = "float", components: int = 4, count: int = 5) -> tuple[dict[float, Any], dict[float, Any]]:
    """Frames 11, 12, ... before and after an effect that a small network learns at once: darker by half."""
    before, after = {}, {}
    for frame in range(11, 11 + count):
        values = np.random.default_rng(frame).random((40, 56, components), dtype=np.float32)
        most = {"byte": 255, "short": 65535}.get(depth, 1)
        before[float(frame)] = (values * most).astype(ofx_host.DTYPES[depth])
        after[float(frame)] = (values * most / 2).astype(ofx_host.DTYPES[depth])
    return before, after


def connect(host: ofx_host.Host, directory: Path, instance: str = "it", epochs: int = 10, **layout: Any) -> None:
    before, after = pairs()
    assert host.create("CopyCat", "General", instance=instance, dataDirectory=str(directory), **KNOBS) == 0
    host.do("set", instance=instance, param="epochs", value=epochs)
    host.clip("Input", before, instance=instance, **layout)
    host.clip("GroundTruth", after, instance=instance, **layout)


def wait_until_trained(directory: Path, seconds: float = 120) -> runs.RunInfo:
    """Waits until the newest run has ended."""
    deadline = time.monotonic() + seconds
    while True:
        found = runs.find_runs(directory)
        info = runs.read_info(found[0]) if found else None
        if info and info.state in ("finished", "stopped", "failed"):
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ofx_host.Host, Path, runs.RunInfo]]:
    """A host in which a training of five pairs was started and has finished."""
    folder = tmp_path_factory.mktemp("training")
    directory = folder / "data directory"
    with ofx_host.Host(folder, REAL) as host:
        connect(host, directory, at=(-4, 7), upside_down=True, padding=8)
        assert host.do("change", param="startTraining", time=12)["status"] == 0, host.messages()
        yield host, directory, wait_until_trained(directory)


def test_training_from_the_host_s_clips(trained: tuple[ofx_host.Host, Path, runs.RunInfo]) -> None:
    host, directory, info = trained
    assert info.state == "finished", info.reason
    assert info.steps == 10
    assert info.run.checkpoints()[-1][0] == 10
    assert runs.Display.read(directory).active == info.run.name
    before, after = pairs()
    for frame in before:
        for clip, expected in (("input", before), ("groundTruth", after)):
            handed_over = read_frame(info.run.file(f"_{clip}.{int(frame):04d}.exr"), ("R", "G", "B", "A"))
            np.testing.assert_array_equal(handed_over.pixels, expected[frame])
    host.do("change", param="epochs", value=10)  # any action refreshes the status
    lines = host.do("get", param="trainingInfo")["value"].splitlines()
    assert lines == ["Channels: rgb -> rgb", "Batch Size: 5 (Auto)", "Total Steps: 10"]
    assert host.do("get", param="resumeTraining")["enabled"]
    assert "finished, step 10 of 10" in host.last_message()


def test_inference_in_the_host_equals_the_command_line(
    trained: tuple[ofx_host.Host, Path, runs.RunInfo], tmp_path: Path
) -> None:
    host, _, info = trained
    host.do("change", param="createInference")
    model = str(info.run.checkpoint(10))
    assert any(model in message["text"] for message in host.messages())
    command = [sys.executable, "-m", "copycat", "infer", model, str(info.run.file("_input.####.exr"))]
    subprocess.run([*command, str(tmp_path / "out.####.exr"), "--no-use-gpu-if-available"], check=True)
    host.create("Inference", instance="inference", useGPUIfAvailable=False)
    host.do("change", instance="inference", param="modelFile", value=model)
    assert host.do("get", instance="inference", param="channelsIn")["value"] == "R, G, B"
    before, _ = pairs()
    host.clip("Source", before, instance="inference", upside_down=True)
    for frame, source in before.items():
        result = host.render(source, instance="inference", time=frame)
        expected = read_frame(tmp_path / f"out.{int(frame):04d}.exr", ("R", "G", "B")).pixels
        np.testing.assert_allclose(result[..., :3], expected, atol=1e-5)
        np.testing.assert_array_equal(result[..., 3], source[..., 3])
    host.do("set", instance="inference", param="modelFile", value=str(info.run.directory))
    again = host.render(source, instance="inference", time=frame)
    np.testing.assert_array_equal(again, result)  # a Data Directory stands for its newest checkpoint
    host.do("set", instance="inference", param="checkpoint", value=7)
    earlier = host.render(source, instance="inference", time=frame)
    assert np.abs(earlier - result).max() > 0
    host.do("destroy", instance="inference")


def test_views(trained: tuple[ofx_host.Host, Path, runs.RunInfo]) -> None:
    host, _, info = trained
    before, _ = pairs()
    source = before[11.0]
    layout = {"at": (-4, 7)}
    np.testing.assert_array_equal(host.render(source, time=11, layout=layout), source)
    assert host.do("ask", action="IsIdentity", time=11)["out"]["OfxPropName"] == ["Input"]
    host.do("set", param="view", value="Preview")
    host.clip("Preview", {11.0: source * 2}, at=(-4, 7))
    of_preview = host.render(source, time=11, layout=layout)
    host.do("clip", clip="Preview", frames=[{"time": 11, "bounds": [0, 0, 1, 1], "empty": True}])  # claims to be there
    of_input = host.render(source, time=11, layout=layout)
    assert np.abs(of_input - of_preview).max() > 0.01
    assert np.abs(of_input[..., :3] - source[..., :3]).max() > 0.01
    host.do("set", param="view", value="Contact Sheet")
    canvas = np.zeros((60, 90, 4), np.uint8)
    sheet = host.render(canvas, time=11)
    stored = read_frame(info.run.contact_sheets()[-1][1], ("R", "G", "B")).pixels
    assert abs(sheet[..., :3].mean() / 255 - stored.mean() * (60 * 60) / (60 * 90)) < 0.05
    assert (sheet[..., 3] == 255).all()
    host.do("set", param="view", value="Input")


def test_resume_goes_on_and_stop_saves(trained: tuple[ofx_host.Host, Path, runs.RunInfo]) -> None:
    host, directory, info = trained
    host.do("set", param="epochs", value=100_000)
    assert host.do("change", param="resumeTraining")["status"] == 0, host.messages()
    deadline = time.monotonic() + 60
    while not runs.trainer_lives(info.run) or runs.read_info(info.run).steps <= 10:
        assert time.monotonic() < deadline, host.messages()
        time.sleep(0.1)
    assert host.do("change", param="resumeTraining")["status"] != 0
    assert "is being trained already" in host.last_message()
    assert host.do("change", param="stopTraining")["status"] == 0
    assert wait_until_trained(directory).state == "stopped"
    assert runs.read_info(info.run).steps > 10
    # Until the process is gone for good it can be asked again.
    while host.do("change", param="stopTraining")["status"] == 0:
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)
    assert "is not being trained" in host.last_message()
    stopped = runs.read_info(info.run).steps
    assert host.do("change", param="finishTraining")["status"] == 0, host.messages()
    while (ended := runs.read_info(info.run)).state != "finished":
        assert time.monotonic() < deadline + 180, host.messages()
        time.sleep(0.1)
    assert ended.steps == stopped + max(100, stopped // 4)


def processes_of(directory: Path, command: str) -> list[int]:
    """Running copycat processes that got the directory on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if command.encode() in words and str(directory).encode() in words:
                    found.append(int(entry.name))
    return found


def test_the_progress_page_opens_and_closes_with_the_host(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, {**REAL, "BROWSER": "/bin/true"}) as host:
        host.create("CopyCat", "General", dataDirectory=str(tmp_path / "data"))
        assert host.do("change", param="openProgress")["status"] != 0
        assert "no such Data Directory" in host.last_message()
        (tmp_path / "data").mkdir()
        assert host.do("change", param="openProgress")["status"] == 0, host.messages()
        assert len(processes_of(tmp_path / "data", "progress")) == 1
    deadline = time.monotonic() + 10
    while processes_of(tmp_path / "data", "progress"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_stop_before_the_trainer_has_begun(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL) as host:
        connect(host, tmp_path / "data", epochs=100_000)
        assert host.do("change", param="startTraining", time=11)["status"] == 0, host.messages()
        assert host.do("change", param="stopTraining")["status"] == 0, host.messages()
        deadline = time.monotonic() + 60
        while processes_of(tmp_path / "data", "train"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        host.do("change", param="epochs", value=10)
        assert all("Error" not in message["type"] for message in host.messages())


def test_training_outlives_its_host(tmp_path: Path) -> None:
    host = ofx_host.Host(tmp_path, REAL)
    connect(host, tmp_path / "data", epochs=12)
    assert host.do("change", param="startTraining", time=11)["status"] == 0, host.messages()
    host.process.kill()
    host.process.wait()
    host.close()
    assert wait_until_trained(tmp_path / "data").state == "finished"


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ofx_host.Host]:
    """A host for everything that must not start a training."""
    with ofx_host.Host(tmp_path_factory.mktemp("refusing"), REAL) as host:
        yield host


def refusal(host: ofx_host.Host, directory: Path, **arguments: Any) -> str:
    """Presses Start Training, which must fail and leave nothing; the message."""
    assert host.do("change", param="startTraining", time=11, **arguments)["status"] != 0
    if directory.is_dir():
        assert list(directory.iterdir()) == []
    return host.last_message()


def test_what_is_wrong_is_said_and_nothing_is_left(refusing: ofx_host.Host, tmp_path: Path) -> None:
    host, directory = refusing, tmp_path / "data"
    connect(host, directory)
    host.do("set", param="dataDirectory", value="")
    assert "Data Directory is empty" in refusal(host, directory)
    host.do("set", param="dataDirectory", value=str(directory))

    host.do("set", param="trainingFrames", value="11-13,99")
    assert "Input has no picture at frame 99" in refusal(host, directory)
    host.do("set", param="trainingFrames", value="eleven")
    assert "eleven" in refusal(host, directory)
    host.do("set", param="trainingFrames", value="all")

    _, after = pairs()
    host.clip("GroundTruth", after, at=(50, 0))
    assert "too little in common at frame 11" in refusal(host, directory)
    host.clip("GroundTruth", after, scale=0.5)
    assert "is a proxy" in refusal(host, directory)
    host.clip("GroundTruth", {frame + 100: values for frame, values in after.items()})
    assert "no frame in common" in refusal(host, directory)
    host.do("clip", clip="GroundTruth", connected=False)
    assert "Ground Truth is not connected" in refusal(host, directory)
    host.clip("GroundTruth", after)

    host.do("set", param="initialWeights", value="Checkpoint")
    assert "Checkpoint File is empty" in refusal(host, directory)
    host.do("set", param="initialWeights", value="None")
    host.do("set", param="beforeRender", value="os:abort")
    assert "COPYCAT_CALLBACKS" in refusal(host, directory)
    host.do("set", param="beforeRender", value="")

    blocked = tmp_path / "file"
    blocked.write_text("no directory")
    host.do("set", param="dataDirectory", value=str(blocked))
    assert str(blocked) in refusal(host, directory)
    host.do("destroy")


def test_cancel_in_the_progress_bar_leaves_nothing(refusing: ofx_host.Host, tmp_path: Path) -> None:
    connect(refusing, tmp_path / "data")
    assert refusing.do("change", param="startTraining", time=11, cancel_at=0.4)["status"] == 0
    assert list((tmp_path / "data").iterdir()) == []
    assert all("Error" not in message["type"] for message in refusing.messages())
    refusing.do("destroy")


def test_a_worker_that_dies_while_pairs_are_handed_over_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    frames = {float(i): np.random.default_rng(i).random((300, 400, 4), dtype=np.float32) for i in range(1, 31)}
    with ofx_host.Host(tmp_path, REAL) as host:
        host.create("CopyCat", "General", dataDirectory=str(directory))
        host.clip("Input", frames)
        host.clip("GroundTruth", frames)
        host.do("change", param="createInference")  # starts the worker, and finds no run
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()

        def kill() -> None:
            while not list(directory.glob("*_groundTruth.*")):
                time.sleep(0.01)
            os.kill(int(children[0]), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        assert host.do("change", param="startTraining", time=1)["status"] != 0
        killer.join()
        assert "worker has died" in host.last_message()
        assert list(directory.iterdir()) == []


def test_many_pairs_are_asked_about_first(refusing: ofx_host.Host, tmp_path: Path) -> None:
    connect(refusing, tmp_path / "data")
    refusing.do("set", param="trainingFrames", value="1-101")
    assert refusing.do("change", param="startTraining", time=11, answer=13)["status"] == 0  # the user says no
    messages = refusing.messages()
    assert any("101 pairs" in m["text"] and m["type"] == "OfxMessageQuestion" for m in messages)
    assert list((tmp_path / "data").iterdir()) == []
    refusing.do("destroy")


def test_a_training_that_fails_is_reported(refusing: ofx_host.Host, tmp_path: Path) -> None:
    connect(refusing, tmp_path / "data")
    refusing.do("set", param="groundTruthChannels", value="depth.Z")
    assert refusing.do("change", param="startTraining", time=11)["status"] == 0
    deadline = time.monotonic() + 60
    message = ""
    while "depth.Z" not in message:
        assert time.monotonic() < deadline, message
        refusing.do("change", param="epochs", value=10)
        message = refusing.last_message() or message
        time.sleep(0.2)
    refusing.do("destroy")


def test_callbacks_come_only_from_the_user_s_own_folders(tmp_path: Path) -> None:
    record, folder = tmp_path / "record", tmp_path / "callbacks"
    folder.mkdir()
    (folder / "mine.py").write_text(
        f"def note(known):\n    with open({str(record)!r}, 'a') as stream: print(known.get('frame'), file=stream)\n"
        "def fail(known):\n    raise ValueError('the callback says no')\n"
    )
    with ofx_host.Host(tmp_path, {**REAL, "COPYCAT_CALLBACKS": str(folder)}) as host:
        host.create("Inference", modelFile="/nowhere/model.cat", beforeRender="mine:note")
        assert host.do("ask", action="BeginSequenceRender", time=5)["status"] == 0
        assert record.read_text() == "5\n"
        host.do("set", param="beforeRender", value="mine:fail")
        assert host.do("ask", action="BeginSequenceRender", time=5)["status"] == 1
        assert "the callback says no" in host.last_message()
        host.do("set", param="afterRender", value="theirs:note")
        assert host.do("ask", action="EndSequenceRender", time=5)["status"] == 1
        assert "no folder of COPYCAT_CALLBACKS holds theirs.py" in host.last_message()


def test_only_the_user_s_own_edit_starts_anything(refusing: ofx_host.Host, tmp_path: Path) -> None:
    connect(refusing, tmp_path / "data")
    for reason in ("OfxChangePluginEdited", "OfxChangeTime"):
        refusing.do("change", param="startTraining", time=11, reason=reason)
    assert not (tmp_path / "data").exists()
    refusing.do("destroy")


def test_add_current_frame(refusing: ofx_host.Host, tmp_path: Path) -> None:
    connect(refusing, tmp_path / "data")
    for frame in (1012, 1030):
        refusing.do("change", param="addTrainingFrame", time=frame)
    assert refusing.do("get", param="trainingFrames")["value"] == "1012,1030"
    refusing.do("destroy")


def test_a_host_without_temporal_access_may_train_on_the_current_frame_only(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, REAL, temporal=0) as host:
        connect(host, tmp_path / "data")
        assert "current frame only" in refusal(host, tmp_path / "data")


def test_a_filter_trains_too(tmp_path: Path) -> None:
    before, after = pairs("half", 3, count=2)
    with ofx_host.Host(tmp_path, REAL) as host:
        host.create("CopyCat", "Filter", dataDirectory=str(tmp_path / "data"), **{**KNOBS, "epochs": 5})
        host.do("set", param="batchSizeType", value="Manual")
        host.do("set", param="batchSize", value=2)
        host.clip("Source", before)
        host.clip("GroundTruth", after)
        host.clip("Preview", {11.0: before[11.0]})
        assert host.do("change", param="startTraining", time=11)["status"] == 0, host.messages()
        info = wait_until_trained(tmp_path / "data")
        assert info.state == "finished"
        assert info.run.previews()
        host.do("change", param="epochs", value=5)
        assert "Batch Size: 2\n" in host.do("get", param="trainingInfo")["value"]
        assert read_info(info.run.file("_input.0011.exr")).dtype == "half"
