"""Workers that hang, stop, lie or die, and descriptors that run out: the host goes on, and every wait has an end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import ofx_host
import pytest
from ofx_host import inverted, pixels, worker_of


@pytest.fixture
def python(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "stand-in.cat").write_bytes(b"a model of one line")
    return {"COPYCAT_PYTHON": str(ofx_host.stand_in(tmp_path)), "COPYCAT_STAND_IN_GATE": str(tmp_path / "gate")}


def ready(host: ofx_host.Host) -> np.ndarray:
    """Makes an Inference instance with a source and the stand-in model."""
    assert host.create("Inference", modelFile=str(host.folder / "stand-in.cat")) == 0
    source = pixels()
    host.clip("Source", source)
    return source


def copycat(host: ofx_host.Host, **knobs: Any) -> None:
    """Makes a CopyCat instance with both clips."""
    assert host.create("CopyCat", "General", **{"dataDirectory": "/runs", **knobs}) == 0
    for clip in ("Input", "GroundTruth"):
        host.clip(clip, pixels())


def withholding(*what: str) -> dict[str, str]:
    return {"COPYCAT_STAND_IN": "withhold", "COPYCAT_STAND_IN_WITHHOLDS": ",".join(what)}


def test_a_status_that_takes_long_comes_later(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding("status")}) as host:
        copycat(host)
        assert host.do("change", param="createInference")["status"] == 0
        assert host.last_message() == "Model File for an Inference node: /models/a.cat"
        assert host.do("change", param="epochs", value=5)["status"] == 0
        assert host.last_message() == "The copycat worker is busy: the status follows."
        (tmp_path / "gate").touch()
        deadline = time.monotonic() + 30
        while host.last_message() != "Training_1: the gate is open":
            assert time.monotonic() < deadline
            host.do("ask", action="IsIdentity")
            time.sleep(0.05)


def test_status_and_buttons_are_answered_while_sixteen_renders_are_held(tmp_path: Path, python: dict[str, str]) -> None:
    held = tmp_path / "held"
    with ofx_host.Host(tmp_path, {**python, "COPYCAT_STAND_IN_HELD": str(held)}) as host:
        source = ready(host)
        held.touch()
        host.render(source)  # the worker has started
        held.unlink()
        assert host.create("CopyCat", "General", instance="copycat", dataDirectory=str(tmp_path / "runs")) == 0
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "r.summary").write_text('{"step": 1, "loss": 1}\n')
        host.messages()
        host.clip("Source", {float(time): source for time in range(16)})
        renders = [{"time": time, "output": host.output(source)} for time in range(16)]
        status = {"do": "change", "instance": "copycat", "param": "epochs", "value": 5}
        button = {"do": "change", "instance": "copycat", "param": "stopTraining"}
        release = {"do": "touch", "path": str(held)}
        answer = host.do("render_together", renders=renders, meanwhile=[status, button, {"do": "messages"}, release])
        shown = [message["text"] for message in answer["meanwhile"][2]["messages"] if message["text"]]
        assert shown[0].startswith("r: killed, step 1"), shown  # and not "busy"
        assert shown[-1] == "run r is not being trained"
        assert {render["status"] for render in answer["answers"]} == {0}
        for render in renders:
            raw = np.fromfile(render["output"]["to"], source.dtype).reshape(source.shape)
            np.testing.assert_array_equal(raw, inverted(source))


@pytest.mark.parametrize(
    ("button", "request_kind"),
    [
        ("startTraining", "begin_run"),
        ("startTraining", "frames"),
        ("stopTraining", "stop"),
        ("finishTraining", "finish"),
        ("resumeTraining", "resume"),
        ("openProgress", "open_progress"),
        ("createInference", "newest_model"),
    ],
)
def test_a_button_whose_answer_does_not_come_can_be_cancelled(
    tmp_path: Path, python: dict[str, str], button: str, request_kind: str
) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding(request_kind)}) as host:
        copycat(host)
        assert host.do("change", param=button, cancel_at=0)["status"] == 0
        assert all("Error" not in message["type"] for message in host.messages())


@pytest.mark.parametrize("missing", [["OfxProgressSuite"], ["OfxProgressSuite", "OfxMessageSuite"]])
def test_a_host_without_a_progress_bar_waits_for_no_button_for_ever(
    tmp_path: Path, python: dict[str, str], missing: list[str]
) -> None:
    patience = {"COPYCAT_BUTTON_SECONDS": "1"}
    with ofx_host.Host(tmp_path, {**python, **withholding("stop"), **patience}, missing=missing) as host:
        copycat(host)
        assert host.do("change", param="stopTraining")["status"] != 0
        if len(missing) == 1:
            assert host.last_message() == "the copycat worker is busy: try again in a moment"
        (tmp_path / "gate").touch()
        assert host.do("change", param="stopTraining")["status"] == 0


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize(
    "button", ["startTraining", "stopTraining", "finishTraining", "resumeTraining", "openProgress", "createInference"]
)
def test_a_press_that_fails_is_one_message(
    tmp_path: Path, python: dict[str, str], button: str, background: int
) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding()}, background=background) as host:
        copycat(host, dataDirectory="relative")
        assert host.do("change", param=button)["status"] != 0
        (message,) = [message for message in host.messages() if message["text"]]
        assert "relative" in message["text"]
        assert message["kind"] == ("persistent" if background else "message")


def test_the_start_of_a_worker_can_be_cancelled(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, "COPYCAT_STAND_IN": "late greeting"}) as host:
        copycat(host)
        answer = host.do("change", param="stopTraining", cancel_at=0)
        assert answer["status"] == 0
        assert answer["progress"]
        (tmp_path / "gate").touch()
        assert host.do("change", param="stopTraining")["status"] == 0
        assert host.last_message() == "Training_1: the gate is open"


def test_abandoned_frames_are_left_to_a_worker_that_hangs(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding("abandon")}) as host:
        copycat(host)
        host.do("change", param="startTraining", cancel_at=0)  # comes back, whichever bar it was that was cancelled


def test_no_frame_to_train_on_is_a_sentence(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding()}) as host:
        copycat(host)
        assert host.do("change", param="startTraining")["status"] != 0
        assert 'Training Frames "all" names no frame' in host.last_message()


def test_renders_of_a_stopped_worker_can_be_aborted(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python) as host:
        source = ready(host)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        worker = worker_of(host)
        os.kill(worker, signal.SIGSTOP)
        host.do("set", param="beforeFrameRender", value="m:" + "f" * 100_000)  # a few of these fill the socket
        host.do("abort", after=1)
        for _ in range(8):
            assert host.do("render", output=host.output(source))["status"] == 0
        for _ in range(100):
            assert host.do("ask", action="PurgeCaches")["status"] == 0
        os.kill(worker, signal.SIGCONT)
        host.do("abort", after=-1)
        host.do("set", param="beforeFrameRender", value="")
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert worker_of(host) == worker


def descriptors(host: ofx_host.Host) -> dict[str, str]:
    return {fd.name: os.readlink(fd) for fd in Path(f"/proc/{host.process.pid}/fd").iterdir()}


def test_descriptors_that_run_out_are_a_sentence(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python) as host:
        source = ready(host)
        before = descriptors(host)
        texts: set[str] = set()
        for free in range(20):
            host.do("limit_descriptors", free=free)
            output = host.output(source)
            status = host.do("render", output=output)["status"]
            host.do("limit_descriptors", free=-1)
            if status == 0:
                break
            texts |= {message["text"] for message in host.messages()}  # an unchanged one is not posted again
            host.do("ask", action="PurgeCaches")
            assert descriptors(host) == before
        assert len(texts) > 1
        assert all("Too many open files" in sentence for sentence in texts)
        np.testing.assert_array_equal(host.render(source), inverted(source))
        assert descriptors(host).items() > before.items()


@pytest.mark.parametrize(
    "answer",
    [
        '{"id": ID, "ok": {"seconds": NaN}}',
        '{"id": 1e300, "ok": {}}',
        '{"id": -1e999, "ok": {}}',
        '{"id": ID.5, "ok": {}}',
        '{"id": "ID", "ok": {}}',
        '{"id": ID}',
        '{"id": ID, "ok":',
        "[ID]",
        "",
        "[" * 100_000,
        "\\u0000",
    ],
)
def test_nonsense_ends_the_worker_and_not_the_host(tmp_path: Path, python: dict[str, str], answer: str) -> None:
    lies = {"COPYCAT_STAND_IN": "nonsense", "COPYCAT_STAND_IN_ANSWER": answer}
    with ofx_host.Host(tmp_path, {**python, **lies}) as host:
        source = ready(host)
        host.render(source, expect=1)
        assert "sent what is no message of copycat" in host.last_message()


@pytest.mark.parametrize("value", ["3", '"text"', "[]", "{}", "null", '{"channels_in": 3, "warning": [1]}', "1e300"])
def test_answers_of_another_type_do_no_harm(tmp_path: Path, python: dict[str, str], value: str) -> None:
    lies = {"COPYCAT_STAND_IN": "nonsense", "COPYCAT_STAND_IN_ANSWER": f'{{"id": ID, "ok": {value}}}'}
    with ofx_host.Host(tmp_path, {**python, **lies}) as host:
        host.render(ready(host))


def test_a_flood_of_errors_takes_no_memory(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, "COPYCAT_STAND_IN": "flood"}) as host:
        source = ready(host)
        before = host.do("measure")["kilobytes"]
        host.render(source, expect=1)
        assert "the copycat worker has died: the stand-in gave up" in host.last_message()
        assert host.do("measure")["kilobytes"] < before + 4096


def test_the_worker_has_the_time_that_it_needs_at_the_end(tmp_path: Path, python: dict[str, str]) -> None:
    host = ofx_host.Host(tmp_path, {**python, "COPYCAT_STAND_IN": "slow end"})
    host.render(ready(host))
    host.do("destroy")
    host.close()
    assert (tmp_path / "gate").exists()


def test_loading_and_unloading_leaks_nothing(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, python) as host:
        path = str(ofx_host.binary(ofx_host.bundle()))
        host.do("reload", path=path, count=5)
        before = host.do("measure")
        host.do("reload", path=path, count=100)
        after = host.do("measure")
        assert after["kilobytes"] < before["kilobytes"] + 512
        assert after["descriptors"] == before["descriptors"]
        source = ready(host)
        np.testing.assert_array_equal(host.render(source), inverted(source))


def test_relative_paths_are_refused(tmp_path: Path, python: dict[str, str]) -> None:
    with ofx_host.Host(tmp_path, {**python, **withholding()}) as host:
        copycat(host, dataDirectory="runs")
        for button in ("startTraining", "stopTraining", "resumeTraining", "createInference", "openProgress"):
            assert host.do("change", param=button)["status"] != 0
            assert 'Data Directory "runs" is relative' in host.last_message()
        host.do("set", param="dataDirectory", value="/runs")
        host.do("set", param="validationInput", value="plates/v.####.exr")
        assert host.do("change", param="startTraining")["status"] != 0
        assert 'Validation Input "plates/v.####.exr" is relative' in host.last_message()
        assert host.create("Inference", instance="inference") == 0
        assert host.do("change", instance="inference", param="modelFile", value="a.cat")["status"] != 0
        assert 'Model File "a.cat" is relative' in host.last_message()
