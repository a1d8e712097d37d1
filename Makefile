# Greensplit: five verbs (demo, serve, test, check, bench) and a few for maintainers. `make help` lists them.
#
# A bare machine with Python 3.11 or newer, make and git is enough: every verb first makes sure that .venv
# holds what requirements.lock pins. PYTHON and VENV may be set on the command line.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first Python found that is new enough; looked up only when an environment is to be made.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; \
	then echo "$$p"; exit; fi; done; echo python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# For `make test`: processes, and anything else pytest should be told.
JOBS ?= 2
PYTEST_ARGS ?=
# For `make bench`: names of studies, all of the core by default.
STUDIES ?=
ifneq ($(filter-out 0 false,$(CI)),)
PYTEST_ARGS += --color=no --durations=15
endif

UV_VERSION := 0.13.9
LOCK_VENV := build/lock-venv

.PHONY: help
help: ## list what make can do
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST)

# ------------------------------------------------------------------------------------------------- install

.PHONY: install
install: $(INSTALLED) ## make .venv as requirements.lock says (the other verbs do it by themselves)

# The stamp is written last: an install that was cut short is done again.
$(INSTALLED): requirements.lock pyproject.toml
	@python="$(PYTHON)"; \
	command -v "$$python" >/dev/null || { \
		echo "make: no '$$python' found. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
		echo "make: $$("$$python" --version) at $$(command -v "$$python"); Greensplit needs 3.11 to 3.14." \
			"Name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $$("$$python" --version) can't make environments, its venv module is missing." \
			"On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	if ! $(BIN)/python -c 'import pip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@echo "Installing what requirements.lock pins; a first time takes a minute or two"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --only-binary :all: \
		--require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation \
		--editable .
	@touch $@

# ------------------------------------------------------------------------------------------------- verbs

.PHONY: demo
demo: $(INSTALLED) ## the whole path on a shipped network, through a service; tables at the end
	@$(BIN)/greensplit demo

.PHONY: serve
serve: $(INSTALLED) ## the service on http://127.0.0.1:8000, its data in ./greensplit-data, with a sample network
	@$(BIN)/greensplit serve --sample arterial

.PHONY: test
test: $(INSTALLED) ## every test but the slow ones
	@$(BIN)/python -m pytest -m "not slow" -n $(JOBS) $(PYTEST_ARGS)

.PHONY: test-slow
test-slow: $(INSTALLED) ## the slow tests
	@$(BIN)/python -m pytest -m slow -n $(JOBS) $(PYTEST_ARGS)

.PHONY: peers
peers: ## install SNMP agents and managers of others, for the tests against them (Debian packages as root; npm)
	@if ! command -v snmpget >/dev/null || ! command -v snmpd >/dev/null; then \
		if [ "$$(id -u)" != 0 ]; then echo "make: as root, do: apt-get install snmp snmpd" >&2; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends snmp snmpd; \
	fi
	@npm ci --silent --no-audit --no-fund --prefix tests/peers

.PHONY: check check-lint check-format check-types check-imports check-spelling
check: check-lint check-format check-types check-imports check-spelling ## lint, format, types, floors, spelling

check-lint: $(INSTALLED)
	@$(BIN)/ruff check .

check-format: $(INSTALLED)
	@$(BIN)/ruff format --check .

check-types: $(INSTALLED)
	@$(BIN)/python -m mypy

check-imports: $(INSTALLED)
	@$(BIN)/lint-imports

check-spelling: $(INSTALLED)
	@$(BIN)/python -m codespell_lib

.PHONY: bench
bench: $(INSTALLED) ## time the kernels and the commands, one process; then the core's tables into docs/benchmarks.md
	@$(BIN)/python -m pytest benchmarks --benchmark-only $(PYTEST_ARGS)
	@$(BIN)/python -m benchmarks.record $(STUDIES)

# ------------------------------------------------------------------------------------------ for maintainers

.PHONY: format
format: $(INSTALLED) ## rewrite the sources in the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: ## pin the newest releases that pyproject.toml allows in requirements.lock
	@"$(PYTHON)" -m venv $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(LOCK_VENV)/bin/uv pip compile pyproject.toml --extra bench --extra dev --extra peers --universal --python-version 3.11 \
		--generate-hashes --upgrade --no-annotate --no-emit-index-url --no-emit-find-links --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock
	@echo "requirements.lock: $$(grep -c '==' requirements.lock) releases pinned"

.PHONY: clean
clean: ## remove the environment, caches and build leftovers
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
