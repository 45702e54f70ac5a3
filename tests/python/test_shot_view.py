"""The process that makes pictures of a shot, and what a run's files say of the shot."""

from __future__ import annotations

import io
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from conftest import Shot as ShotFiles
from conftest import environment, picture, random_model, write_shot
from copycat.data.devices import choose_device
from copycat.inference.model import Model
from copycat.model.tiles import CancelledError
from copycat.runs import Display, Run, write_json
from copycat.runs.unpainted import unpainted_files
from copycat.sequence import colour, read_frame, write_frame
from copycat.settings.tables import Settings
from copycat.shot_view import png
from copycat.shot_view.__main__ import Maker
from copycat.shot_view.messages import read_message, write_message
from copycat.shot_view.pictures import Picture
from copycat.shot_view.shot import Shot, ShotError

RGB = ("R", "G", "B")


def decoded(data: bytes, folder: Path) -> np.ndarray:
    path = folder / "decoded.png"
    path.write_bytes(data)
    return np.asarray(oiio.ImageBuf(str(path)).get_pixels(oiio.UINT8))


# -- the process ------------------------------------------------------------------------------------------------------


class Pictures:
    """The process, asked as the page asks it."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "copycat.shot_view"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=environment(), **pipes)
        self.last = 0

    def send(self, do: str, **job: Any) -> int:
        assert self.process.stdin is not None
        self.last += 1
        write_message(self.process.stdin, {"id": self.last, "do": do, "view": "", "width": 0} | job)
        return int(job.get("id", self.last))

    def answer(self, identifier: int) -> tuple[dict[str, Any], bytes]:
        assert self.process.stdout is not None
        answer = read_message(self.process.stdout)
        assert answer is not None
        assert answer[0]["id"] == identifier
        return answer


@pytest.fixture(scope="module")
def pictures() -> Iterator[Pictures]:
    pictures = Pictures()
    yield pictures
    pictures.process.communicate(timeout=30)  # closes its input: it ends by itself
    assert pictures.process.returncode == 0


def test_pictures_are_what_contact_sheets_show(pictures: Pictures, shot: ShotFiles, tmp_path: Path) -> None:
    plate = shot.folder / "plate.1002.exr"
    facts, data = pictures.answer(pictures.send("picture", path=str(plate), channels="rgb"))
    assert (facts["width"], facts["height"], facts["matte"], facts["step"]) == (64, 64, False, 0)
    pixels = read_frame(plate, RGB).pixels
    shown = colour.to_integers(colour.display(pixels, True, RGB), "uint8")
    assert np.array_equal(decoded(data, tmp_path), shown)

    model = random_model(tmp_path / "model.cat")
    facts, data = pictures.answer(pictures.send("result", path=str(plate), channels="rgb", model=str(model)))
    assert (facts["step"], facts["matte"]) == (100, False)
    assert facts["cpu_seconds"] > 0
    result = Model(model, choose_device(True)[0])(pixels)
    exact = colour.to_integers(colour.display(result, True, RGB), "uint8").astype(int)
    assert np.abs(decoded(data, tmp_path).astype(int) - exact).mean() < 1.5  # half precision

    facts, data = pictures.answer(pictures.send("picture", path=str(plate), channels="rgb", width=20))
    assert facts["width"] == 64
    mean = pixels.reshape(16, 4, 16, 4, 3).mean((1, 3))
    shown = colour.to_integers(colour.display(mean, True, RGB), "uint8")
    assert np.abs(decoded(data, tmp_path).astype(int) - shown.astype(int)).max() <= 1


def test_a_matte_is_grey_and_a_problem_is_a_sentence(pictures: Pictures, tmp_path: Path) -> None:
    matte = np.linspace(0, 1, 64 * 48, dtype=np.float32).reshape(48, 64, 1)
    write_frame(tmp_path / "m.1.exr", matte, ("A",), dtype="float")
    facts, data = pictures.answer(pictures.send("picture", path=str(tmp_path / "m.1.exr"), channels="A"))
    assert facts["matte"] is True
    assert np.array_equal(decoded(data, tmp_path), colour.to_integers(matte, "uint8"))
    os.mkfifo(tmp_path / "pipe.exr")
    for path, words in (("pipe.exr", "FIFO"), ("no.exr", "No such file"), ("m.1.exr", "no channel or layer 'rgb'")):
        facts, _ = pictures.answer(pictures.send("picture", path=str(tmp_path / path), channels="rgb"))
        assert words in facts["problem"]
        assert path in facts["problem"]


def test_a_file_that_was_saved_anew_shows_anew(pictures: Pictures, tmp_path: Path) -> None:
    path = tmp_path / "a.1.exr"
    levels = []
    for value in (0.1, 0.9):
        write_frame(path, np.full((16, 16, 3), value, np.float32), RGB)
        _, data = pictures.answer(pictures.send("picture", path=str(path), channels="rgb"))
        levels.append(int(decoded(data, tmp_path)[0, 0, 0]))
    assert levels == [89, 243]


def test_the_last_picture_asked_for_comes_first_and_dropped_ones_never() -> None:
    has_started, go_on = threading.Semaphore(0), threading.Semaphore(0)
    finished: list[int] = []
    answers: queue.Queue[tuple[int, str]] = queue.Queue()

    def make(job: dict[str, Any], dropped: Callable[[], bool]) -> Picture:
        has_started.release()
        assert go_on.acquire(timeout=30)
        if dropped():
            raise CancelledError
        finished.append(job["id"])
        return Picture(b"", 1, 1, False)

    def reply(message: dict[str, Any], payload: bytes = b"") -> None:
        answers.put((message["id"], message.get("problem", "made")))

    maker = Maker("test", make, reply)
    maker.add({"id": 1})
    assert has_started.acquire(timeout=30)
    for identifier in (2, 3, 4):
        maker.add({"id": identifier})
    maker.drop(3)  # waits
    assert answers.get(timeout=30) == (3, "")
    maker.drop(1)  # is being made
    for _ in range(3):
        go_on.release()
    assert [answers.get(timeout=30) for _ in range(3)] == [(1, ""), (4, "made"), (2, "made")]
    assert finished == [4, 2]


def test_messages_and_pictures_in_memory(tmp_path: Path) -> None:
    stream = io.BytesIO()
    write_message(stream, {"id": 1}, b"\n{}\n")
    write_message(stream, {"id": 2})
    whole = stream.getvalue()
    stream.seek(0)
    assert read_message(stream) == ({"id": 1, "length": 4}, b"\n{}\n")
    assert read_message(stream) == ({"id": 2}, b"")
    assert read_message(stream) is None
    assert read_message(io.BytesIO(whole[:20])) is None  # torn
    for nonsense in (b"[]\n", b'{"length": -1}\n', b"{\n"):
        with pytest.raises(ValueError, match=r".+"):
            read_message(io.BytesIO(nonsense))
    grain = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    assert np.array_equal(decoded(png.encode(grain), tmp_path), grain)


# -- the shot ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, shot: ShotFiles) -> Run:
    """A run on a shot of eight frames, of which three are painted; it has a checkpoint."""
    write_shot(shot.folder, (1005, 1006, 1007, 1008))
    for frame in (1002, 1004, 1005, 1006, 1008):
        (shot.folder / f"clean.{frame}.exr").unlink()
    (tmp_path / "runs").mkdir()
    run = Run(tmp_path / "runs", "r")
    pair = {"input": shot.input, "groundTruth": shot.ground_truth, "mask": ""}
    write_json(run.provenance, {"settings": Settings().to_dict(), "pairs": [pair], "frames": []})
    random_model(run.checkpoint(7))
    return run


def test_the_lanes_are_what_is_on_disk(run: Run, shot: ShotFiles, tmp_path: Path) -> None:
    lanes = Shot.of(run).lanes()
    assert lanes.frames == tuple(range(1001, 1009))
    assert (lanes.painted, lanes.unpainted) == ((1001, 1003, 1007), ())
    assert (lanes.rendered, lanes.outdated, lanes.doubtful) == ((), (), None)
    output = str(tmp_path / "out.%04d.exr")
    Shot.of(run).remember_output(output)
    assert Display.read(run.directory).runs["r"] == {"output": {"0": output}}
    Display.read(run.directory).set("r", shown=False)
    for frame in (1001, 1002, 2000):
        write_frame(tmp_path / f"out.{frame}.exr", picture(1), RGB)
    os.utime(tmp_path / "out.1001.exr", (1, 1))
    run.file(".review").write_text(json.dumps({"doubtful": [1008, 1002, 5, "x"]}))
    lanes = Shot.of(run).lanes()
    assert (lanes.rendered, lanes.outdated, lanes.doubtful) == ((1002,), (1001,), (1002, 1008))
    assert Shot.of(run).file("rendered", 1002) == tmp_path / "out.1002.exr"


def test_only_files_of_the_shot_are_named(run: Run) -> None:
    shot = Shot.of(run)
    assert shot.file("input", 1008).name == "plate.1008.exr"
    for kind, frame in (("input", 1009), ("truth", 1002), ("rendered", 1001)):
        with pytest.raises(ShotError, match=f"has no frame {frame}"):
            shot.file(kind, frame)
    with pytest.raises(ShotError, match="has no shot 2; it has 1"):
        Shot.of(run, 1)
    for text in ("{}", '{"pairs": [7], "settings": {}}', '{"pairs": [], "settings": {"x": 1}}', ""):
        run.provenance.write_text(text)
        with pytest.raises(ShotError, match=r"r\.json: says no shot yet"):
            Shot.of(run)


def test_a_frame_to_paint_is_a_copy_that_counts_once_it_is_saved(run: Run, shot: ShotFiles) -> None:
    plate = shot.folder / "plate.1002.exr"
    target = Shot.of(run).paint(1002)
    assert target == shot.folder / "clean.1002.exr"
    assert target.read_bytes() == plate.read_bytes()
    assert unpainted_files(run.directory) == {target}
    lanes = Shot.of(run).lanes()
    assert (lanes.painted, lanes.unpainted) == ((1001, 1003, 1007), (1002,))
    with pytest.raises(ShotError, match=r"clean\.1002\.exr exists already: paint that file"):
        Shot.of(run).paint(1002)
    with pytest.raises(ShotError, match=r"clean\.1001\.exr exists already"):
        Shot.of(run).paint(1001)
    write_frame(target, picture(3), RGB)
    lanes = Shot.of(run).lanes()
    assert (lanes.painted, lanes.unpainted) == ((1001, 1002, 1003, 1007), ())
    assert unpainted_files(run.directory) == set()
    assert sorted(path.name for path in shot.folder.iterdir() if path.name.startswith(".")) == []


def test_a_frame_to_paint_in_another_format_or_nowhere(run: Run, shot: ShotFiles, tmp_path: Path) -> None:
    stored = json.loads(run.provenance.read_text())

    def with_truth(pattern: str) -> Shot:
        stored["pairs"][0]["groundTruth"] = pattern
        run.provenance.write_text(json.dumps(stored))
        return Shot.of(run)

    target = with_truth(str(tmp_path / "new/paint.####.png")).paint(1004)
    assert target == tmp_path / "new/paint.1004.png"
    assert read_frame(target, RGB).pixels.shape == (64, 64, 3)
    with pytest.raises(ShotError, match="is not a sequence of images"):
        with_truth(str(shot.folder / "clean.1001.exr")).paint(1004)
    (tmp_path / "file").write_text("")
    with pytest.raises(ShotError, match=r"paint\.1004\.png: cannot be written"):
        with_truth(str(tmp_path / "file/paint.####.png")).paint(1004)
