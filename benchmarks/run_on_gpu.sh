#!/usr/bin/env bash
# Measures all that needs a GPU: benchmarks/on_gpu/__main__.py, whose first lines say how, in an environment in build/gpu.
# Needs no network. Python ($PYTHON, 3.11 or newer) must have torch with CUDA; what else is missing, a part says. nvcc must
# be on PATH or named by CUDACXX.
set -euo pipefail
cd "$(dirname "$0")/.."
# Written into the results.
export COPYCAT_COMMIT=${COPYCAT_COMMIT:-$(git rev-parse --short HEAD 2> /dev/null || echo unknown)}
"${PYTHON:-python3}" -m venv --without-pip --system-site-packages build/gpu/venv  # pip is the outer one's
export PATH=$PWD/build/gpu/venv/bin:$PATH
# Packages of the calling interpreter's own environment, where that is a virtual one.
where='import sysconfig; print(sysconfig.get_paths()["purelib"])'
"${PYTHON:-python3}" -c "$where" > "$(build/gpu/venv/bin/python -c "$where")/outer.pth"
pybind11_DIR=$(build/gpu/venv/bin/python -m pybind11 --cmakedir || true)
export pybind11_DIR
sanitizer=$(ls -d /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | tail -1 || true)
PATH=$PATH${sanitizer:+:$(dirname "$sanitizer")} exec build/gpu/venv/bin/python -m benchmarks.on_gpu "$@"
