"""``copycat ofx install | uninstall | doctor``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import ofx_host
import pytest
from copycat.cli import ofx_install
from copycat.cli.app import app
from typer.testing import CliRunner


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package that holds the bundle as the wheel does."""
    folder = tmp_path / "package"
    (folder / "_ofx").mkdir(parents=True)
    (folder / "_ofx" / ofx_install.BUNDLE).symlink_to(ofx_host.bundle())
    monkeypatch.setattr(ofx_install, "package_folders", [str(folder)])
    monkeypatch.delenv("COPYCAT_PYTHON", raising=False)
    return folder


def levels(directory: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for finding in ofx_install.doctor(directory):
        found[finding.level].append(finding.sentence)
    return found


def test_search_path_begins_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFX_PLUGIN_PATH", f"/shots/ofx{os.pathsep}/site/ofx;/more")
    assert [str(folder) for folder in ofx_install.search_path()[:3]] == ["/shots/ofx", "/site/ofx", "/more"]
    monkeypatch.delenv("OFX_PLUGIN_PATH")
    assert ofx_install.search_path()[0] in (Path("/usr/OFX/Plugins"), Path("/Library/OFX/Plugins"))


def test_install_then_render_then_uninstall(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "plugins"
    monkeypatch.setenv("OFX_PLUGIN_PATH", str(folder))
    for _ in range(2):  # over an older one as well
        bundle = ofx_install.install()
        assert bundle == folder / ofx_install.BUNDLE
        assert [path.name for path in folder.iterdir()] == [ofx_install.BUNDLE]
    assert (bundle / "Contents/Resources/python.txt").read_text() == f"{sys.executable}\n"
    assert ofx_install.report()
    assert "worker starts" in capsys.readouterr().out

    environment = {"COPYCAT_PYTHON": "", "PYTHONPATH": "/nowhere"}
    with ofx_host.Host(tmp_path, environment, path=ofx_host.binary(bundle)) as host:
        host.create("Inference", modelFile="/nowhere/model.cat")
        source = np.zeros((8, 8, 4), np.float32)
        host.clip("Source", source)
        host.render(source, expect=1)
        assert "/nowhere/model.cat" in host.last_message()  # the worker's own words: it was found and started

    assert ofx_install.uninstall() == bundle
    assert not bundle.exists()
    with pytest.raises(ofx_install.InstallError, match="is not installed in"):
        ofx_install.uninstall()


def test_install_says_where_the_scripts_of_hosts_lie(package: Path, tmp_path: Path) -> None:
    asked = ["ofx", "install", "--directory", str(tmp_path / "plugins")]
    assert "built without hosts" in CliRunner().invoke(app, asked).output.replace("\n", " ")
    (package / "_ofx" / "hosts").symlink_to(ofx_host.ROOT / "hosts")
    said = CliRunner().invoke(app, asked).output.replace("\n", "")
    assert f"add {package}/_ofx/hosts/nuke to NUKE_PATH" in said
    assert f"add {package}/_ofx/hosts/natron to NATRON_PLUGIN_PATH" in said


def test_a_folder_that_cannot_be_written_is_named(package: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(ofx_install.InstallError, match=r"file.*--directory"):
        ofx_install.install(blocked)


def test_a_package_without_the_bundle_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ofx_install, "package_folders", [str(tmp_path)])
    with pytest.raises(ofx_install.InstallError, match="built without"):
        ofx_install.install(tmp_path / "plugins")


def test_doctor_finds_what_is_wrong(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plugins"
    monkeypatch.setenv("OFX_PLUGIN_PATH", str(folder))
    assert "run copycat ofx install" in levels(folder)["error"][0]
    bundle = ofx_install.install(folder)
    resources = bundle / "Contents" / "Resources"

    (resources / "version.txt").write_text("0.0.1\n")
    assert "the plugin is 0.0.1" in levels(folder)["warning"][0]

    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho no copycat here >&2\nexit 1\n")
    silent.chmod(0o755)
    (resources / "python.txt").write_text(f"{silent}\n")
    assert "no copycat here" in levels(folder)["error"][0]
    (resources / "python.txt").write_text("/nowhere/python\n")
    assert "/nowhere/python" in levels(folder)["error"][0]
    (resources / "python.txt").unlink()
    assert "names no interpreter" in levels(folder)["error"][0]
    monkeypatch.setenv("COPYCAT_PYTHON", "/elsewhere/python")
    assert "/elsewhere/python" in levels(folder)["error"][0]

    binary = ofx_host.binary(bundle)
    binary.write_bytes(b"not a library")
    assert "cannot be loaded" in levels(folder)["error"][0]
    assert not ofx_install.report(folder)


def test_doctor_ends_a_worker_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(ofx_install, "_START_SECONDS", 0.1)
    monkeypatch.setattr(ofx_install, "_END_SECONDS", 0.1)
    sentence = ofx_install._greeting(str(script), dict(os.environ)).sentence
    found = re.fullmatch(r"the worker \(process (\d+)\) did not end with its host", sentence)
    assert found, sentence
    with pytest.raises(ProcessLookupError):
        os.kill(int(found[1]), 0)


def test_doctor_names_a_libc_that_is_too_old(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = ofx_install.install(tmp_path / "plugins")
    monkeypatch.setenv("OFX_PLUGIN_PATH", str(tmp_path / "plugins"))
    monkeypatch.setenv("COPYCAT_PYTHON", "/nowhere/python")
    binary = ofx_host.binary(bundle)
    versions = subprocess.run(["objdump", "-T", binary], capture_output=True, text=True, check=True).stdout
    needed = max(tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", versions))
    assert ofx_install.needed_glibc(binary) == needed
    assert f"needs glibc {needed[0]}.{needed[1]} or newer" in levels(tmp_path)["ok"][1]

    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", f"2.{needed[1] - 1}"))
    assert f"needs glibc {needed[0]}.{needed[1]} or newer, and this machine has 2." in levels(tmp_path)["error"][0]
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert "loads" in levels(tmp_path)["ok"][1]


def test_doctor_says_when_hosts_do_not_look_there(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OFX_PLUGIN_PATH", raising=False)
    monkeypatch.setenv("COPYCAT_PYTHON", "/nowhere/python")
    ofx_install.install(tmp_path / "mine")
    assert "OFX_PLUGIN_PATH" in levels(tmp_path / "mine")["warning"][0]
