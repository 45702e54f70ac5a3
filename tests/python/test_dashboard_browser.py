"""The Progress page in a real browser: Chromium, driven from outside, against a server process of its own.

Over 400 lines: all tests share one server and one browser, which take seconds to start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import OpenImageIO
import pytest
from copycat.runs import Display, Run, SummaryWriter, TrainerLock, find_runs, read_info, trainer_lives, write_whole
from fake_trainer import header, picture, step_record
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

TRAINER = Path(__file__).with_name("fake_trainer.py")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHART = "getElement(document.querySelector('.graph').id.slice(1)).chart"
expect.set_options(timeout=30000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = [path for name in names if (path := shutil.which(name))]
    found += [path for path in ["/Applications/Chromium.app/Contents/MacOS/Chromium"] if os.path.exists(path)]
    assert found, "the browser tests need Chromium: run tests/install_browser.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, directory: Path) -> Iterator[Open]:
    """Opens the page of ``directory`` (a second call opens it in another browser session)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["OMP_NUM_THREADS"] = "1"  # the training it starts is tiny
    server = subprocess.Popen(
        [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory.parent,
        env=environment,  # NiceGUI behaves otherwise where it sees pytest
    )
    assert server.stdout is not None
    address = server.stdout.readline().strip().rpartition(" ")[2]
    assert address.startswith("http://127.0.0.1:"), address
    contexts, problems = [], []

    def open_page(width: int = 1440, height: int = 900, options: str = "") -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", urlsplit(address).port or 0), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        page.goto(f"{address}&{options}")
        expect(page.locator(".runs .ag-root")).to_be_attached()
        return page

    yield open_page
    for context in contexts:
        context.close()
    server.terminate()
    server.wait(20)
    server.stdout.close()
    assert problems == []


def make_run(directory: Path, name: str, steps: int = 300, end: str | None = "finished", pictures: bool = True) -> Run:
    run = Run(directory, name)
    writer = SummaryWriter(run)
    writer.append(header(steps), *(step_record(step, steps) for step in range(1, steps + 1)))
    writer.append({"step": steps // 2, "psnr": 31.5}, {"step": steps, "psnr": 33.25})
    if end:
        writer.append({"end": end, "reason": "", "step": steps})
    writer.close()
    if pictures:
        for step in (100, 200, 300):
            write_whole(run.contact_sheet(step), picture(96, 96, step % 251))
    return run


def row(page: Page, name: str) -> Locator:
    return page.locator(f'.runs .ag-row[row-id="{name}"]')


def chart(page: Page, path: str) -> Any:
    return page.evaluate(f"() => {CHART}.getOption(){path}")


def wait_for(condition: Callable[[], object], page: Page, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except Error as error:  # a page that lost its server for a while loads itself anew
            if "Execution context was destroyed" not in str(error):
                raise
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(50)


def series(page: Page) -> dict[str, list[list[float]]]:
    """The points of each line by its id; what was taken away leaves a hole in the chart's list."""
    lines = chart(page, ".series.map(line => line && [line.id, line.data])")
    return dict(line for line in lines if line)


@pytest.fixture
def trainer(directory: Path) -> Iterator[Callable[..., Run]]:
    children = []

    def start(name: str, *options: str) -> Run:
        child = subprocess.Popen([sys.executable, str(TRAINER), str(directory), name, *options])
        children.append(child)
        return Run(directory, name)

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_the_page_shows_runs_curves_states_and_pictures(open_page: Open, directory: Path) -> None:
    make_run(directory, "first")
    make_run(directory, "second", end=None, pictures=False)
    page = open_page()
    expect(row(page, "first")).to_contain_text("finished")
    expect(row(page, "second")).to_contain_text("killed")
    expect(row(page, "first")).to_contain_text("33.25")
    expect(row(page, "first")).to_contain_text("Medium")
    wait_for(lambda: set(series(page)) >= {"first", "first/original", "first/validation", "second"}, page)
    row(page, "first").locator("input[type=radio]").click()
    expect(page.locator(".viewer")).to_have_attribute("data-shown", "300")
    expect(page.locator(".chip")).to_have_text("TRAINING: first - STEP: 300")
    marks = chart(page, ".series.find(line => line && line.id === 'first').markLine.data")
    assert [(mark["xAxis"], mark["label"]["formatter"]) for mark in marks] == [(101, "1/2"), (201, "full")]
    assert Display.read(directory).active == "first"
    row(page, "second").locator("input[type=checkbox]").click()
    wait_for(lambda: not any(name.startswith("second") for name in series(page)), page)
    assert not Display.read(directory).shown("second")


def test_the_name_s_column_takes_the_width_that_is_left(open_page: Open, directory: Path) -> None:
    """Older NiceGUIs fit columns by themselves, which ends the grid's own way, at times with invisible rows."""
    make_run(directory, "r")
    page = open_page()
    expect(row(page, "r").locator('[col-id="name"]')).to_be_visible()
    grid = "getElement(document.querySelector('.runs').id.slice(1)).api"
    flex = page.evaluate(f"() => Object.fromEntries({grid}.getColumnState().map(c => [c.colId, c.flex]))")
    assert (flex["name"], flex["steps"], flex["state"], flex["size"]) == (3, 1, 1, None)


def test_the_knobs_of_the_graph(open_page: Open, directory: Path) -> None:
    make_run(directory, "r")
    page = open_page()
    wait_for(lambda: "r" in series(page), page)
    smoothed = series(page)["r"]
    losses = [float(step_record(step, 300)["loss"]) for step in (1, 2)]
    assert smoothed[0][1] == pytest.approx(losses[0], rel=1e-4)
    assert smoothed[1][1] == pytest.approx((0.6 * losses[0] + losses[1]) * 0.4 / (1 - 0.36), rel=1e-4)
    assert smoothed[1][2] == pytest.approx(losses[1], rel=1e-4)
    assert chart(page, ".yAxis[0].type") == "value"
    page.get_by_text("Log Scale", exact=True).click()
    wait_for(lambda: chart(page, ".yAxis[0].type") == "log" and series(page), page)
    assert chart(page, ".yAxis[0].name") == "Loss"
    page.get_by_text("Show Original Curve", exact=True).click()
    wait_for(lambda: "r/original" not in series(page), page)
    page.get_by_text("Show Validation", exact=True).click()
    wait_for(lambda: list(series(page)) == ["r"], page)
    page.get_by_role("button", name="X+").click()
    wait_for(lambda: chart(page, ".dataZoom[0].end") < 90, page)
    wait_for(lambda: len(series(page)["r"]) < 200, page)
    page.get_by_role("button", name="Y+").click()
    wait_for(lambda: chart(page, ".yAxis[0].max") is not None, page)
    page.locator(".zoom").get_by_role("button", name="Fit").click()
    wait_for(lambda: chart(page, ".dataZoom[0].end") == 100 and chart(page, ".yAxis[0].max") is None, page)
    page.locator(".graph").hover(position={"x": 300, "y": 150})
    expect(page.locator(".tip tr")).to_contain_text(re.compile(r"Step \d+.*Loss 0\..*Smoothed 0\..*0:00:0"))
    page.mouse.wheel(0, -400)
    wait_for(lambda: chart(page, ".dataZoom[0].end") < 100, page)


def test_the_address_says_what_the_knobs_stand_at(open_page: Open, directory: Path) -> None:
    make_run(directory, "r")
    page = open_page(options="logScale=true&smoothness=0.2&showOriginal=false&showValidation=false&liveUpdates=true")
    wait_for(lambda: list(series(page)) == ["r"], page)
    assert chart(page, ".yAxis[0].type") == "log"
    losses = [float(step_record(step, 300)["loss"]) for step in (1, 2)]
    assert series(page)["r"][1][1] == pytest.approx((0.2 * losses[0] + losses[1]) * 0.8 / (1 - 0.04), rel=1e-4)
    switches = page.locator(".tool-switch")
    states = {switches.nth(i).inner_text(): switches.nth(i).get_attribute("aria-checked") for i in range(4)}
    assert states == {
        "Live Updates": "true",
        "Log Scale": "true",
        "Show Original Curve": "false",
        "Show Validation": "false",
    }
    nonsense = open_page(options="smoothness=7&logScale=true&more=1")
    expect(nonsense.get_by_text("Smoothness (smoothness) is at least 0 and at most 1")).to_be_visible()
    wait_for(lambda: "r/original" in series(nonsense), nonsense)
    assert chart(nonsense, ".yAxis[0].type") == "value"


def test_a_double_click_renames_all_files_and_a_clash_is_refused(open_page: Open, directory: Path) -> None:
    make_run(directory, "old")
    make_run(directory, "other")
    page = open_page()

    def rename(name: str, to: str) -> None:
        row(page, name).locator('[col-id="name"]').dblclick()
        page.locator(".ag-cell-editor input").fill(to)
        page.keyboard.press("Enter")

    rename("old", "new name")
    expect(row(page, "new name")).to_be_visible()
    expect(row(page, "old")).to_have_count(0)
    assert {run.name for run in find_runs(directory)} == {"new name", "other"}
    assert Run(directory, "new name").contact_sheet(300).exists()
    rename("new name", "other")
    expect(page.get_by_text("there is already a run 'other'")).to_be_visible()
    expect(row(page, "new name").locator('[col-id="name"]')).to_have_text("new name")
    rename("new name", "../../etc/passwd")
    expect(page.get_by_text("is no name for a run")).to_be_visible()
    assert {run.name for run in find_runs(directory)} == {"new name", "other"}


def test_the_slider_the_keys_and_the_wipe(open_page: Open, directory: Path) -> None:
    run = make_run(directory, "r")
    write_whole(run.preview(200), picture(64, 48, 7))
    page = open_page()
    viewer = page.locator(".viewer")
    expect(viewer).to_have_attribute("data-shown", "300")
    page.locator("input.steps").fill("0")
    expect(viewer).to_have_attribute("data-shown", "100")
    expect(page.locator(".chip")).to_contain_text("STEP: 100")
    page.locator(".stage").click()
    page.keyboard.press("ArrowRight")
    expect(viewer).to_have_attribute("data-shown", "200")
    page.keyboard.press("End")
    expect(viewer).to_have_attribute("data-shown", "300")
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_have_attribute("data-shown", "200")

    def pixel(x: float, y: float) -> list[int]:
        return page.evaluate(
            "([x, y]) => { const c = document.querySelector('.stage canvas');"
            "return [...c.getContext('2d').getImageData(c.width * x, c.height * y, 1, 1).data].slice(0, 3); }",
            [x, y],
        )

    # The test pictures shade each cell by 60 * row + 30 * column + step.
    page.get_by_role("button", name="Wipe").click()
    page.get_by_label("Crop").select_option(label="Crop 1")
    wait_for(lambda: pixel(0.45, 0.5)[0] == (2 * 60 + 200) % 256, page)
    assert pixel(0.55, 0.5)[0] == (2 * 60 + 2 * 30 + 200) % 256
    page.get_by_label("Crop").select_option(label="Crop 3")
    wait_for(lambda: pixel(0.45, 0.5)[0] == 200, page)
    page.get_by_label("Left of the wipe").select_option(label="Ground Truth")
    wait_for(lambda: pixel(0.45, 0.5)[0] == 230, page)
    box = page.locator(".stage").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=4)
    page.mouse.up()
    wait_for(lambda: pixel(0.7, 0.5)[0] == 230, page)
    page.get_by_label("Exposure").fill("1")
    assert "copycat-exposure" in page.locator(".stage canvas").evaluate("canvas => getComputedStyle(canvas).filter")
    page.mouse.wheel(0, -300)
    page.get_by_role("button", name="Preview").click()
    expect(viewer).to_have_attribute("data-shown", "200")
    expect(page.locator(".chip")).to_have_text("PREVIEW: r - STEP: 200")


def test_two_readers_follow_a_training_and_one_renames_and_stops_it(
    open_page: Open, directory: Path, trainer: Callable[..., Run]
) -> None:
    first, second = open_page(), open_page(390, 844)
    expect(first.locator(".ag-overlay-no-rows-center, .ag-overlay")).to_contain_text("No runs yet")
    run = trainer("live", "--pictures", "20")
    expect(row(first, "live")).to_contain_text("training")
    expect(row(second, "live")).to_be_visible()

    def steps(page: Page) -> int:
        return int(page.evaluate("() => document.querySelector('.reading')?.textContent.split(' ')[0]") or 0)

    for page in (first, second):
        wait_for(lambda page=page: steps(page) > 30, page)
        wait_for(lambda page=page: chart(page, ".xAxis[0].max") > 30, page)
    shown_step = int(first.locator(".viewer").get_attribute("data-shown") or 0)
    wait_for(lambda: int(first.locator(".viewer").get_attribute("data-shown") or 0) > shown_step, first)
    written = read_info(run).steps
    wait_for(lambda: steps(first) >= written, first)
    row(first, "live").locator('[col-id="name"]').dblclick()
    first.locator(".ag-cell-editor input").fill("hero")
    first.keyboard.press("Enter")
    expect(row(second, "hero")).to_be_visible()
    renamed = Run(directory, "hero")
    assert trainer_lives(renamed)
    first.get_by_role("button", name="Stop Training").click()
    expect(row(second, "hero").locator('[col-id="name"]')).to_be_visible()
    expect(first.locator(".status-head .state")).to_have_text("stopped")
    assert not trainer_lives(renamed)
    assert run.files() == []


def test_a_run_made_elsewhere_is_polled_only_with_live_updates(open_page: Open, directory: Path) -> None:
    run = make_run(directory, "farm", end=None, pictures=False)
    run.file(".lock").write_text(json.dumps({"host": "render-node-7", "pid": 1, "heartbeat": 0}))
    page = open_page()
    expect(row(page, "farm")).to_contain_text("training")
    wait_for(lambda: "farm" in series(page), page)
    with run.summary.open("a") as stream:
        stream.write(json.dumps(step_record(301, 300)) + "\n")
    page.wait_for_timeout(2500)
    assert chart(page, ".xAxis[0].max") == 300
    page.get_by_text("Live Updates", exact=True).click()
    wait_for(lambda: chart(page, ".xAxis[0].max") == 301, page)
    with run.summary.open("a") as stream:
        stream.write(json.dumps(step_record(302, 300)) + "\n")
    wait_for(lambda: chart(page, ".xAxis[0].max") == 302, page)


def test_hostile_names_and_texts_stay_text(open_page: Open, directory: Path) -> None:
    bait = "<img src=x onerror=alert(1)>"
    (directory / f"{bait}.summary").write_text('{"step": 1, "loss": 1}\n')
    run = Run(directory, "r")
    writer = SummaryWriter(run)
    writer.append({"run": {"modelSize": bait, "totalSteps": 5, "warnings": [bait]}}, step_record(1, 5))
    writer.append({"end": "failed", "reason": bait, "step": 1})
    writer.close()
    (directory / "copycat.json").write_text(json.dumps({"runs": {"r": {"colour": f"red{bait}"}}}))
    page = open_page()
    expect(row(page, "r")).to_contain_text(bait)
    expect(page.locator(".status-head + * ~ .reason")).to_have_text(bait)
    expect(page.locator(".runs .ag-row")).to_have_count(1 * page.locator(".runs .ag-body-viewport").count())
    wait_for(lambda: "r" in series(page), page)
    page.locator(".graph").hover(position={"x": 300, "y": 150})
    assert page.locator("img[src=x]").count() == 0


def test_a_torn_last_line_and_an_unreadable_directory(open_page: Open, directory: Path) -> None:
    run = make_run(directory, "torn", end=None, pictures=False)
    with run.summary.open("a") as stream:
        stream.write('{"step": 301, "lo')
    page = open_page()
    expect(row(page, "torn")).to_contain_text("300")
    wait_for(lambda: chart(page, ".xAxis[0].max") == 300, page)
    directory.rename(directory.with_name("gone"))
    expect(page.get_by_text("the Data Directory cannot be read")).to_be_visible()
    directory.with_name("gone").rename(directory)
    expect(page.get_by_text("the Data Directory cannot be read")).to_have_count(0)


def test_200_runs(open_page: Open, directory: Path) -> None:
    for number in range(200):
        make_run(directory, f"run_{number:03}", steps=90, pictures=False)
    page = open_page()
    wait_for(lambda: chart(page, ".series.length") == 600, page)
    expect(page.get_by_text("200", exact=True)).to_be_visible()
    page.get_by_placeholder("Filter").fill("run_17")
    expect(row(page, "run_171")).to_be_visible()
    expect(row(page, "run_180")).to_have_count(0)


def test_a_million_points(open_page: Open, directory: Path) -> None:
    steps = 1_000_000
    losses = [step_record(step, 1000)["loss"] for step in range(1000)]
    with (directory / "long.summary").open("w") as stream:
        stream.write(json.dumps(header(steps)) + "\n")
        for step in range(1, steps + 1):
            stream.write(f'{{"step":{step},"loss":{losses[step % 1000]},"level":1,"time":{step // 100}}}\n')
        peak = {"step": steps + 1, "loss": 1.0, "level": 1, "time": 1e4}
        stream.write(json.dumps(peak) + "\n" + json.dumps({"end": "finished", "step": steps}) + "\n")
    page = open_page()
    expect(row(page, "long")).to_contain_text("1000001")
    wait_for(lambda: "long/original" in series(page), page)
    original = series(page)["long/original"]
    assert len(original) < 3000
    assert max(point[1] for point in original) == 1.0
    page.locator(".graph").hover(position={"x": 400, "y": 150})
    for _ in range(20):
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(40)

    def shown() -> list[float]:
        return [point[0] for point in series(page)["long/original"]]

    wait_for(lambda: shown()[-1] - shown()[0] < 200_000, page)
    gaps = [after - before for before, after in zip(shown(), shown()[1:], strict=False)]
    assert max(gaps) < 400  # the part on the screen came anew, at its own resolution


def test_delete_asks_and_create_inference_shows_the_texts(open_page: Open, directory: Path) -> None:
    run = make_run(directory, "r")
    write_whole(run.checkpoint(300), b"x")
    page = open_page()
    page.get_by_role("button", name="Create Inference").click()
    model = re.escape(str(run.checkpoint(300)))
    texts = page.locator(".copy-text")
    expect(texts.nth(0)).to_have_text(re.compile(rf"^copycat infer '?{model}'? "))
    expect(texts.nth(1)).to_have_text(re.compile(rf'^OFXorg.copycat.Inference_v1 {{.*modelFile "{model}"', re.DOTALL))
    expect(texts.nth(2)).to_have_text(re.compile(r"app.createNode\(\"org.copycat.Inference\"\)"))
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Delete this run: r").click()
    page.locator(".q-card.question").get_by_role("button", name="Cancel").click()
    assert run.summary.exists()
    page.get_by_role("button", name="Delete this run: r").click()
    page.locator(".q-card.question").get_by_role("button", name="Delete").click()
    expect(row(page, "r")).to_have_count(0)
    assert run.files() == []


def test_the_training_dialog_names_what_is_wrong(open_page: Open, directory: Path) -> None:
    page = open_page()
    page.get_by_role("button", name="Start Training").click()
    start = page.locator(".q-card.training").get_by_role("button", name="Start Training")
    start.click()
    expect(page.get_by_text("name the Input and the Ground Truth to train on")).to_be_visible()
    page.get_by_label("Input", exact=True).fill(str(directory / "plate.####.exr"))
    start.click()
    expect(page.get_by_text("belong together")).to_be_visible()
    page.get_by_label("Ground Truth", exact=True).fill(str(directory / "truth.####.exr"))
    page.get_by_label("Epochs", exact=True).fill("0")
    start.click()
    expect(page.get_by_text("Epochs (epochs) is at least 1")).to_be_visible()
    page.get_by_label("Epochs", exact=True).fill("5")
    other = Run(directory, "other")
    lock = TrainerLock(other)
    lock.inheritance()
    expect(page.locator(".status-head .state")).to_have_text("starting")
    expect(page.get_by_role("button", name="Stop Training")).to_be_enabled()
    start.click()
    expect(page.get_by_text("run other is starting already: wait until it trains, or stop it")).to_be_visible()
    lock.release(other)
    start.click()
    expect(page.get_by_text("is starting; its steps show here")).to_be_visible()
    expect(page.locator(".q-notification", has_text="plate")).to_have_count(1, timeout=60000)
    assert [path.name for path in directory.iterdir()] == ["copycat.json"]
    assert Display.read(directory).active is None


def test_a_real_training_is_started_followed_stopped_and_resumed(
    open_page: Open, directory: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for frame in (1, 2):
        pixels = rng.random((48, 64, 3), np.float32)
        for name, data in (("plate", pixels), ("truth", pixels * 0.5)):
            image = OpenImageIO.ImageBuf(np.ascontiguousarray(data))
            assert image.write(str(tmp_path / f"{name}.{frame:04}.exr"))
    page = open_page()
    page.get_by_role("button", name="Start Training").click()
    page.get_by_label("Input", exact=True).fill(str(tmp_path / "plate.####.exr"))
    page.get_by_label("Ground Truth", exact=True).fill(str(tmp_path / "truth.####.exr"))
    page.get_by_label("Epochs", exact=True).fill("1000000")
    page.get_by_role("tab", name="Advanced").click()
    for label, choice in (("Model Size", "Small"), ("Crop Size", "32")):
        page.get_by_label(label, exact=True).click()
        page.get_by_role("option", name=choice, exact=True).click()
    page.get_by_label("Contact Sheet Interval").fill("5")
    page.locator(".q-card.training").get_by_role("button", name="Start Training").click()
    state = page.locator(".status-head .state")

    def steps() -> int:
        return int(page.locator(".reading").first.text_content().split(" ")[0])  # type: ignore[union-attr]

    try:
        expect(state).to_have_text("training", timeout=60000)
        wait_for(lambda: steps() > 10, page, 60)
        wait_for(lambda: int(page.locator(".viewer").get_attribute("data-shown") or 0) >= 5, page)
        page.get_by_role("button", name="Stop Training").click()
        expect(state).to_have_text("stopped", timeout=30000)
        (run,) = find_runs(directory)
        reached = read_info(run).steps
        assert run.checkpoints()[-1][0] == reached
        page.get_by_role("button", name="Resume Training").click()
        expect(state).to_have_text("training", timeout=60000)
        wait_for(lambda: steps() > reached, page, 60)
        page.get_by_role("button", name="Stop Training").click()
        expect(state).to_have_text("stopped", timeout=30000)
        page.get_by_role("button", name="Finish Training").click()
        expect(state).to_have_text("finished", timeout=120000)
        assert not page.locator(".q-notification.bg-negative").count()
    finally:
        for run in find_runs(directory):
            if trainer_lives(run):
                os.kill(json.loads(run.file(".lock").read_text())["pid"], signal.SIGKILL)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_nothing_sticks_out(open_page: Open, directory: Path, size: tuple[int, int]) -> None:
    make_run(directory, "a run with quite a long name, as they happen".replace(",", ""))
    page = open_page(*size)
    expect(page.locator(".viewer")).to_have_attribute("data-shown", "300")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    page.get_by_label("Light or dark").click()
    expect(page.locator("body.body--light")).to_be_visible()
    page.reload()
    expect(page.locator("body.body--light")).to_be_visible()
