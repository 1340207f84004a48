# `make demo` and `make test` create the virtual environment if it does not exist.
VENV ?= .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif

NATIVE := CMakeLists.txt $(wildcard native/*)

# Files of tests go to two processes in the order of `tests/conftest.py`.
TWICE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Tests start a hundred processes, each of which would compile all modules if none could keep the result.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup demo fix check test test-sets coverage bench sanitize mutate wheel clean
.DEFAULT_GOAL := help

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The packages of `dependencies` and of these extras in pyproject.toml, one in a line.
define LISTED
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = (project["optional-dependencies"][name] for name in sys.argv[1:])
print(*project["dependencies"], *(package for extra in extras for package in extra), sep="\n")
endef
export LISTED

# Installs the package and what it needs, with the extras $(1). The kernels are compiled meanwhile, on the other cores,
# for the instruction sets $(2). Python compiles modules when they are first imported: most of PyTorch's never are.
PIP := $(BIN)/python -m pip install --quiet --no-compile
define INSTALL
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "$$LISTED" $(1) > $(VENV)/listed.txt
	$(PIP) --no-deps --config-settings=cmake.define.UNROLLED_INSTRUCTION_SETS=$(2) --editable . & kernels=$$!; \
	  $(PIP) --constraint constraints.txt --requirement $(VENV)/listed.txt; packages=$$?; \
	  wait $$kernels && exit $$packages
endef

$(VENV)/core: pyproject.toml constraints.txt $(NATIVE)
	$(call INSTALL,figures,native)
	@touch $@

$(VENV)/dev: pyproject.toml constraints.txt $(NATIVE)
	$(call INSTALL,figures dev,all)
	@touch $(VENV)/core $@

setup: $(VENV)/dev  ## create a virtual environment with all dependencies

demo:  ## install, train a translator and show its translations (two to three minutes)
	@start=$$(date +%s); $(MAKE) --no-print-directory $(VENV)/core && \
	  echo "install: $$(( $$(date +%s) - start )) s"
	$(BIN)/unrolled demo

fix: $(VENV)/dev  ## format the code and apply automatic fixes
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks native

check: $(VENV)/dev  ## check formatting, lint and types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks native
	$(BIN)/mypy

test: $(VENV)/dev  ## run all tests, in random order, two at a time, with warnings as errors
	$(BIN)/python -m pytest $(TWICE)

test-sets: $(VENV)/dev  ## run the numerical tests with each instruction set, without kernels, on 1 and 2 threads
	$(BIN)/python tests/sets.py $(SETS)

coverage: $(VENV)/dev  ## run all tests and list the lines that no test runs
	$(BIN)/python -m pytest $(TWICE) --cov --cov-report term

bench: $(VENV)/core  ## compare the speed of our layers with torch.nn on this machine; see benchmarks/README.md
	$(BIN)/python benchmarks/recurrence.py

sanitize: $(VENV)/dev  ## test the kernels with the address, undefined-behaviour and thread sanitizers
	@for kind in address,undefined thread; do \
	  cmake -S . -B build/$$kind -DPython_EXECUTABLE=$(abspath $(BIN))/python \
	    -DUNROLLED_KERNEL_FLAGS="-O1;-g" -DCMAKE_CXX_FLAGS="-fsanitize=$$kind -fno-sanitize-recover=all" >/dev/null && \
	  cmake --build build/$$kind --target check_kernels check_decoders check_vectors >/dev/null && \
	  echo "$$kind" && for program in check_kernels check_decoders check_vectors; do \
	    UNROLLED_THREADS_FROM=own build/$$kind/$$program 60 || exit 1; done || exit 1; done

mutate: $(VENV)/dev  ## mutation testing: put faults into the kernels and report which the tests detect
	$(BIN)/python native/tests/mutate.py

wheel: $(VENV)/dev  ## build dist/*.whl, on Linux with a manylinux tag
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheel .
ifeq ($(shell uname -s),Linux)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/unrolled-*.whl
else
	mkdir -p dist && cp build/wheel/unrolled-*.whl dist
endif

clean:  ## remove everything that the other targets created
	rm -rf $(VENV) build dist demo .coverage .coverage.* .pytest_cache .ruff_cache .mypy_cache
