"""All that needs a GPU, in one go: the build, its tests, every benchmark, the sanitizers, and the targets.

    bash benchmarks/run_on_gpu.sh [--list] [--only PART ...] [--out FOLDER] [--minutes 20] [--peers FOLDER]

The parts run one after the other, the most important first. Each has a time limit, writes ``PART.txt`` and its numbers
as JSON into the folder, and one that fails holds up no other. ``status.json`` says how each ended, ``targets.json``
what the numbers mean; both are rewritten after each part, and a run of some parts adds to those of earlier runs. With
``--peers``, where emlcpfx and tpc2233 are clones of these authors' tunet, nothing but the common tasks runs: 120 s of
training for copycat and for each peer, some 25 minutes, so name a few at a time where a command may not take that long.
``--dry-run`` runs the parts on the CPU, in tiny sizes, to see that they work.

Standard library only: copycat is built by the second part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.parts import PARTS, Part, peer_parts
from benchmarks.on_gpu.targets import PASSES, TARGETS, lines, targets

ROOT = Path(__file__).parents[2]
_SHOWN_LINES = 30
_SLOWER = 3  # limits of a dry run
# Whose names differ from those of their modules.
_PACKAGES = {
    "fileseq": "Fileseq",
    "cv2": "opencv-python-headless",
    "scikit_build_core": "scikit-build-core",
    "pytest_timeout": "pytest-timeout",
    "skvideo": "scikit-video",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
}


def obstacle(part: Part, gpus: int | None) -> str:
    """Why a part cannot run here; empty if it can. ``gpus``: how many there are; None for a dry run."""
    missing = [_PACKAGES.get(module, module) for module in part.modules if find_spec(module) is None]
    if missing:
        return f"missing packages: {' '.join(missing)}"
    if gpus is None:
        return "" if part.dry else "nothing to try without a GPU"
    if absent := [program for program in part.programs if shutil.which(program) is None]:
        return f"{absent[0]} is not on the path"
    return f"GPUs it needs: {part.gpus}, GPUs here: {gpus}" if gpus < part.gpus else ""


def run(part: Part, words: str, out: Path, seconds: float) -> str:
    """Runs a command, its output in ``PART.txt``; prints the end of it and returns how it ended."""
    tokens = {"{out}": str(out), "{python}": sys.executable}
    command = [re.sub(r"{out}|{python}", lambda found: tokens[found[0]], word) for word in shlex.split(words)]
    if command[0].startswith("-"):
        command.insert(0, sys.executable)
    path = out / f"{part.name}.txt"
    with path.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # and what it started
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    print("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:]), flush=True)
    if status is None:
        return f"not done after {seconds:.0f} s"
    return "passed" if status == 0 else f"failed with status {status}"


def count_gpus() -> int:
    """As the driver lists them."""
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    return done.stdout.count("GPU ")


def run_all(parts: Sequence[Part], out: Path, seconds: float, dry: bool) -> dict[str, dict[str, Any]]:
    """Runs parts until the time is over, and keeps ``status.json`` and ``targets.json`` true after each."""
    end = time.monotonic() + seconds
    gpus = None if dry else count_gpus()
    path = out / "status.json"
    status: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    unbuilt = False
    for part in parts:
        began = time.monotonic()
        left = min(part.seconds * (_SLOWER if dry else 1), end - began)
        print(f"== {part.name}: {part.shows} (at most {max(left, 0):.0f} s)", flush=True)
        if reason := "copycat is not built" if unbuilt else obstacle(part, gpus):
            ended = {"status": "not run", "why": reason}
        elif left < 1:
            ended = {"status": "not run", "why": "the time is over"}
        else:
            ended = {"status": run(part, part.dry if dry else part.words, out, left)}
        status[part.name] = {**ended, "seconds": round(time.monotonic() - began, 1), "limit": part.seconds}
        print(f"== {part.name}: {ended['status']} {ended.get('why', '')}".rstrip(), flush=True)
        _write(path, status)
        _write(out / "targets.json", targets(out, status))
        unbuilt |= part.name == "build" and ended["status"] != "passed" and not dry
    return status


def _write(path: Path, value: object) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def main() -> None:
    """The command line; its status is 1 if a part failed or none ran."""
    parser = argparse.ArgumentParser(description="Measures all that needs a GPU")
    parser.add_argument("--out", type=Path, default=Path("build/gpu/results"))
    parser.add_argument("--list", action="store_true", help="the parts and the targets, and nothing else")
    parser.add_argument("--only", nargs="+", metavar="PART")
    parser.add_argument("--minutes", type=float, help="for all together; 20, with --peers 35")
    parser.add_argument("--peers", type=Path, help="folder of clones; runs the common tasks instead")
    parser.add_argument("--shots", type=Path, help="folder of the real shots, for the paint-out of --peers")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, in tiny sizes")
    options = parser.parse_args()
    parts = peer_parts(options.peers, options.shots) if options.peers else PARTS
    names = [part.name for part in parts]
    if unknown := [name for name in options.only or () if name not in names]:
        parser.error(f"no part is named {', '.join(unknown)}; there are {', '.join(names)}")
    if options.list:
        print("\n".join(f"{part.name:20} {part.seconds:4.0f} s  {part.shows}" for part in parts))
        print("\n".join(f"{target.text}: {target.least} (part {target.part})" for target in TARGETS))
        print("\n".join(f"{text} (part {part})" for part, text in PASSES.items()))
        return
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in parts if not options.only or part.name in options.only]
    if not options.dry_run and find_spec("copycat") is None and (build := PARTS[1]) not in chosen:
        chosen.insert(0, build)
    minutes = options.minutes or (35 if options.peers else 20)
    status = run_all(chosen, out, 60 * minutes, options.dry_run)
    table = targets(out, status)
    (out / "targets.txt").write_text("".join(line + "\n" for line in lines(table)), encoding="utf-8")
    print("\n".join(lines(table)))
    ended = {part.name: status[part.name]["status"] for part in chosen}
    absent = [name for name, how in ended.items() if how == "not run"]
    failed = [name for name, how in ended.items() if how not in ("passed", "not run")]
    print(f"failed: {', '.join(failed) or 'none'}; not run: {', '.join(absent) or 'none'}; results in {out}")
    sys.exit(bool(failed) or len(absent) == len(ended))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the running part ends too
    main()
