"""Imports point one way: the order of the layers, one importer of the native module, no torch where none is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import copycat
import pytest

SOURCE = Path(copycat.__file__).parent

# From the top down; a module may import from its own layer and from those below it. Packages count as one module.
LAYERS = (
    {"__main__"},
    {"cli"},
    {
        "describe",
        "knob_options",
        "runs_table",
        "progress",
        "openjd",
        "companions",
        "ofx_install",
        "worker",
        "dashboard",
    },
    {"trainer", "training_loop", "training_report", "inference", "next_frame", "exporter"},
    {"member"},
    {"learner", "pending_losses", "callbacks", "checkpoint", "contact_sheet", "schedule", "signals", "validation"},
    {
        "weights",
        "dataset",
        "frame_banks",
        "frame_pairs",
        "difference",
        "encoding",
        "tiles",
        "parameters",
        "optimiser",
        "devices",
        "compare",
        "captured_step",
        "check",
        "pixel_check",
    },
    {"cat", "models", "losses", "perceptual", "sequence", "findings", "viewing", "distributed"},
    {"clean_plate", "convolution", "gated_block"},
    {"ops"},
    {"runs"},
    {"config", "process", "_core"},
    {"knobs"},
    {"errors"},
    {""},  # the package itself: its version
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# A dashboard shows runs and starts trainings as processes of their own.
DASHBOARD_MAY_IMPORT = {"dashboard", "runs", "config", "knobs", "errors", ""}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py"))


def home(path: Path) -> str:
    """The module or package that a file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path, at_run_time: bool = True) -> set[str]:
    """What a file imports of this package."""
    found = set()
    for node in _statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = path.relative_to(SOURCE.parent).with_suffix("").parts[: -node.level]
                base = ".".join((*parts, *([base] if base else [])))
            if base == "copycat":
                found |= {f"copycat.{a.name}" if a.name in RANK else "copycat" for a in node.names}
            else:
                found.add(base)
    return {(name + ".").split(".")[1] for name in found if name.split(".")[0] == "copycat"}


def _statements(node: ast.AST) -> list[ast.AST]:
    """All statements but those that only a type checker sees."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        found += [child, *_statements(child)]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_layer_and_below(path: Path) -> None:
    own = home(path)
    assert own in RANK, f"{own} has no place in the layers of this test"
    if own == "":
        return  # the package is lazy; below
    above = {name for name in imports(path) if RANK[name] < RANK[own]}
    assert not above, f"{own} imports {above} from a layer above it"


def test_the_modules_of_a_layer_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in modules():
        graph.setdefault(home(path), set()).update(imports(path) - {home(path), ""})
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in graph.get(name, set()) if name else ():
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_only_ops_imports_the_native_module() -> None:
    importers = [str(path.relative_to(SOURCE)) for path in modules() if "_core" in imports(path)]
    assert importers == ["ops/native.py"]


def test_the_dashboard_knows_only_runs_and_config() -> None:
    for path in modules():
        if home(path) == "dashboard":
            assert imports(path) <= DASHBOARD_MAY_IMPORT, path


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
