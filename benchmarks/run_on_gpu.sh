#!/usr/bin/env bash
# Builds copycat with its CUDA kernels, runs the tests that need a GPU, all benchmarks and the sanitizers, in one go and
# under 25 minutes; every step has a time limit, and one that fails holds up no other.
#   bash benchmarks/run_on_gpu.sh [FOLDER FOR THE RESULTS [STEP...]]
# Steps: device build tests training training-tuned training-products inference inference-products kernels memcheck
# racecheck; all of them where none is named. Where a command may not take so long, name a few at a time: what is built in
# the folder is used again, and built anew where the step build is named.
# With PEERS=FOLDER, where emlcpfx and tpc2233 are clones of these authors' tunet, it runs after the build nothing but the
# common tasks, 120 s of training for copycat and for each peer, under 25 minutes too; TASKS=t1 takes only one of the two.
# Needs no network. Python ($PYTHON, 3.11 or newer) must have torch with CUDA and the packages that are checked for below;
# nvcc must be on PATH or named by CUDACXX. What it installs goes into a virtual environment in the results' folder.
set -uo pipefail
cd "$(dirname "$0")/.."
# Written into the results.
export COPYCAT_COMMIT=${COPYCAT_COMMIT:-$(git rev-parse --short HEAD 2> /dev/null || echo unknown)}
results=$(mkdir -p "${1:-build/gpu}" && cd "${1:-build/gpu}" && pwd)
named=" ${*:2} "
failed=()

wanted() { [[ -z ${named// /} || $named == *" $1 "* ]]; }

# step NAME SECONDS COMMAND...: its output goes to the terminal and to NAME.txt. Does nothing where others are named.
step() {
  local name=$1 seconds=$2 begin=$SECONDS
  shift 2
  wanted "$name" || return 0
  echo "== $name (at most $seconds s)"
  if ! timeout --kill-after=10 "$seconds" "$@" 2>&1 | tee "$results/$name.txt"; then failed+=("$name"); fi
  echo "== $name took $((SECONDS - begin)) s"
}

step device 20 nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
"${PYTHON:-python3}" -m venv --without-pip --system-site-packages "$results/venv" || exit 1  # pip is the outer one's
python=$results/venv/bin/python
# Packages of the calling interpreter's own environment, where that is a virtual one.
"${PYTHON:-python3}" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
  > "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/outer.pth"
export PATH=$results/venv/bin:$PATH
missing=$("$python" - <<'CHECK'
import os
from importlib.util import find_spec
needed = {
    "pip": "pip", "torch": "torch", "numpy": "numpy", "OpenImageIO": "OpenImageIO", "fileseq": "Fileseq", "safetensors": "safetensors",
    "typer": "typer", "rich": "rich", "scikit_build_core": "scikit-build-core", "pybind11": "pybind11", "pytest": "pytest",
    "hypothesis": "hypothesis", "pytest_timeout": "pytest-timeout", "psutil": "psutil", "cv2": "opencv-python-headless",
}
if os.environ.get("PEERS"):
    needed |= {
        "av": "av", "skvideo": "scikit-video", "skimage": "scikit-image",
        "torchvision": "torchvision", "lpips": "lpips", "albumentations": "albumentations",
        "yaml": "PyYAML",
    }
print(" ".join(package for module, package in needed.items() if find_spec(module) is None))
CHECK
)
if [ -n "$missing" ]; then
  echo "missing packages: $missing" | tee "$results/missing.txt"
  echo "on a machine with a network: pip download -d wheels --only-binary=:all: --no-deps $missing"
  echo "here: pip install --no-index --no-deps wheels/*"
  exit 1
fi
for tool in cmake ninja nvcc; do
  command -v "$tool" > /dev/null || "$python" -c "import $tool" 2> /dev/null || [ "$tool" = nvcc -a -n "${CUDACXX:-}" ] ||
    echo "$tool is not on PATH; the build will say whether it needs it"
done

built() { "$python" -c 'from copycat import ops; print(ops.build_info()); assert ops.cuda_available()'; }
wanted build || built > /dev/null 2>&1 || named+="build "
step build 240 "$python" -m pip install --quiet --no-index --no-build-isolation --no-deps -e . \
  -Ccmake.define.COPYCAT_CUDA=ON -Ccmake.define.COPYCAT_OFX=OFF -Cbuild-dir="$results/build" \
  -Ccmake.define.pybind11_DIR="$("$python" -m pybind11 --cmakedir)"
built || exit 1

finish() {
  echo "== ${#failed[@]} steps failed: ${failed[*]:-none}; results in $results; $SECONDS s" | tee "$results/summary.txt"
  exit $((${#failed[@]} > 0))
}

if [ -n "${PEERS:-}" ]; then
  named=
  for task in ${TASKS:-t1 t2}; do
    for tool in copycat emlcpfx tpc2233; do
      step "$tool-$task" 200 "$python" -m benchmarks.shotbench --tasks "$task" --tools "$tool" --peers "$PEERS" --runs 1 \
        --seconds 120 --device cuda --knobs "--model-size Medium --crop-size 256" --out "$results/shotbench" \
        --results "$results"
    done
  done
  finish
fi
echo "PEERS is not set: the peers do not run"

tests=(ops ops_build gated_block captured_step perceptual inference)
tests=("${tests[@]/#/tests/python/test_}")
step tests 200 "$python" -m pytest -m gpu -o timeout=190 "${tests[@]/%/.py}"
step training 150 "$python" -m benchmarks.bench_training --device cuda --sizes Medium,Small,Large --crops 256 \
  --batches 16,8 --json "$results/bench_training-cuda.json"
step training-tuned 60 "$python" -m benchmarks.bench_training --device cuda --sizes Medium --crops 256 --batches 16 \
  --autotune --json "$results/training-tuned.json"
step training-products 60 "$python" -m benchmarks.bench_training --device cuda --sizes Medium --crops 256 --batches 16 \
  --products --json "$results/training-products.json"
step inference 200 "$python" -m benchmarks.bench_inference --device cuda --resolutions UHD --frames 12 --rounds 20 \
  --json "$results/bench_inference-cuda.json"
step inference-products 60 "$python" -m benchmarks.bench_inference --device cuda --resolutions UHD --precisions half \
  --frames 0 --rounds 20 --products --json "$results/inference-products.json"
step kernels 240 "$python" -m benchmarks.bench_kernels --device cuda --seconds 0.5 --json "$results/bench_kernels-cuda.json"

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2> /dev/null | tail -1)
if ! wanted memcheck && ! wanted racecheck; then
  :
elif [ -n "$sanitizer" ]; then
  only_ours=()  # torch's own kernels would take hours
  "$sanitizer" --help | grep -q -- --kernel-regex && only_ours=(--kernel-regex kns=copycat)
  for tool in memcheck racecheck; do
    step "$tool" 120 "$sanitizer" --tool "$tool" --error-exitcode 9 "${only_ours[@]}" "$python" -m pytest -q -m gpu \
      -o timeout=0 tests/python/test_ops.py tests/python/test_gated_block.py
  done
else
  echo "compute-sanitizer is not here: memcheck and racecheck did not run" | tee "$results/sanitizers.txt"
  echo "it is a part of the CUDA toolkit (package cuda-sanitizer-13-0, or the redistributable cuda_sanitizer_api)"
  failed+=(sanitizers)
fi

finish
