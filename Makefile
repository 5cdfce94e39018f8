# `make demo` and `make test` need Python 3.11 or newer, pip and make, nothing else.
# Both work in .venv, which they make; no environment has to be active.

PYTHON ?= python3

BIN := .venv/bin
# Modules are compiled when they are imported: most of PyTorch's and TensorFlow's never.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--no-compile --constraint constraints.txt

.PHONY: demo test check lint slow browser docs clean

demo: .venv/.core
	$(BIN)/vos-jax demo --out demo

# Many processes import the same modules: also where nothing else is to be kept of them,
# they are compiled once.
check slow browser: export PYTHONDONTWRITEBYTECODE =

# What lint does on one core, tests do not wait for.
test: .venv/.dev
	@$(MAKE) --no-print-directory --jobs 2 lint check

check: .venv/.dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Compiled by what compiles for users, not by what compiles quickly.
slow: .venv/.dev .venv/.docs
	XLA_FLAGS= $(BIN)/python -m pytest -m 'slow and not browser' \
		--numprocesses auto --maxprocesses 2 --dist worksteal

# Chromium and its driver are the system's: without them every test is skipped.
browser: .venv/.browser
	$(BIN)/python -m pytest -m browser

# The site, in which every link was followed; warnings are errors.
docs: .venv/.docs
	@$(BIN)/python docs/generator site

clean:
	rm -rf .venv demo build dist site vos_jax.egg-info
	rm -rf .mypy_cache .pytest_cache .ruff_cache

# Each stamp is newer than what it was made from, so that a second call does nothing.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	"vos_jax needs Python 3.11 or newer, this is %d.%d; name another one: \
	make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.core: .venv/.made pyproject.toml constraints.txt
	@echo "installing vos_jax into .venv (a minute or two the first time)"
	@$(INSTALL) --editable .
	@touch $@

# TensorFlow and PyTorch are more than half of all bytes: they are unpacked beside the
# others. What these two need comes last, of which pip is not to complain before.
.venv/.largest: .venv/.made pyproject.toml constraints.txt
	@$(INSTALL) --no-deps tensorflow-cpu torch
	@touch $@

.venv/.others: .venv/.made pyproject.toml constraints.txt
	@$(INSTALL) --no-warn-conflicts --editable ".[app,plot,proposals,test,train]"
	@touch $@

.venv/.dev: .venv/.made pyproject.toml constraints.txt
	@echo "installing the development tools and PyTorch into .venv (some minutes)"
	@$(MAKE) --no-print-directory --jobs 2 .venv/.others .venv/.largest
	@$(INSTALL) --editable ".[dev]"
	@touch .venv/.core $@

.venv/.browser: .venv/.dev
	@$(INSTALL) --editable ".[browser]"
	@touch $@

.venv/.docs: .venv/.core
	@echo "installing Sphinx into .venv"
	@$(INSTALL) --editable ".[docs]"
	@touch $@
