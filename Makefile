# The two commands of this project: `make demo` and `make test`. Everything they need goes into $(VENV).
VENV ?= .venv
PYTHON ?= python3
TORCH ?= torch==2.13.0
JOBS ?= 2
BUILD ?= build/werror/{wheel_tag}
COMPILERS ?= g++-11 g++-12 clang++-14 clang++-16 clang++-19
BIN := $(VENV)/bin
CPP := $(shell find cpp ofx tests/cpp tests/ofx -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)

.PHONY: demo test test-long test-gpu test-natron setup setup-demo setup-test setup-docs lint cpp-test compilers versions python-test wheel format docs clean

STEP = @$(PYTHON) examples/steps.py
demo:
	$(STEP) 1/6 "installing torch and the compiler's tools" --seconds 60 -- $(MAKE) -s $(VENV)/tools
	$(STEP) 2/6 "compiling copycat" --seconds 120 --ninja build -- $(MAKE) -s setup-demo
	@$(BIN)/python -m examples.demo

test: setup-test lint cpp-test python-test

# What takes longer: other compilers and versions, fuzzing, soak, kill series, large frames.
test-long: setup-test compilers versions
	$(BIN)/python -m pytest -m "long and not gpu" -o timeout=3000

# Fails where there is no GPU. All that needs one, without a network: benchmarks/run_on_gpu.sh.
test-gpu: setup-test
	$(BIN)/python -m pytest -m gpu

# make test-natron NATRON=/opt/Natron/NatronRenderer
test-natron: setup-test
	NATRON="$(NATRON)" $(BIN)/python -m pytest -m natron

# torch comes first, so that nothing else chooses another build of it.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q "$(TORCH)" numpy
	touch $@

$(VENV)/tools: $(VENV)/torch pyproject.toml
	$(BIN)/pip install -q "scikit-build-core>=0.11" "pybind11>=2.13" ninja cmake
	touch $@

# The build directory is kept, so this costs little when nothing has changed.
setup: $(VENV)/tools
	$(BIN)/pip install -q --no-build-isolation -e .

setup-demo: $(VENV)/tools
	$(BIN)/pip install -q --no-build-isolation -e ".[demo]"

# In a build directory of its own, since its warnings are errors.
setup-test: $(VENV)/tools
	COPYCAT_WERROR=ON $(BIN)/pip install -q --no-build-isolation -Cbuild-dir=$(BUILD) -e ".[dev,demo,progress]"
	PATH="$(abspath $(BIN)):$$PATH" tests/install_browser.sh

# Compiles nothing where copycat is there already.
setup-docs: $(VENV)/tools
	$(BIN)/python -c "import docs.make_reference" 2> /dev/null || $(MAKE) setup-demo
	$(BIN)/pip install -q --group docs

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/clang-format --dry-run -Werror $(CPP)

# The C++ tests run twice: as built for use, and under AddressSanitizer and UndefinedBehaviorSanitizer. The sanitizers' build
# takes two thirds of the time with -O1, and its tests are as fast; kernels keep the level that CMakeLists.txt gives them.
cpp-test:
	$(BIN)/cmake -S . -B build/test -G Ninja -DCOPYCAT_TESTS=ON -DCOPYCAT_PYTHON=OFF -DCOPYCAT_OFX=OFF -DCOPYCAT_CUDA=OFF -DCOPYCAT_WERROR=ON
	$(BIN)/cmake --build build/test
	$(BIN)/ctest --test-dir build/test --output-on-failure
	$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCOPYCAT_TESTS=ON -DCOPYCAT_SANITIZE=ON -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DCOPYCAT_PYTHON=OFF -DCOPYCAT_OFX=OFF -DCOPYCAT_CUDA=OFF -DCOPYCAT_WERROR=ON
	$(BIN)/cmake --build build/sanitize
	$(BIN)/ctest --test-dir build/sanitize --output-on-failure

# Builds everything but the GPU's part with other compilers, as far as they are installed, and runs the C++ tests.
compilers: setup-test
	@found=; for compiler in $(COMPILERS); do \
	  command -v $$compiler > /dev/null || { echo "$$compiler is not installed: skipped"; continue; }; \
	  found=$$compiler; echo "building with $$compiler"; \
	  $(BIN)/cmake -S . -B build/$$compiler -G Ninja -DCMAKE_CXX_COMPILER=$$compiler -DCOPYCAT_TESTS=ON \
	    -DCOPYCAT_CUDA=OFF -DCOPYCAT_WERROR=ON -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" > /dev/null && \
	  $(BIN)/cmake --build build/$$compiler && \
	  $(BIN)/ctest --test-dir build/$$compiler --output-on-failure || exit 1; \
	done; test -n "$$found" || { echo "none of $(COMPILERS) is installed"; exit 1; }

# The suite with the oldest and the newest Python, torch and numpy, as far as they can be had: release/versions.py.
# VERSIONS=--strict fails where one cannot; VERSIONS="--only NAME -- tests/python/test_a.py" runs a part.
versions: setup-test
	$(BIN)/python -m release.versions $(VERSIONS)

# In $(JOBS) processes of one thread each; the tests of a file stay together. The C++ tests take every core.
python-test:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not long and not gpu and not natron"

format:
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .
	$(BIN)/clang-format -i $(CPP)

# A release in dist/: wheels for Linux with glibc 2.28 or newer, the sdist, SHA-256 sums. WHEELS="--python 3.11" builds one
# of them, WHEELS=--all fails where a Python is missing.
wheel: build/wheel-venv/tools
	build/wheel-venv/bin/python -m release.wheels $(WHEELS)

build/wheel-venv/tools: release/requirements.txt
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/pip install -q --upgrade pip
	build/wheel-venv/bin/pip install -q -r release/requirements.txt
	touch $@

# The reference from the code, the tables from benchmarks/results, and the site in build/site; fails on a broken link.
docs: setup-docs
	$(BIN)/python -m docs.make_reference
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf build demo
