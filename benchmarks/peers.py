"""The open peers on the common tasks: trained and rendered by their own command lines, scored as copycat is.

``python -m benchmarks.peers t1 --tool emlcpfx --sources DIR --python THEIRS`` trains with the peer's ``train.py`` until
the budget is used up (CPU-seconds of its processes; ``--seconds`` of wall time on a GPU), then stops it as Ctrl-C does,
renders with its ``inference.py``, and prints what ``benchmarks.common_tasks`` prints. DIR is a clone of

- emlcpfx: github.com/emlcpfx/tunet, with its preset General and residual prediction;
- emlcpfx-paintout: the same with its preset Paintout / Cleanup (changed pixels weigh more, L1 + L2, thrice the rate);
- tpc2233: github.com/tpc2233/tunet.

THEIRS is a Python with torch, torchvision, lpips, albumentations and PyYAML. Crops of 256, batches of 4, width 16 on a
CPU and 64 (their default) on a GPU; everything else is the peer's default. They have no seed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import record
from benchmarks.common_tasks import BUDGET, line, options, result_name, scores
from benchmarks.tasks import build

TOOLS = ("emlcpfx", "emlcpfx-paintout", "tpc2233")
# Sections of a peer's configuration file.
Settings = dict[str, dict[str, Any]]

# No previews: all time goes into the training.
_SHARED: Settings = {
    "data": {"resolution": 256},
    "training": {"batch_size": 4},
    "logging": {"preview_batch_interval": 0},
}
_DEVICES: dict[str, Settings] = {
    "cpu": {"model": {"model_size_dims": 16}},
    "cuda": {"model": {"model_size_dims": 64}, "training": {"use_amp": True}},
}
_GENERAL: Settings = {
    "data": {"overlap_factor": 0.5},
    "model": {"model_type": "msrn"},
    "training": {"predict_residual": True},
    # It caches decoded frames, and would restart its loaders for each pass.
    "dataloader": {"num_workers": 0},
}
_PAINTOUT: Settings = {
    "data": {"overlap_factor": 0.75},
    "mask": {"use_auto_mask": True, "auto_mask_gamma": 0.5, "skip_empty_patches": True},
    "training": {"loss": "weighted", "l1_weight": 0.5, "l2_weight": 0.5, "lpips_weight": 0.0, "lr": 3e-4},
}
# It decodes both frames for every crop; a GPU needs loaders beside it.
_LOADERS: dict[str, Settings] = {"cpu": {"dataloader": {"num_workers": 0}}, "cuda": {"dataloader": {"num_workers": 8}}}
# Compiling takes emlcpfx one to three minutes, more than a run of two minutes could earn back.
_ENVIRONMENT = {"TUNET_DISABLE_COMPILE": "1"}


def settings(tool: str, device: str, frames: Path, out: Path) -> Settings:
    """A peer's configuration file.

    Args:
        tool: one of ``TOOLS``.
        device: cpu or cuda.
        frames: directory with ``src`` and ``dst``.
        out: folder for its model.
    """
    paths: Settings = {"data": {"src_dir": str(frames / "src"), "dst_dir": str(frames / "dst"), "output_dir": str(out)}}
    own = {"emlcpfx": [_GENERAL], "emlcpfx-paintout": [_GENERAL, _PAINTOUT], "tpc2233": [_LOADERS[device]]}
    merged: Settings = {}
    for part in (_SHARED, _DEVICES[device], *own[tool], paths):
        for section, values in part.items():
            merged.setdefault(section, {}).update(values)
    return merged


def train(command: list[str], sources: Path, log: Path, limit: float, wall: bool) -> dict[str, float]:
    """Runs a peer's training until the limit is used up; returns its steps, CPU-seconds and wall seconds.

    Args:
        command: the command line, run in ``sources``.
        sources: the clone of the repository.
        log: file for its output.
        limit: CPU-seconds of the process and all its children, or wall seconds if ``wall``.

    Raises:
        RuntimeError: the training ended early or failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with log.open("w") as stream:
        process = psutil.Popen(command, cwd=sources, stdout=stream, stderr=stream, env={**os.environ, **_ENVIRONMENT})
        while (time.monotonic() - began if wall else cpu_seconds(process)) < limit:
            if process.poll() is not None:
                raise RuntimeError(f"{command[1]} ended before its time; see {log}")
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        if process.wait() != 0:
            raise RuntimeError(f"{command[1]} failed with status {process.returncode}; see {log}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    steps = re.search(r"Training finished \w+ at Step (\d+)", log.read_text())
    return {
        "steps": float(steps[1]) if steps else float("nan"),
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "wall_seconds": time.monotonic() - began,
    }


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a living process and all its children, ended ones included."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        try:
            total += sum(member.cpu_times()[:4])  # its own and that of its ended children, user and system
        except psutil.NoSuchProcess:
            continue
    return total


def rename_weights(model: Path) -> None:
    """Renames the weights as the peer's inference expects them: its training writes d_block where that reads d."""
    checkpoint = torch.load(model, map_location="cpu")
    weights = checkpoint["model_state_dict"]
    checkpoint["model_state_dict"] = {name.replace("_block", ""): value for name, value in weights.items()}
    torch.save(checkpoint, model)


def infer(command: list[str], sources: Path, frames: Path, rendered: Path) -> None:
    """Renders frames with a peer's own inference and gives the results the frames' names.

    Raises:
        RuntimeError: results are missing.
    """
    log = rendered.with_suffix(".log")
    with log.open("w") as stream:
        words = ["--input_dir", str(frames), "--output_dir", str(rendered)]
        subprocess.run([*command, *words], cwd=sources, stdout=stream, stderr=stream, check=True)
    # Every result's name is the frame's with the same insertion, so the order is the same.
    names, results = sorted(frames.glob("*.png")), sorted(rendered.glob("*.png"))
    if len(results) != len(names):
        raise RuntimeError(f"{rendered}: {len(results)} frames instead of {len(names)}; see {log}")
    for name, result in zip(names, results, strict=True):
        result.rename(rendered / name.name)


def main() -> None:
    """Prints the scores of one tool on one task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options(parser)
    parser.add_argument("--tool", choices=TOOLS, required=True)
    parser.add_argument("--sources", type=Path, required=True, help="the clone of its repository")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs it")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("build/peers"), help="for models, logs and frames")
    args = parser.parse_args()
    sources = args.sources.resolve()
    if not (sources / "train.py").exists():
        parser.error(f"--sources {args.sources}: there is no train.py")
    task = build(args.task, args.frames.resolve(), args.shots)
    out = args.out.resolve() / f"{args.tool}-{args.task}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config = out / "config.yaml"
    config.write_text(json.dumps(settings(args.tool, args.device, task / "train", out), indent=1))  # JSON is YAML

    limit = args.seconds or args.budget or BUDGET[args.task]
    command = [args.python, "train.py", "--config", str(config)]
    figures = train(command, sources, out / "train.log", limit, wall=args.seconds is not None)
    model = next(out.glob("*tunet_latest.pth"))
    if args.tool == "tpc2233":
        rename_weights(model)
    command = [args.python, "inference.py", "--checkpoint", str(model), "--device", args.device]
    figures = scores(task, out, lambda frames, rendered: infer(command, sources, frames, rendered)) | figures

    head = ["git", "-C", str(sources), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    print(line(args.tool, figures))
    print(f"{args.task}, {limit:.0f} {'wall ' if args.seconds else 'CPU-'}seconds, {args.device}, {commit[:7]}")
    row = {"tool": args.tool, "tool_commit": commit[:7], "device": args.device, **figures}
    record.write(result_name(f"peers-{args.tool}", args), [row], args.json)


if __name__ == "__main__":
    main()
