# make demo   learn and evaluate a classifier on the emulated chip; report in out/demo/report.html
# make figures   the paper's figures as checks; page in out/figures/index.html
# make test   lint, tests, and (where a CPython 3.10 is found) the contract tests against the real samna binary
SHELL := /bin/sh
VENV := .venv
CONTRACT_VENV := .venv-contract
BRIAN2_VENV := .venv-brian2
DYNAPSIM_VENV := .venv-dynapsim
METRICS_VENV := .venv-metrics
PIP := -m pip install -q --disable-pip-version-check -c constraints.txt
PYTHON := $(shell scripts/find_python any)
PYTHON310 := $(shell scripts/find_python 3.10)
# Files of tests side by side, one on each core; a file's own tests in turn.
PYTEST := -m pytest -n auto --dist loadfile
DEMO_ARGS ?=
FIGURES_ARGS ?=
BENCH_ARGS ?=
ORACLE_ARGS ?=

.PHONY: demo figures figure-5 test lint test-emulator test-contract test-hdl oracles bench bench-rivals clean

demo: $(VENV)/.core
	$(VENV)/bin/bcall-hw demo $(DEMO_ARGS)

figures: $(VENV)/.core
	$(VENV)/bin/bcall-hw figures all $(FIGURES_ARGS)

# Figure 5 needs torch and torchvision (some hundred megabytes); MNIST=FOLDER names the files, without it they are downloaded.
figure-5: $(VENV)/.vision
	$(VENV)/bin/bcall-hw figures 5 $(if $(MNIST),--data "$(MNIST)") $(FIGURES_ARGS)

test: lint test-emulator test-hdl test-contract

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# Pages in a real browser (chromium); without it those tests skip by name.
test-emulator: $(VENV)/.test
	scripts/system_tools chromium
	$(VENV)/bin/python $(PYTEST) --ignore=tests/contract --ignore=tests/hdl

# The words in Verilog (iverilog) and the circuit in ngspice. Without the tools the tests skip by name; FORCE_HDL=1 makes that a
# failure. Where CI is set and apt-get may be used, the tools are installed first.
test-hdl: $(VENV)/.test
	scripts/system_tools iverilog ngspice
	$(VENV)/bin/python -m pytest tests/hdl

# Skips by name without CPython 3.10 or the binary; with FORCE_CONTRACT=1 that is a failure.
ifneq ($(PYTHON310),)
test-contract:
	@if $(MAKE) --no-print-directory $(CONTRACT_VENV)/.contract; then \
	  $(CONTRACT_VENV)/bin/python $(PYTEST) tests/contract; \
	else \
	  echo "samna 0.7.1.0 could not be installed: the contract tests against it are skipped."; \
	  $(MAKE) --no-print-directory $(VENV)/.test && $(VENV)/bin/python -m pytest -rs tests/contract; \
	fi
else
test-contract: $(VENV)/.test
	@echo "No CPython 3.10 found: the contract tests against samna 0.7.1.0 are skipped; put python3.10 on PATH to run them."
	$(VENV)/bin/python -m pytest -rs tests/contract
endif

# Metrics of spike trains beside elephant's and pyspike's, on 500 new pairs; another seed with ORACLE_ARGS="--seed N". Needs a C compiler.
oracles: $(METRICS_VENV)/.ready
	PYTHONPATH=. $(METRICS_VENV)/bin/python tests/oracles/metrics.py $(ORACLE_ARGS)

bench: $(VENV)/.core
	$(VENV)/bin/python -m benchmarks.board $(BENCH_ARGS)
	$(VENV)/bin/python -m benchmarks.board_scaling
	$(VENV)/bin/python -m benchmarks.time_step
	$(VENV)/bin/python -m benchmarks.plasticity

# Beside brian2's C++ standalone and rockpool's DynapSim, each in an environment of its own; needs a C++ compiler.
bench-rivals: $(VENV)/.core $(BRIAN2_VENV)/.ready $(DYNAPSIM_VENV)/.ready
	for dt in 100 1000; do $(VENV)/bin/python -m benchmarks.board --chips 4 --dt-us $$dt --rounds 7 \
	  --against numpy,c,brian2-plain,brian2-tuned --brian2-python $(BRIAN2_VENV)/bin/python || exit 1; done
	for dt in 100 1000; do $(VENV)/bin/python -m benchmarks.board --chips 1 --dt-us $$dt --rounds 7 \
	  --against numpy,c,brian2-plain,brian2-tuned,dynapsim --brian2-python $(BRIAN2_VENV)/bin/python \
	  --dynapsim-python $(DYNAPSIM_VENV)/bin/python || exit 1; done
	$(VENV)/bin/python -m benchmarks.plasticity --brian2-python $(BRIAN2_VENV)/bin/python

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "CPython 3.10 or newer is needed, and none was found on PATH."; exit 1; }
	$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear $(VENV)
	$(VENV)/bin/python $(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(VENV)/bin/python $(PIP) -e '.[test]'
	touch $@

$(VENV)/.vision: $(VENV)/.core
	$(VENV)/bin/python $(PIP) -e '.[vision]'
	touch $@

$(CONTRACT_VENV)/.contract: pyproject.toml constraints.txt
	$(CONTRACT_VENV)/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON310)" -m venv --clear $(CONTRACT_VENV)
	$(CONTRACT_VENV)/bin/python $(PIP) -e '.[contract]'
	touch $@

# One environment for each rival and for the oracles: versions that do not fit ours.
define READY
.venv-$*/bin/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv-$*
.venv-$*/bin/python -m pip install -q --disable-pip-version-check -r $<
touch $@
endef

.venv-%/.ready: benchmarks/%-requirements.txt
	$(READY)

.venv-%/.ready: tests/oracles/%-requirements.txt
	$(READY)

clean:
	rm -rf $(VENV) $(CONTRACT_VENV) $(BRIAN2_VENV) $(DYNAPSIM_VENV) $(METRICS_VENV) out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
