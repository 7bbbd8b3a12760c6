# make demo   learn and evaluate a classifier on the emulated chip; report in out/demo/report.html
# make test   lint, tests, and (where a CPython 3.10 is found) the contract tests against the real samna binary
SHELL := /bin/sh
VENV := .venv
CONTRACT_VENV := .venv-contract
PIP := -m pip install -q --disable-pip-version-check -c constraints.txt
PYTHON := $(shell scripts/find_python any)
PYTHON310 := $(shell scripts/find_python 3.10)
DEMO_ARGS ?=

.PHONY: demo test lint test-emulator test-contract bench clean

demo: $(VENV)/.core
	$(VENV)/bin/bcall-hw demo $(DEMO_ARGS)

test: lint test-emulator test-contract

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test-emulator: $(VENV)/.test
	$(VENV)/bin/python -m pytest --ignore=tests/contract

# Skips by name without CPython 3.10 or the binary; with FORCE_CONTRACT=1 that is a failure.
ifneq ($(PYTHON310),)
test-contract: $(CONTRACT_VENV)/.contract
	$(CONTRACT_VENV)/bin/python -m pytest tests/contract
else
test-contract: $(VENV)/.test
	@echo "No CPython 3.10 found: the contract tests against samna 0.7.1.0 are skipped; put python3.10 on PATH to run them."
	$(VENV)/bin/python -m pytest tests/contract
endif

bench: $(VENV)/.core
	$(VENV)/bin/python -m benchmarks.board

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "CPython 3.10 or newer is needed, and none was found on PATH."; exit 1; }
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python $(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(VENV)/bin/python $(PIP) -e '.[test]'
	touch $@

$(CONTRACT_VENV)/.contract: pyproject.toml constraints.txt
	$(CONTRACT_VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON310)" -m venv --clear $(CONTRACT_VENV)
	$(CONTRACT_VENV)/bin/python $(PIP) -e '.[contract]'
	touch $@

clean:
	rm -rf $(VENV) $(CONTRACT_VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
