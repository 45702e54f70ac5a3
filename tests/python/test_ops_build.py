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
import torch
from copycat import _core, ops

REPOSITORY = Path(__file__).parents[2]
CMAKE = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
CUDA_13 = "75;80;86;87;88;89;90;100;103;110;120;121"
CUDA_12_4 = "50;52;53;60;61;62;70;72;75;80;86;87;89;90"


def test_cuda_is_compiled_in_where_there_is_a_compiler():
    info = ops.build_info()
    if (shutil.which("nvcc") or os.environ.get("CUDACXX")) and os.environ.get("COPYCAT_CUDA") != "OFF":
        assert info["cuda"], "nvcc is here, but copycat was built without CUDA"
    assert bool(info["cuda_version"]) == bool(info["cuda_architectures"]) == info["cuda"]


def test_the_gpu_s_code_is_in_the_module():
    info = ops.build_info()
    assert bool(re.fullmatch(r"(\d+-real )*\d+", info["cuda_architectures"])) == info["cuda"]  # the newest with PTX
    assert (b".nv_fatbin" in Path(_core.__file__).read_bytes()) == info["cuda"]


@pytest.mark.skipif(not CMAKE, reason="no CMake")
@pytest.mark.parametrize(
    ("asked", "compiler", "installed", "chosen"),
    [
        ("ALL", CUDA_13, "", "75-real;80-real;86-real;89-real;90-real;100-real;120"),
        ("ALL", CUDA_12_4, "", "75-real;80-real;86-real;89-real;90"),
        ("AUTO", CUDA_13, "", "75"),
        ("AUTO", CUDA_13, "90", "90"),
        ("AUTO", CUDA_13, "89;120;89", "89-real;120"),
        ("AUTO", CUDA_12_4, "120", "90"),  # newer than the compiler: PTX of the newest that it has
        ("AUTO", CUDA_13, "61", "75"),  # older than the kernels support
        ("AUTO", CUDA_13, "61;86", "86"),
        ("80;90-real", CUDA_13, "120", "80;90-real"),
    ],
)
def test_architectures_follow_the_machine_and_the_compiler(asked, compiler, installed, chosen, tmp_path):
    script = tmp_path / "choose.cmake"
    script.write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        f'include("{REPOSITORY}/cpp/cuda_architectures.cmake")\n'
        f'copycat_choose_architectures(chosen "{asked}" "{compiler}" "{installed}")\n'
        'message("${chosen}")\n'
    )
    result = subprocess.run([CMAKE, "-P", script], capture_output=True, text=True, check=True)
    assert result.stderr.strip() == chosen


@pytest.mark.skipif(not CMAKE, reason="no CMake")
def test_the_architectures_are_asked_of_the_compiler_and_the_driver(tmp_path):
    programs = {
        "nvcc": "printf 'compute_75\\ncompute_100\\ncompute_90\\n'",
        "nvidia-smi": "printf '9.0\\n9.0\\n12.0\\n'",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "ask.cmake"
    script.write_text(
        "cmake_minimum_required(VERSION 3.25)\n"
        f'include("{REPOSITORY}/cpp/cuda_architectures.cmake")\n'
        f'copycat_known_architectures(known "{tmp_path}/nvcc")\n'
        "copycat_installed_architectures(installed)\n"
        'message("${known} and ${installed}")\n'
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run([CMAKE, "-P", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stderr.strip() == "75;90;100 and 90;120"


def test_warnings_and_spills_are_errors_in_tests_only():
    build = (REPOSITORY / "CMakeLists.txt").read_text()
    assert 'option(COPYCAT_WERROR "Make errors of warnings and of GPU kernels that spill registers" OFF)' in build
    assert "-Xptxas=-warn-spills${error}" in build
    assert "COPYCAT_WERROR=ON" in (REPOSITORY / "Makefile").read_text()


def test_limits_are_the_kernels_own():
    assert ops.LANES == _core.LANES == 16
    assert ops.MOST_CHANNELS == _core.MOST_CHANNELS
    assert _core.WIDEST_BLOCK_ON_GPU <= _core.WIDEST_BLOCK
    too_many = torch.zeros(1, _core.MOST_CHANNELS + 1, 2, 2)
    with pytest.raises(ValueError, match=f"1 to {_core.MOST_CHANNELS} channels"):
        ops.normalize(too_many, ops.Encoding.identity(_core.MOST_CHANNELS + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/cpuinfo")
def test_the_processor_s_instructions_are_those_that_the_system_lists():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())
    assert ops.cpu_has_bfloat16() == bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)


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
    } | {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert declared == {name for name in dir(_core) if not name.startswith("__")}


def test_an_older_processor_can_be_asked_for():
    script = "from copycat import _core; print(_core.build_info()['cpu_instructions'])"
    environment = os.environ | {"COPYCAT_ISA": "baseline"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "baseline"


@pytest.mark.gpu
def test_a_gpu_is_found():
    assert ops.cuda_available()
