"""What every Auto decided, and why: one line, the same in the terminal, the summary, the page and a host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FRAMES, Outcome, Shot, Train, picture, random_model, summary
from copycat.dashboard.status import remarks
from copycat.data import devices
from copycat.inference.model import Model
from copycat.inference.render import infer
from copycat.runs import Run, read_info
from copycat.sequence import write_frame
from copycat.settings.tables import Settings
from copycat.training.auto import DECISIONS
from copycat.training.start import Report, resume
from copycat.worker.overview import describe
from painting import Painter, erase, paint
from test_composites import write_discs

AUTO = {knob.field: knob for knob in Settings.knobs() if any(str(one).lower() == "auto" for one in knob.choices)}
MANUAL = {
    "gpu_index": {"use_gpu_if_available": False},
    "batch_size_type": {"batch_size": 2},
    "matte": {"matte": "Off"},
    "composites": {"composites": "Off"},
    "clean_plate": {"clean_plate": "Off"},
    "bank": {"bank": "host"},
}
WORDS = {"gpu_index": "trains on"} | {field: AUTO[field].label for field in AUTO if field != "gpu_index"}


def sentences(run: Run) -> list[str]:
    """The line of each header of the summary."""
    notes = [line["run"]["notes"] for line in summary(run) if "run" in line]
    return [note for some in notes for note in some if note.startswith("Auto: ")]


def test_no_auto_is_forgotten() -> None:
    assert list(DECISIONS) == [field for field in DECISIONS if field in AUTO]
    assert set(DECISIONS) == set(AUTO) == set(MANUAL)


def test_it_is_said_everywhere(train: Train) -> None:
    said: list[Report] = []
    run = train(epochs=2, progress=said.append).run
    (sentence,) = sentences(run)
    assert sentence == (
        "Auto: trains on CPU (there is no GPU to use); Batch Size 4 (all 4 pairs); Matte off (the Ground Truth is not "
        "mostly 0 or 1); Composites off (the Ground Truth is no matte); Clean Plate off (where the pairs "
        "differ, the other painted frames, aligned, are 0.0 dB nearer to the Ground Truth than the Input is; a "
        "clean plate needs 13 dB); Bank in memory (0.0002 GB)"
    )
    assert [report.message for report in said if report.message.startswith("Auto: ")] == [sentence]
    info = read_info(run)
    assert sentence in remarks(info, "notes")
    assert f"note: {sentence}" in describe(info)["status"]


@pytest.mark.parametrize("field", list(MANUAL))
def test_what_is_set_by_hand_is_left_out(train: Train, field: str) -> None:
    (sentence,) = sentences(train(epochs=1, **MANUAL[field]).run)
    assert [one for one, word in WORDS.items() if f" {word} " not in sentence] == [field]


def test_nothing_is_said_where_nothing_is_decided(train: Train) -> None:
    knobs: dict[str, Any] = {name: value for one in MANUAL.values() for name, value in one.items()}
    assert sentences(train(epochs=1, **knobs).run) == []


def test_a_matte_of_one_frame_or_two_and_a_clean_plate_say_why(train: Train, shot: Shot, tmp_path: Any) -> None:
    plates, mattes = write_discs(tmp_path)
    (sentence,) = sentences(train(plates, mattes, ground_truth_channels="A", epochs=1, run_name="matte").run)
    assert "Matte on (A is mostly 0 or 1, and nothing beyond); Composites off (2 frames are painted" in sentence
    one = {"ground_truth_channels": "A", "training_frames": "1001", "epochs": 1, "run_name": "one"}
    (sentence,) = sentences(train(plates, mattes, **one).run)
    assert "Composites on (1 frame is painted)" in sentence
    room = picture(0)
    for frame in FRAMES:
        plate = room.copy()
        plate[20:40, 10 * (frame - 1001) : 10 * (frame - 1001) + 12] = 0.9
        write_frame(shot.folder / f"plate.{frame}.exr", plate, ("R", "G", "B"))
        write_frame(shot.folder / f"clean.{frame}.exr", room, ("R", "G", "B"))
    (sentence,) = sentences(train(epochs=1, run_name="plate").run)
    assert "Clean Plate on (the painted frames agree where they differ from the Input)" in sentence


def test_a_change_and_a_resume_say_it_anew(train: Train, shot: Shot, painter: Painter, tmp_path: Any) -> None:
    painter.acts = {3: lambda: paint(shot, 1005)}
    run = train(epochs=6, after_frame_render=painter).run
    before, after = sentences(run)
    assert "Batch Size 4 (all 4 pairs)" in before
    assert "Batch Size 5 (all 5 pairs); Matte off (as the run was started)" in after
    erase(shot, 1005)
    run = resume(tmp_path / "runs", epochs=8).run
    assert "Batch Size 4 (all 4 pairs)" in sentences(run)[-1]


# -- a render ---------------------------------------------------------------------------------------------------------


def test_a_render_says_where_too(shot: Shot, tmp_path: Path, copycat: Callable[..., Outcome]) -> None:
    model = random_model(tmp_path / "m.cat")
    status, out, _ = copycat("infer", model, shot.input, tmp_path / "out.%04d.exr", "--frames", "1001")
    assert status == 0
    assert out.splitlines()[0] == "Auto: renders on CPU (there is no GPU to use)"
    again = copycat(
        "infer", model, shot.input, tmp_path / "out.%04d.exr", "--frames", "1001", "--no-use-gpu-if-available"
    )[1]
    assert "Auto" not in again


def test_a_render_names_the_gpu(shot: Shot, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_name", lambda device: "NVIDIA H200")
    assert devices.automatic(torch.device("cuda", 0)) == "NVIDIA H200 (the first GPU that can be used)"
    said: list[str] = []
    infer(random_model(tmp_path / "m.cat"), shot.input, tmp_path / "a.%04d.exr", frames=1001, note=said.append)
    infer(Model(tmp_path / "m.cat", torch.device("cpu")), shot.input, tmp_path / "b.%04d.exr", note=said.append)
    assert said == ["Auto: renders on NVIDIA H200 (there is no GPU to use)"]  # of the model that infer reads
