"""Runs the suite with the oldest and the newest Python, torch and numpy (``make versions``, of ``make test-long``).

Each combination gets an environment in ``build/versions``, which is kept, with a build without the GPU's kernels. What
cannot be had on this machine is said in one sentence; ``--strict`` makes it a failure.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from release.wheels import find_python

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build/versions"
SUITE = ("-m", "not long and not gpu and not natron")


@dataclass(frozen=True)
class Combination:
    """Versions that the suite runs with.

    Attributes:
        python, numpy: of which the newest patch is taken.
        torch: the version.
        oldest: whether the page's packages are the oldest that pyproject.toml admits.
    """

    python: str
    torch: str
    numpy: str
    oldest: bool = False

    def __str__(self) -> str:
        return f"python{self.python}-torch{self.torch}-numpy{self.numpy}"

    @property
    def constraints(self) -> str:
        """The lines for pip that no package may leave."""
        lines = [f"torch=={self.torch}", f"numpy=={self.numpy}.*"]
        if self.oldest:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            page = project["optional-dependencies"]["progress"]
            lines += [re.sub(r">=([\d.]+),<.*", r"==\1.*", requirement) for requirement in page]
        return "".join(f"{line}\n" for line in lines)


# There is no numpy 1.26 for Python 3.13.
COMBINATIONS = (
    Combination("3.11", "2.6.0", "1.26", oldest=True),
    Combination("3.11", "2.6.0", "2"),
    Combination("3.11", "2.13.0", "1.26"),
    Combination("3.11", "2.13.0", "2"),
    Combination("3.13", "2.6.0", "2"),
    Combination("3.13", "2.13.0", "2"),
)


class NotHereError(Exception):
    """A version cannot be had on this machine."""


class SuiteError(Exception):
    """An environment cannot be set up, or tests fail in it."""


def prepare(combination: Combination) -> Path:
    """The interpreter of an environment with copycat and what its tests need.

    Raises:
        NotHereError: the machine has no such Python, or pip finds no such torch for it.
        SuiteError: anything else cannot be installed or compiled.
    """
    python = find_python(combination.python)
    if python is None:
        raise NotHereError(f"Python {combination.python} with headers is not on this machine")
    environment = FOLDER / str(combination)
    constraints = FOLDER / f"{combination}.txt"
    FOLDER.mkdir(parents=True, exist_ok=True)
    constraints.write_text(combination.constraints, encoding="utf-8")
    options = [f"VENV={environment}", f"PYTHON={python}", f"TORCH=torch=={combination.torch}"]
    options.append(f"BUILD={FOLDER / '{wheel_tag}'}")
    variables = {"COPYCAT_CUDA": "OFF"} | os.environ | {"PIP_CONSTRAINT": str(constraints)}

    def make(target: str | Path) -> subprocess.CompletedProcess[str]:
        command = ["make", "-s", str(target), *options]
        return subprocess.run(command, cwd=ROOT, env=variables, text=True, capture_output=True)

    done = make(environment / "torch")
    if re.search(r"No matching distribution found for (torch|numpy)", done.stderr):
        raise NotHereError(
            f"pip finds no torch {combination.torch} or numpy {combination.numpy} for Python {combination.python} here"
        )
    if done.returncode == 0:
        done = make("setup-test")
    if done.returncode:
        raise SuiteError(f"cannot be set up:\n{(done.stdout + done.stderr)[-4000:]}")
    return environment / "bin/python"


def run(combination: Combination, arguments: Sequence[str]) -> None:
    """Runs tests with a combination; ``arguments`` are pytest's.

    Raises:
        NotHereError: a version cannot be had.
        SuiteError: tests fail.
    """
    python = prepare(combination)
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    environment = {"COPYCAT_CUDA": "OFF"} | os.environ | {"PATH": path}
    if subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=environment).returncode:
        raise SuiteError("tests fail")


def run_all(combinations: Sequence[Combination], arguments: Sequence[str], strict: bool) -> int:
    """Runs one combination after the other and says how each ended; the exit status."""
    lines, failed, passed = [], 0, 0
    for combination in combinations:
        print(f"== {combination}", flush=True)
        try:
            run(combination, arguments)
            ended, passed = "passed", passed + 1
        except NotHereError as error:
            ended, failed = f"not run: {error}", failed + strict
        except SuiteError as error:
            ended, failed = str(error), failed + 1
        lines.append(f"{combination}: {ended}")
    print("\n".join(lines), flush=True)
    return int(failed > 0 or passed == 0)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Runs the suite with the oldest and the newest Python, torch and numpy"
    )
    names = {str(combination): combination for combination in COMBINATIONS}
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--strict", action="store_true", help="fail where a version cannot be had")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --; by default the suite of `make test`")
    options = parser.parse_args()
    chosen = [names[name] for name in options.only or names]
    sys.exit(run_all(chosen, options.pytest or SUITE, options.strict))


if __name__ == "__main__":
    main()
