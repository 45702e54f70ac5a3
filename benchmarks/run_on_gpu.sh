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
for tool in memcheck racecheck; do
  compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" -m pytest -q -m gpu tests/python/test_ops.py \
    > "$results/$tool.txt" 2>&1 || { tail -20 "$results/$tool.txt"; exit 1; }
done
"$python" benchmarks/bench_training.py --device cuda --json "$results/training.json" | tee "$results/training.txt"
"$python" benchmarks/bench_inference.py --device cuda --json "$results/inference.json" | tee "$results/inference.txt"
