# `make run` and `make test` set up everything they need in .venv; nothing outside this folder is changed.
PYTHON ?= python3
TORCH  := 2.13.0
PIP    := 25.3
BIN    := .venv/bin
PY     := $(BIN)/python

.PHONY: help install run test test-all lint type format smoke data reproduce bench lock clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: .venv/installed  ## create .venv with pinned packages, and build the native kernels if there is a compiler

# CPU torch where no GPU is: first a wheel this machine has at hand, then PyTorch's CPU index, then PyPI.
.venv/installed: requirements.lock pyproject.toml ecgbench/version.py $(wildcard ecgbench/ops/csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ecgbench needs Python 3.11 or newer, $(PYTHON) is `$(PYTHON) --version`; call make PYTHON=python3.11"; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet pip==$(PIP)
	$(PY) -c 'import torch; assert torch.__version__.startswith("$(TORCH)")' 2>/dev/null || \
	if nvidia-smi >/dev/null 2>&1 || [ "`uname -s`" != Linux ]; then $(PY) -m pip install torch==$(TORCH); \
	else $(PY) -m pip install --quiet --no-deps --no-index torch==$(TORCH) 2>/dev/null || \
	     $(PY) -m pip install --no-deps --index-url https://download.pytorch.org/whl/cpu torch==$(TORCH) || \
	     $(PY) -m pip install torch==$(TORCH); fi
	$(PY) -m pip install --quiet -r requirements.lock
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: install     ## train and score MSECG on the default recordings, to a report
	$(PY) -m ecgbench task=superres model=msecg

test: install    ## all tests that need neither network nor GPU, with coverage
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m "not network and not gpu" --cov --cov-report=term:skip-covered --cov-fail-under=90

test-all: install  ## every test, also those that need a GPU or the network
	$(PY) -m pytest

lint: install    ## style, spelling, and which layer may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/lint-imports

type: install    ## static types
	$(BIN)/pyright

format: install  ## rewrite to the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: install   ## one batch of everything, scored and reported
	$(PY) -m ecgbench debug=fdr logger=csv

data: install    ## download the recordings of all data sets (several GB) into data/
	for name in nstdb mitdb ludb ptbxl cinc2021; do $(PY) -m ecgbench.fetch $$name || exit 1; done

reproduce: install  ## make reproduce RUN=outputs/.../<run>: run it again and compare
	$(PY) -m ecgbench.reproduce $(RUN)

bench: install   ## measure reading, simulation and the selective scan on this machine
	for file in benchmarks/data.py benchmarks/simulate.py benchmarks/scan.py; do $(PY) $$file || exit 1; done

lock: install    ## renew requirements.lock from what is installed
	{ head -2 requirements.lock; $(PY) -m pip freeze --exclude torch --exclude ecgbench; } > .venv/lock && mv .venv/lock requirements.lock

clean:           ## remove caches and builds; runs, data and .venv stay
	rm -rf build dist htmlcov .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis *.egg-info
	find ecgbench tests -name __pycache__ -type d -exec rm -rf {} +
