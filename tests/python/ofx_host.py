"""Builds the OpenFX bundle and drives the small C++ host in tests/ofx that runs it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
DTYPES = {"byte": np.uint8, "short": np.uint16, "half": np.float16, "float": np.float32}
COMPONENTS = {"RGBA": 4, "RGB": 3, "A": 1}


@functools.cache
def build(sanitize: bool = False) -> Path:
    """Builds bundle and host (only what changed) and returns the build folder; one process at a time."""
    folder = ROOT / "build" / ("ofx-sanitize" if sanitize else "ofx")
    folder.parent.mkdir(exist_ok=True)
    configure = ["cmake", "-S", str(ROOT / "ofx"), "-B", str(folder), f"-DPython_EXECUTABLE={sys.executable}"]
    configure += ["-DCOPYCAT_TESTS=ON", "-DCMAKE_BUILD_TYPE=" + ("Debug" if sanitize else "Release")]
    configure += ["-DCOPYCAT_WERROR=ON", "-DCOPYCAT_SANITIZE=" + ("ON" if sanitize else "OFF")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "CMakeCache.txt").exists() and shutil.which("ninja", path=path):
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja', path=path)}"]
        for command in (configure, ["cmake", "--build", str(folder), "--parallel", "2"]):
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


def bundle(sanitize: bool = False) -> Path:
    """The built bundle."""
    return build(sanitize) / "copycat.ofx.bundle"


def binary(folder: Path) -> Path:
    """The plugin's binary in a bundle."""
    return next((folder / "Contents").glob("*/copycat.ofx"))


def stand_in(folder: Path) -> Path:
    """An "interpreter" that runs the stand-in worker whatever it is asked to run."""
    script = folder / "stand-in-python"
    worker = ROOT / "tests" / "ofx" / "stand_in_worker.py"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{worker}" "$@"\n')
    script.chmod(0o755)
    return script


def pixels(depth: str = "float", components: str = "RGBA", height: int = 20, width: int = 30) -> np.ndarray:
    values = np.random.default_rng(7).random((height, width, COMPONENTS[components]))
    if depth == "byte":
        return np.round(values * 255).astype(np.uint8)
    if depth == "short":
        return np.round(values * 65535).astype(np.uint16)
    return values.astype(DTYPES[depth])


def inverted(values: np.ndarray) -> np.ndarray:
    """What the stand-in model makes of a picture; alpha stays."""
    expected = values.copy()
    most = {"u1": 255, "u2": 65535}.get(values.dtype.str[1:], 1)
    expected[..., :3] = most - values[..., :3] if most > 1 else 1 - values[..., :3].astype(np.float32)
    return expected


class Host:
    """One host process. Every method is a command; pictures go through raw files in ``folder``."""

    def __init__(
        self, folder: Path, environment: dict[str, str] | None = None, *, sanitize: bool = False, **load: Any
    ) -> None:
        self.folder = folder
        self._count = 0
        environment = {**os.environ, **(environment or {})}
        environment.pop("PYTEST_CURRENT_TEST", None)  # what a host starts is no test
        # The plugin is closed before the process ends, after which nothing has a name in a leak report.
        environment.setdefault("ASAN_OPTIONS", "detect_leaks=1")
        self.process = subprocess.Popen(
            [str(build(sanitize) / "tests" / "ofx_test_host")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.loaded = self.do("load", path=str(load.pop("path", binary(bundle(sanitize)))), **load)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def do(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a command and returns its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the host died in {command} {arguments}: status {self.process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> int:
        """Unloads the plugin and ends the host; its exit status."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            if self.process.poll() is None:
                self.do("unload")
        finally:
            with contextlib.suppress(BrokenPipeError):  # the host may have died
                self.process.stdin.close()
            status = self.process.wait(30)
            self.process.stdout.close()
        return status

    def create(self, plugin: str, context: str = "Filter", instance: str = "it", **values: Any) -> int:
        """Makes an instance, with parameters set before the host shows it; the status of CreateInstance."""
        status = self.do("create", plugin=plugin, context=context, instance=instance)["status"]
        for name, value in values.items():
            self.do("set", instance=instance, param=name, value=value)
        return int(status)

    def picture(self, pixels: np.ndarray, **layout: Any) -> dict[str, Any]:
        """Describes pixels ``[H, W, C]`` (top row first) as a picture of the host."""
        height, width, channels = pixels.shape
        self._count += 1
        file = self.folder / f"picture{self._count}.raw"
        file.write_bytes(np.ascontiguousarray(pixels).tobytes())
        x, y = layout.pop("at", (0, 0))
        depth = next(name for name, dtype in DTYPES.items() if dtype == pixels.dtype)
        components = next(name for name, count in COMPONENTS.items() if count == channels)
        return {
            "bounds": [x, y, x + width, y + height],
            "components": components,
            "depth": depth,
            "file": str(file),
            **layout,
        }

    def clip(
        self, clip: str, pixels: np.ndarray | dict[float, np.ndarray], *, instance: str = "it", **layout: Any
    ) -> None:
        """Connects a clip to one picture (at time 1) or to pictures by time."""
        by_time = pixels if isinstance(pixels, dict) else {1.0: pixels}
        frames = [{"time": time, **self.picture(values, **layout)} for time, values in by_time.items()]
        times = sorted(by_time)
        self.do("clip", instance=instance, clip=clip, connected=True, frames=frames, range=[times[0], times[-1]])

    def output(self, like: np.ndarray, **layout: Any) -> dict[str, Any]:
        """A picture to render into, of the size, depth and components of ``like``."""
        described = self.picture(like, **layout)
        del described["file"]
        self._count += 1
        return {**described, "to": str(self.folder / f"output{self._count}.raw")}

    def render(
        self,
        like: np.ndarray,
        *,
        instance: str = "it",
        layout: dict[str, Any] | None = None,
        expect: int = 0,
        **arguments: Any,
    ) -> np.ndarray:
        """Renders into a picture like ``like`` and returns it; asserts the status and that nothing else was touched."""
        output = self.output(like, **(layout or {}))
        answer = self.do("render", instance=instance, output=output, **arguments)
        assert answer["status"] == expect, (answer, self.messages())
        if not arguments.get("window"):
            assert answer["touched_outside"] == 0
        return np.fromfile(output["to"], like.dtype).reshape(like.shape)

    def messages(self) -> list[dict[str, str]]:
        """The messages of the plugin since the last call; asserts that it broke no rule of the standard."""
        answer = self.do("messages")
        assert answer["violations"] == []
        messages: list[dict[str, str]] = answer["messages"]
        return messages

    def last_message(self) -> str:
        """The text of the last message that is not empty."""
        return next((m["text"] for m in reversed(self.messages()) if m["text"]), "")


def worker_of(host: Host) -> int:
    """The process id of the host's worker."""
    found = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text().split()
    workers = [int(pid) for pid in found]
    if not workers:  # a render thread may have started it
        for task in Path(f"/proc/{host.process.pid}/task").iterdir():
            workers += [int(pid) for pid in (task / "children").read_text().split()]
    assert len(workers) == 1
    return workers[0]
