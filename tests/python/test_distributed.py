"""Several processes make one training: the same model as one makes alone, and an honest end when one is lost.

Over 400 lines: groups of processes share the rendezvous and the comparison with one process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import FRAMES, TINY, Outcome, Shot, environment, losses, start_copycat, summary, write_shot
from copycat.model import cat
from copycat.runs import find_run, read_info, stop
from copycat.training import checkpoint, companions
from copycat.training.group import DistributedError, Group, Rendezvous, _interface, _store, find_rendezvous
from hypothesis import given
from hypothesis import strategies as st

PATIENCE = 120.0
OURS = {
    "COPYCAT_MAIN_ADDR": "127.0.0.1",
    "COPYCAT_MAIN_PORT": "29500",
    "COPYCAT_RANK": "1",
    "COPYCAT_WORLD_SIZE": "4",
}
TORCHRUN = {"MASTER_ADDR": "node7", "MASTER_PORT": "29400", "RANK": "2", "WORLD_SIZE": "3"}


# -- the environment ------------------------------------------------------------------------------------------------


def test_the_environment_says_the_place() -> None:
    assert find_rendezvous({}) is None
    assert find_rendezvous(OURS) == Rendezvous(1, 4, "127.0.0.1", 29500)
    assert find_rendezvous(OURS | {"COPYCAT_SYNC_INTERVAL": "8"}) == Rendezvous(
        1, 4, "127.0.0.1", 29500, sync_interval=8
    )
    assert find_rendezvous(TORCHRUN) == Rendezvous(2, 3, "node7", 29400, by_torchrun=True)
    assert find_rendezvous(TORCHRUN | OURS) == find_rendezvous(OURS)


@pytest.mark.parametrize("missing", OURS)
def test_without_all_four_variables_a_training_is_local(missing: str) -> None:
    assert find_rendezvous({name: value for name, value in OURS.items() if name != missing}) is None
    assert find_rendezvous(OURS | {missing: ""}) is None


def test_a_world_of_one_is_local() -> None:
    assert find_rendezvous(OURS | {"COPYCAT_RANK": "0", "COPYCAT_WORLD_SIZE": "1"}) is None


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("COPYCAT_RANK", "4", "COPYCAT_RANK is '4': it must be a whole number from 0 to 3"),
        ("COPYCAT_RANK", "-1", "COPYCAT_RANK is '-1': it must be a whole number from 0 to 3"),
        ("COPYCAT_WORLD_SIZE", "two", "COPYCAT_WORLD_SIZE is 'two': it must be a whole number from 1 to 1048576"),
        ("COPYCAT_MAIN_PORT", "70000", "COPYCAT_MAIN_PORT is '70000': it must be a whole number from 1 to 65535"),
        ("COPYCAT_SYNC_INTERVAL", "0", "COPYCAT_SYNC_INTERVAL is '0': it must be a whole number from 1 to 1073741824"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(name: str, value: str, sentence: str) -> None:
    with pytest.raises(DistributedError) as error:
        find_rendezvous(OURS | {name: value})
    assert str(error.value) == sentence


@given(st.dictionaries(st.sampled_from([*OURS, *TORCHRUN, "COPYCAT_SYNC_INTERVAL"]), st.text(max_size=8)))
def test_any_environment_is_a_place_or_a_sentence(environment: dict[str, str]) -> None:
    with contextlib.suppress(DistributedError):
        found = find_rendezvous(environment)
        assert found is None or 0 <= found.rank < found.size


@given(st.integers(1, 64), st.integers(1, 9))
def test_every_crop_is_made_once(crops: int, size: int) -> None:
    parts = []
    for rank in range(min(size, crops)):
        group = object.__new__(Group)
        group.rendezvous = Rendezvous(rank, size, "127.0.0.1", 1).among(crops)
        parts.append(group.part_of(crops))
    assert [crop for part in parts for crop in part] == list(range(crops))
    assert all(parts)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch chooses")
def test_the_interface_is_the_one_that_reaches_the_address() -> None:
    assert _interface("127.0.0.1", 1) == "lo"
    assert _interface("localhost", 1) == "lo"
    assert _interface("no such host", 1) == ""


def test_a_name_that_is_the_loopback_to_rank_0_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 29500))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(DistributedError, match=r"node7 is 127\.0\.1\.1 to this machine, where no other machine finds"):
        _store(Rendezvous(0, 2, "node7", 29500))


# -- processes --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(ranks: Sequence[Sequence[object]]) -> list[subprocess.Popen[str]]:
    """A process for each rank, with its command line."""
    port = free_port()
    return [
        start_copycat(
            *words,
            env=environment()
            | {
                "COPYCAT_MAIN_ADDR": "127.0.0.1",
                "COPYCAT_MAIN_PORT": str(port),
                "COPYCAT_RANK": str(rank),
                "COPYCAT_WORLD_SIZE": str(len(ranks)),
            },
        )
        for rank, words in enumerate(ranks)
    ]


def outcomes(processes: Sequence[subprocess.Popen[str]]) -> list[Outcome]:
    """What each of them ended with."""
    ended = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=PATIENCE)
            ended.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return ended


def together(*words: object, count: int = 2) -> list[Outcome]:
    return outcomes(start([words] * count))


def scripted(folder: Path, script: str, *words: object, sync_interval: int = 1) -> list[Outcome]:
    """Two processes of a Python script that is a command line."""
    (folder / "script.py").write_text(script)
    port = free_port()
    return outcomes(
        [
            subprocess.Popen(
                [sys.executable, str(folder / "script.py"), *map(str, words)],
                env=environment()
                | OURS
                | {"COPYCAT_RANK": str(rank), "COPYCAT_WORLD_SIZE": "2", "COPYCAT_MAIN_PORT": str(port)}
                | {"COPYCAT_SYNC_INTERVAL": str(sync_interval), "PYTHONPATH": str(TINY.parent)},
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            for rank in (0, 1)
        ]
    )


def options(shot: Shot, directory: Path, *more: object) -> list[object]:
    return [
        "train", shot.input, shot.ground_truth, "--data-directory", directory,
        "--model-size", "Small", "--crop-size", 32, *more,
    ]  # fmt: skip


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def weights(directory: Path) -> torch.Tensor:
    """What the optimiser changes, in one vector."""
    return checkpoint.load(find_run(directory).resume_state)[2]["weights"]


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """The difference of two vectors against the length of one."""
    return float((one - other).norm() / one.norm())


@pytest.fixture
def alone(shot: Shot, tmp_path: Path, tiny: None) -> Callable[..., Path]:
    """Trains in one process; the Data Directory."""

    def call(*more: object) -> Path:
        directory = tmp_path / "alone"
        ((status, _, err),) = outcomes([start_copycat(*options(shot, directory, *more))])
        assert status == 0, err
        return directory

    return call


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.long)])
def test_processes_together_train_what_one_trains_alone(
    count: int, alone: Callable[..., Path], shot: Shot, tmp_path: Path
) -> None:
    more = ("--epochs", 12, "--checkpoint-interval", 5, "--rotation-probability", 0.5, "--crops-per-pair", 2)
    one, run = alone(*more), tmp_path / "together"
    ended = together(*options(shot, run, *more), count=count)
    assert [status for status, _, _ in ended] == [0] * count, ended
    assert [out.splitlines()[-1] for _, out, _ in ended[1:]] == [f"rank {r}: finished at step 12" for r in (1, 2)][
        : count - 1
    ]
    # The same crops, so the same steps but for the order of sums.
    assert losses(find_run(run)) == pytest.approx(losses(find_run(one)), rel=0.02)
    assert far(weights(one), weights(run)) < 0.02
    assert [step for step, _ in find_run(run).checkpoints()] == [5, 10, 12]
    assert summary(find_run(run))[0]["run"]["processes"] == count
    assert len(list(run.glob("*.summary"))) == 1


SAVES_WEIGHTS = """
import sys
import torch
import tiny_copycat
from copycat.cli.app import main
from copycat.training.member import Member

made = []
new = Member.__init__

def noted(self, *arguments):
    new(self, *arguments)
    made.append(self)

Member.__init__ = noted
tiny_copycat.shrink()
path = sys.argv.pop()
try:
    main(sys.argv[1:])
finally:
    torch.save(made[0].learner.parameters.weights, path)
"""


@pytest.mark.parametrize("sync_interval", [pytest.param(1, marks=pytest.mark.long), 4])
def test_all_end_with_the_same_weights(sync_interval: int, shot: Shot, tmp_path: Path) -> None:
    words = (*options(shot, tmp_path / "runs", "--epochs", 30), tmp_path / "weights.pt")
    ended = scripted(tmp_path, SAVES_WEIGHTS, *words, sync_interval=sync_interval)
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert torch.equal(torch.load(tmp_path / "weights.pt"), weights(tmp_path / "runs"))
    learned = losses(find_run(tmp_path / "runs"))
    assert learned[-1] < 0.3 * learned[0]


def test_a_clean_plate_and_a_mask_reach_all_processes(alone: Callable[..., Path], shot: Shot, tmp_path: Path) -> None:
    more = ("--epochs", 6, "--clean-plate", "On", "--mask", shot.ground_truth)
    one, run = alone(*more), tmp_path / "together"
    ended = together(*options(shot, run, *more))
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert losses(find_run(run)) == pytest.approx(losses(find_run(one)), rel=0.02)


def test_more_processes_than_crops_use_only_as_many(shot: Shot, tmp_path: Path) -> None:
    run = tmp_path / "runs"
    more = ("--epochs", 2, "--batch-size-type", "Manual", "--batch-size", 2)
    ended = together(*options(shot, run, *more), count=3)
    assert [status for status, _, _ in ended] == [0, 0, 0], ended
    assert ended[2][1] == "rank 2 has nothing to do: a step has fewer crops than there are processes\n"
    assert summary(find_run(run))[0]["run"]["processes"] == 2


def test_a_model_to_start_from_and_a_resume_are_given_to_all(
    alone: Callable[..., Path], shot: Shot, tmp_path: Path
) -> None:
    run, second_run = tmp_path / "together", tmp_path / "begun"
    ended = together(*options(shot, run, "--epochs", 8))
    assert [status for status, _, _ in ended] == [0, 0], ended
    ended = together("resume", run, "--epochs", 16)
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert ended[1][1].splitlines()[-1] == "rank 1: finished at step 16"
    assert len(losses(find_run(run))) == 16
    start = ("--initial-weights", "Checkpoint", "--checkpoint-file", find_run(run).checkpoints()[-1][1], "--epochs", 2)
    one = alone(*start)
    ended = together(*options(shot, second_run, *start))
    assert [status for status, _, _ in ended] == [0, 0], ended
    assert losses(find_run(second_run)) == pytest.approx(losses(find_run(one)), rel=0.02)
    assert losses(find_run(second_run))[0] < 0.8 * losses(find_run(run))[0]


def test_torchrun_starts_them_too(shot: Shot, tmp_path: Path) -> None:
    run = tmp_path / "runs"
    words = [str(word) for word in options(shot, run, "--epochs", 6)]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(TINY), *words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "finished at step 6" in done.stdout
    assert "rank 1: finished at step 6" in done.stdout
    assert summary(find_run(run))[0]["run"]["processes"] == 2


SIGNALS_ITSELF = """
import os, signal, sys
import tiny_copycat
from copycat.training import member
from copycat.cli.app import main

load_dataset = member.load_dataset

def loading(*arguments, **options):
    if os.environ["COPYCAT_RANK"] == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return load_dataset(*arguments, **options)

member.load_dataset = loading
tiny_copycat.shrink()
main(sys.argv[1:])
"""


# -- companions -------------------------------------------------------------------------------------------------------


def test_one_command_starts_the_others(alone: Callable[..., Path], shot: Shot, tmp_path: Path) -> None:
    one, run = alone("--epochs", 6), tmp_path / "together"
    ((status, out, err),) = outcomes([start_copycat(*options(shot, run, "--epochs", 6, "--processes", 2))])
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith(f"{find_run(run).name}: finished at step 6: ")
    assert summary(find_run(run))[0]["run"]["processes"] == 2
    assert losses(find_run(run)) == pytest.approx(losses(find_run(one)), rel=0.02)
    ((status, out, err),) = outcomes([start_copycat("resume", run, "--epochs", 8, "--processes", 2)])
    assert (status, err) == (0, "")
    assert "finished at step 8" in out


FAILS_IN_RANK_1 = """
import os, sys
import tiny_copycat
from copycat.cli.app import main
from copycat.training.step import TrainingError
from copycat.training.member import Member

learn = Member.learn

def failing(self, level, step, rate):
    if step == 3 and os.environ["COPYCAT_RANK"] == "1":
        raise TrainingError("there is no room here")
    return learn(self, level, step, rate)

Member.learn = failing
tiny_copycat.shrink()
main(sys.argv[1:])
"""


def test_why_a_companion_fails_is_said(shot: Shot, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(FAILS_IN_RANK_1)
    words = options(shot, tmp_path / "runs", "--epochs", 9, "--processes", 2)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), *map(str, words)],
        env=environment() | {"PYTHONPATH": str(TINY.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: another process of this training has ended")
    assert done.stderr.endswith("; rank 1: there is no room here\n")
    assert checkpoint.load(find_run(tmp_path / "runs").resume_state)[0].step == 3


def test_the_companions_that_started_end_when_another_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start(_: object, **options: Any) -> subprocess.Popen[bytes]:
        if started:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        started.append(spawn(["sleep", "60"], **options))
        return started[0]

    spawn = subprocess.Popen
    monkeypatch.setattr(companions.subprocess, "Popen", start)
    before = dict(os.environ)
    with (
        pytest.raises(DistributedError, match="the process for rank 2 cannot start: Cannot allocate memory"),
        companions.companions(3),
    ):
        pytest.fail("it trains without them")
    assert started[0].returncode == -signal.SIGKILL
    assert not companions._started
    assert dict(os.environ) == before


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_no_companion_stays_behind(number: signal.Signals, shot: Shot, tmp_path: Path) -> None:
    run = tmp_path / "runs"
    more = ("--epochs", 100000, "--checkpoint-interval", 5, "--processes", 3)
    process = start_copycat(*options(shot, run, *more))
    wait_for(lambda: any(run.glob("*.ost")) or process.poll() is not None)
    others = psutil.Process(process.pid).children()
    assert len(others) == 2
    process.send_signal(number)
    ((status, _, err),) = outcomes([process])
    assert status == (143 if number == signal.SIGTERM else -signal.SIGKILL), err
    assert psutil.wait_procs(others, timeout=PATIENCE)[1] == []


# -- trouble ----------------------------------------------------------------------------------------------------------


def started(shot: Shot, run: Path, *more: object) -> list[subprocess.Popen[str]]:
    """Two processes that train and have saved."""
    processes = start([options(shot, run, "--epochs", 100000, "--checkpoint-interval", 5, *more)] * 2)
    try:
        wait_for(lambda: any(run.glob("*.ost")) or any(process.poll() is not None for process in processes))
        assert [process.poll() for process in processes] == [None, None]
    except BaseException:
        for process in processes:
            process.kill()
        raise
    return processes


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.long), 1])
def test_a_signal_to_any_of_them_stops_all_and_saves(rank: int, shot: Shot, tmp_path: Path) -> None:
    processes = started(shot, tmp_path / "runs")
    processes[rank].send_signal(signal.SIGTERM)
    ended = outcomes(processes)
    assert [status for status, _, _ in ended] == [143, 143], ended
    run = find_run(tmp_path / "runs")
    step = read_info(run).steps
    assert run.checkpoints()[-1][0] == step
    assert ended[1][1].splitlines()[-1] == f"rank 1: terminated at step {step}"


def test_a_signal_while_frames_are_read_stops_all(shot: Shot, tmp_path: Path) -> None:
    ended = scripted(tmp_path, SIGNALS_ITSELF, *options(shot, tmp_path / "runs", "--epochs", 3))
    assert [status for status, _, _ in ended] == [143, 143], ended
    assert ended[1][1].splitlines()[-1] == "rank 1: terminated at step 0"
    assert read_info(find_run(tmp_path / "runs")).state == "stopped"


@pytest.mark.parametrize("sync_interval", [pytest.param(1, marks=pytest.mark.long), 1000])
def test_when_one_is_killed_the_others_save_and_report_it(
    sync_interval: int, shot: Shot, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COPYCAT_SYNC_INTERVAL", str(sync_interval))
    processes = started(shot, tmp_path / "runs")
    processes[1].kill()
    (status, _, err), _ = outcomes(processes)
    assert status == 1
    assert err.startswith("error: another process of this training has ended, or the connection to it is lost: ")
    assert err.count("\n") == 1
    run = find_run(tmp_path / "runs")
    assert read_info(run).state == "failed"
    step = checkpoint.load(run.resume_state)[0].step
    assert len(losses(run)) == step == run.checkpoints()[-1][0]
    cat.load(run.checkpoint(step))
    before = losses(run)[-1]
    ((status, out, err),) = outcomes([start_copycat("resume", tmp_path / "runs", "--epochs", step + 3)])
    assert status == 0, err
    assert f"finished at step {step + 3}" in out
    assert losses(run)[-3] < 2 * before  # scaled weights would lose what they had learned


def test_when_rank_0_is_killed_the_others_end_with_a_sentence(shot: Shot, tmp_path: Path) -> None:
    processes = started(shot, tmp_path / "runs")
    processes[0].kill()
    _, (status, _, err) = outcomes(processes)
    assert status == 1
    assert err.startswith("error: another process of this training has ended, or the connection to it is lost: ")
    assert err.count("\n") == 1


def test_why_rank_0_fails_is_said_by_all(shot: Shot, tmp_path: Path) -> None:
    (tmp_path / "abort.py").write_text("def now(event):\n    raise ValueError('enough')\n")
    more = ("--epochs", 9, "--after-frame-render", "abort:now")
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        ended = together(*options(shot, tmp_path / "runs", *more))
    finally:
        del os.environ["PYTHONPATH"]
    assert [status for status, _, _ in ended] == [1, 1], ended
    assert "enough" in ended[0][2]
    assert ended[1][2].startswith("error: rank 0: ")
    assert "enough" in ended[1][2]


def test_other_frames_are_refused_by_all(shot: Shot, tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other", tuple(frame + 50 for frame in FRAMES))
    runs = tmp_path / "runs"
    ended = outcomes(start([options(shot, runs, "--epochs", 2), options(other, runs, "--epochs", 2)]))
    sentence = "error: rank 1 reads other training frames than rank 0; start all alike\n"
    assert [(status, err) for status, _, err in ended] == [(1, sentence)] * 2


def test_a_frame_that_one_cannot_read_ends_all(shot: Shot, tmp_path: Path) -> None:
    other = write_shot(tmp_path / "other")
    broken = Path(other.ground_truth % FRAMES[2])
    broken.write_bytes(broken.read_bytes()[:900])
    runs = tmp_path / "runs"
    ended = outcomes(start([options(shot, runs, "--epochs", 2), options(other, runs, "--epochs", 2)]))
    assert [status for status, _, _ in ended] == [1, 1], ended
    assert ended[0][2].startswith("error: rank 1: ")
    assert all(str(broken) in err for _, _, err in ended)


def test_an_address_where_rank_0_cannot_listen_is_named(shot: Shot, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DistributedError, match="Address already in use"):
            _store(Rendezvous(0, 2, "127.0.0.1", port))  # whose socket is closed, or a warning fails the test
        variables = OURS | {"COPYCAT_RANK": "0", "COPYCAT_MAIN_PORT": str(port)}
        process = start_copycat(*options(shot, tmp_path / "runs"), env=environment() | variables)
        ((status, _, err),) = outcomes([process])
    assert (status, err) == (1, f"error: rank 0 cannot listen at 127.0.0.1:{port}: Address already in use\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("number", "ended"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_the_others(number: signal.Signals, ended: int, shot: Shot, tmp_path: Path) -> None:
    variables = OURS | {"COPYCAT_RANK": "0", "COPYCAT_MAIN_PORT": str(free_port())}
    process = start_copycat(
        *options(shot, tmp_path / "runs"),
        env=environment() | variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert process.stdout
        assert "meets the others" in process.stdout.readline()
        process.send_signal(number)
        assert process.wait(PATIENCE) == ended
    finally:
        process.kill()
        process.communicate()
    assert not (tmp_path / "runs").exists()


DIES_BEFORE_MEETING = """
import os, sys
import tiny_copycat
from copycat.cli.app import main
from copycat.sequence.pairs import DatasetError
from copycat.training import start

if os.environ.get("COPYCAT_RANK") == "1":

    def dying(*_):
        raise DatasetError("this companion sees no frames")

    start.Group = dying
tiny_copycat.shrink()
main(sys.argv[1:])
"""


def test_a_companion_that_dies_before_all_have_met_is_noticed(shot: Shot, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(DIES_BEFORE_MEETING)
    words = options(shot, tmp_path / "runs", "--epochs", 9, "--processes", 3)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), *map(str, words)],
        env=environment() | {"PYTHONPATH": str(TINY.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,  # torch alone would wait for ten minutes
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == ("error: another process of this training has ended; rank 1: this companion sees no frames\n")


def test_a_signal_is_obeyed_while_a_rank_is_stopped(shot: Shot, tmp_path: Path) -> None:
    run = tmp_path / "runs"
    process = start_copycat(*options(shot, run, "--epochs", 100000, "--checkpoint-interval", 5, "--processes", 2))
    wait_for(lambda: any(run.glob("*.ost")) or process.poll() is not None)
    (other,) = psutil.Process(process.pid).children()
    other.suspend()
    process.send_signal(signal.SIGTERM)
    ((status, _, err),) = outcomes([process])
    assert status == 143, err
    assert psutil.wait_procs([other], timeout=PATIENCE)[1] == []
    info = read_info(find_run(run))
    assert (info.state, info.steps) == ("stopped", checkpoint.load(find_run(run).resume_state).position.step)
    assert len(losses(find_run(run))) == info.steps


def test_a_group_takes_in_frames_together(shot: Shot, tmp_path: Path) -> None:
    """A frame is painted, later all but one go: too few crops for two processes, so that the data set stays."""
    directory = tmp_path / "runs"
    processes = start([options(shot, directory, "--epochs", 100_000, "--image-interval", 100_000)] * 2)

    def lines() -> list[dict[str, Any]]:
        return summary(find_run(directory)) if list(directory.glob("*.summary")) else []

    try:
        wait_for(lambda: any("loss" in line for line in lines()))
        write_shot(shot.folder, (1005,))
        wait_for(lambda: any("frames" in line for line in lines()))
        for frame in (1001, 1002, 1003, 1005):
            (shot.folder / f"clean.{frame}.exr").unlink()
        wait_for(lambda: any("warning" in line for line in lines()))
        made = lines()[-1]["step"]
        wait_for(lambda: any(line.get("loss") and line["step"] > made + 5 for line in lines()))
        assert stop(find_run(directory))
        ended = outcomes(processes)
    finally:
        for process in processes:
            process.kill()
    assert [status for status, _, _ in ended] == [0, 0], ended
    difference = {"added": ["clean.1005.exr"], "changed": [], "removed": [], "pairs": 5}
    assert [line["frames"] for line in lines() if "frames" in line] == [difference]
    assert [line["run"]["batch"] for line in lines() if "run" in line] == [4, 5]
    (warning,) = [line["warning"] for line in lines() if "warning" in line]
    assert warning == "a step of 1 crops is too small for 2 processes; the training goes on with the frames that it has"
