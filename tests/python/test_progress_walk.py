"""The painting loop on the page, in a real browser with a real training: from an empty folder to a rendered shot."""

from __future__ import annotations

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import graded, picture, random_model, write_shot
from copycat.inference.model import load
from copycat.inference.render import infer
from copycat.model import cat
from copycat.runs import Run, find_runs, read_provenance, trainer_lives
from copycat.sequence import read_frame, write_frame
from playwright.sync_api import Page, expect
from test_dashboard_browser import Open, browser, directory, open_page, wait_for

__all__ = ["browser", "directory", "open_page"]  # fixtures

FRAMES = (1001, 1002, 1003, 1004, 1005, 1006)
RGB = ("R", "G", "B")
SIZE = (96, 64)


def shown(page: Page) -> str:
    return str(page.locator(".shot").get_attribute("data-shown"))


def go_to(page: Page, frame: int) -> None:
    page.get_by_label("Frame number").fill(str(frame))
    page.keyboard.press("Enter")
    page.locator(".shot .shot-stage").focus()


def pixel(page: Page, x: float, y: float = 0.5) -> list[int]:
    """The displayed colour at a place of the picture, as fractions of its canvas."""
    return page.evaluate(
        "([x, y]) => { const c = document.querySelector('.shot .shot-stage canvas');"
        "return [...c.getContext('2d').getImageData(c.width * x, c.height * y, 1, 1).data].slice(0, 3); }",
        [x, y],
    )


def colour(page: Page, x: float, share: float) -> np.ndarray:
    """The mean colour of a square around a place in the middle of the canvas; its side as a share of the width."""
    mean = page.evaluate(
        "([x, share]) => { const c = document.querySelector('.shot .shot-stage canvas');"
        "const side = Math.round(c.width * share);"
        "const d = c.getContext('2d').getImageData(c.width * x - side / 2, c.height / 2 - side / 2, side, side).data;"
        "return [0, 1, 2].map((i) => d.reduce((sum, v, at) => sum + (at % 4 === i ? v : 0), 0) / side ** 2); }",
        [x, share],
    )
    return np.array(mean)


def press_view(page: Page, name: str) -> None:
    page.locator(".shot .segments .tab", has_text=re.compile(f"^{name}$")).click()


def start(page: Page, folder: Path) -> None:
    """Starts a training of two painted frames in the page's dialog."""
    page.get_by_role("button", name="Start Training").click()
    page.get_by_label("Input", exact=True).fill(str(folder / "plate.####.exr"))
    page.get_by_label("Ground Truth", exact=True).fill(str(folder / "clean.####.exr"))
    dialog = page.locator(".q-card.training")
    dialog.get_by_role("button", name="Grade").click()
    page.get_by_label("Epochs", exact=True).fill("1000000")
    page.get_by_role("tab", name="Advanced").click()
    expect(page.get_by_label("Difference Share")).to_have_value("0.0")  # what the preset chose
    for label, choice in (("Model Size", "Small"), ("Crop Size", "32")):
        page.get_by_label(label, exact=True).click()
        page.get_by_role("option", name=choice, exact=True).click()
    dialog.get_by_role("button", name="Start Training").click()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shot(tmp_path / "shot", FRAMES, SIZE)
    for frame in FRAMES[1:-1]:
        (tmp_path / f"shot/clean.{frame}.exr").unlink()
    return tmp_path / "shot"


@pytest.mark.timeout(900)  # a busy machine fails no test
def test_from_an_empty_folder_to_a_rendered_shot(open_page: Open, directory: Path, folder: Path) -> None:
    page = open_page(options="view=shot")
    expect(page.locator(".shot .nothing")).to_contain_text("No run yet")
    notify(page)
    try:
        start(page, folder)
        # The newest weights show, though there is no checkpoint yet, and newer ones by themselves.
        wait_for(lambda: shown(page) == "Result@1001", page, 120)
        (run,) = find_runs(directory)
        assert run.checkpoints() == []
        step = int(page.locator(".shot").get_attribute("data-step") or 0)
        wait_for(lambda: int(page.locator(".shot").get_attribute("data-step") or 0) > step, page, 120)
        look_around(page)
        paint(page, folder)
        change_the_plan(page, run)
        page.get_by_role("button", name="Checkpoint Now").click()
        wait_for(lambda: bool(run.checkpoints()), page)
        preview(page, run, folder)
        page.get_by_role("button", name="Stop Training").click()
        expect(page.get_by_text(re.compile(f"{run.name} stopped: .* Resume Training goes on"))).to_be_visible()
        ((title, body),) = page.evaluate("notices")
        assert title == f"{run.name} stopped"
        assert body.endswith("Resume Training goes on; Finish Training ends it with a better model.")
        wait_for(lambda: page.title() == f"{run.name} stopped - copycat", page)
    finally:
        for run in find_runs(directory):
            if trainer_lives(run):
                os.kill(json.loads(run.file(".lock").read_text())["pid"], signal.SIGKILL)
    render(page, run, folder)


def look_around(page: Page) -> None:
    """Frames, views and layouts."""
    page.locator(".shot .shot-stage").focus()
    page.keyboard.press("ArrowRight")
    wait_for(lambda: shown(page) == "Result@1002", page)
    page.keyboard.press("]")
    wait_for(lambda: shown(page) == "Result@1006", page)
    page.keyboard.press("1")
    wait_for(lambda: shown(page) == "Input@1006", page)
    plate = pixel(page, 0.4)
    page.keyboard.press("3")
    wait_for(lambda: shown(page) == "Truth@1006", page)
    truth = pixel(page, 0.4)
    page.keyboard.press("w")
    page.get_by_label("Right view").select_option("Input")
    wait_for(lambda: pixel(page, 0.6) != [0, 0, 0], page)
    assert pixel(page, 0.4) == truth != plate  # left of the line
    press_view(page, "Single")
    page.keyboard.press("4")
    wait_for(lambda: shown(page) == "Difference@1006", page)
    expect(page.locator(".shot .chip").first).to_contain_text("DIFFERENCE TO TRUTH")
    page.keyboard.press("2")


def paint(page: Page, folder: Path) -> None:
    """A copy of the plate, which counts as painted once somebody saves it."""
    go_to(page, 1003)
    page.get_by_role("button", name="Paint this Frame").click()
    target = folder / "clean.1003.exr"
    expect(page.get_by_text(f"Paint {target} and save it")).to_be_visible()
    assert target.read_bytes() == (folder / "plate.1003.exr").read_bytes()
    summary = page.locator(".shot .summary")
    expect(summary).to_have_text("2 painted · 1 to paint")
    expect(page.get_by_role("button", name="Paint this Frame")).to_be_disabled()
    write_frame(target, graded(picture(1003, SIZE)), RGB)
    expect(summary).to_have_text("3 painted")
    expect(page.get_by_text(re.compile(r"step \d+: clean\.1003\.exr is new: training on 3 pairs"))).to_be_visible(
        timeout=60000
    )


def notify(page: Page) -> None:
    """Allows desktop notifications as a user does, and keeps a list of those that the browser shows."""
    page.context.grant_permissions(["notifications"])
    page.evaluate(
        "() => { window.notices = []; const Real = Notification;"
        "window.Notification = class extends Real { constructor(title, options) {"
        "super(title, options); notices.push([title, options.body]); } }; }"
    )
    page.get_by_label("Desktop notifications").click()
    expect(page.get_by_text("You get a desktop notification when a run ends.")).to_be_visible()
    expect(page.locator(".bell")).to_contain_text("notifications_active")


def preview(page: Page, run: Run, folder: Path) -> None:
    """Another frame for the previews; one that does not exist is refused with a sentence."""
    for path in (folder / "gone.exr", folder / "plate.1005.exr"):
        page.get_by_role("button", name="Preview Frame").click()
        card = page.locator(".q-card.question")
        card.get_by_label("File").fill(str(path))
        card.get_by_role("button", name="Preview").click()
        if not path.exists():
            expect(page.get_by_text(re.compile(r"gone\.exr"))).to_be_visible(timeout=60000)
            assert run.previews() == []
    wait_for(lambda: bool(run.previews()), page, 120)
    assert read_provenance(run)["settings"]["preview"] == str(folder / "plate.1005.exr")


def change_the_plan(page: Page, run: Run) -> None:
    page.get_by_role("button", name="Change Plan").click()
    card = page.locator(".q-card.question")
    expect(card.get_by_label("From the run's start")).to_have_value("1000000")
    card.get_by_role("button", name="Minutes").click()
    card.get_by_label("From the run's start").fill("500")
    card.get_by_role("button", name="Change Plan").click()
    wait_for(lambda: read_provenance(run)["settings"]["minutes"] == 500, page)


def render(page: Page, run: Run, folder: Path) -> None:
    """Frames that are missing, then none, then the result plays."""
    output = folder.parent / "out/result.####.exr"
    panel = page.locator(".render-panel")
    page.get_by_label("Output").fill(str(folder / "clean.####.exr"))
    button = page.get_by_role("button", name="Render", exact=True)
    button.click()
    expect(page.get_by_text("is the run's Ground Truth; the result needs files of its own")).to_be_visible()
    page.get_by_label("Output").fill(str(output))
    panel.get_by_label("Frames").fill("1001-1002")
    button.click()
    expect(page.locator(".shot .summary")).to_contain_text("2 rendered", timeout=120000)
    written = {frame: output.with_name(f"result.{frame}.exr") for frame in FRAMES}
    kept = written[1001].stat().st_mtime_ns
    panel.get_by_label("Frames").fill("all")
    expect(button).to_be_enabled(timeout=120000)
    button.click()
    expect(page.locator(".shot .summary")).to_contain_text("6 rendered", timeout=120000)
    assert written[1001].stat().st_mtime_ns == kept
    plate, result = (read_frame(path, RGB).pixels for path in (folder / "plate.1004.exr", written[1004]))
    model = load(run.checkpoints()[-1][1], "cpu")
    assert np.abs(model(plate) - result).max() < 2e-3  # as half floats
    page.get_by_role("button", name="Play Result").click()
    frames: set[Any] = set()
    wait_for(lambda: frames.add(page.locator(".shot").get_attribute("data-frame")) or len(frames) > 2, page)
    wait_for(lambda: shown(page).startswith("Rendered@"), page)


def still_run(directory: Path, folder: Path, **settings: Any) -> Run:
    """A run that nobody trains, on the shot."""
    run = Run(directory, "r")
    pair = {"input": str(folder / "plate.####.exr"), "groundTruth": str(folder / "clean.####.exr"), "mask": ""}
    run.provenance.write_text(json.dumps({"settings": settings, "pairs": [pair], "frames": []}))
    run.summary.write_text('{"step": 1, "loss": 1}\n')
    return run


def test_a_matte_shows_over_backgrounds_and_doubtful_frames_have_keys(
    open_page: Open, directory: Path, folder: Path
) -> None:
    run = still_run(directory, folder, groundTruthChannels="A")
    run.file(".review").write_text('{"doubtful": [1004]}')
    write_frame(folder / "clean.1001.exr", np.full((SIZE[1], SIZE[0], 1), 0.25, np.float32), ("A",))
    page = open_page(options="view=shot")
    wait_for(lambda: page.locator(".shot").get_attribute("data-frame") == "1001", page)  # it takes keys now
    page.locator(".shot .shot-stage").focus()
    page.keyboard.press("1")
    wait_for(lambda: shown(page) == "Input@1001", page)
    plate = np.array(pixel(page, 0.5))
    page.keyboard.press("3")
    wait_for(lambda: shown(page) == "Truth@1001", page)
    assert pixel(page, 0.5) == [64, 64, 64]
    for name, expected in (
        ("White", plate * 64 / 255 + 255 * 191 / 255),
        ("Black", plate * 64 / 255),
        ("Overlay", plate * (1 - 0.6 * 64 / 255) + np.array([255, 40, 40]) * 0.6 * 64 / 255),
    ):
        page.get_by_label("Matte", exact=True).select_option(name)
        wait_for(lambda expected=expected: np.abs(np.array(pixel(page, 0.5)) - expected).max() <= 2, page)
    page.get_by_label("Matte", exact=True).select_option("Checker")
    cells = [plate * 64 / 255 + grey * 191 / 255 for grey in (90, 150)]

    def matches(x: float, cell: np.ndarray) -> bool:
        return bool(np.abs(np.array(pixel(page, x)) - cell).max() <= 2)

    wait_for(lambda: matches(0.5, cells[0]) or matches(0.5, cells[1]), page)
    across = [np.array(pixel(page, x)) for x in np.linspace(0.45, 0.55, 30)]
    assert np.ptp(across, axis=0).min() > 30  # both greys of the checker
    page.locator(".shot .shot-stage").focus()
    for key, frame in ((".", 1004), ("]", 1006), (",", 1004), ("[", 1001)):
        page.keyboard.press(key)
        wait_for(lambda frame=frame: page.locator(".shot").get_attribute("data-frame") == str(frame), page)
    expect(page.locator(".shot .summary")).to_have_text("2 painted · 1 doubtful")


def test_mattes_are_steadied_where_the_model_makes_some(
    open_page: Open, directory: Path, folder: Path, tmp_path: Path
) -> None:
    run, random = still_run(directory, folder, groundTruthChannels="A"), np.random.default_rng(1)
    still = random.random((SIZE[1], SIZE[0], 3))
    for frame in FRAMES:
        grain = random.normal(0, 0.004, still.shape)
        write_frame(folder / f"plate.{frame}.exr", (still + grain).astype(np.float32), RGB)
    header, weights = cat.load(random_model(run.checkpoint(100), channels_out=("A",)))
    page = open_page(options="view=shot")
    panel, steady = page.locator(".render-panel"), page.get_by_role("switch", name="Steady")
    expect(panel.get_by_role("button", name="Render", exact=True)).to_be_enabled(timeout=60000)
    expect(steady).to_have_count(0)  # colours are not averaged
    cat.save(
        run.checkpoint(200), replace(header, target_encoding=replace(header.target_encoding, matte=(True,))), weights
    )
    expect(steady).not_to_be_checked(timeout=60000)
    steady.click()
    page.get_by_label("Output").fill(str(tmp_path / "out/result.####.exr"))
    panel.get_by_role("button", name="Render", exact=True).click()
    expect(page.locator(".shot .summary")).to_contain_text("6 rendered", timeout=120000)
    for averaged, name in ((True, "steady"), (False, "plain")):
        infer(run.checkpoint(200), folder / "plate.####.exr", tmp_path / f"{name}.####.exr", steady=averaged)
    results, expected, plain = (
        np.stack([read_frame(tmp_path / f"{name}.{frame}.exr", ("A",)).pixels for frame in FRAMES])
        for name in ("out/result", "steady", "plain")
    )
    assert np.array_equal(results, expected)
    assert not np.array_equal(results, plain)


def test_two_steps_and_two_runs_show_side_by_side_on_one_frame(open_page: Open, directory: Path, folder: Path) -> None:
    run = still_run(directory, folder)
    other = Run(directory, "other")
    other.provenance.write_text(run.provenance.read_text())
    other.summary.write_text('{"step": 1, "loss": 1}\n')
    models = {run.checkpoint(100): "Small", run.checkpoint(200): "Medium", other.checkpoint(50): "Large"}
    for (path, size), step in zip(models.items(), (100, 200, 50), strict=True):
        header, weights = cat.load(random_model(path, size=size))
        cat.save(path, replace(header, step=step), weights)
    page = open_page()
    page.get_by_label("Activate r", exact=True).check()
    page.locator(".views").get_by_role("button", name="Shot").click()
    wait_for(lambda: page.locator(".shot").get_attribute("data-frame") == "1001", page)
    alone = {}
    for step in ("100", "200"):
        page.locator(".shot").get_by_label("Step", exact=True).select_option(step)
        wait_for(lambda step=step: page.locator(".shot").get_attribute("data-step") == step, page, 120)
        alone[step] = colour(page, 0.5, 0.2)
    assert np.abs(alone["100"] - alone["200"]).max() > 8
    press_view(page, "Side by Side")
    page.get_by_label("Right view").select_option("Result")
    page.get_by_label("Right step").select_option("100")
    chips = page.locator(".shot .chip")
    expect(chips.nth(0)).to_contain_text("RESULT  1001  STEP 200")
    expect(chips.nth(1)).to_contain_text("RESULT  1001  STEP 100")
    for place, step in ((0.25, "200"), (0.75, "100")):
        wait_for(lambda p=place, s=step: np.abs(colour(page, p, 0.1) - alone[s]).max() <= 4, page)
    page.get_by_label("Right run").select_option("other")
    expect(chips.nth(1)).to_contain_text("RESULT  1001  STEP 50", timeout=60000)
    wait_for(lambda: np.abs(colour(page, 0.75, 0.1) - alone["100"]).max() > 8, page)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_nothing_of_shot_view_sticks_out(open_page: Open, directory: Path, folder: Path, size: tuple[int, int]) -> None:
    still_run(directory, folder)
    page = open_page(*size, options="view=shot")
    wait_for(lambda: page.locator(".shot").get_attribute("data-frame") == "1001", page)  # it takes keys now
    page.locator(".shot .shot-stage").focus()
    page.keyboard.press("1")
    wait_for(lambda: shown(page) == "Input@1001", page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
