# make            what there is to type
# make demo       a first look; make test: everything a change must pass

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
READY := .venv/.ready
# Two processes; the tests of one file share fits, so they stay together.
TWICE := -n 2 --dist loadfile
# Long tests share little, and some files take most of the time.
SHARED := -n 2 --dist worksteal

# Many small matrix products: more BLAS threads only make the tests slower, and two chains want the two cores.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1

.PHONY: help env demo test test-full lint format benchmarks calibration mutants clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY)  ## make .venv: Python 3.13 and the exact versions in constraints.txt

# The stamp is younger than what it was made from, or it is made again.
$(READY): pyproject.toml constraints.txt .python-version scripts/setup.sh
	@scripts/setup.sh
	@touch $@

demo: env  ## fit a mixture of experts to real data four ways, and draw it
	$(PYTHON) examples/quickstart.py

test: lint  ## lint, types, and the tests (within ten minutes on two cores)
	$(PYTHON) -m pytest $(TWICE)

# Resumes: a long test that passed on this very source tree is not run again (see conftest.py).
# make test-full FRESH=1 starts over. After 150 minutes it stops, and the next call goes on.
test-full: env  ## the long tier of tests; call again to resume
	$(PYTHON) -m pytest $(SHARED) --full -m full --timeout 7200 --session-timeout 9000 $(if $(FRESH),--fresh)

lint: env  ## ruff and mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: env  ## let ruff mend what it can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

benchmarks: env  ## time everything that benchmarks/README.md reports
	$(PYTHON) -m benchmarks

# Resumes: replications that were fitted before are kept in out/calibration.
calibration: env  ## simulation-based calibration, hours; call again to resume
	$(PYTHON) -m calibration run
	$(PYTHON) -m calibration run --engine laplace
	$(PYTHON) -m calibration run --engine advi
	$(PYTHON) -m calibration recovery
	$(PYTHON) -m calibration report

mutants: env  ## plant bugs one by one: the tests must notice each
	$(PYTHON) -m mutants

clean:  ## remove everything made here, the environment too
	rm -rf .venv .tools out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
