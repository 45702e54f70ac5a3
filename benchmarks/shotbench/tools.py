"""The tools that ShotBench compares."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar

import copycat
import torch

from benchmarks import record
from benchmarks.shotbench.tool import Job, Setup, Tool


class Nothing(Tool):
    """Doing nothing: the plate; for a matte, the nearest painted frame's."""

    name = "nothing"
    ends_itself = True

    def version(self) -> str:
        """Always the same."""
        return ""

    def train_command(self, job: Job) -> list[str]:
        """Ends at once."""
        return [sys.executable, "-c", ""]

    def render_command(self, job: Job, frames: Path, rendered: Path) -> list[str]:
        """Copies pictures."""
        painted = job.task.folder / "train/dst" if job.task.matte else frames
        return [sys.executable, "-m", "benchmarks.shotbench.nearest", str(painted), str(frames), str(rendered)]


class Copycat(Tool):
    """copycat, with a seed for each run."""

    name = "copycat"
    ends_itself = True
    # Start-up and saving count too.
    RESERVE = 14.0

    def version(self) -> str:
        """Its version and commit."""
        return f"{copycat.__version__} {record.commit()}"

    def train_command(self, job: Job) -> list[str]:
        """Asks for wall time, which the threads share."""
        train, threads = job.task.folder / "train", 1 if job.limit.wall else job.threads
        minutes = max(job.limit.seconds - self.RESERVE, 1.0) / threads / 60
        command = [sys.executable, "-m", "copycat", "train", str(train / "src"), str(train / "dst")]
        command += ["--data-directory", str(job.out), "--run-name", "run", "--minutes", f"{minutes:.4f}"]
        command += ["--seed", str(job.run), *shlex.split(self.setup.knobs)]
        return command + (["--ground-truth-channels", "R"] if job.task.matte else [])

    def trained(self, job: Job) -> dict[str, float]:
        """The steps of the newest model."""
        return {"steps": float(self._model(job).stem.split("_")[-1])}

    def render_command(self, job: Job, frames: Path, rendered: Path) -> list[str]:
        """PNG in, PNG out."""
        model = self._model(job)
        return [sys.executable, "-m", "copycat", "infer", str(model), str(frames), str(rendered / "%04d.png")]

    def _model(self, job: Job) -> Path:
        return max(job.out.glob("run_*.cat"), key=lambda path: path.stat().st_mtime)


# Sections of a peer's configuration file.
Sections = dict[str, dict[str, Any]]


class Tunet(Tool):
    """github.com/tpc2233/tunet. Crops of 256, batches of 4, width 16 on a CPU and 64 (its default) on a GPU."""

    name = "tpc2233"
    repository: ClassVar[str] = "tpc2233"
    # No previews: all time goes into the training.
    shared: ClassVar[Sections] = {
        "data": {"resolution": 256},
        "training": {"batch_size": 4},
        "logging": {"preview_batch_interval": 0},
    }
    devices: ClassVar[dict[str, Sections]] = {
        "cpu": {"model": {"model_size_dims": 16}},
        "cuda": {"model": {"model_size_dims": 64}, "training": {"use_amp": True}},
    }
    # It decodes both frames for every crop; a GPU needs loaders beside it.
    own: ClassVar[dict[str, list[Sections]]] = {
        "cpu": [{"dataloader": {"num_workers": 0}}],
        "cuda": [{"dataloader": {"num_workers": 8}}],
    }

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        if setup.peers is None:
            raise ValueError(f"{self.name}: --peers must name a folder with its clone, or --fetch gets it")
        self.folder = setup.peers.resolve() / self.repository
        if not (self.folder / "train.py").exists():
            raise ValueError(f"{self.folder}: there is no train.py of {REPOSITORIES[self.repository]}")

    def version(self) -> str:
        """The commit of the clone."""
        head = ["git", "-C", str(self.folder), "rev-parse", "--short", "HEAD"]
        return subprocess.run(head, capture_output=True, text=True, check=False).stdout.strip() or "unknown"

    def sections(self, job: Job) -> Sections:
        """Its configuration file."""
        train = job.task.folder.resolve() / "train"
        paths: Sections = {
            "data": {"src_dir": str(train / "src"), "dst_dir": str(train / "dst"), "output_dir": str(job.out.resolve())}
        }
        merged: Sections = {}
        for part in (self.shared, self.devices[job.device], *self.own[job.device], paths):
            for section, values in part.items():
                merged.setdefault(section, {}).update(values)
        return merged

    def train_command(self, job: Job) -> list[str]:
        """Its training runs until Ctrl-C."""
        config = job.out.resolve() / "config.yaml"
        config.write_text(json.dumps(self.sections(job), indent=1))  # JSON is YAML
        return [self.setup.python, "train.py", "--config", str(config)]

    def trained(self, job: Job) -> dict[str, float]:
        """Renames the weights as its own inference expects them: its training writes d_block where that reads d."""
        model = self._model(job)
        checkpoint = torch.load(model, map_location="cpu")
        weights = checkpoint["model_state_dict"]
        checkpoint["model_state_dict"] = {name.replace("_block", ""): value for name, value in weights.items()}
        torch.save(checkpoint, model)
        return self._steps(job)

    def render_command(self, job: Job, frames: Path, rendered: Path) -> list[str]:
        """Its inference on a folder."""
        command = [self.setup.python, "inference.py", "--checkpoint", str(self._model(job)), "--device", job.device]
        return [*command, "--input_dir", str(frames.resolve()), "--output_dir", str(rendered.resolve())]

    def _steps(self, job: Job) -> dict[str, float]:
        steps = re.search(r"Training finished \w+ at Step (\d+)", (job.out / "train.log").read_text())
        return {"steps": float(steps[1])} if steps else {}

    def _model(self, job: Job) -> Path:
        model = next(job.out.resolve().glob("*tunet_latest.pth"), None)
        if model is None:
            raise RuntimeError(f"{self.name} left no model; see {job.out / 'train.log'}")
        return model


class Fork(Tunet):
    """github.com/emlcpfx/tunet with its preset General and residual prediction."""

    name = "emlcpfx"
    repository = "emlcpfx"
    # Compiling takes one to three minutes, more than a short run could earn back.
    environment: ClassVar[dict[str, str]] = {"TUNET_DISABLE_COMPILE": "1"}
    _general: ClassVar[Sections] = {
        "data": {"overlap_factor": 0.5},
        "model": {"model_type": "msrn"},
        "training": {"predict_residual": True},
        # It caches decoded frames, and would restart its loaders for each pass.
        "dataloader": {"num_workers": 0},
    }
    own: ClassVar[dict[str, list[Sections]]] = {"cpu": [_general], "cuda": [_general]}

    def trained(self, job: Job) -> dict[str, float]:
        """Its inference reads what its training writes."""
        return self._steps(job)


class ForkPaintout(Fork):
    """The same with its preset Paintout / Cleanup: changed pixels weigh more, L1 + L2, thrice the rate."""

    name = "emlcpfx-paintout"
    _paintout: ClassVar[Sections] = {
        "data": {"overlap_factor": 0.75},
        "mask": {"use_auto_mask": True, "auto_mask_gamma": 0.5, "skip_empty_patches": True},
        "training": {"loss": "weighted", "l1_weight": 0.5, "l2_weight": 0.5, "lpips_weight": 0.0, "lr": 3e-4},
    }
    own: ClassVar[dict[str, list[Sections]]] = {
        "cpu": [Fork._general, _paintout],
        "cuda": [Fork._general, _paintout],
    }


REPOSITORIES = {"tpc2233": "https://github.com/tpc2233/tunet", "emlcpfx": "https://github.com/emlcpfx/tunet"}
TOOLS: dict[str, Callable[[Setup], Tool]] = {tool.name: tool for tool in (Nothing, Tunet, Fork, ForkPaintout, Copycat)}


def adapters(path: Path) -> list[type[Tool]]:
    """The tools that a file defines.

    Raises:
        ValueError: the file is missing or defines none.
    """
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ValueError(f"{path}: no file of Python code")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == path.stem]
    found = [value for value in own if issubclass(value, Tool) and "name" in vars(value)]
    if not found:
        raise ValueError(f"{path}: no subclass of Tool with a name")
    return found
