"""Tries an installed copycat: a training, a render, ``ofx doctor``. Run by the Python that it is installed in.

``python release/try_installed.py``; nothing of the repository is imported. cibuildwheel and the tests run it in
environments that hold the wheel and what it asks for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIZE = 64
FRAMES = range(1001, 1005)
CHANNELS = ("R", "G", "B")


def main() -> None:
    """Makes a small shot, trains on it, renders it, and asks the doctor; ends with status 1 where anything fails."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shot(folder)
        print(copycat("--version").strip())
        before, after = learn(folder)
        print(f"a training brought the frames from {before:.1f} to {after:.1f} dB")
        if after < before + 3:
            sys.exit("the training learned nothing")
        print(plugin(folder))


def write_shot(folder: Path) -> None:
    """Writes plate.####.exr, and clean.####.exr, which is darker and warmer."""
    from copycat.sequence import write_frame

    for frame in FRAMES:
        picture = np.random.default_rng(frame).random((SIZE // 8, SIZE // 8, 3), dtype=np.float32)
        picture = picture.repeat(8, 0).repeat(8, 1)
        write_frame(folder / f"plate.{frame}.exr", picture, CHANNELS)
        write_frame(folder / f"clean.{frame}.exr", picture * np.array([0.6, 0.5, 0.4], np.float32), CHANNELS)


def learn(folder: Path) -> tuple[float, float]:
    """Trains and renders; PSNR in dB of the plate and of the result against the clean frames."""
    from copycat.sequence import read_frame

    plate, clean, result = (str(folder / f"{name}.%04d.exr") for name in ("plate", "clean", "result"))
    copycat("check", plate, clean)
    runs = folder / "runs"
    copycat(*f"train {plate} {clean} --data-directory {runs} --epochs 60 --crop-size 64 --model-size Small".split())
    copycat("infer", str(runs), plate, result)

    def error(name: str) -> float:
        return float(np.mean([np.square(pixels(name, frame) - pixels("clean", frame)).mean() for frame in FRAMES]))

    def pixels(name: str, frame: int) -> np.ndarray:
        return np.asarray(read_frame(folder / f"{name}.{frame}.exr", CHANNELS).pixels, np.float32)

    return tuple(float(-10 * np.log10(error(name))) for name in ("plate", "result"))  # type: ignore[return-value]


def plugin(folder: Path) -> str:
    """Installs the plugin and asks the doctor, who must find no error; on Windows there must be none to install."""
    if sys.platform == "win32":
        done = run("ofx", "install", "--directory", str(folder / "OFX"))
        if "built without" not in done.stderr:
            sys.exit(f"copycat ofx install should refuse:\n{done.stdout}{done.stderr}")
        return "there is no plugin for Windows"
    os.environ["OFX_PLUGIN_PATH"] = str(folder / "OFX")
    copycat("ofx", "install")
    return copycat("ofx", "doctor").strip()


def copycat(*words: str) -> str:
    """What a command prints; ends this process where the command fails."""
    done = run(*words)
    if done.returncode:
        sys.exit(f"copycat {' '.join(words)} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the program that the wheel installed beside this Python."""
    program = shutil.which("copycat", path=str(Path(sys.executable).parent))
    if program is None:
        sys.exit(f"there is no program copycat beside {sys.executable}")
    return subprocess.run([program, *words], capture_output=True, text=True)


if __name__ == "__main__":
    main()
