# The two commands that do all the set-up: `make demo` and `make test`.
VENV ?= .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif

NATIVE := CMakeLists.txt $(wildcard native/*)

.PHONY: help setup demo fix check test test-sets coverage bench sanitize mutate wheel clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/core: pyproject.toml constraints.txt $(NATIVE)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures]'
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt $(NATIVE)
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures,dev]'
	@touch $(VENV)/core $@

setup: $(VENV)/dev  ## virtual environment with everything installed

demo:  ## install, train a translator on the phrasebook, show what it learned (about three minutes)
	@start=$$(date +%s); $(MAKE) --no-print-directory $(VENV)/core && \
	  echo "install: $$(( $$(date +%s) - start )) s"
	$(BIN)/unrolled demo

fix: $(VENV)/dev  ## format, and repair what can be repaired
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks native

check: $(VENV)/dev  ## formatting, lint, types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks native
	$(BIN)/mypy

test: $(VENV)/dev  ## all tests, in random order, two at a time, warnings as errors
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-sets: $(VENV)/dev  ## the tests that compute, with each instruction set, without kernels, on 1 and 2 threads
	$(BIN)/python tests/sets.py $(SETS)

coverage: $(VENV)/dev  ## all tests, and which lines of the package none of them ran
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --cov --cov-report term

bench: $(VENV)/core  ## our layers beside torch.nn's on this machine; see benchmarks/README.md
	$(BIN)/python benchmarks/recurrence.py

sanitize: $(VENV)/dev  ## the kernels under the address, undefined-behaviour and thread sanitizers
	@for kind in address,undefined thread; do \
	  cmake -S . -B build/$$kind -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -DUNROLLED_KERNEL_FLAGS="-O1;-g" -DCMAKE_CXX_FLAGS="-fsanitize=$$kind -fno-sanitize-recover=all" >/dev/null && \
	  cmake --build build/$$kind --target check_kernels check_vectors >/dev/null && \
	  echo "$$kind" && for program in check_kernels check_vectors; do \
	    UNROLLED_THREADS_FROM=own build/$$kind/$$program 60 || exit 1; done || exit 1; done

mutate: $(VENV)/dev  ## break the kernels on purpose, and see which faults the tests notice
	$(BIN)/python native/tests/mutate.py

wheel: $(VENV)/dev  ## build dist/*.whl, on Linux tagged for the C library it needs
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
ifeq ($(shell uname -s),Linux)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/unrolled-*.whl
else
	mkdir -p dist && cp build/wheel/unrolled-*.whl dist
endif

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist demo .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache
