"""What ShotBench asks of a tool: the command lines of its training and of its rendering."""

from __future__ import annotations

import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks.shotbench.clock import Limit, train
from benchmarks.shotbench.task import Task


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        task: its frames.
        run: number of the repetition; a seed for tools that have one.
        limit: what the training may take; the clock ends it.
        threads: of the CPU that it may use.
        device: cpu or cuda.
        out: an empty folder for its files.
    """

    task: Task
    run: int
    limit: Limit
    threads: int
    device: str
    out: Path


@dataclass(frozen=True)
class Setup:
    """Where the tools are.

    Attributes:
        peers: folder with a clone of each peer, named as its repository is in ``tools.REPOSITORIES``.
        python: interpreter with the peers' requirements: torch, torchvision, lpips, albumentations and PyYAML.
        knobs: options of copycat train.
    """

    peers: Path | None
    python: str
    knobs: str


class Tool(ABC):
    """A tool that repeats what was painted on a few frames.

    Attributes:
        name: as on the command line and in results.
        ends_itself: whether its training may end before the clock stops it.
        setup: what the command line says of all tools.
        folder: working directory of its commands; None for the present one.
        environment: variables of its commands.
    """

    name: ClassVar[str]
    ends_itself: ClassVar[bool] = False
    folder: Path | None = None
    environment: ClassVar[Mapping[str, str]] = {}

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    @abstractmethod
    def version(self) -> str:
        """What was measured: a version or a commit."""

    @abstractmethod
    def train_command(self, job: Job) -> list[str]:
        """Trains on ``job.task.folder / "train"``; SIGINT must end it with a model."""

    @abstractmethod
    def render_command(self, job: Job, frames: Path, rendered: Path) -> list[str]:
        """Renders the PNGs of one folder into another, which does not exist yet; their order by name stays."""

    def trained(self, job: Job) -> dict[str, float]:
        """Called after the training; returns further figures, such as ``steps``."""
        return {}

    def run(self, job: Job) -> dict[str, float]:
        """Trains, renders and scores; the tool's output goes to ``job.out``.

        Raises:
            RuntimeError: the tool failed; the sentence names its log.
        """
        log = job.out / "train.log"
        figures = train(
            self.train_command(job),
            job.limit,
            log,
            folder=self.folder,
            environment=self.environment,
            ends_itself=self.ends_itself,
        )
        figures |= self.trained(job)

        def render(frames: Path, rendered: Path) -> None:
            self._render(job, frames, rendered)

        return job.task.scores(job.out, render) | figures

    def _render(self, job: Job, frames: Path, rendered: Path) -> None:
        log = rendered.with_suffix(".log")
        command = self.render_command(job, frames, rendered)
        with log.open("w") as stream:
            environment = {**os.environ, **self.environment}
            done = subprocess.run(command, cwd=self.folder, stdout=stream, stderr=stream, env=environment, check=False)
        names, results = sorted(frames.glob("*.png")), sorted(rendered.glob("*.png"))
        if done.returncode or len(results) != len(names):
            raise RuntimeError(
                f"{self.name} rendered {len(results)} of {len(names)} frames, status {done.returncode}; see {log}"
            )
        for name, result in zip(names, results, strict=True):
            result.rename(rendered / name.name)
