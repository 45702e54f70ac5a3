"""`make wheel`, and each wheel in a clean environment without a compiler: training, render, plugin, host.

For test-long; CI tries the wheel of its own Python, which it names in COPYCAT_WHEELS. An environment is kept in
``build/try``, with the torch that pip chose; only the wheel is installed anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import ofx_host
import pytest
import torch
from conftest import random_model
from copycat import __version__
from copycat.inference.model import Model

from release import audit, wheels

ROOT = Path(__file__).parents[2]
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "nvcc", "cmake")
# One that has a build for every Python.
TORCH = os.environ.get("COPYCAT_WHEEL_TORCH", "torch==2.13.0")
PYTHONS = os.environ.get("COPYCAT_WHEELS", "").split() or wheels.PYTHONS

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]


def call(command: list[str | Path], **options: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the release."""
    which = " ".join(f"--python {version}" for version in PYTHONS)
    print(call(["make", "wheel", f"PYTHON={sys.executable}", f"WHEELS={which}"], cwd=ROOT))
    return ROOT / "dist"


def test_the_sums_are_right(built: Path) -> None:
    lines = (built / "SHA256SUMS").read_text().splitlines()
    files = sorted([*built.glob("*.whl"), *built.glob("*.tar.gz")])
    assert len(files) >= 2
    assert lines == [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]


def clean(python: str, version: str) -> tuple[Path, dict[str, str]]:
    """The interpreter of an environment with torch and pip only, and a process environment without compilers."""
    folder = ROOT / "build" / "try" / version
    if not (folder / "torch").exists():
        call([python, "-m", "venv", "--clear", folder])
        call([folder / "bin/pip", "install", "-q", TORCH])
        (folder / "torch").touch()
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder), "LANG": "C.UTF-8"}
    assert not [name for name in COMPILERS if shutil.which(name, path=environment["PATH"])]
    return folder / "bin/python", environment


@pytest.mark.parametrize("version", PYTHONS)
def test_a_wheel_just_runs(version: str, built: Path, tmp_path: Path) -> None:
    base = wheels.find_python(version)
    if base is None:
        pytest.skip(f"Python {version} is not here")
    tag = f"cp{version.replace('.', '')}"
    (wheel,) = built.glob(f"copycat_vfx-{__version__}-{tag}-{tag}-{audit.PLATFORM}.whl")
    assert wheel.stat().st_size <= 60e6
    python, environment = clean(base, version)
    install = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", "--force-reinstall", "--no-deps", wheel]
    call(install, env=os.environ | environment)
    call([python, "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel], env=os.environ | environment)
    said = call([python, ROOT / "release/try_installed.py"], env=environment, cwd=tmp_path)
    assert f"copycat {__version__}" in said
    needed = re.search(r"it needs glibc 2\.(\d+) or newer", said)
    assert needed, said
    assert int(needed[1]) <= 28
    assert "the worker starts, speaks protocol" in said
    host_renders(python, environment, tmp_path)


def host_renders(python: Path, environment: dict[str, str], folder: Path) -> None:
    """The test host loads the wheel's plugin, whose worker is the wheel's, and renders what copycat renders here."""
    where = "import copycat; print(copycat.__path__[0])"
    package = Path(call([python, "-c", where], env=environment, cwd=folder).strip())
    assert "site-packages" in package.parts
    plugin = ofx_host.binary(package / "_ofx/copycat.ofx.bundle")
    assert ofx_host.build().is_dir()
    model = random_model(folder / "model.cat")
    picture = np.random.default_rng(3).random((32, 48, 4), dtype=np.float32)
    expected = Model(model, torch.device("cpu"))(np.ascontiguousarray(picture[..., :3]))
    with ofx_host.Host(folder, {**environment, "COPYCAT_PYTHON": str(python)}, path=plugin) as host:
        assert host.create("Inference", modelFile=str(model), useGPUIfAvailable=False) == 0
        host.clip("Source", picture)
        result = host.render(picture)
    np.testing.assert_allclose(result[..., :3], expected, atol=2e-3)
    np.testing.assert_array_equal(result[..., 3], picture[..., 3])
    assert np.abs(expected - picture[..., :3]).max() > 0.01


def test_the_sdist_builds_offline(built: Path, tmp_path: Path) -> None:
    """With its requirements installed, no index, and no network where this process may cut it off."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "CMakeLists.txt",
        "ofx/CMakeLists.txt",
        "hosts/openjd/copycat.yaml",
        "LICENSE",
        "CHANGELOG.md",
    } - names == set()
    assert not [name for name in names if name.startswith(("build/", "dist/", ".github")) or name.endswith(".so")]
    cut_off = ["unshare", "--net"] if os.geteuid() == 0 and shutil.which("unshare") else []
    command = [*cut_off, sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    options = os.environ | {"COPYCAT_CUDA": "OFF", "PATH": path}
    call([*command, "--wheel-dir", tmp_path, sdist], env=options)
    (wheel,) = tmp_path.glob("*.whl")
    python = tmp_path / "target"
    call([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", python, wheel])
    code = "import copycat; from copycat import ops; print(copycat.__file__, ops.build_info()['version'])"
    file, version = call(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(python)}
    ).split()
    assert Path(file).is_relative_to(python)
    assert version == __version__
