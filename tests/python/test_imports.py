"""What import-linter (``pyproject.toml``) cannot see: the native module's one importer, and that torch loads late."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import copycat
import pytest

SOURCE = Path(copycat.__file__).parent


def test_only_ops_imports_the_native_module() -> None:
    native = re.compile(r"^\s*(from copycat import .*\b_core\b|(import|from) copycat\._core\b)", re.MULTILINE)
    importers = [str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if native.search(path.read_text())]
    assert importers == ["ops/native.py"]


@pytest.mark.parametrize(
    "statement",
    [
        "import copycat; copycat.__version__; dir(copycat)",
        "import copycat; copycat.Settings, copycat.InferenceSettings, copycat.CopycatError",
        "import copycat.settings.tables, copycat.runs, copycat.errors",
        "import copycat.cli.runs_table",
        "import copycat.cli",
        "import copycat.dashboard",
    ],
)
def test_this_does_not_load_torch(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_there() -> None:
    for name in copycat.__all__:
        assert getattr(copycat, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        _ = copycat.nothing
