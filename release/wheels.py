"""Builds a release into a folder: a wheel for each Python, the sdist, and their SHA-256 sums.

``python -m release.wheels`` in an environment with ``release/requirements.txt`` (``make wheel``). The wheels are for
Linux with glibc 2.28 or newer. They hold CUDA kernels for all GPUs if nvcc is on the path; ``COPYCAT_CUDA=ON`` requires
them, ``OFF`` leaves them out, and ``COPYCAT_CUDA_ARCHITECTURES`` names others. All share one build folder, so that only
the Python module is compiled for each Python.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from release.audit import AuditError, check, repair

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
_FOLDERS = (Path.home() / ".pyenv/versions", Path("/opt/python"))  # of pyenv, of a manylinux image
_PROBE = (
    "import pathlib, sys, sysconfig; "
    "print('%d.%d' % sys.version_info[:2], (pathlib.Path(sysconfig.get_path('include')) / 'Python.h').is_file())"
)
_HOOK = (
    "import json, sys; from scikit_build_core import build; "
    "print(getattr(build, sys.argv[1])(sys.argv[2], json.loads(sys.argv[3])))"
)


class BuildError(Exception):
    """A wheel cannot be built."""


def find_python(version: str) -> str | None:
    """An interpreter of a version, with headers; None where there is none."""
    named = shutil.which(f"python{version}")
    digits = version.replace(".", "")
    candidates = [named] if named else []
    for folder in _FOLDERS:
        candidates += sorted(map(str, folder.glob(f"{version}.*/bin/python")), reverse=True)
        candidates += sorted(map(str, folder.glob(f"cp{digits}-cp{digits}/bin/python")))
    for candidate in candidates:
        done = subprocess.run([candidate, "-c", _PROBE], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.split() == [version, "True"]:
            return candidate
    return None


def build(kind: str, python: str, folder: Path, settings: str, environment: dict[str, str]) -> Path:
    """Calls a hook of the build backend, ``build_wheel`` or ``build_sdist``, and returns the file that it made.

    Raises:
        BuildError: with the end of what the build said.
    """
    done = subprocess.run(
        [python, "-c", _HOOK, kind, str(folder), settings], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise BuildError(f"{kind} with {python} failed:\n{(done.stdout + done.stderr)[-8000:]}")
    return folder / done.stdout.strip().splitlines()[-1]


def backend(folder: Path) -> Path:
    """Installs the build's requirements, which are pure Python, where interpreters of all versions import them."""
    if not (folder / "scikit_build_core").is_dir():
        requirements = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder), *requirements]
        if subprocess.run(command).returncode:
            raise BuildError(f"the build's requirements cannot be installed into {folder}")
    return folder


def has_cuda(environment: dict[str, str]) -> bool:
    """Whether the wheels must hold kernels for the GPU, as CMake decides it."""
    choice = environment.get("COPYCAT_CUDA", "AUTO")
    compiler = shutil.which("nvcc", path=environment.get("PATH")) or environment.get("CUDACXX")
    return choice == "ON" or (choice == "AUTO" and bool(compiler))


def write_sums(folder: Path) -> Path:
    """Writes SHA256SUMS, as ``sha256sum --check`` reads it, of all wheels and sdists of a folder."""
    files = sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(lines), encoding="utf-8")
    return sums


def make(output: Path, versions: Sequence[str], all_of_them: bool) -> None:
    """Builds, audits and sums.

    Args:
        output: the folder; wheels and sdists of before are removed from it.
        versions: of Python.
        all_of_them: whether a Python that is not here is an error.

    Raises:
        BuildError: a Python is missing, or a build fails.
        AuditError: a wheel asks for too much, or lacks something.
    """
    pythons = {version: find_python(version) for version in versions}
    missing = [version for version, python in pythons.items() if python is None]
    if missing and (all_of_them or len(missing) == len(pythons)):
        raise BuildError(f"Python {', '.join(missing)} with headers is not on this machine")
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("*.whl"), *output.glob("*.tar.gz")]:
        old.unlink()
    work = ROOT / "build" / "release"
    scripts = sysconfig.get_path("scripts")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CMAKE"))}
    environment |= {
        "PYTHONPATH": str(backend(work / "backend")),
        "PATH": os.pathsep.join([scripts, environment.get("PATH", "")]),
        "CMAKE_ARGS": f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'release/glibc-2.28.cmake'}",
    }
    environment.setdefault("COPYCAT_CUDA_ARCHITECTURES", "ALL")
    cuda = has_cuda(environment)
    with tempfile.TemporaryDirectory() as folder:
        print(build("build_sdist", sys.executable, output, "{}", environment).name, flush=True)
        for version, python in pythons.items():
            if python is None:
                print(f"Python {version} with headers is not on this machine: no wheel for it", flush=True)
                continue
            wheel = build("build_wheel", python, Path(folder), f'{{"build-dir": "{work / "wheel"}"}}', environment)
            print(check(repair(wheel, output), cuda), flush=True)
    print(write_sums(output))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Builds the wheels and the sdist of a release")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--python", action="append", metavar="VERSION", help=f"by default {', '.join(PYTHONS)}")
    parser.add_argument("--all", action="store_true", help="fail where a Python is missing")
    options = parser.parse_args()
    try:
        make(options.output.absolute(), options.python or PYTHONS, options.all)
    except (BuildError, AuditError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
