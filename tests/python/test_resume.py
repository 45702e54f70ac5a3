"""Stopping, killing and resuming real processes: exact to the bit, whole files, honest exit statuses.

Over 400 lines: every way to stop a training shares the processes started here.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import FRAMES, TINY, Outcome, Shot, environment, losses, run_copycat, start_copycat, summary, write_shot
from copycat.errors import CopycatError
from copycat.model import cat
from copycat.runs import (
    Request,
    Run,
    RunError,
    find_run,
    read_info,
    read_json,
    read_provenance,
    rename,
    send_request,
    stop,
    trainer_lives,
)
from copycat.sequence import write_frame
from copycat.training import checkpoint
from copycat.training.start import Report, Result, resume

PATIENCE = 120.0
Train = Callable[..., Result]


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Waits until something has happened in a process that lives."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def steps_done(directory: Path) -> int:
    """The last step in the newest summary, 0 while there is none."""
    try:
        return read_info(find_run(directory)).steps
    except CopycatError:
        return 0


def options(shot: Shot, directory: Path, *more: object) -> list[object]:
    return [
        "train", shot.input, shot.ground_truth, "--data-directory", directory,
        "--model-size", "Small", "--crop-size", 32, *more,
    ]  # fmt: skip


def final_weights(directory: Path) -> dict[str, torch.Tensor]:
    run = find_run(directory)
    return cat.load(run.checkpoints()[-1][1])[1]


def assert_same_training(a: Path, b: Path) -> None:
    """Bit-equal weights, optimiser and losses."""
    weights = final_weights(a), final_weights(b)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    states = [checkpoint.load(find_run(directory).resume_state) for directory in (a, b)]
    assert states[0][0].updates == states[1][0].updates
    assert all(torch.equal(states[0][2][name], states[1][2][name]) for name in checkpoint.VECTORS)
    assert losses(find_run(a)) == losses(find_run(b))


def assert_only_whole_files(run: Run) -> None:
    """Whatever a killed trainer left can be read."""
    for path in run.files():
        if path.suffix == ".cat":
            cat.load(path)
        elif path.suffix == ".png":
            assert oiio.ImageBuf(str(path)).read(force=True), path
    if run.resume_state.exists():
        checkpoint.load(run.resume_state)
    read_info(run)


KILLED = {
    "plain": (),
    "disk bank, crops per pair, manual batch": (
        *("--bank", "disk", "--crops-per-pair", 2, "--batch-size-type", "Manual", "--batch-size", 3),
        *("--flip-probability", 0.5, "--rotation-probability", 0.5),
    ),
    "mask": ("--mask", "{}/mask.%04d.exr"),
    "composites of a matte": ("--ground-truth-channels", "A", "--matte", "On", "--composites", "On"),
}


@pytest.mark.parametrize("more", KILLED.values(), ids=KILLED)
def test_killed_half_way_and_resumed_is_the_same_to_the_bit(
    more: Sequence[object], shot: Shot, tmp_path: Path, tiny: None
) -> None:
    for frame in FRAMES:
        ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None].repeat(64, axis=0)
        write_frame(shot.folder / f"mask.{frame}.exr", ramp, ("A",))
        write_frame(shot.folder / f"clean.{frame}.exr", np.concatenate([ramp] * 4, axis=-1), tuple("RGBA"))
    half = 20 if more else 100
    epochs = half * 2 * 3 // 4 if "--batch-size" in more else half * 2
    arguments = [str(word).format(shot.folder) for word in more]
    once, twice = tmp_path / "once", tmp_path / "twice"
    status, _, err = run_copycat(*options(shot, once, "--epochs", epochs, *arguments))
    assert status == 0, err
    with start_copycat(*options(shot, twice, "--epochs", epochs, "--checkpoint-interval", half, *arguments)) as process:
        wait_for(lambda: any(twice.glob("*.ost")), process)
        process.kill()
    run = find_run(twice)
    assert [step for step, _ in run.checkpoints()] == [half]
    assert read_info(run).state == "killed"
    status, out, err = run_copycat("resume", twice)
    assert status == 0, err
    assert f"finished at step {2 * half}" in out
    assert_same_training(once, twice)
    assert [record["step"] for record in summary(run) if "loss" in record] == list(range(1, 2 * half + 1))
    assert [record["run"]["step"] for record in summary(run) if "run" in record] == [0, half]


@pytest.mark.long
def test_the_real_command_line_and_a_real_small_are_exact(shot: Shot, tmp_path: Path) -> None:
    def run(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "copycat", *map(str, words)]
        return subprocess.Popen(command, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    once, twice = tmp_path / "once", tmp_path / "twice"
    with run(*options(shot, once, "--epochs", 200)) as process:
        assert process.wait(600) == 0
    with run(*options(shot, twice, "--epochs", 200, "--checkpoint-interval", 100)) as process:
        wait_for(lambda: any(twice.glob("*.ost")), process)
        process.kill()
    with run("resume", twice) as process:
        assert process.wait(600) == 0
    assert_same_training(once, twice)


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.long)])
def test_killed_at_any_moment_it_leaves_whole_files_and_goes_on(
    kills: int, shot: Shot, tmp_path: Path, tiny: None
) -> None:
    """The moments are random in each run of this test; what it asserts holds for every moment."""
    once, often = tmp_path / "once", tmp_path / "often"
    busy = ("--epochs", 60, "--checkpoint-interval", 3, "--image-interval", 2)
    assert run_copycat(*options(shot, once, *busy))[0] == 0
    command: Sequence[object] = options(shot, often, *busy)
    for _ in range(kills):
        before = steps_done(often)
        with start_copycat(*command) as process:
            while steps_done(often) <= before and process.poll() is None:  # it may be done by now
                time.sleep(0.005)
            time.sleep(random.uniform(0, 0.3))
            process.kill()
        run = find_run(often)
        assert_only_whole_files(run)
        if read_info(run).state == "finished":
            break
        command = ["resume", often]
    status, _, err = run_copycat("resume", often)
    assert status == 0, err
    assert_same_training(once, often)


CALLS = ("fsync", "replace", "link", "unlink", "write", "open")
KILLER = """
import os, signal, sys
import tiny_copycat
from copycat.cli.app import main

name, left, after = sys.argv.pop(1), int(sys.argv.pop(1)), sys.argv.pop(1) == "after"
call = getattr(os, name)

def killing(*given, **named):
    global left
    left -= 1
    if left == 0 and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = call(*given, **named)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(os, name, killing)
tiny_copycat.shrink()
main()
"""


@pytest.mark.long
def test_killed_at_chosen_system_calls_it_leaves_whole_files_and_goes_on(
    shot: Shot, tmp_path: Path, tiny: None
) -> None:
    once, often = tmp_path / "once", tmp_path / "often"
    busy = ("--epochs", 400, "--checkpoint-interval", 25, "--image-interval", 20)
    assert run_copycat(*options(shot, once, *busy))[0] == 0
    (tmp_path / "killer.py").write_text(KILLER)
    died = 0
    for name in CALLS:
        for count, when in ((1, "before"), (2, "after"), (5, "before")):
            state = any(often.glob("*.ost"))
            if not state:
                shutil.rmtree(often, ignore_errors=True)
            command = ["resume", often] if state else options(shot, often, *busy)
            words = [sys.executable, tmp_path / "killer.py", name, count, when, *command]
            variables = environment() | {"PYTHONPATH": str(TINY.parent)}
            done = subprocess.run([*map(str, words)], env=variables, capture_output=True, text=True, timeout=300)
            if any(often.glob("*.summary")):
                assert_only_whole_files(find_run(often))
            if done.returncode == 0:
                shutil.rmtree(often)  # it never called that so often
                continue
            assert done.returncode == -signal.SIGKILL, done.stderr
            died += 1
    assert died >= 12
    command = ["resume", often] if any(often.glob("*.ost")) else options(shot, often, *busy)
    status, _, err = run_copycat(*command)
    assert status == 0, err
    assert_same_training(once, often)


# -- stopping -----------------------------------------------------------------------------------------------------


LONG = ("--epochs", 1_000_000, "--image-interval", 1_000_000, "--checkpoint-interval", 1_000_000)
ENDS = {
    "interrupted": (signal.SIGINT, 130, "by Ctrl-C"),
    "terminated": (signal.SIGTERM, 143, "by SIGTERM"),
    "stopped": (None, 0, "on request"),
}


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes a module ``studio_hooks`` that this process and those it starts can import."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def write(text: str) -> None:
        (folder / "studio_hooks.py").write_text(text)
        sys.modules.pop("studio_hooks", None)
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("studio_hooks", None)


def assert_stopped(run: Run, end: str) -> int:
    """The run ended so, with everything saved; returns the step."""
    last = summary(run)[-1]
    assert (last["end"], last["reason"]) == (end, ENDS[end][2])
    assert not trainer_lives(run)
    assert not run.file(".request").exists()
    assert_only_whole_files(run)
    assert run.checkpoints()[-1][0] == last["step"] == checkpoint.load(run.resume_state)[0].step
    assert len(losses(run)) == last["step"]
    return int(last["step"])


@pytest.mark.parametrize("end", ENDS)
def test_a_stop_saves_says_so_and_can_be_resumed(
    end: str, hooks: Callable[[str], None], copycat: Callable[..., Outcome], shot: Shot, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    number, status, _ = ENDS[end]
    asks = f"os.kill(os.getpid(), {int(number)})" if number else f"runs.stop(runs.find_run({str(runs)!r}))"
    hooks(f"import os\nfrom copycat import runs\ndef ask(known):\n    if known['frame'] in (7, 12):\n        {asks}\n")
    hook = ("--before-frame-render", "studio_hooks:ask")
    code, out, err = copycat(*options(shot, runs, *LONG, *hook))
    assert code == status, err
    first = assert_stopped(find_run(runs), end)
    assert f"{end} at step {first}" in out
    # A signal is seen at the end of its own step, a request when it is next looked for.
    assert first == 7 or (end == "stopped" and first > 7)
    if end != "stopped":
        assert copycat("resume", runs, *hook)[0] == status
        assert assert_stopped(find_run(runs), end) == 12
    steps = read_info(find_run(runs)).steps + 3
    assert copycat("resume", runs, "--epochs", steps)[0] == 0
    assert summary(find_run(runs))[-1]["end"] == "finished"


def test_a_real_process_is_terminated(shot: Shot, tmp_path: Path, tiny: None) -> None:
    runs = tmp_path / "runs"
    with start_copycat(*options(shot, runs, *LONG)) as process:
        wait_for(lambda: steps_done(runs) > 5, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert assert_stopped(find_run(runs), "terminated") > 5


def test_a_second_ctrl_c_does_not_wait(
    hooks: Callable[[str], None], copycat: Callable[..., Outcome], shot: Shot, tmp_path: Path
) -> None:
    hooks(
        "import os\ndef ask(known):\n    if known['frame'] == 3:\n"
        "        os.kill(os.getpid(), 2)\n        os.kill(os.getpid(), 2)\n        raise AssertionError('went on')\n"
    )
    code, _, _ = copycat(*options(shot, tmp_path / "runs", *LONG, "--before-frame-render", "studio_hooks:ask"))
    assert code == 130
    assert summary(find_run(tmp_path / "runs"))[-1]["end"] == "interrupted"


def test_a_failure_says_why_and_can_be_resumed(
    hooks: Callable[[str], None], copycat: Callable[..., Outcome], shot: Shot, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    hooks("def at_five(known):\n    assert known['frame'] != 5, 'fuse blown'\n")
    more = ("--epochs", 20, "--checkpoint-interval", 2, "--after-frame-render", "studio_hooks:at_five")
    status, _, err = copycat(*options(shot, runs, *more))
    assert status == 1
    assert "fuse blown" in err
    run = find_run(runs)
    assert read_info(run).state == "failed"
    assert "fuse blown" in summary(run)[-1]["reason"]
    # As a signal does, it saves first: here between two checkpoints.
    assert run.checkpoints()[-1][0] == checkpoint.load(run.resume_state).position.step == 5
    assert_only_whole_files(run)
    hooks("def at_five(known):\n    pass\n")
    status, _, err = copycat("resume", runs)
    assert status == 0, err
    assert [record["step"] for record in summary(run) if "loss" in record] == list(range(1, 21))


@pytest.mark.parametrize("end", ENDS)
def test_a_stop_while_the_frames_are_read_is_honest(end: str, train: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    number = ENDS[end][0]

    def ask(report: Report) -> None:
        if report.message == "reading frame pairs: 2 of 4":
            if number:
                os.kill(os.getpid(), number)
            else:
                stop(find_run(runs))

    result = train(progress=ask)
    assert (result.ended, result.step, result.checkpoint) == (end, 0, None)
    last = summary(result.run)[-1]
    assert (last["end"], last["step"]) == (end, 0)
    assert not trainer_lives(result.run)
    assert resume(runs).ended == "finished"
    assert [record["step"] for record in summary(result.run) if "loss" in record] == [1, 2, 3, 4, 5, 6]


def test_finish_ends_soon_with_a_full_resolution_model(train: Train, tmp_path: Path) -> None:
    def ask(report: Report) -> None:
        if report.step and report.total_steps == 1_000_000:
            send_request(find_run(tmp_path / "runs"), Request("finish"))

    run = train(epochs=1_000_000, progress=ask, image_interval=10**6, checkpoint_interval=10**6).run
    info = read_info(run)
    assert info.state == "finished"
    assert info.total_steps == info.steps < 1000
    assert cat.read_header(run.checkpoint(info.steps)).level == 1


def test_what_no_trainer_knows_is_passed_over(train: Train, tmp_path: Path) -> None:
    asked = []

    def ask(report: Report) -> None:
        if not asked:
            asked.append(send_request(find_run(tmp_path / "runs"), Request("explode")))

    assert train(progress=ask).ended == "finished"


def test_a_run_is_renamed_while_it_trains(shot: Shot, tmp_path: Path, tiny: None) -> None:
    runs = tmp_path / "runs"
    more = ("--epochs", 1_000_000, "--checkpoint-interval", 5, "--image-interval", 5)
    with start_copycat(*options(shot, runs, *more)) as process:
        wait_for(lambda: steps_done(runs) > 10, process)
        old = find_run(runs)
        Run(runs, "taken").summary.touch()
        with pytest.raises(RunError, match="there is already a run"):
            rename(old, "taken")
        new = rename(old, "hero_v2")
        reached = steps_done(runs)
        wait_for(lambda: steps_done(runs) > reached + 10, process)
        status, _, err = run_copycat("resume", runs, "--run", "hero_v2")
        assert status == 1
        assert f"is being trained by process {process.pid}" in err
        assert stop(new)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert "hero_v2: stopped" in out
    assert not old.exists()
    Run(runs, "taken").summary.unlink()
    assert {path.name for path in runs.iterdir() if path.name != "copycat.json"} == {p.name for p in new.files()}
    last = summary(new)[-1]["step"]
    assert [record["step"] for record in summary(new) if "loss" in record] == list(range(1, last + 1))
    assert cat.read_header(new.checkpoints()[-1][1]).run == "hero_v2"
    result = resume(runs, "hero_v2", epochs=last + 1)
    assert (result.step, result.run.name) == (last + 1, "hero_v2")


# -- resuming with other settings -----------------------------------------------------------------------------------


def test_a_finished_run_can_be_given_more_epochs(train: Train, tmp_path: Path) -> None:
    train(epochs=6)
    assert resume(tmp_path / "runs").step == 6
    result = resume(tmp_path / "runs", epochs=9)
    assert (result.ended, result.step) == ("finished", 9)
    assert [record["step"] for record in summary(result.run) if "loss" in record] == list(range(1, 10))
    assert resume(tmp_path / "runs", image_interval=5).step == 9  # the plan of 9 epochs is remembered


def stopped_at(step: int, directory: Path) -> Callable[[Report], None]:
    """A progress function that stops the newest run from a step on."""

    def ask(report: Report) -> None:
        if report.step >= step:
            stop(find_run(directory))

    return ask


def test_a_plan_that_is_asked_for_again_is_followed_again(train: Train, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    knobs = {"epochs": 160, "checkpoint_interval": 10, "image_interval": 1000}
    train(progress=stopped_at(20, runs), **knobs)
    finishing = resume(runs, finish=True, progress=stopped_at(40, runs))
    assert finishing.ended == "stopped"
    assert summary(finishing.run)[-2]["step"] == finishing.step < 120
    assert resume(runs, epochs=160).step == 160


def test_what_a_resume_changes_the_next_remembers(train: Train, tmp_path: Path) -> None:
    run = train(epochs=6, image_interval=6).run
    resume(tmp_path / "runs", epochs=9, image_interval=2)
    assert [step for step, _ in run.contact_sheets()] == [6, 8, 9]
    resume(tmp_path / "runs", epochs=12)
    assert [step for step, _ in run.contact_sheets()] == [6, 8, 9, 10, 12]
    settings = read_provenance(run)["settings"]
    assert (settings["epochs"], settings["imageInterval"]) == (12, 2)


def test_there_is_nothing_to_finish_before_the_first_resume_state(train: Train, tmp_path: Path) -> None:
    run = train(epochs=2).run
    run.resume_state.unlink()
    before = run.summary.read_bytes()
    with pytest.raises(RunError, match=r"stopped before its first resume state, so there is nothing to finish"):
        resume(tmp_path / "runs", finish=True)
    assert run.summary.read_bytes() == before


def test_a_stored_run_names_no_callback_that_is_called(
    hooks: Callable[[str], None], train: Train, tmp_path: Path
) -> None:
    hooks("called = []\ndef note(facts):\n    called.append(facts['frame'])\n")
    train(epochs=2, before_frame_render="studio_hooks:note")
    called = sys.modules["studio_hooks"].called
    assert called == [1, 2]
    messages: list[str] = []
    result = resume(tmp_path / "runs", epochs=3, progress=lambda report: messages.append(report.message))
    assert called == [1, 2]
    sentence = "the run's before_frame_render callback studio_hooks:note is not called: name it again"
    assert any(sentence in message for message in messages)
    assert any(sentence in warning for warning in read_info(result.run).header["warnings"])
    resume(tmp_path / "runs", epochs=4, before_frame_render="studio_hooks:note")
    assert called == [1, 2, 4]


# -- runs that were moved -------------------------------------------------------------------------------------------


def hand_over(shot: Shot, directory: Path, name: str) -> Shot:
    """Frames as a host leaves them in the Data Directory, with a preview."""
    directory.mkdir(exist_ok=True)
    for kind, pattern in (("input", shot.input), ("groundTruth", shot.ground_truth)):
        for frame in FRAMES:
            shutil.copy(pattern % frame, directory / f"{name}_{kind}.{frame}.exr")
    shutil.copy(shot.input % FRAMES[0], directory / f"{name}_preview.{FRAMES[0]}.exr")
    return Shot(directory, f"{directory}/{name}_input.####.exr", f"{directory}/{name}_groundTruth.####.exr")


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("renamed", [False, True])
def test_a_run_with_its_frames_is_moved_and_renamed(
    moved: bool, renamed: bool, train: Train, shot: Shot, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    frames = hand_over(shot, runs, "shot_010")
    preview = str(runs / f"shot_010_preview.{FRAMES[0]}.exr")
    run = train(frames.input, frames.ground_truth, run_name="shot_010", epochs=3, preview=preview).run
    assert str(runs) not in json.dumps(read_json(run.provenance)["frames"])
    if renamed:
        run = rename(run, "shot_010_v2")
    if moved:
        shutil.move(runs, tmp_path / "elsewhere")
        run = Run(tmp_path / "elsewhere", run.name)
    for epochs in (5, 6):
        result = resume(run.directory, epochs=epochs)
        assert (result.run, result.step) == (run, epochs)
        assert run.preview(epochs).exists()
    assert not any("have changed" in warning for warning in read_info(run).header["warnings"])


def test_a_shot_that_was_moved_is_remapped_once(train: Train, shot: Shot, tmp_path: Path) -> None:
    run = train(epochs=3, preview=shot.input).run
    shutil.move(shot.folder, tmp_path / "archive")
    with pytest.raises(CopycatError, match="does not exist"):
        resume(run.directory, epochs=5)
    with pytest.raises(RunError, match=r"nowhere: none of the run's frames or other files lies in this folder"):
        resume(run.directory, epochs=5, remap=(tmp_path / "nowhere", tmp_path))
    with pytest.raises(CopycatError, match="does not exist"):
        resume(run.directory, epochs=5, remap=(shot.folder, tmp_path / "wrong"))
    assert resume(run.directory, epochs=5, remap=(shot.folder, tmp_path / "archive")).step == 5
    assert resume(run.directory, epochs=6).step == 6


def test_the_newest_run_is_resumed_or_the_one_named(train: Train, tmp_path: Path) -> None:
    train(epochs=2, run_name="first")
    train(epochs=2, run_name="second")
    assert resume(tmp_path / "runs").run.name == "second"
    assert resume(tmp_path / "runs", "first").run.name == "first"
    with pytest.raises(RunError, match=r"there is no run 'third' \(runs: first, second\)"):
        resume(tmp_path / "runs", "third")


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ({"model_size": "Large"}, "model_size cannot change in a resume"),
        ({"input_channels": "R"}, "input_channels cannot change in a resume"),
        ({"nothing": 1}, "unknown knob 'nothing'"),
    ],
)
def test_what_cannot_change_in_a_resume(train: Train, tmp_path: Path, knobs: dict[str, object], sentence: str) -> None:
    train(epochs=2)
    with pytest.raises(CopycatError, match=sentence):
        resume(tmp_path / "runs", **knobs)


def test_frames_that_changed_meanwhile_are_noticed(train: Train, shot: Shot, tmp_path: Path) -> None:
    train(epochs=2)
    write_shot(shot.folder, (1001,), effect=lambda image: image * 0.1)
    messages: list[str] = []
    result = resume(tmp_path / "runs", epochs=4, progress=lambda report: messages.append(report.message))
    assert "clean.1001.exr has changed: training on 4 pairs" in messages
    changes = [record for record in summary(result.run) if "frames" in record]
    expected = {"added": [], "changed": ["clean.1001.exr"], "removed": [], "pairs": 4}
    assert changes == [{"step": 2, "frames": expected}]


def test_a_damaged_resume_state_loses_nothing(train: Train, tmp_path: Path) -> None:
    run = train(epochs=4).run
    run.resume_state.write_bytes(run.resume_state.read_bytes()[:1000])
    before = run.summary.read_bytes()
    with pytest.raises(CopycatError, match=r"\.ost: the resume state is damaged"):
        resume(tmp_path / "runs")
    assert run.summary.read_bytes() == before
    cat.load(run.checkpoint(4))
    assert not run.file(".lock").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step", "six"),
        ("step", -1),
        ("updates", 1e400),
        ("micro_batch", None),
        ("elapsed", float("nan")),
        ("loss", []),
        ("schedule", {"total_steps": 0}),
        ("schedule", {"total_steps": 6, "decay_share": 0}),
        ("schedule", {"seconds": 3}),
        ("speed", 7),
    ],
)
def test_a_resume_state_with_odd_numbers_is_damaged(field: str, value: object, train: Train, tmp_path: Path) -> None:
    path = train(epochs=1).run.resume_state
    with safetensors.safe_open(path, "pt") as stream:
        metadata = json.loads(stream.metadata()["copycat"])
        tensors = {name: stream.get_tensor(name) for name in checkpoint.VECTORS}
    metadata["position"][field] = value
    safetensors.torch.save_file(tensors, path, {"copycat": json.dumps(metadata)})
    with pytest.raises(checkpoint.ResumeStateError, match=r"\.ost: the resume state is damaged"):
        resume(tmp_path / "runs")


def test_a_resume_state_of_another_network_is_damaged(train: Train, tmp_path: Path) -> None:
    path = train(epochs=1).run.resume_state
    with safetensors.safe_open(path, "pt") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name)[:-1] for name in checkpoint.VECTORS}
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(checkpoint.ResumeStateError, match=r"damaged: weights is torch\.float32 \[\d+\], the network"):
        resume(tmp_path / "runs")


def test_a_resume_state_that_is_no_file_is_named(train: Train, tmp_path: Path) -> None:
    path = train(epochs=1).run.resume_state
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(checkpoint.ResumeStateError, match=r"\.ost: the resume state cannot be read"):
        resume(tmp_path / "runs")


def test_settings_that_are_gone_are_named(train: Train, tmp_path: Path) -> None:
    run = train(epochs=2).run
    run.provenance.unlink()
    with pytest.raises(RunError, match=r"\.json: the run's settings are missing or damaged"):
        resume(tmp_path / "runs")


def test_a_time_limit_ends_with_a_full_resolution_model(train: Train, tmp_path: Path) -> None:
    result = train(minutes=0.05)
    assert result.ended == "finished"
    assert cat.read_header(result.checkpoint).level == 1
    header = summary(result.run)[0]["run"]
    assert header["totalSteps"] is None
    assert header["seconds"] == pytest.approx(3.0)
    assert resume(tmp_path / "runs").step == result.step
