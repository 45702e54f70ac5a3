"""All that needs a GPU, in one go: the build, its tests, every benchmark, the sanitizers, and the targets.

    bash benchmarks/run_on_gpu.sh [--list] [--only PART ...] [--out FOLDER] [--minutes 20] [--peers FOLDER]

The parts run one after the other, the most important first. Each has a time limit, writes ``PART.txt`` and its numbers
as JSON into the folder, and one that fails holds up no other. ``status.json`` says how each ended, ``targets.json``
what the numbers mean; both are rewritten after each part, and a run of some parts adds to those of earlier runs. With
``--peers``, where emlcpfx and tpc2233 are clones of these authors' tunet, nothing but the common tasks runs: 120 s of
training for copycat and for each peer, some 25 minutes, so name a few at a time where a command may not take that long.
``--dry-run`` runs the parts on the CPU, in tiny sizes, to see that they work.

Standard library only: copycat is built by the first part.
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_SHOWN_LINES = 30
_BUILD = (
    "-m pip install --quiet --no-index --no-build-isolation --no-deps -e . -Ccmake.define.COPYCAT_CUDA=ON "
    "-Ccmake.define.COPYCAT_OFX=OFF -Cbuild-dir=build/gpu/{wheel_tag}"
)
_TESTS = " ".join(
    f"tests/python/test_{name}.py"
    for name in ("ops", "ops_build", "gated_block", "captured_step", "perceptual", "inference")
)
_SANITIZED = "tests/python/test_ops.py tests/python/test_gated_block.py"
_TRAINING = "-m benchmarks.bench_training --device cuda --sizes Medium --crops 256"
_TINY = "-m benchmarks.bench_training --device cpu --sizes Small --crops 32 --threads 1 --steps 1"
_MODES = "default,reduce-overhead,max-autotune"
_INFERENCE = "-m benchmarks.bench_inference --device cuda --resolutions UHD"
_BENCH = ("numpy", "OpenImageIO", "fileseq", "safetensors", "typer", "rich", "psutil", "cv2")
_TEST = (*_BENCH, "pytest", "pytest_timeout", "hypothesis")
_TASK = (*_BENCH, "av", "skvideo", "skimage")
_PEER = (*_TASK, "torchvision", "lpips", "albumentations", "yaml")
_PACKAGES = {
    "fileseq": "Fileseq",
    "cv2": "opencv-python-headless",
    "scikit_build_core": "scikit-build-core",
    "pytest_timeout": "pytest-timeout",
    "skvideo": "scikit-video",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
}


@dataclass(frozen=True)
class Part:
    """One command.

    Attributes:
        name: of the part, its output and its result.
        seconds: what it may take.
        words: a command line; if it begins with an option, Python's. ``{out}`` is the folder of the results,
            ``{python}`` the interpreter.
        dry: the same on a CPU, in tiny sizes; empty if there is nothing to try without a GPU.
        shows: what it is for.
        modules: Python modules that it imports, by their names.
        programs: that it needs on the path.
        gpus: how many it needs.
    """

    name: str
    seconds: float
    words: str
    dry: str
    shows: str
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    gpus: int = 1


PARTS = (
    Part(
        "device",
        20,
        "nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv",
        "",
        "which GPU it is",
        programs=("nvidia-smi",),
    ),
    Part("build", 240, _BUILD, "", "copycat compiled for this GPU", modules=("pip", "scikit_build_core", "pybind11")),
    Part(
        "tests",
        200,
        f"-m pytest -q -m gpu -o timeout=190 {_TESTS}",
        "-m pytest -q -m 'not gpu' tests/python/test_gated_block.py",
        "the kernels and the recorded step against torch",
        modules=_TEST,
    ),
    Part(
        "training",
        120,
        f"{_TRAINING} --batches 5,16 --json {{out}}/training.json",
        f"{_TINY} --batches 1,2 --json {{out}}/training.json",
        "steps per second, against an eager loop and the matrix rate; how busy the GPU is",
        modules=_BENCH,
    ),
    Part(
        "inference",
        150,
        f"{_INFERENCE} --frames 12 --rounds 20 --json {{out}}/inference.json",
        "-m benchmarks.bench_inference --device cpu --size Small --resolutions tiny --precisions half --threads 1 "
        "--frames 2 --rounds 1 --json {out}/inference.json",
        "frames per second, and of sequences with their EXR files",
        modules=_BENCH,
    ),
    Part(
        "kernels",
        180,
        "-m benchmarks.bench_kernels --device cuda --seconds 0.3 --json {out}/kernels.json",
        "-m benchmarks.bench_kernels --device cpu --seconds 0.01 --threads 1 --no-compile --only statistics "
        "--json {out}/kernels.json",
        "the kernels against copying, torch and torch.compile",
        modules=_BENCH,
    ),
    Part(
        "compiled",
        180,
        f"{_TRAINING} --batches 5 --steps 3 --compiled {_MODES} --json {{out}}/compiled.json",
        f"{_TINY} --batches 1 --compiled default --json {{out}}/compiled.json",
        "the training step against torch.compile's modes",
        modules=_BENCH,
    ),
    Part(
        "sizes",
        300,
        "-m benchmarks.size_curves --device cuda --seconds 20,60 --tasks {out}/tasks --json {out}/sizes.json",
        "-m benchmarks.size_curves --device cpu --sizes Small --seconds 3 --tasks {out}/tasks --json {out}/sizes.json "
        "--knobs='--crop-size 64'",
        "which model size is the best after how long",
        modules=_TASK,
    ),
    Part(
        "processes",
        90,
        "-m benchmarks.bench_distributed --sizes Medium --crops 256 --processes 1x4,2x4 --steps 400 "
        "--frames {out}/tasks --json {out}/processes.json",
        "-m benchmarks.bench_distributed --sizes Small --crops 32 --processes 1x1,2x1 --steps 8 "
        "--frames {out}/tasks --json {out}/processes.json",
        "a process for each GPU, over NCCL",
        modules=_TASK,
        gpus=2,
    ),
    *(
        Part(
            tool,
            120,
            # torch's own kernels would take hours.
            f"compute-sanitizer --tool {tool} --error-exitcode 9 --kernel-regex kns=copycat "
            f"{{python}} -m pytest -q -m gpu -o timeout=0 {_SANITIZED}",
            "",
            "no invalid access, leak or race in the kernels",
            modules=_TEST,
            programs=("compute-sanitizer",),
        )
        for tool in ("memcheck", "racecheck")
    ),
    # What might be faster still.
    Part(
        "training-tuned",
        60,
        f"{_TRAINING} --batches 16 --autotune --json {{out}}/training-tuned.json",
        f"{_TINY} --batches 1 --autotune --json {{out}}/training-tuned.json",
        "whether cuDNN's own choice of algorithms helps",
        modules=_BENCH,
    ),
    Part(
        "training-products",
        60,
        f"{_TRAINING} --batches 16 --products --json {{out}}/training-products.json",
        f"{_TINY} --batches 1 --products --json {{out}}/training-products.json",
        "whether 1x1 convolutions are faster as matrix products",
        modules=_BENCH,
    ),
    Part(
        "inference-products",
        60,
        f"{_INFERENCE} --precisions half --frames 0 --rounds 20 --products --json {{out}}/inference-products.json",
        "-m benchmarks.bench_inference --device cpu --size Small --resolutions tiny --precisions half --threads 1 "
        "--frames 0 --rounds 1 --products --json {out}/inference-products.json",
        "the same for inference",
        modules=_BENCH,
    ),
)


def peer_parts(peers: Path, shots: Path | None) -> tuple[Part, ...]:
    """The common tasks, 120 s of training for each tool."""
    tasks = {"t1": "", "t2": ""} | ({"paintout": f"--shots {shlex.quote(str(shots))} "} if shots else {})
    return tuple(
        Part(
            f"{task}-{tool}",
            220,
            f"-m benchmarks.shotbench --tasks {task} --tools {tool} --peers {shlex.quote(str(peers))} {more}--runs 1 "
            "--seconds 120 --device cuda --knobs '--model-size Medium --crop-size 256' --out {out}/shotbench "
            "--results {out}",
            "",
            f"quality after 120 s on {task}",
            modules=_PEER,
        )
        for task, more in tasks.items()
        for tool in ("copycat", "emlcpfx-paintout" if task == "paintout" else "emlcpfx", "tpc2233")
    )


# -- targets


Rows = list[dict[str, Any]]
Found = Callable[[Callable[[str], Rows]], float | None]
"""Takes a function from a result's name to its rows; None where the rows do not tell."""


@dataclass(frozen=True)
class Target:
    """A number that one part must reach."""

    text: str
    part: str
    least: float
    found: Found


def _cell(part: str, cell: str, **cells: object) -> Found:
    """The least of a column, of the rows with these cells."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        matching = [row for row in rows(part) if all(row.get(key) == value for key, value in cells.items())]
        return min((row[cell] for row in matching if row.get(cell) is not None), default=None)

    return found


def _of_copy(*beginnings: str) -> Found:
    """The least share of the copy bandwidth, of the kernels whose names begin so."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        shares = [row["of_copy"] for row in rows("kernels") if str(row["name"]).startswith(beginnings)]
        return min(shares, default=None)

    return found


def _of_the_slower(rows: Callable[[str], Rows]) -> float | None:
    shares = [max(row["compute"], row["files"]) / row["seconds"] for row in rows("inference") if row.get("sequence")]
    return min(shares, default=None)


def _frames_per_second(rows: Callable[[str], Rows]) -> float | None:
    seconds = _cell("inference", "seconds", resolution="UHD", half=True, tile=0)(rows)
    return 1 / seconds if seconds else None


def _lead(task: str, figure: str = "psnr") -> Found:
    """How many dB copycat is ahead of the best peer."""

    def found(rows: Callable[[str], Rows]) -> float | None:
        tools = ("copycat", "emlcpfx-paintout" if task == "paintout" else "emlcpfx", "tpc2233")
        results = [_cell(f"shotbench-{task}-{tool}-120s-wall", figure, run="mean")(rows) for tool in tools]
        ours, peers = results[0], [result for result in results[1:] if result is not None]
        return ours - max(peers) if ours is not None and peers else None

    return found


TARGETS = (
    Target("Medium, crop 256, batch 5: steps/s", "training", 400, _cell("training", "steps_per_second", batch=5)),
    Target(
        "Medium, crop 256, batch 16: share of the matrix rate",
        "training",
        0.25,
        _cell("training", "of_matrix_rate", batch=16),
    ),
    Target("the GPU is busy, share of the time", "training", 0.95, _cell("training", "gpu_busy")),
    Target("times an eager loop with a DataLoader", "training", 3, _cell("training", "ratio")),
    Target("times torch.compile's best mode", "compiled", 1, _cell("compiled", "of_compiled")),
    Target("sample_crops, batch 512, share of copying", "kernels", 0.75, _of_copy("sample_crops 512 x 256, ")),
    Target(
        "downsize, normalize, statistics on UHD, share of copying",
        "kernels",
        0.8,
        _of_copy("downsize", "normalize", "statistics"),
    ),
    Target("Medium, UHD, bfloat16: frames/s", "inference", 40, _frames_per_second),
    Target("a sequence, share of the slower of compute and files", "inference", 0.9, _of_the_slower),
    *(
        Target(f"{task} after 120 s: dB ahead of the best peer", f"{task}-copycat", 0, _lead(task, figure))
        for task, figure in (("t1", "psnr"), ("t2", "psnr"), ("paintout", "inside"))
    ),
)
_PASSES = {
    "tests": "the tests that need a GPU pass",
    "memcheck": "memcheck finds nothing",
    "racecheck": "racecheck finds nothing",
    "sizes": "curves of Small, Medium and Large",
    "processes": "one process per GPU",
}


def targets(out: Path, status: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Every target with what was found, and whether that is enough; None where its part has not told."""

    def rows(name: str) -> Rows:
        try:
            found: Rows = json.loads((out / f"{name}.json").read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError):
            return []
        return found

    table: list[dict[str, Any]] = []
    for target in TARGETS:
        found = target.found(rows)
        met = None if found is None else found >= target.least
        table.append({"target": target.text, "part": target.part, "least": target.least, "found": found, "met": met})
    for part, text in _PASSES.items():
        ended = status.get(part, {}).get("status")
        met = None if ended in (None, "not run") else ended == "passed"
        table.append({"target": text, "part": part, "least": "passed", "found": ended, "met": met})
    return table


# -- running


def obstacle(part: Part, gpus: int | None) -> str:
    """Why a part cannot run here; empty if it can. ``gpus``: how many there are; None for a dry run."""
    missing = [_PACKAGES.get(module, module) for module in part.modules if find_spec(module) is None]
    if missing:
        return f"missing packages: {' '.join(missing)}"
    if gpus is None:
        return "" if part.dry else "nothing to try without a GPU"
    if absent := [program for program in part.programs if shutil.which(program) is None]:
        return f"{absent[0]} is not on the path"
    return f"it needs {part.gpus} GPUs" if gpus < part.gpus else ""


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
    for part in parts:
        began = time.monotonic()
        left = min(part.seconds, end - began)
        print(f"== {part.name}: {part.shows} (at most {max(left, 0):.0f} s)", flush=True)
        if reason := obstacle(part, gpus):
            ended = {"status": "not run", "why": reason}
        elif left < 1:
            ended = {"status": "not run", "why": "the time is over"}
        else:
            ended = {"status": run(part, part.dry if dry else part.words, out, left)}
        status[part.name] = {**ended, "seconds": round(time.monotonic() - began, 1), "limit": part.seconds}
        print(f"== {part.name}: {ended['status']} {ended.get('why', '')}".rstrip(), flush=True)
        _write(path, status)
        _write(out / "targets.json", targets(out, status))
        if part.name == "build" and ended["status"] != "passed" and not dry:
            print("== without a build nothing else can be measured", flush=True)
            break
    return status


def _write(path: Path, value: object) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def lines(table: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The targets as text."""
    for row in table:
        found = row["found"]
        number = f"{found:.3g}" if isinstance(found, float) else str(found) if found is not None else "not measured"
        mark = {True: "met", False: "MISSED", None: ""}[row["met"]]
        yield f"{row['target']}: {number} (target {row['least']}) {mark}".rstrip()


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
        print("\n".join(f"{text} (part {part})" for part, text in _PASSES.items()))
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
    ended = {part.name: status.get(part.name, {"status": "not run"})["status"] for part in chosen}
    absent = [name for name, how in ended.items() if how == "not run"]
    failed = [name for name, how in ended.items() if how not in ("passed", "not run")]
    print(f"failed: {', '.join(failed) or 'none'}; not run: {', '.join(absent) or 'none'}; results in {out}")
    sys.exit(bool(failed) or len(absent) == len(ended))


if __name__ == "__main__":
    main()
