"""What was compiled: a build that silently drops the GPU, an architecture or a file is no build."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import copycat
import pytest
from copycat import _core, ops

REPOSITORY = Path(__file__).parents[2]


def test_cuda_is_compiled_in_where_there_is_a_compiler():
    info = ops.build_info()
    if shutil.which("nvcc") or os.environ.get("CUDACXX"):
        assert info["cuda"], "nvcc is here, but copycat was built without CUDA"
    assert bool(info["cuda_version"]) == bool(info["cuda_architectures"]) == info["cuda"]


def test_the_gpu_s_code_is_in_the_module_and_spills_nothing():
    """A kernel that spills registers does not build: ptxas is told to make an error of it."""
    info = ops.build_info()
    if info["cuda"]:
        built = {architecture.split("-")[0] for architecture in info["cuda_architectures"].split()}
        assert built >= {"75", "80", "86", "89", "90", "100", "120"}
    assert (b".nv_fatbin" in Path(_core.__file__).read_bytes()) == info["cuda"]
    assert "-Xptxas=-warn-spills,-Werror" in (REPOSITORY / "CMakeLists.txt").read_text()


def test_the_module_loads_no_cuda_library():
    """It must import on a machine without a driver, and with any torch."""
    linked = subprocess.run(["ldd", _core.__file__], capture_output=True, text=True, check=True).stdout
    assert not re.search(r"libcuda|libtorch|libc10|libgomp", linked), linked


def test_the_version_is_the_package_s():
    assert ops.build_info()["version"] == copycat.__version__


def test_the_stub_names_exactly_what_the_module_has():
    stub = ast.parse((Path(copycat.__path__[-1]) / "_core.pyi").read_text())
    declared = {
        node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name != "BuildInfo"
    }
    assert declared == {name for name in dir(_core) if not name.startswith("__")}


def test_an_older_processor_can_be_asked_for():
    script = "from copycat import _core; print(_core.build_info()['cpu_instructions'])"
    environment = os.environ | {"COPYCAT_ISA": "baseline"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "baseline"


@pytest.mark.gpu
def test_a_gpu_is_found():
    assert ops.cuda_available()
