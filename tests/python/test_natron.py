"""Both effects and the scripts in a real Natron: ``make test-natron NATRON=/opt/Natron/NatronRenderer``.

Natron 2.5 with the bundle IO.ofx in its plugin path. Fails where there is none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import copycat
import numpy as np
import ofx_host
import pytest
from copycat.sequence import write_frame

pytestmark = pytest.mark.natron
SESSION = Path(__file__).parent / "natron_session.py"


def read_pfm(path: Path) -> np.ndarray:
    kind, size, scale, pixels = path.read_bytes().split(b"\n", 3)
    assert (kind, float(scale)) == (b"PF", -1.0)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, "<f4").reshape(height, width, 3)[::-1]


def test_a_session_in_natron(tmp_path: Path) -> None:
    natron = Path(os.environ["NATRON"])
    rows, columns = np.mgrid[:48, :64] / 64.0
    plates = [
        np.stack([columns, rows, (columns * rows + frame) % 1], axis=-1).astype(np.float32) for frame in (1, 2, 3)
    ]
    for frame, plate in enumerate(plates, 1):
        write_frame(tmp_path / f"plate.{frame:04d}.exr", plate, ("R", "G", "B"), dtype="float")
        write_frame(tmp_path / f"clean.{frame:04d}.exr", 0.5 * plate, ("R", "G", "B"), dtype="float")
    plugins = os.pathsep.join(filter(None, [str(ofx_host.bundle().parent), os.environ.get("OFX_PLUGIN_PATH")]))
    environment = {
        **os.environ,
        "COPYCAT_PYTHON": sys.executable,
        "OFX_PLUGIN_PATH": plugins,
        "NATRON_PLUGIN_PATH": str(ofx_host.ROOT / "hosts" / "natron"),
        "COPYCAT_SESSION": str(tmp_path),
        "HOME": str(tmp_path),  # its settings and its list of plugins
        "QT_QPA_PLATFORM": "offscreen",
    }
    done = subprocess.run([natron, SESSION], env=environment, capture_output=True, text=True, timeout=240, check=False)
    said = done.stdout + done.stderr
    assert (tmp_path / "report.json").exists(), said
    report = json.loads((tmp_path / "report.json").read_text())

    model = next((tmp_path / "data").glob("*_3.cat"))
    assert report["below the name"].startswith("finished, step 3 of 3")
    assert report["runs"].startswith(f"* {model.name[:-6]}, 3 of 3 steps")
    assert (report["inferences"], report["model"], report["channels"]) == (1, str(model), "R, G, B")
    network = copycat.load(model, "cpu")
    for frame, plate in enumerate(plates, 1):
        result = read_pfm(tmp_path / f"result.{frame:04d}.pfm")
        # Some versions of Natron's ReadEXR say that a picture is one row less high than it is, and writers believe it.
        np.testing.assert_allclose(result, network(plate)[-len(result) :], atol=1e-5)
    for name in ("passed", "input"):
        np.testing.assert_array_equal(read_pfm(tmp_path / f"{name}.0001.pfm"), plates[0][-len(result) :])
    np.testing.assert_array_equal(read_pfm(tmp_path / "preview.0001.pfm"), read_pfm(tmp_path / "result.0001.pfm"))
    assert not (tmp_path / "missing.0001.pfm").exists()
    assert "/nowhere/100%s.cat: the Model File cannot be read" in said
