"""Looks into a wheel for what a release must have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

PLATFORM = "manylinux_2_28_x86_64"
GLIBC = (2, 28)
MOST_BYTES = 60_000_000
_ELF = b"\x7fELF"


class AuditError(Exception):
    """A wheel lacks something or holds too much."""


def check(wheel: Path, cuda: bool) -> str:
    """Checks a wheel for Linux.

    Args:
        wheel: the file.
        cuda: whether it must hold kernels for the GPU.

    Returns:
        One line about it.

    Raises:
        AuditError: names the wheel and what is wrong.
    """
    if not wheel.name.endswith(f"-{PLATFORM}.whl"):
        raise AuditError(f"{wheel.name}: the platform is not {PLATFORM}")
    size = wheel.stat().st_size
    if size > MOST_BYTES:
        raise AuditError(f"{wheel.name}: it has {size / 1e6:.0f} MB, {MOST_BYTES / 1e6:.0f} are the most")
    modules, bundles = [], []
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if not data.startswith(_ELF):
                continue
            needed = glibc(data)
            if needed > GLIBC:
                raise AuditError(f"{wheel.name}: {name} needs glibc {needed[0]}.{needed[1]}")
            if re.fullmatch(r"copycat/_core\..*\.so", name):
                modules.append(data)
            if re.fullmatch(r"copycat/_ofx/copycat\.ofx\.bundle/Contents/Linux-x86-64/copycat\.ofx", name):
                bundles.append(data)
    if len(modules) != 1:
        raise AuditError(f"{wheel.name}: it holds {len(modules)} modules copycat._core")
    if len(bundles) != 1:
        raise AuditError(f"{wheel.name}: it holds no OpenFX plugin")
    if cuda and b".nv_fatbin" not in modules[0]:
        raise AuditError(f"{wheel.name}: it holds no kernels for the GPU")
    needed = max(glibc(data) for data in (*modules, *bundles))
    return f"{wheel.name}: {size / 1e6:.1f} MB, glibc {needed[0]}.{needed[1]}, CUDA {'yes' if cuda else 'no'}"


def glibc(binary: bytes) -> tuple[int, int]:
    """The newest version of the GNU C library that a binary asks for, from its string table; (0, 0) for none."""
    named = re.findall(rb"\0GLIBC_(\d+)\.(\d+)", binary)
    return max(((int(major), int(minor)) for major, minor in named), default=(0, 0))


def main() -> None:
    """Checks the wheels that are named; ``--cuda`` asks for kernels for the GPU."""
    names = [word for word in sys.argv[1:] if word != "--cuda"]
    try:
        for name in names:
            print(check(Path(name), "--cuda" in sys.argv))
    except AuditError as error:
        sys.exit(str(error))


def repair(wheel: Path, folder: Path) -> Path:
    """Has auditwheel check a wheel's libraries and symbols and name its platform; the new file in ``folder``.

    Raises:
        AuditError: it asks for more than the platform offers.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "auditwheel",
            "repair",
            "--only-plat",
            "--plat",
            PLATFORM,
            "--wheel-dir",
            str(folder),
            str(wheel),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])},
    )
    if done.returncode:
        raise AuditError(f"{wheel.name}: auditwheel refuses it: {(done.stderr or done.stdout).strip()}")
    return max(folder.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)


if __name__ == "__main__":
    main()
