# Two commands do everything: `make run` opens the planner, `make test` runs every check.
# `make soak` runs the long sweeps, `make bench` compares with other accountants.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
# The first of these that is new enough makes the environment.
PYTHON ?= python3.11 python3.12 python3.13 python3.14 python3
PY := $(VENV)/bin/python
# A set-up is valid for exactly these files: the stamps carry their hash, so that a repeat needs no network.
HASH := $(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
PIP := $(PY) -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --constraint constraints.txt
# Compiles what numba compiles, so that nobody waits for it later; quick where that is done.
WARM := $(PY) -m mechanisms.warm

.PHONY: help run test soak bench lint types pytest format clean

help:
	@sed -n '1,2s/^# //p' Makefile

run: $(VENV)/.ready-ui-$(HASH)
	@$(WARM)
	@$(VENV)/bin/dp-planner ui

test: lint types pytest

lint: $(VENV)/.ready-test-$(HASH)
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check

types: $(VENV)/.ready-test-$(HASH)
	@$(PY) -m mypy

pytest: $(VENV)/.ready-test-$(HASH)
	@$(WARM)
	@$(PY) -m pytest

soak: $(VENV)/.ready-test-$(HASH)
	@$(WARM)
	@$(PY) -m pytest -m 'soak or hypothesis' --hypothesis-profile soak
	@$(PY) -m tests.sweep --count 10000

bench: $(VENV)/.ready-test-$(HASH)
	@$(WARM)
	@$(PY) -m benchmarks

format: $(VENV)/.ready-test-$(HASH)
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@found=""; \
	for name in $(PYTHON); do \
	  if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$name"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "dp-planner needs Python 3.11 or newer and found none: install one, or name one with 'make PYTHON=/path/to/python3 ...'." >&2; exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$found cannot create environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$found" --version); the first time takes a few minutes."; \
	"$$found" -m venv $(VENV)

$(VENV)/.ready-ui-$(HASH): | $(VENV)/bin/python
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable '.[ui]'
	@rm -f $(VENV)/.ready-*
	@touch $@

$(VENV)/.ready-test-$(HASH): | $(VENV)/bin/python
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable '.[ui,test,opacus,jax-privacy,secure]'
	@rm -f $(VENV)/.ready-*
	@touch $@ $(VENV)/.ready-ui-$(HASH)
