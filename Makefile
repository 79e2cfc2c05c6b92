.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test test-quick check format clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

# Exact versions, torch first: an open range would pull a CUDA build of several gigabytes.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(INSTALLED) ## make the virtual environment .venv with the pinned versions

demo: $(INSTALLED) ## a small real sweep on an embedded model: two calibrations, two searches
	$(BIN)/python -m deprune.sweep -m calib=narratives,facts search=greedy,oneshot calib.n_samples=32 calib.seq_len=128

test: $(INSTALLED) ## all tests
	$(BIN)/python -m pytest -n auto

test-quick: $(INSTALLED) ## the tests that take seconds
	$(BIN)/python -m pytest -n auto -m "not slow"

check: $(INSTALLED) ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches, but no results
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
