"""The page's side of Shot view: which pictures its server sends, newer weights, renders, and what it says at an end."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from conftest import picture, random_model, write_shot
from copycat.dashboard import renders as renders_module
from copycat.dashboard import shot_process
from copycat.dashboard.renders import Render, Renders, RenderStartError, Wish, default_output
from copycat.dashboard.shot_pictures import ADDRESS, pictures
from copycat.dashboard.shot_process import SHARE, ShotProcess, ViewError, Weights, newest, version
from copycat.machine import usable_cores
from copycat.model import cat
from copycat.runs import Display, Run, TrainerLock, answer_request, take_request, write_json
from copycat.sequence import write_frame
from copycat.settings.tables import Settings
from copycat.shot_view.shot import Shot
from fastapi import FastAPI

RGB = ("R", "G", "B")
Get = Callable[[str], httpx.Response]


def make_run(directory: Path, folder: Path, name: str = "r", step: int | None = 100) -> Run:
    """A run on four frames of which two are painted; with a checkpoint unless ``step`` is None."""
    shot = write_shot(folder)
    for frame in (1002, 1003):
        (folder / f"clean.{frame}.exr").unlink()
    directory.mkdir(exist_ok=True)
    run = Run(directory, name)
    pair = {"input": shot.input, "groundTruth": shot.ground_truth, "mask": ""}
    write_json(run.provenance, {"settings": Settings().to_dict(), "pairs": [pair], "frames": []})
    run.summary.write_text('{"step": 1, "loss": 1}\n')
    if step is not None:
        random_model(run.checkpoint(step))
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "data", tmp_path / "shot")


# -- what the server sends --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Get]:
    root = tmp_path_factory.mktemp("served")
    run = make_run(root / "data", root / "shot")
    write_frame(root / "secret.1001.exr", picture(1), RGB)
    app, process = FastAPI(), ShotProcess()
    app.add_api_route(ADDRESS, pictures(run.directory, process, Weights()))

    async def answer(path: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
            return await client.get(path)

    with asyncio.Runner() as runner:  # one event loop, as in the server
        yield lambda path: runner.run(answer(path))
    process.close()


def test_frames_and_results_of_a_run_are_sent_once(get: Get) -> None:
    for path, step in (
        ("/shot/r/0/input/1002", 0),
        ("/shot/r/0/truth/1001", 0),
        ("/shot/r/0/result/1003", 100),
        ("/shot/r/0/result/1003?step=100", 100),
    ):
        response = get(path)
        assert (response.status_code, response.headers["content-type"]) == (200, "image/png"), response.text
        assert response.content[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(response.content[16:20], "big") == 64
        facts = json.loads(response.headers["copycat-picture"])
        assert (facts["width"], facts["step"], facts["matte"]) == (64, step, False)
        again = f"{path}{'&' if '?' in path else '?'}have={quote(facts['version'])}"
        assert get(again).status_code == 204


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/shot/r/0/truth/1002", 422),
        ("/shot/r/0/rendered/1001", 422),
        ("/shot/r/0/result/1001?step=5", 422),
        ("/shot/r/1/input/1001", 422),
        ("/shot/r/0/input/9999", 422),
        ("/shot/r/0/input/1e3", 422),
        ("/shot/r/0/input/99999999999999", 422),
        ("/shot/r/0/secret/1001", 422),
        ("/shot/r/-1/input/1001", 422),
        ("/shot/r/0/input/1001?viewer=..%2F", 422),
        ("/shot/r/0/result/1001?step=-1", 422),
        ("/shot/other/0/input/1001", 422),
        ("/shot/..%2Fdata%2Fr/0/input/1001", 404),
        ("/shot/../r/0/input/1001", 404),
        ("/shot/r/0/input/..%2F..%2Fsecret.1001.exr", 404),
        ("/shot/%00/0/input/1001", 404),
    ],
)
def test_nothing_but_frames_of_runs_is_sent(get: Get, path: str, status: int) -> None:
    response = get(path)
    assert response.status_code == status
    assert not response.content.startswith(b"\x89PNG")


# -- newer weights ----------------------------------------------------------------------------------------------------


class Trainer:
    """Holds a run's lock and writes live weights when asked for, without training."""

    def __init__(self, run: Run, refusal: str = "") -> None:
        self.run, self.refusal = run, refusal
        self.actions: list[str] = []
        self._lock = TrainerLock(run)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._end.wait(0.01):
            if request := take_request(self.run):
                self.actions.append(request.action)
                answer_request(self.run, request, self.refusal)
                if not self.refusal and request.action == "weights":
                    random_model(self.run.live)

    def end(self) -> None:
        self._end.set()
        self._thread.join()
        self._lock.release(self.run)


@pytest.fixture
def train(run: Run) -> Iterator[Callable[..., Trainer]]:
    trainers = []

    def start(*arguments: Any) -> Trainer:
        trainers.append(Trainer(*arguments))
        return trainers[-1]

    yield start
    for trainer in trainers:
        trainer.end()


def test_a_stopped_run_shows_its_newest_file_once(run: Run) -> None:
    weights = Weights()
    path = asyncio.run(weights.of(run, None, ""))
    assert path == run.checkpoint(100)
    assert asyncio.run(weights.of(run, None, version(run.checkpoint(100)))) is None
    assert asyncio.run(weights.of(run, 100, "")) == path
    with pytest.raises(ViewError, match="run r has no checkpoint of step 7"):
        asyncio.run(weights.of(run, 7, ""))
    random_model(run.live)
    assert newest(run) == run.live
    assert asyncio.run(weights.of(run, None, version(run.checkpoint(100)))) == run.live


def test_a_training_is_asked_for_newer_weights_as_often_as_its_share_allows(
    run: Run, train: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, weights, now = train(run), Weights(), [1000.0]

    async def look() -> list[Path | None]:
        shown = [await weights.of(run, None, "")]  # what is there comes at once
        shown.append(await weights.of(run, None, version(run.checkpoint(100))))
        have = version(run.live)
        weights.used(run, {"cpu_seconds": 3.0, "seconds": 2.0, "device": "cpu"})
        monkeypatch.setattr(shot_process.time, "monotonic", lambda: now[0])
        weights.used(run, {"cpu_seconds": 3.0, "seconds": 2.0, "device": "cpu"})
        now[0] += 3.0 / usable_cores() / SHARE - 1
        shown.append(await weights.of(run, None, have))
        asked = len(trainer.actions)
        now[0] += 2
        monkeypatch.undo()
        weights._due.clear()
        both = await asyncio.gather(weights.of(run, None, have), weights.of(run, None, have))
        assert len(trainer.actions) == asked + 1  # two who look share a request
        return [*shown, *both]

    assert asyncio.run(look()) == [run.checkpoint(100), run.live, None, run.live, run.live]


def test_a_training_without_a_checkpoint_is_asked_for_its_weights(
    tmp_path: Path, train: Callable[..., Trainer]
) -> None:
    bare = make_run(tmp_path / "bare", tmp_path / "bare_shot", step=None)
    with pytest.raises(ViewError, match="run r has no weights to show yet"):
        asyncio.run(Weights().of(bare, None, ""))
    train(bare)
    assert asyncio.run(Weights().of(bare, None, "")) == bare.live


def test_a_trainer_that_knows_no_live_weights_is_asked_once(run: Run, train: Callable[..., Trainer]) -> None:
    trainer, weights = train(run, "'weights' cannot be asked of a trainer"), Weights()

    async def look() -> None:
        for _ in range(3):
            assert await weights.of(run, None, version(run.checkpoint(100))) is None

    asyncio.run(look())
    assert trainer.actions == ["weights"]


# -- the process ------------------------------------------------------------------------------------------------------


def test_a_process_that_dies_is_a_sentence_and_is_started_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nread line\necho 'no memory' >&2\nexit 3\n")
    broken.chmod(0o755)
    job = {
        "do": "picture",
        "path": Shot.of(run).file("input", 1001).as_posix(),
        "channels": "rgb",
        "view": "",
        "width": 0,
    }

    async def look() -> tuple[dict[str, Any], bytes] | None:
        process = ShotProcess()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(broken))
            with pytest.raises(ViewError, match="the process that makes pictures ended: no memory"):
                await process.picture(job)
        answer = await process.picture(job)
        patience = shot_process.IDLE_SECONDS
        process.end_if_idle()
        assert process._child is not None
        monkeypatch.setattr(shot_process, "IDLE_SECONDS", -1.0)
        process.end_if_idle()
        assert process._child is None
        assert patience >= 30
        return answer

    answer = asyncio.run(look())
    assert answer is not None
    assert answer[0]["width"] == 64


# -- renders ----------------------------------------------------------------------------------------------------------


class Infer:
    """An "interpreter" that stands for ``copycat infer``: it says what it is told to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._patch = monkeypatch

    def says(self, *lines: str, status: int = 0, then: str = "") -> None:
        script = self._folder / "python"
        words = "".join(f"echo {shlex.quote(line)}\n" for line in lines)
        script.write_text(f'#!/bin/sh\necho "$*" > {self._folder}/arguments\n{words}{then}\nexit {status}\n')
        script.chmod(0o755)
        self._patch.setattr(sys, "executable", str(script))

    def arguments(self) -> str:
        return (self._folder / "arguments").read_text().strip()


@pytest.fixture
def infer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Infer:
    return Infer(tmp_path, monkeypatch)


def ended(render: Render) -> str:
    assert render.ended.wait(60)
    return render.state()


def test_what_a_render_is_started_with(run: Run, tmp_path: Path, infer: Infer) -> None:
    renders, shot = Renders(), Shot.of(run)
    output = str(tmp_path / "out/r.####.exr")
    infer.says("[Frame:1/2] 1001", "[Frame:2/2] 1002", "2 frames written: r.1001.exr")
    render = renders.start(Wish(shot=shot, frames="1001-1002", output=output))
    assert ended(render) == "2 frames written: r.1001.exr"
    assert (render.status, render.look()) == (0, (2, 2))
    plate, model = shot.input, run.checkpoint(100)
    assert infer.arguments() == f"-P -m copycat infer {model} {plate} {output} --frames 1001-1002 --skip-current"
    assert default_output(Shot.of(run)) == Shot.of(run).output == output
    render = renders.start(Wish(shot=Shot.of(run), output=output, step=100, every=True, fast=True))
    ended(render)
    assert infer.arguments().endswith(f"{output} --frames all --half-precision")
    assert renders.last(run) is render
    ended(renders.start(Wish(shot=Shot.of(run), output=output, steady=True)))
    assert infer.arguments().endswith(f"{output} --frames all --skip-current --steady")


def test_a_shot_knows_whether_its_newest_model_makes_mattes(run: Run) -> None:
    assert not Shot.of(run).mattes
    header, weights = cat.load(run.checkpoint(100))
    matte = replace(header, target_encoding=replace(header.target_encoding, matte=(False, True, False)))
    cat.save(run.checkpoint(200), matte, weights)
    assert Shot.of(run).mattes
    cat.save(run.checkpoint(300), header, weights)
    assert not Shot.of(run).mattes
    for content in (b"", b"\xff" * 64, run.checkpoint(200).read_bytes()[:100], b"\x02" + bytes(7) + b"{}"):
        run.checkpoint(400).write_bytes(content)
        assert not Shot.of(run).mattes
    run.checkpoint(300).unlink()
    run.checkpoint(400).unlink()
    assert Shot.of(run).mattes
    run.checkpoint(200).unlink()
    run.checkpoint(100).unlink()
    assert not Shot.of(run).mattes


def test_a_training_saves_first_where_the_newest_weights_are_rendered(
    run: Run, tmp_path: Path, infer: Infer, train: Callable[..., Trainer]
) -> None:
    trainer, renders = train(run), Renders()
    infer.says("0 frames written")
    wish = Wish(shot=Shot.of(run), output=str(tmp_path / "o.####.exr"))
    ended(renders.start(wish))
    assert trainer.actions == ["checkpoint"]
    ended(renders.start(replace(wish, step=100)))
    assert trainer.actions == ["checkpoint"]


def test_what_a_render_is_refused_for(run: Run, tmp_path: Path) -> None:
    renders, shot = Renders(), Shot.of(run)
    assert default_output(shot) == str(run.directory / "renders/r/result.####.exr")
    (tmp_path / "link").symlink_to(tmp_path / "shot")
    for wish, words in (
        ({"output": "out.####.exr"}, "name its whole path"),
        ({"output": ""}, "name its whole path"),
        ({"output": str(tmp_path / "out.exr")}, "names a single file; add ####"),
        ({"output": shot.ground_truth}, "is the run's Ground Truth; the result needs files of its own"),
        ({"output": str(tmp_path / "link/clean.####.exr")}, "is the run's Ground Truth"),
        ({"output": shot.input}, "is the run's plate"),
        ({"output": str(tmp_path / "o.####.exr"), "frames": "--help"}, "is no list of frames"),
        ({"output": str(tmp_path / "o.####.exr"), "step": 8}, "run r has no checkpoint of step 8"),
    ):
        with pytest.raises(renders_module.CopycatError, match=words):
            renders.start(Wish(shot=shot, **wish))
    assert renders.last(run) is None
    assert "output" not in Display.read(run.directory).runs.get("r", {})


def test_a_render_is_cancelled_and_its_failure_named(run: Run, tmp_path: Path, infer: Infer) -> None:
    renders, wish = Renders(), Wish(shot=Shot.of(run), output=str(tmp_path / "o.####.exr"))
    infer.says("[Frame:1/4] 1001", then="exec sleep 60")
    render = renders.start(wish)
    deadline = time.monotonic() + 30
    while render.look() != (1, 4):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert render.state() == "Rendering: 1 of 4 frames"
    with pytest.raises(RenderStartError, match="a render of r is going on"):
        renders.start(wish)
    render.cancel()
    assert ended(render) == "Cancelled after 1 of 4 frames"
    infer.says("[Frame:1/4] 1001", "error: 1 of 4 frames could not be rendered: frame 1002", status=1)
    render = renders.start(wish)
    assert ended(render) == "1 of 4 frames could not be rendered: frame 1002"
    assert render.status == 1
