"""The painting loop on the Progress page, recorded: from an empty folder to a rendered shot, in a headless browser.

The shot is the first seconds of the demo's clip (Big Buck Bunny, (c) Blender Foundation, CC BY 3.0). The "artist"
presses the page's buttons and paints a weak frame by saving the film's clean one, which the running training takes in.
Needs Chromium and playwright. It leaves,
in ``--pictures``, those of README.md and docs/guides/progress.md: ``walk_through.jpg``, a strip of six steps, and
``page_*.jpg``.

    python -m examples.walk_through [--out FOLDER] [--pictures docs/pictures] [--minutes 6]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from copycat.runs import find_runs
from copycat.sequence import write_frame
from copycat.sequence.colour import from_srgb
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.tasks import decode, degrade

SIZE = (960, 540)
FIRST, COUNT = 1001, 24
PAINTED = (1001, 1012)
PAINTED_LATER = 1024
LOOKED_AT = 1018
CHANNELS = ("R", "G", "B")
WINDOW, PHONE = (1440, 900), (390, 844)
CELL = (640, 400)
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run"]


def main() -> None:
    """Makes the shot, drives the page, and writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo/walk_through"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/pictures"))
    parser.add_argument("--minutes", type=float, default=6.0, help="of training")
    args = parser.parse_args()
    out = args.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    clean = write_shot(out)
    (out / "runs").mkdir()
    server, address = start_page(out / "runs")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
            walk = Walk(browser, address, out, clean, args.minutes)
            walk.record()
            write_pictures(walk.shots, args.pictures)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def write_shot(out: Path) -> dict[int, np.ndarray]:
    """Writes the plate and two painted frames; returns what an artist would paint on each frame."""
    clean = {}
    for frame, picture in zip(range(FIRST, FIRST + COUNT), decode("bigbuckbunny.mp4"), strict=False):
        pixels = cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        plate, _ = degrade(pixels, frame - FIRST)
        clean[frame] = from_srgb(pixels)
        write_frame(out / f"plate/plate.{frame}.exr", from_srgb(plate), CHANNELS, dtype="half")
    for frame in PAINTED:
        write_frame(out / f"clean/clean.{frame}.exr", clean[frame], CHANNELS, dtype="half")
    return clean


def start_page(directory: Path) -> tuple[subprocess.Popen[str], str]:
    """The page's server and its address."""
    command = [sys.executable, "-m", "copycat", "progress", str(directory), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().strip().rpartition(" ")[2]
    time.sleep(2)
    return server, address


def chromium() -> str:
    """The browser's program."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), "")
    return found or sys.exit("Chromium is not installed: run tests/install_browser.sh")


class Walk:
    """What the artist does.

    Attributes:
        shots: the pictures taken, PNG by name.
    """

    def __init__(self, browser: Browser, address: str, out: Path, clean: dict[int, np.ndarray], minutes: float) -> None:
        self._browser, self._address, self._out, self._clean, self._minutes = browser, address, out, clean, minutes
        self.shots: dict[str, bytes] = {}
        self._page = self._open()

    def record(self) -> None:
        """The whole walk."""
        self._start()
        self._page.wait_for_timeout(self._minutes * 20e3)
        self._view("Shot")
        self._look("Result", LOOKED_AT)
        self._page.keyboard.press("w")
        self._page.get_by_label("Right view").select_option("Input")
        self._page.wait_for_timeout(4000)
        self._close_notices()
        self._take("3 wipe")
        self._page.keyboard.press("w")
        self._paint()
        self._wait(lambda: self._state() == "finished", self._minutes * 60 + 900)
        self._compare()
        self._view("Runs")
        self._page.wait_for_timeout(3000)
        self._close_notices()
        self._take("runs")
        self._view("Shot")
        self._render()
        self._portraits()

    def _start(self) -> None:
        page = self._page
        page.get_by_role("button", name="Start Training").click()
        page.get_by_label("Input", exact=True).fill(str(self._out / "plate/plate.####.exr"))
        page.get_by_label("Ground Truth", exact=True).fill(str(self._out / "clean/clean.####.exr"))
        dialog = page.locator(".q-card.training")
        dialog.get_by_role("button", name="Clean-up").click()
        page.get_by_label("Time Limit").fill(str(self._minutes))
        dialog.locator(".title").first.hover()  # no hint in the way
        page.wait_for_timeout(1500)
        self._take("1 start")
        page.get_by_role("tab", name="Advanced").click()
        for label, choice in (("Model Size", "Small"), ("Crop Size", "128")):
            page.get_by_label(label, exact=True).click()
            page.get_by_role("option", name=choice, exact=True).click()
        dialog.get_by_role("button", name="Start Training").click()
        self._wait(lambda: bool(find_runs(self._out / "runs")), 120)
        self._wait(lambda: self._steps() > 60, 600)
        page.get_by_role("button", name="Pictures Now").click()
        page.wait_for_timeout(9000)
        page.locator(".brand").hover()
        self._close_notices()
        self._take("2 train")

    def _paint(self) -> None:
        """Keeps the model as it is now, and paints the weakest frame while the training goes on."""
        page = self._page
        page.get_by_role("button", name="Checkpoint Now").click()
        (run,) = find_runs(self._out / "runs")
        self._wait(lambda: bool(run.checkpoints()), 120)
        self._look("Result", PAINTED_LATER)
        page.get_by_role("button", name="Paint this Frame").click()
        page.wait_for_timeout(2500)
        self._close_notices()
        target = self._out / f"clean/clean.{PAINTED_LATER}.exr"
        write_frame(target, self._clean[PAINTED_LATER], CHANNELS, dtype="half")
        page.get_by_text(f"{target.name} is new").wait_for()
        page.wait_for_timeout(500)
        self._take("4 paint")
        self._close_notices()

    def _compare(self) -> None:
        """How the weak frame differs from the truth: the checkpoint before it was painted beside the finished model."""
        page = self._page
        (run,) = find_runs(self._out / "runs")
        before = run.checkpoints()[0][0]
        self._close_notices()
        self._look("Difference", PAINTED_LATER)
        page.keyboard.press("s")
        page.get_by_label("Right view").select_option("Difference")
        page.locator(".shot").get_by_label("Step", exact=True).select_option(str(before))
        page.get_by_label("Right step").select_option("")
        page.get_by_label("Gain").fill("5")
        page.wait_for_timeout(6000)
        self._take("5 compare")
        page.locator(".shot").get_by_label("Step", exact=True).select_option("")
        page.locator(".shot .segments .tab", has_text="Single").click()

    def _render(self) -> None:
        page = self._page
        page.get_by_text("Optimize for Speed").click()
        page.get_by_role("button", name="Render", exact=True).click()
        self._wait(lambda: f"{COUNT} rendered" in page.locator(".shot .summary").inner_text(), 900)
        self._look("Rendered", LOOKED_AT)
        page.wait_for_timeout(1500)
        self._take("6 render")

    def _portraits(self) -> None:
        """The finished shot in both themes, on a desk and on a phone."""
        for name, size, theme in (
            ("shot_light", WINDOW, "light"),
            ("phone_dark", PHONE, "dark"),
            ("phone_light", PHONE, "light"),
        ):
            page = self._open(size, f"view=shot&theme={theme}")
            page.wait_for_function("document.querySelector('.shot')?.dataset.shown")  # its frames have come
            page.get_by_label("Frame number").fill(str(LOOKED_AT))
            page.keyboard.press("Enter")
            page.wait_for_function(f"document.querySelector('.shot').dataset.shown === 'Result@{LOOKED_AT}'")
            page.wait_for_timeout(1000)
            self.shots[name] = page.screenshot()
            page.context.close()

    def _open(self, size: tuple[int, int] = WINDOW, options: str = "") -> Page:
        page = self._browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
        page.set_default_timeout(120e3)
        page.goto(f"{self._address}&{options}")
        return page

    def _take(self, name: str) -> None:
        self.shots[name] = self._page.screenshot(path=self._out / f"{name}.png")
        print(f"[{time.strftime('%H:%M:%S')}] {name}", flush=True)

    def _close_notices(self) -> None:
        self._page.evaluate("document.querySelectorAll('.q-notification button').forEach((button) => button.click())")
        self._page.wait_for_timeout(1500)

    def _view(self, name: str) -> None:
        self._page.locator(".views").get_by_role("button", name=name).click()
        if name == "Shot":
            self._page.wait_for_function("document.querySelector('.shot').dataset.frame !== '0'")

    def _look(self, view: str, frame: int) -> None:
        self._page.get_by_label("Frame number").fill(str(frame))
        self._page.keyboard.press("Enter")
        self._page.locator(".shot .segments .tab", has_text=view).click()
        self._page.wait_for_function(f"document.querySelector('.shot').dataset.shown === '{view}@{frame}'")
        self._page.locator(".shot .shot-stage").focus()

    def _steps(self) -> int:
        words = self._page.locator(".reading").first.inner_text().split(" ")
        return int(words[0]) if words[0].isdigit() else 0

    def _state(self) -> str:
        return self._page.locator(".status-head .state").inner_text().lower()

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                sys.exit("waited in vain")
            self._page.wait_for_timeout(250)


def write_pictures(shots: dict[str, bytes], folder: Path) -> None:
    """Writes the strip and the page's pictures as JPEG."""
    pictures = {name: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for name, data in shots.items()}
    steps = [numbered(pictures[name], name[0]) for name in sorted(pictures) if name[0].isdigit()]
    rows = [np.concatenate(steps[i : i + 3], axis=1) for i in (0, 3)]
    phones = np.concatenate([pictures["phone_dark"], pictures["phone_light"]], axis=1)
    for name, picture in (
        ("walk_through", np.concatenate(rows, axis=0)),
        ("page_runs", pictures["runs"]),
        ("page_shot", pictures["3 wipe"]),
        ("page_shot_light", pictures["shot_light"]),
        ("page_phone", phones),
    ):
        cv2.imwrite(str(folder / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 84, cv2.IMWRITE_JPEG_OPTIMIZE, 1])


def numbered(picture: np.ndarray, number: str) -> np.ndarray:
    """A picture in the size of a cell of the strip, with its number and a thin frame."""
    cell = cv2.resize(picture, CELL, interpolation=cv2.INTER_AREA)
    cv2.circle(cell, (CELL[0] - 22, CELL[1] - 22), 14, (0, 159, 230), -1, cv2.LINE_AA)
    cv2.putText(cell, number, (CELL[0] - 28, CELL[1] - 15), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 2, cv2.LINE_AA)
    framed: np.ndarray = cv2.copyMakeBorder(cell, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(64, 58, 54))
    return framed


if __name__ == "__main__":
    main()
