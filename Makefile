# Headrace. `make help` lists the targets. Everything runs from .venv, which is made once from requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
STAMP := $(VENV)/.made
# The first Python on the path that is new enough.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
RUN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv deepspeed demo test test-root test-fast lint format up down status bench clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## Make .venv from the complete pinned lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (Debian: apt install python3.11-venv)" >&2; exit 2; }
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (Debian: apt install python3.11-venv)" >&2; exit 2; }
	$(RUN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(RUN)/python -m infra.precompile
	@touch $@

deepspeed: $(STAMP) ## Add the second training engine (builds from source, needs gcc)
	$(RUN)/python -m pip install --quiet --no-deps --no-build-isolation -r requirements-deepspeed.lock

demo: $(STAMP) ## Drive the whole product through its deployments and print one table
	$(RUN)/python -m infra.demo

# Two processes: the slow tests mostly wait. Which tests stay together says tests/conftest.py.
test: $(STAMP) ## Run the test suite (all but what needs root)
	$(RUN)/python -m pytest -m "not root" --numprocesses 2 --no-loadscope-reorder

# One process: an emulated cloud's machines want the cores for themselves.
test-root: $(STAMP) ## Run the tests on an emulated EC2 and a real Slurm, which need root
	$(RUN)/python -m pytest -m root

test-fast: $(STAMP) ## Run the tests that start no servers or clusters
	$(RUN)/python -m pytest -m "not slow" --numprocesses 2 --no-loadscope-reorder

lint: $(STAMP) ## Check style, imports between rooms, and the shell scripts' syntax
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports
	bash -n .ci/run

format: $(STAMP) ## Format the code
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

up: $(STAMP) ## Start the platform (state in .headrace)
	$(RUN)/headrace up

status: $(STAMP) ## Show what runs
	$(RUN)/headrace status

down: $(STAMP) ## Stop the platform
	$(RUN)/headrace down

bench: $(STAMP) ## Run the benchmarks, each printing one table
	@for file in benchmarks/*.py; do case $$file in */_*|*/__init__.py) continue;; esac; \
		echo "== $$file"; $(RUN)/python $$file; done

clean: ## Remove caches and build leftovers (keeps .venv and .headrace)
	rm -rf build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -type d -prune -exec rm -rf {} +
