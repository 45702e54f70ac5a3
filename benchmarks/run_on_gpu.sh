#!/usr/bin/env bash
# Builds copycat with its CUDA kernels, runs the tests that need a GPU, and times the kernels there.
#   bash benchmarks/run_on_gpu.sh [FOLDER FOR THE RESULTS]
set -euo pipefail
cd "$(dirname "$0")/.."
results=${1:-build/gpu}
python=${PYTHON:-python3}
mkdir -p "$results"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv | tee "$results/device.csv"
"$python" -m pip install --quiet --no-build-isolation --no-deps -e . -Ccmake.define.COPYCAT_CUDA=ON
"$python" -c 'from copycat import ops; assert ops.cuda_available(), ops.build_info(); print(ops.build_info())'
"$python" -m pytest -m gpu tests/python/test_ops.py tests/python/test_ops_build.py | tee "$results/tests.txt"
"$python" benchmarks/bench_kernels.py --device cuda --json "$results/kernels.json" | tee "$results/kernels.txt"
