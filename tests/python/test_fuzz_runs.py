"""Mutated files of a run, and mutated images: every reader goes on, or says in one sentence what is wrong."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from copycat.cli.runs_table import show_runs
from copycat.dashboard import status, table
from copycat.errors import CopycatError
from copycat.plots.graph import draw_loss_curves, shown_run
from copycat.plots.live import Watch
from copycat.runs import Display, find_run, find_runs, read_provenance, take_request, trainer_lives
from copycat.sequence import ImageSequence, read_frame, read_info, write_frame
from copycat.settings.tables import ProgressSettings
from copycat.training import checkpoint, start
from copycat.worker.overview import describe, run_table
from fuzzing import for_minutes, new_seed, time_is_left
from test_fuzz_models import NUMBERS, OTHERS, mutated_bytes, values

OLD = Path(__file__).with_name("old_run")
DISPLAY = {"active": "old", "runs": {"old": {"colour": "#56b4e9", "shown": True}}}
REQUESTS = [{"action": "stop", "name": "", "id": "1"}, {"action": "rename", "name": "new", "id": "2"}]
IMAGES = (".exr", ".png", ".tif", ".dpx", ".jpg")


def mutated_lines(data: bytes, source: random.Random) -> bytes:
    """JSON lines, or one JSON object, in which some values are others."""
    lines = data.splitlines() if not data.startswith(b"{\n") else [data]
    for _ in range(source.randint(1, 4)):
        index = source.randrange(len(lines))
        value = json.loads(lines[index])
        paths = values(value)[1:]
        if not paths:
            continue
        path = source.choice(paths)
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if source.random() < 0.15:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(source.choice(NUMBERS + OTHERS))
        lines[index] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def read_everything(folder: Path, events: Path) -> None:
    """Reads a Data Directory as the command line, the page and a host do."""
    find_runs(folder)
    for tensorboard in (None, events):
        for as_json, as_csv in ((False, False), (True, False), (False, True)):
            show_runs(folder, as_json, as_csv, tensorboard)
    watch = Watch(folder)
    while watch.scan():
        pass
    rows = watch.rows()
    run_table(rows)
    curves = []
    for row in rows:
        describe(row)
        status.readings(row, watch)
        status.time_limit(row)
        status.done(row)
        table._plain(row)
        watch.pictures(row.run.name)
        trainer_lives(row.run)
        if curve := watch.curve(row.run.name):
            curves.append(shown_run(row, curve, watch.history(row.run.name)))
    draw_loss_curves(curves, ProgressSettings(log_scale=len(rows) % 2 == 0), 120, 200)


def read_as_a_resume_does(folder: Path) -> None:
    """What only a resume reads; what does not fit is a CopycatError."""
    for act in (
        lambda: start._stored(find_run(folder), read_provenance(find_run(folder))),
        lambda: checkpoint.load(find_run(folder).resume_state),
        lambda: take_request(find_run(folder)),
        lambda: Display.read(folder).shown("old"),
    ):
        try:
            act()
        except CopycatError:
            continue


def mutate_runs(folder: Path, seed: int, goes_on: Callable[[int], bool]) -> None:
    whole = folder / "whole"
    shutil.copytree(OLD, whole)
    (whole / "copycat.json").write_text(json.dumps(DISPLAY))
    (whole / "old.request").write_text("".join(json.dumps(one) + "\n" for one in REQUESTS))
    (whole / "old.lock").write_text(json.dumps({"host": "elsewhere", "pid": 7, "heartbeat": 1e9}))
    (whole / "old.renaming").write_text(json.dumps({"to": "new"}))
    names = ["old.summary", "old.summary", "old.json", "copycat.json", "old.request", "old.lock", "old.ost"]
    source, done = random.Random(seed), 0
    while goes_on(done):
        there = folder / "runs"
        shutil.rmtree(there, ignore_errors=True)
        shutil.copytree(whole, there)
        name = source.choice([*names, "old.renaming"])
        if name != "old.renaming":
            (there / "old.renaming").unlink()
        path = there / name
        by_value = name != "old.ost" and source.random() < 0.7
        try:
            data = (mutated_lines if by_value else mutated_bytes)(path.read_bytes(), source)
        except (KeyError, TypeError, IndexError):
            continue  # an earlier mutation has taken the path of a later one
        path.write_bytes(data)
        try:
            read_everything(there, folder / "events")
            read_as_a_resume_does(there)
        except Exception:
            print(f"mutation {done} of seed {seed}: {path}")
            raise
        done += 1


def mutate_images(folder: Path, seed: int, goes_on: Callable[[int], bool]) -> None:
    whole = {}
    for extension in IMAGES:
        path = folder / f"whole{extension}"
        write_frame(path, picture(1, (40, 24)), ("R", "G", "B"))
        whole[extension] = path.read_bytes()
    source, done = random.Random(seed), 0
    while goes_on(done):
        extension = source.choice(IMAGES)
        path = folder / f"mutated.{done % 7}{extension}"
        path.write_bytes(mutated_bytes(whole[extension], source))
        refusal = str(path)
        try:
            info = read_info(path)
            pixels = read_frame(path, info.channels[:3]).pixels
            assert pixels.shape[:2] == (info.height, info.width)
        except CopycatError as error:
            refusal = str(error)
        except Exception:
            print(f"mutation {done} of seed {seed}: {path}")
            raise
        assert str(path) in refusal
        path.unlink()
        done += 1


def mutate_movies(folder: Path, seed: int, goes_on: Callable[[int], bool]) -> None:
    pytest.importorskip("av")
    from test_movies import SIZE, write_movie

    pictures = [np.round(picture(frame, SIZE[::-1]) * 255).astype(np.uint8) for frame in range(3)]
    whole = {
        ".mov": write_movie(folder / "whole.mov", pictures, "mpeg4", "yuv420p").read_bytes(),
        ".mkv": write_movie(folder / "whole.mkv", pictures).read_bytes(),
    }
    source, done = random.Random(seed), 0
    while goes_on(done):
        extension = source.choice(tuple(whole))
        path = folder / f"mutated.{done}{extension}"  # another name each time: what is open stays open
        path.write_bytes(mutated_bytes(whole[extension], source))
        try:
            found = ImageSequence.parse(path)
            for number in found.frames()[:4]:
                info = read_info(found.path(number))
                assert read_frame(found.path(number), info.channels[:3]).pixels.shape[:2] == (info.height, info.width)
        except CopycatError:
            pass
        except Exception:
            print(f"mutation {done} of seed {seed}: {path}")
            raise
        path.unlink()
        done += 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_some_mutated_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mutate_runs(tmp_path, 1, lambda done: done < 40)


def test_some_mutated_images(tmp_path: Path) -> None:
    mutate_images(tmp_path, 1, lambda done: done < 300)


def test_some_mutated_movies(tmp_path: Path) -> None:
    mutate_movies(tmp_path, 1, lambda done: done < 60)


@for_minutes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("mutate", [mutate_runs, mutate_images, mutate_movies])
def test_mutated_files_for_minutes(tmp_path: Path, mutate: Callable[[Path, int, Callable[[int], bool]], None]) -> None:
    mutate(tmp_path, new_seed(), time_is_left())


def test_a_mutation_is_another_value() -> None:
    """The mutations themselves: without them the tests above would show nothing."""
    source, data = random.Random(3), (OLD / "old.summary").read_bytes()
    assert len({mutated_lines(data, source) for _ in range(20)} - {data}) > 15
    assert np.mean([mutated_bytes(data, source) != data for _ in range(20)]) == 1
