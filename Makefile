# The two commands that do all the set-up: `make demo` and `make test`.
VENV ?= .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif

.PHONY: help setup demo fix check test bench wheel clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/core: pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures]'
	@touch $@

$(VENV)/dev: $(VENV)/core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[figures,dev]'
	@touch $@

setup: $(VENV)/dev  ## virtual environment with everything installed

demo:  ## install, train a translator on the phrasebook, show what it learned (about three minutes)
	@start=$$(date +%s); $(MAKE) --no-print-directory $(VENV)/core && \
	  echo "install: $$(( $$(date +%s) - start )) s"
	$(BIN)/unrolled demo

fix: $(VENV)/dev  ## format, and repair what can be repaired
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

check: $(VENV)/dev  ## formatting, lint, types
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy

test: $(VENV)/dev  ## all tests, in random order, warnings as errors
	$(BIN)/python -m pytest

bench: $(VENV)/core  ## speed of training and decoding on this machine; see benchmarks/README.md
	$(BIN)/python benchmarks/speed.py

wheel: $(VENV)/core  ## build dist/*.whl
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the other targets made
	rm -rf $(VENV) dist demo .pytest_cache .ruff_cache .mypy_cache
