"""The parts: what runs on a GPU, in which order, and for how long at most. Standard library only."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

_BUILD = (
    "-m pip install --quiet --no-index --no-build-isolation --no-deps -e . -Ccmake.define.COPYCAT_CUDA=ON "
    "-Ccmake.define.COPYCAT_OFX=OFF -Cbuild-dir=build/gpu/{wheel_tag}"
)
_TESTS = " ".join(
    f"tests/python/test_{name}.py"
    for name in ("ops", "ops_build", "gated_block", "captured_step", "perceptual", "inference", "frames_in_flight")
)
_SANITIZED = "tests/python/test_ops.py tests/python/test_gated_block.py"
_TRAINING = "-m benchmarks.bench_training --device cuda --sizes Medium --crops 256"
_TINY = "-m benchmarks.bench_training --device cpu --sizes Small --crops 32 --threads 1 --steps 1"
_TINY_CANDIDATES = "-m benchmarks.step_candidates --device cpu --sizes Small --crop 32 --batch 2 --rounds 2 --float32"
_MODES = "default,reduce-overhead,max-autotune"
_INFERENCE = "-m benchmarks.bench_inference --device cuda --resolutions UHD"
_BENCH = ("numpy", "OpenImageIO", "fileseq", "safetensors", "typer", "rich", "psutil", "cv2")
_TEST = (*_BENCH, "pytest", "pytest_timeout", "hypothesis")
_TASK = (*_BENCH, "av", "skvideo", "skimage")
_PEER = (*_TASK, "torchvision", "lpips", "albumentations", "yaml")


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
        "candidates",
        180,
        "-m benchmarks.step_candidates --device cuda --json {out}/candidates.json",
        f"{_TINY_CANDIDATES} --json {{out}}/candidates.json",
        "which changes would make a training step faster, and where its time goes",
        modules=_BENCH,
    ),
    Part(
        "inference",
        150,
        f"{_INFERENCE} --frames 12 --rounds 20 --json {{out}}/inference.json",
        "-m benchmarks.bench_inference --device cpu --size Small --resolutions tiny --precisions half --threads 1 "
        "--frames 2 --rounds 1 --json {out}/inference.json",
        "frames per second; two in flight in a host's memory, and of sequences with their EXR files",
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
        # The reading counts, and is slow on a busy machine where a clean plate is looked for.
        "-m benchmarks.size_curves --device cpu --sizes Small --seconds 10 --tasks {out}/tasks --json {out}/sizes.json "
        "--knobs='--crop-size 64 --clean-plate Off'",
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
        "candidates-compiled",
        120,
        "-m benchmarks.step_candidates --device cuda --only 'compiled network' --json {out}/candidates-compiled.json",
        f"{_TINY_CANDIDATES} --only 'compiled network' --json {{out}}/candidates-compiled.json",
        "a compiled network inside the recorded step",
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
