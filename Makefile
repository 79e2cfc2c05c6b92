.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

STUDY := experiments/mini_study

.PHONY: help install demo study test test-quick bench check format clean

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

study: results/mini/.finished ## the miniature study: 2,592 jobs on the embedded models, its records and reports

# Killed in the middle, it goes on where it was. What a finished one depends on is the grids alone.
results/mini/.finished: conf/experiment/mini.yaml conf/experiment/mini_items.yaml | $(INSTALLED)
	for grid in mini mini_items; do $(BIN)/python -m deprune.sweep -m +experiment=$$grid results_dir=results/mini hydra/launcher=joblib || exit; done
	$(BIN)/python -m deprune.archive results_dir=results/mini out=$(STUDY)/records.parquet
	$(BIN)/python -m deprune.analyze results_dir=results/mini out=$(STUDY)/report 'where={objective: nll}'
	$(BIN)/python -m deprune.analyze results_dir=results/mini out=$(STUDY)/report_items 'where={objective: task_margin}'
	@touch $@

# One thread each: the workers are as many as the cores.
test: $(INSTALLED) ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_OPTIONS)

test-quick: $(INSTALLED) ## the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(PYTEST_OPTIONS)

bench: $(INSTALLED) ## measure sharing, remembering, overhead, racing and remembered jobs; see experiments/benchmarks
	for script in sharing overhead racing remembered; do TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python experiments/benchmarks/$$script.py; done

check: $(INSTALLED) ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches, but no results
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
