"""The command line: the commands as scripts and farms write them, every knob as an option, what is printed."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from conftest import Outcome, Shot, picture, random_model, run_copycat, start_copycat, summary, write_shot
from copycat.cli import terminal
from copycat.cli.app import app
from copycat.cli.options import knob_kebab
from copycat.model import cat
from copycat.runs import find_run, find_runs, read_info, read_json
from copycat.sequence import read_frame, write_frame
from copycat.settings.tables import InferenceSettings, Settings
from copycat.training.report import Report
from rich.text import Text

Copycat = Callable[..., Outcome]
SMALL = ("--model-size", "Small", "--crop-size", 32, "--epochs", 3)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands are written with relative names."""
    monkeypatch.chdir(tmp_path)


# -- the five shapes ------------------------------------------------------------------------------------------------


def test_train_frames(copycat: Copycat, tmp_path: Path) -> None:
    write_shot(tmp_path, (1001, 1012, 1024, 1025))
    command = (
        "train plate.%04d.exr clean.%04d.exr --frames 1001,1012,1024 --data-directory runs --epochs 2 --crop-size 256 "
        "--model-size Small"
    )
    status, out, err = copycat(*command.split())
    assert status == 0, err
    run = find_run(tmp_path / "runs")
    assert re.fullmatch(r"Training_\d{6}_\d{6}", run.name)
    assert "[Step:2/2] loss 0." in out
    assert f"{run.name}: finished at step 2: {run.checkpoint(2)}" in out
    assert [entry["frame"] for entry in read_json(run.provenance)["frames"]] == [1001, 1012, 1024]


def test_train_a_matte(copycat: Copycat, tmp_path: Path) -> None:
    for frame in range(1001, 1025):
        write_frame(f"comp.{frame}.exr", picture(frame), ("R", "G", "B"))
        write_frame(f"fg.{frame}.exr", picture(frame, channels=4), ("R", "G", "B", "A"))
    command = (
        "train comp.%04d.exr fg.%04d.exr --input-channels R,G,B --ground-truth-channels A --frames 1001-1024x5 "
        "--data-directory runs"
    )
    status, _, err = copycat(*command.split(), *SMALL)
    assert status == 0, err
    run = find_run(tmp_path / "runs")
    assert [entry["frame"] for entry in read_json(run.provenance)["frames"]] == [1001, 1006, 1011, 1016, 1021]
    assert cat.read_header(run.checkpoint(3)).channels_out == ("A",)


def test_train_several_shots(copycat: Copycat, tmp_path: Path) -> None:
    for name, size in (("a", (64, 64)), ("b", (80, 48))):
        for frame in (1, 2):
            write_frame(f"{name}.{frame:04d}.exr", picture(frame, size), ("R", "G", "B"))
            write_frame(f"{name}_gt.{frame:04d}.exr", picture(frame, size) * 0.5, ("R", "G", "B"))
    command = "train --pair a.%04d.exr a_gt.%04d.exr --pair b.%04d.exr b_gt.%04d.exr --data-directory runs"
    status, _, err = copycat(*command.split(), *SMALL)
    assert status == 0, err
    stored = read_json(find_run(tmp_path / "runs").provenance)
    assert [pair["input"] for pair in stored["pairs"]] == [str(tmp_path / "a.%04d.exr"), str(tmp_path / "b.%04d.exr")]
    assert len(stored["frames"]) == 4


def test_resume_the_newest_or_the_one_named(copycat: Copycat, tmp_path: Path) -> None:
    write_shot(tmp_path)
    for name in ("first", "second"):
        copycat("train", "plate.%04d.exr", "clean.%04d.exr", "-d", "runs", "--run-name", name, *SMALL)
    status, out, err = copycat("resume", "runs", "--epochs", 4)
    assert status == 0, err
    assert "second: finished at step 4" in out
    status, out, err = copycat("resume", "runs", "--run", "first", "--epochs", 5)
    assert status == 0, err
    assert "first: finished at step 5" in out


def test_a_stopped_training_offers_to_end_soon(copycat: Copycat, tmp_path: Path) -> None:
    write_shot(tmp_path)
    endless = (*SMALL, "--epochs", 1_000_000, "--checkpoint-interval", 5)
    process = start_copycat("train", "plate.%04d.exr", "clean.%04d.exr", "-d", "runs", *endless, cwd=tmp_path)
    while not list(tmp_path.glob("runs/*_5.cat")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    run = find_run(tmp_path / "runs")
    offered = f"copycat resume {tmp_path / 'runs'} --run {run.name}"
    assert f"To go on: {offered}\n" in out
    assert "add --finish" in out
    stopped = read_info(run).steps
    status, out, err = copycat(*offered.split()[1:], "--finish")
    assert status == 0, err
    ended = read_info(run)
    assert f"{run.name}: finished at step {stopped + max(100, stopped // 4)}" in out
    assert (ended.state, cat.read_header(run.checkpoint(ended.steps)).level) == ("finished", 1)


def test_infer(copycat: Copycat, tmp_path: Path) -> None:
    write_shot(tmp_path, tuple(range(1001, 1025)))
    (tmp_path / "runs").mkdir()
    random_model(tmp_path / "runs/Training_261122_101502_2000.cat")
    command = "infer runs/Training_261122_101502_2000.cat plate.%04d.exr out.%04d.exr --frames 1001-1024"
    status, out, err = copycat(*command.split())
    assert status == 0, err
    assert len(list(tmp_path.glob("out.*.exr"))) == 24
    assert "24 frames written: out.1001.exr ... out.1024.exr" in out


def test_infer_with_the_newest_checkpoint_of_a_run(copycat: Copycat, tmp_path: Path) -> None:
    write_shot(tmp_path)
    copycat("train", "plate.%04d.exr", "clean.%04d.exr", "-d", "runs", "--run-name", "a", *SMALL)
    for model, output in (("runs", "one.%04d.exr"), ("runs/a", "two.%04d.exr"), ("runs/a_3.cat", "three.%04d.exr")):
        status, out, err = copycat("infer", model, "plate.%04d.exr", output, "--frames", 1001)
        assert status == 0, err
    pictures = [read_frame(Path(f"{name}.1001.exr"), ["R", "G", "B"]).pixels for name in ("one", "two", "three")]
    assert (pictures[0] == pictures[2]).all()
    assert (pictures[1] == pictures[2]).all()
    status, out, err = copycat("export", "runs", "model.pt")
    assert (status, out) == (0, "model.pt: R,G,B -> R,G,B\n"), err


def test_ctrl_c_ends_a_render_with_whole_frames(tmp_path: Path, tiny: None) -> None:
    write_shot(tmp_path, tuple(range(1001, 1401)))
    random_model(tmp_path / "a.cat")
    # Where the tests run in the background, Ctrl-C is ignored, and a process inherits that.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = start_copycat("infer", "a.cat", "plate.%04d.exr", "made/%04d.exr", cwd=tmp_path, **heard)
    while not list(tmp_path.glob("made/*.exr")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    written = sorted((tmp_path / "made").iterdir())
    assert 0 < len(written) < 400
    for path in written:
        assert read_frame(path, ["R", "G", "B"]).pixels.shape == (64, 64, 3)


def test_a_real_process_prints_lines_and_nothing_on_standard_error(tmp_path: Path) -> None:
    write_shot(tmp_path)
    words = ("train", "plate.%04d.exr", "clean.%04d.exr", "-d", "runs", *SMALL)
    status, out, err = run_copycat(*words)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert re.match(r"\[Step:3/3\] loss 0\.\d+, [\d.]+ steps/s, stage 1/1, 0:00:00 left", lines[-2])


# -- knobs --------------------------------------------------------------------------------------------------------


def options_of(command: str) -> set[str]:
    """All names of all options of a command."""
    parsed = typer.main.get_command(app).commands[command]
    return {name for option in parsed.params for name in (*option.opts, *option.secondary_opts)}


@pytest.mark.parametrize(("command", "settings"), [("train", Settings), ("infer", InferenceSettings)])
def test_every_knob_is_an_option_under_its_name_and_alias(command: str, settings: type[Settings]) -> None:
    options = options_of(command)
    for knob in settings.knobs():
        if "cli" in knob.shown_on and knob.name != "modelFile":  # the model is the command's argument
            expected = {f"--{str(knob.field).replace('_', '-')}"}
            if knob.alias:
                expected.add(f"--{knob_kebab(knob.alias)}")
            if knob.kind == "bool":
                expected |= {name.replace("--", "--no-", 1) for name in expected}
            assert expected <= options
    assert "--frames" in options


@pytest.mark.parametrize("command", ["train", "resume", "infer", "export", "info", "runs", "check"])
def test_every_command_explains_itself(command: str, copycat: Copycat) -> None:
    status, out, _ = copycat(command, "--help")
    assert status == 0
    assert f"Usage: copycat {command}" in out


def test_options_go_before_the_settings_file_which_goes_before_the_defaults(
    copycat: Copycat, shot: Shot, tmp_path: Path
) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"epochs": 7, "cropSize": 32, "modelSize": "Small", "seed": 5}))
    status, _, err = copycat(
        "train", shot.input, shot.ground_truth, "-d", "runs", "--settings", "s.json", "--epochs", 2,
        "--no-use-multi-resolution", "--model-size", "medium",
    )  # fmt: skip
    assert status == 0, err
    stored = read_json(find_run(tmp_path / "runs").provenance)["settings"]
    assert (stored["epochs"], stored["cropSize"], stored["seed"], stored["checkpointInterval"]) == (2, 32, 5, 1000)
    assert (stored["useMultiResolutionTraining"], stored["modelSize"]) == (False, "Medium")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--crop-size", "100"), "100"),
        (("--model-size", "Huge"), "Huge"),
        (("--epochs", "many"), "--epochs"),
        (("--epoch-s", "3"), "--epoch-s"),
        (("stray",), "stray"),
    ],
)
def test_wrong_usage_is_status_2(words: tuple[str, ...], said: str, copycat: Copycat, shot: Shot) -> None:
    status, _, err = copycat("train", shot.input, shot.ground_truth, "-d", "runs", *SMALL, *words)
    assert status == 2
    assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--epochs", "0"), "Epochs (epochs) is at least 1"),
        (("--difference-share", "2"), "Difference Share (differenceShare) is at least 0 and at most 1, not 2.0"),
        (("--pair", "a.exr"), "--pair needs an Input and a Ground Truth"),
        (("--initial-weights", "Checkpoint"), "Checkpoint File is empty"),
        (("--validation-input", "v.exr"), "validation needs both"),
        (("--minutes", "1"), "Epochs has no effect beside a Time Limit"),
        (("--batch-size", "3", "--batch-size-type", "Auto"), "no effect while Batch Size is Auto: set it to Manual"),
        (("--before-render", "nowhere:f"), "before_render callback 'nowhere:f' cannot be found"),
    ],
)
def test_wrong_values_are_sentences(words: tuple[str, ...], said: str, copycat: Copycat, shot: Shot) -> None:
    status, _, err = copycat("train", shot.input, shot.ground_truth, "-d", "runs", *SMALL, *words)
    assert status == 1
    assert said in err
    assert not Path("runs").exists()


def test_a_mask_belongs_to_the_first_pair(copycat: Copycat, shot: Shot) -> None:
    status, _, err = copycat("train", "--pair", shot.input, shot.ground_truth, "--mask", "m.exr", "-d", "runs", *SMALL)
    assert status == 1
    assert "a training needs both an Input and a Ground Truth; there is only m.exr" in err


# -- info, runs, check ----------------------------------------------------------------------------------------------


def test_version_says_what_was_compiled_in(copycat: Copycat) -> None:
    import copycat as package

    status, out, _ = copycat("--version")
    assert status == 0
    assert out.startswith(f"copycat {package.__version__} (")
    assert "CPU kernels" in out


def test_info_of_models_and_images(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    model = random_model(tmp_path / "m.cat", ("R", "G", "B"), ("A",))
    status, out, err = copycat("info", model, shot.folder / "plate.1001.exr")
    assert status == 0, err
    assert re.search(r"channels\s+R,G,B -> A", out)
    assert re.search(r"size\s+64x64", out)
    facts = json.loads(copycat("info", "--json", model)[1])
    assert (facts["step"], facts["model size"]) == (100, "Small")


@pytest.mark.parametrize("name", ["m.pt", "m.onnx"])
def test_export(name: str, tmp_path: Path, tiny: None) -> None:
    random_model(tmp_path / "m.cat", ("R", "G", "B"), ("A",))
    assert run_copycat("export", "m.cat", name, cwd=tmp_path) == (0, f"{name}: R,G,B -> A\n", "")
    assert (tmp_path / name).stat().st_size > 10_000


def test_export_as_something_else_is_a_sentence(copycat: Copycat, tmp_path: Path) -> None:
    model = random_model(tmp_path / "m.cat")
    status, _, err = copycat("export", model, "m.txt")
    assert (status, err) == (1, "error: m.txt: ends neither in .pt (TorchScript) nor in .onnx (ONNX)\n")


def test_runs_lists_what_was_trained(copycat: Copycat, shot: Shot) -> None:
    for name in ("first", "second"):
        assert copycat("train", shot.input, shot.ground_truth, "-d", "runs", "--run-name", name, *SMALL)[0] == 0
    status, out, _ = copycat("runs", "runs")
    assert status == 0
    assert out.index("second") < out.index("first")
    rows = json.loads(copycat("runs", "runs", "--json")[1])
    assert [(row["name"], row["steps"], row["state"]) for row in rows] == [
        ("second", 3, "finished"),
        ("first", 3, "finished"),
    ]
    assert len(find_runs("runs")) == 2


def test_check_says_what_is_wrong_and_trains_nothing(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    status, _, err = copycat("check", shot.input, shot.ground_truth, "--crop-size", 32)
    assert status == 0, err
    spoiled = picture(1002)
    spoiled[5, 5] = np.nan
    write_frame(shot.folder / "clean.1002.exr", spoiled, ("R", "G", "B"))
    status, out, _ = copycat("check", shot.input, shot.ground_truth)
    assert status == 1
    assert "clean.1002.exr" in out
    findings = json.loads(copycat("check", shot.input, shot.ground_truth, "--json")[1])
    assert any(finding["severity"] == "error" for finding in findings)
    assert not list(tmp_path.glob("**/*.summary"))


def test_a_preview_and_a_validation_through_the_command_line(copycat: Copycat, shot: Shot, tmp_path: Path) -> None:
    held = write_shot(tmp_path / "held", (2001,))
    status, _, err = copycat(
        "train", shot.input, shot.ground_truth, "-d", "runs", *SMALL, "--preview", held.input,
        "--validation-input", held.input, "--validation-ground-truth", held.ground_truth,
    )  # fmt: skip
    assert status == 0, err
    run = find_run(tmp_path / "runs")
    assert run.previews()
    assert run.best.exists()
    assert [record for record in summary(run) if "psnr" in record]


def test_a_terminal_s_bar_says_how_far_the_reading_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with terminal.training_display() as show:
        for n in range(1, 4):
            show(Report(run="a", step=0, message=f"reading frame pairs: {n} of 3", counts=True))
        show(Report(run="a", step=0, message="Auto: trains on CPU"))
        show(Report(run="a", step=7, total_steps=9))
    lines = Text.from_ansi(capsys.readouterr().out.replace("\r", "\n")).plain.splitlines()
    assert "Auto: trains on CPU" in lines
    assert not [line for line in lines if line.startswith("reading")]
    assert "7/9" in lines[-1]


def test_a_log_says_every_ten_seconds_how_far_the_reading_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, *(4.0 * n for n in range(1, 8))])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with terminal.training_display() as show:
        for n in range(1, 7):
            show(Report(run="a", step=0, message=f"reading frame pairs: {n} of 6", counts=True))
        show(Report(run="a", step=0, message="Auto: trains on CPU"))
    assert capsys.readouterr().out.splitlines() == [
        "reading frame pairs: 3 of 6",
        "reading frame pairs: 6 of 6",
        "Auto: trains on CPU",
    ]
