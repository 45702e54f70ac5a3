"""``copycat ofx install | uninstall | doctor``: puts the plugin where hosts look, and finds what is wrong there."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from copycat import __path__ as package_folders
from copycat import __version__
from copycat.errors import CopycatError

BUNDLE = "copycat.ofx.bundle"
_START_SECONDS = 120.0
_END_SECONDS = 10.0
_PLUGINS = 2
_PROBE = """
import json, sys
import copycat
facts = {"version": copycat.__version__, "python": sys.version.split()[0]}
try:
    from copycat.data.devices import choose_device, device_name
    device, warning = choose_device(True)
    facts.update(device=device_name(device), gpu=device.type == "cuda", warning=warning)
except Exception as error:
    facts["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(facts))
"""


class InstallError(CopycatError):
    """The bundle is not there, or cannot be put where it should go."""


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor's report; ``level`` is ``ok``, ``warning`` or ``error``."""

    level: str
    sentence: str


def search_path() -> list[Path]:
    """The folders in which hosts look for plugins, in their order: ``OFX_PLUGIN_PATH``, then the system's."""
    named = os.environ.get("OFX_PLUGIN_PATH", "").replace(";", os.pathsep)
    system = "/Library/OFX/Plugins" if sys.platform == "darwin" else "/usr/OFX/Plugins"
    return [Path(folder) for folder in named.split(os.pathsep) if folder] + [Path(system)]


def packaged(name: str) -> Path:
    """A folder that the build put into the package: the bundle, or ``hosts`` with the scripts for Nuke and Natron.

    Raises:
        InstallError: copycat was built without it.
    """
    for folder in package_folders:
        path = Path(folder) / "_ofx" / name
        if path.is_dir():
            return path
    raise InstallError(f"this copycat was built without {name} (looked in {package_folders[0]}/_ofx)")


def install(directory: Path | None = None) -> Path:
    """Copies the bundle to where hosts look, and records this interpreter in it as the worker's.

    A host that is running keeps the old one until it is started again.

    Args:
        directory: the folder for the bundle, by default the first of :func:`search_path`.

    Returns:
        The installed bundle.

    Raises:
        InstallError: the folder cannot be written, or there is no bundle.
    """
    source = packaged(BUNDLE)
    folder = (directory or search_path()[0]).absolute()
    target = folder / BUNDLE
    # Hosts skip what begins with @: a bundle that is only half there is never loaded.
    fresh, old = folder / f"@{BUNDLE}.{os.getpid()}", folder / f"@{BUNDLE}.{os.getpid()}.old"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, fresh)
        resources = fresh / "Contents" / "Resources"
        resources.mkdir(exist_ok=True)
        # Not resolved: the python of a virtual environment is a link, and only through it finds its packages.
        (resources / "python.txt").write_text(f"{sys.executable}\n", encoding="utf-8")
        (resources / "version.txt").write_text(f"{__version__}\n", encoding="utf-8")
        if target.exists():
            os.rename(target, old)
        os.rename(fresh, target)
    except OSError as error:
        raise InstallError(
            f"{error.filename or folder}: the plugin cannot be installed: {error.strerror}; "
            "use --directory with a folder of your own and set OFX_PLUGIN_PATH to it, or run as administrator"
        ) from None
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
    return target


def host_scripts() -> str:
    """The folders of the scripts for Nuke and Natron and the variables to set, or why there are none."""
    try:
        folder = packaged("hosts")
    except InstallError as error:
        return str(error)
    return (
        f"Nuke: add {folder / 'nuke'} to NUKE_PATH for a menu and Create Inference nodes\n"
        f"Natron: add {folder / 'natron'} to NATRON_PLUGIN_PATH for the same"
    )


def uninstall(directory: Path | None = None) -> Path:
    """Removes the bundle from a folder, by default the first of :func:`search_path` that has it.

    Raises:
        InstallError: it is not there, or cannot be removed.
    """
    folders = [directory] if directory else search_path()
    for folder in folders:
        target = folder / BUNDLE
        if target.is_dir():
            try:
                shutil.rmtree(target)
            except OSError as error:
                raise InstallError(f"{target}: cannot be removed: {error.strerror}") from None
            return target
    raise InstallError(f"{BUNDLE} is not installed in {', '.join(map(str, folders))}")


def doctor(directory: Path | None = None) -> Iterator[Diagnosis]:
    """Checks everything that a host needs of copycat; yields one finding for each check, also for what is in order.

    Args:
        directory: a folder to look in besides :func:`search_path`.
    """
    folders = list(dict.fromkeys([*([directory] if directory else []), *search_path()]))
    found = [folder / BUNDLE for folder in folders if (folder / BUNDLE).is_dir()]
    if not found:
        yield Diagnosis("error", f"{BUNDLE} is not in {', '.join(map(str, folders))}: run copycat ofx install")
        return
    bundle = found[0]
    yield Diagnosis("ok", f"the plugin is in {bundle}")
    for other in found[1:]:
        yield Diagnosis("warning", f"there is another one in {other}; hosts may load either")
    if bundle.parent not in search_path():
        yield Diagnosis("warning", f"hosts look there only if OFX_PLUGIN_PATH names {bundle.parent}")
    yield _binary(bundle)
    interpreter, finding = _interpreter(bundle)
    yield finding
    if interpreter:
        yield from _worker(interpreter, bundle)


def report(directory: Path | None = None) -> bool:
    """Prints the doctor's findings as they come; True when none is an error."""
    healthy = True
    for finding in doctor(directory):
        print(f"{finding.level:>8}  {finding.sentence}", flush=True)
        healthy = healthy and finding.level != "error"
    return healthy


def _binary(bundle: Path) -> Diagnosis:
    binaries = sorted((bundle / "Contents").glob("*/copycat.ofx"))
    if not binaries:
        return Diagnosis("error", f"{bundle} holds no copycat.ofx: run copycat ofx install again")
    # In a process of its own: a library that is broken may take the process with it.
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).OfxGetNumberOfPlugins())"
    tried = subprocess.run([sys.executable, "-c", code, str(binaries[0])], capture_output=True, text=True)
    needed, here = needed_glibc(binaries[0]), _glibc_here()
    needs = f"glibc {'.'.join(map(str, needed))} or newer"
    if needed > here > (0, 0):
        return Diagnosis(
            "error",
            f"{binaries[0]} needs {needs}, and this machine has {'.'.join(map(str, here))}: "
            "install a wheel of copycat, whose bundle needs glibc 2.28 (see docs/guides/hosts.md)",
        )
    if tried.stdout.strip() != str(_PLUGINS):
        words = tried.stderr.strip().splitlines() or [f"it holds {tried.stdout.strip() or 'no'} plugins"]
        return Diagnosis("error", f"{binaries[0]} cannot be loaded on this machine: {words[-1]}")
    suffix = f"; it needs {needs}" if needed > (0, 0) else ""
    return Diagnosis(
        "ok", f"{binaries[0].name} for {binaries[0].parent.name} loads and holds CopyCat and Inference{suffix}"
    )


def needed_glibc(binary: Path) -> tuple[int, int]:
    """The newest version of the GNU C library that a binary requires; (0, 0) if it requires none.

    A binary names each version that it needs in its string table (System V ABI, symbol versioning).
    """
    named = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", binary.read_bytes())
    return max(((int(major), int(minor)) for major, minor in named), default=(0, 0))


def _glibc_here() -> tuple[int, int]:
    """The version of this machine's GNU C library; (0, 0) if it has another C library."""
    name, version = platform.libc_ver()
    major, _, minor = version.partition(".")
    return (int(major), int(minor)) if name == "glibc" and major.isdigit() and minor.isdigit() else (0, 0)


def _interpreter(bundle: Path) -> tuple[str, Diagnosis]:
    override = os.environ.get("COPYCAT_PYTHON", "")
    record = bundle / "Contents" / "Resources" / "python.txt"
    recorded = record.read_text(encoding="utf-8").strip() if record.is_file() else ""
    interpreter, origin = (override, "COPYCAT_PYTHON") if override else (recorded, str(record))
    if not interpreter:
        return "", Diagnosis("error", f"{record} names no interpreter: run copycat ofx install")
    if not os.access(interpreter, os.X_OK):
        return "", Diagnosis("error", f"{interpreter} (from {origin}) cannot be run: run copycat ofx install again")
    return interpreter, Diagnosis("ok", f"the worker runs in {interpreter} (from {origin})")


def _worker(interpreter: str, bundle: Path) -> Iterator[Diagnosis]:
    environment = clean_environment()
    try:
        probe = subprocess.run(
            [interpreter, "-P", "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=_START_SECONDS
        )
        facts = json.loads(probe.stdout.splitlines()[-1])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        words = probe.stderr.strip().splitlines()[-1:] if "probe" in locals() else [str(error)]
        yield Diagnosis("error", f"{interpreter} has no working copycat: {' '.join(words)}")
        return
    record = bundle / "Contents" / "Resources" / "version.txt"
    plugin = record.read_text(encoding="utf-8").strip() if record.is_file() else "unknown"
    if plugin == facts["version"]:
        yield Diagnosis("ok", f"plugin and copycat are both {plugin} (Python {facts['python']})")
    else:
        yield Diagnosis(
            "warning",
            f"the plugin is {plugin} and copycat in {interpreter} is {facts['version']}: run copycat ofx install",
        )
    yield _greeting(interpreter, environment)
    if "error" in facts:
        yield Diagnosis("error", f"copycat cannot compute: {facts['error']}")
    elif facts["gpu"]:
        yield Diagnosis("ok", f"GPU: {facts['device']}" + (f" ({facts['warning']})" if facts["warning"] else ""))
    else:
        yield Diagnosis("warning", f"no GPU: the CPU will be used{': ' + facts['warning'] if facts['warning'] else ''}")


def _greeting(interpreter: str, environment: dict[str, str]) -> Diagnosis:
    """Starts a worker as the plugin does and waits for its greeting."""
    from copycat.worker.protocol import PROTOCOL, Channel, ProtocolError

    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(_START_SECONDS)
        process = subprocess.Popen(
            [interpreter, "-P", "-m", "copycat.worker", str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        greeting = None
        with contextlib.suppress(OSError, ProtocolError):
            greeting = Channel(ours).receive()
    with process:
        try:
            words = process.communicate(timeout=_END_SECONDS)[1].decode(errors="replace").strip().splitlines()
        except subprocess.TimeoutExpired:
            process.kill()
            return Diagnosis("error", f"the worker (process {process.pid}) did not end with its host")
    if greeting is None:
        return Diagnosis("error", f"the worker does not start: {words[-1] if words else 'it said nothing'}")
    spoken = greeting[0].get("hello", {}).get("protocol")
    if spoken != PROTOCOL:
        return Diagnosis("error", f"the worker speaks protocol {spoken}, the plugin {PROTOCOL}: install again")
    return Diagnosis("ok", f"the worker starts, speaks protocol {spoken} and ends")


def clean_environment() -> dict[str, str]:
    """The environment that the plugin gives the worker: without what a host sets for its own libraries and Python."""
    dropped = ("PYTHON", "LD_", "DYLD_", "CONDA", "VIRTUAL_ENV", "CUDA_DEVICE_ORDER")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
