"""Release tools: the notes, the audit of a wheel, the sums, and what the release workflow builds."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from copycat import __version__

from release import audit, notes, wheels

ROOT = Path(__file__).parents[2]
CHANGELOG = """# Changelog

What changes.

## 0.3.0 (unreleased)

- Soon.

## 0.2.0 (2026-12-01)

### Training

- Faster.

## 0.1.0 (2026-11-01)
"""


def test_the_notes_are_the_version_s_section() -> None:
    assert notes.notes(CHANGELOG, "0.2.0") == "### Training\n\n- Faster.\n"


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("0.3.0", "CHANGELOG.md: 0.3.0 is marked as unreleased; write its date"),
        ("0.1.0", "CHANGELOG.md: 0.1.0 has no notes"),
        ("0.2", "CHANGELOG.md: there is no version 0.2"),
    ],
)
def test_no_notes_no_release(version: str, sentence: str) -> None:
    with pytest.raises(notes.NotesError) as error:
        notes.notes(CHANGELOG, version)
    assert str(error.value) == sentence


def test_a_tag_must_be_the_package_s_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert notes.package_version() == __version__
    for words, sentence in ((["v9.9.9"], f"the tag is v9.9.9, the package is {__version__}"), ([], "give one tag")):
        with pytest.raises(SystemExit) as error:
            notes.main(words)
        assert sentence in str(error.value)
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def module(version: str = "2.27", more: bytes = b".nv_fatbin") -> bytes:
    return b"\x7fELF\0GLIBC_2.2.5\0GLIBC_" + version.encode() + b"\0" + more


def pack(folder: Path, *, platform: str = audit.PLATFORM, **files: bytes) -> Path:
    """A file that looks like a wheel; a module and a plugin of None are left out."""
    wheel = folder / f"copycat_vfx-0.1.0-cp311-cp311-{platform}.whl"
    names = {
        "module": "copycat/_core.cpython-311-x86_64-linux-gnu.so",
        "plugin": "copycat/_ofx/copycat.ofx.bundle/Contents/Linux-x86-64/copycat.ofx",
        "other": "copycat/other.so",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(names[name], data)
    return wheel


def test_a_good_wheel_passes(tmp_path: Path) -> None:
    wheel = pack(tmp_path, module=module("2.28"), plugin=module("2.17"), other=b"GLIBC_2.99")
    assert audit.check(wheel, cuda=True) == f"{wheel.name}: 0.0 MB, glibc 2.28, CUDA yes"
    assert audit.check(wheel, cuda=False).endswith("CUDA no")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"module": module("2.29"), "plugin": module()}, r"_core\S+ needs glibc 2\.29"),
        ({"module": module(), "plugin": module("2.34")}, r"copycat\.ofx needs glibc 2\.34"),
        ({"module": module(), "plugin": module(), "other": module("3.0")}, r"other\.so needs glibc 3\.0"),
        ({"plugin": module()}, "it holds 0 modules copycat._core"),
        ({"module": module()}, "it holds no OpenFX plugin"),
        ({"module": module(more=b""), "plugin": module()}, "it holds no kernels for the GPU"),
    ],
)
def test_a_bad_wheel_is_refused(files: dict[str, bytes], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(audit.AuditError, match=sentence):
        audit.check(pack(tmp_path, **files), cuda=True)


def test_a_wheel_of_another_platform_or_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(audit.AuditError, match="the platform is not manylinux_2_28_x86_64"):
        audit.check(pack(tmp_path, platform="linux_x86_64", module=module(), plugin=module()), cuda=True)
    wheel = pack(tmp_path, module=module(), plugin=module())
    monkeypatch.setattr(audit, "MOST_BYTES", 300)
    with pytest.raises(audit.AuditError, match=r"it has 0 MB, 0 are the most"):
        audit.check(wheel, cuda=True)


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"wheel")
    (tmp_path / "a.tar.gz").write_bytes(b"source")
    (tmp_path / "notes.md").write_bytes(b"none of it")
    text = wheels.write_sums(tmp_path).read_text()
    assert text.splitlines() == [
        f"{hashlib.sha256(b'source').hexdigest()}  a.tar.gz",
        f"{hashlib.sha256(b'wheel').hexdigest()}  b.whl",
    ]


def test_a_python_is_found_with_its_headers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_FOLDERS", (tmp_path,))
    monkeypatch.setattr(wheels.shutil, "which", lambda name: None)
    for name, answer in {"3.12.4": "3.12 True", "3.12.9": "3.12 False", "3.13.0": "3.11 True"}.items():
        python = tmp_path / name / "bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/sh\necho {answer}\n")
        python.chmod(0o755)
    assert wheels.find_python("3.12") == str(tmp_path / "3.12.4/bin/python")
    assert wheels.find_python("3.13") is None
    with pytest.raises(wheels.BuildError, match=r"Python 3\.13 with headers is not on this machine"):
        wheels.make(tmp_path / "out", ["3.12", "3.13"], all_of_them=True)


def test_kernels_for_the_gpu_are_asked_for_as_cmake_decides(tmp_path: Path) -> None:
    (tmp_path / "nvcc").touch(0o755)
    here, nowhere = {"PATH": str(tmp_path)}, {"PATH": "/nowhere"}
    assert [wheels.has_cuda(e) for e in (here, nowhere, nowhere | {"CUDACXX": "nvcc"})] == [True, False, True]
    assert not wheels.has_cuda(here | {"COPYCAT_CUDA": "OFF"})
    assert wheels.has_cuda(nowhere | {"COPYCAT_CUDA": "ON"})


def test_every_python_of_the_package_gets_a_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = re.findall(r"Python :: (3\.\d+)", str(settings["project"]["classifiers"]))
    assert list(wheels.PYTHONS) == named
    identifiers = [f"cp{version.replace('.', '')}-*" for version in named]
    assert settings["tool"]["cibuildwheel"]["build"] == identifiers
    workflow = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert all(f'python-version: "{version}"' in workflow for version in named)
    assert f"for version in {' '.join(named)}; do" in workflow
    assert "WHEELS=--all" in workflow


def test_a_release_of_the_command_line(tmp_path: Path) -> None:
    wheel = pack(tmp_path, module=module("2.30"), plugin=module())
    command = [sys.executable, "-m", "release.audit", "--cuda", str(wheel)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{wheel.name}: copycat/_core")
