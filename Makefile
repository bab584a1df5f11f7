# Every target works on a fresh clone and says what it does; a second run only does what is new.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
STAMPS := $(VENV)/.installed-
TENSORFLOW := .venv-tensorflow
TENSORFLOW_WHEEL := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),tensorflow-cpu,tensorflow)
SETUP  := pyproject.toml constraints.txt requirements-nodeps.txt

.PHONY: help demo test test-slow learn bench lint templates clean tensorflow

# TensorFlow models run in a worker process with an interpreter of its own.
export INFERENCE_TENSORFLOW_PYTHON ?= $(CURDIR)/$(TENSORFLOW)/bin/python

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(STAMPS)demo ## analyse a street in real time: video, report and figures in out/demo
	@echo "==> analysing a street (out/demo)"
	@$(BIN)/python -m solutions.phase4_production.video_analysis.edge_inference \
		--video zoo:street --output out/demo

test: $(STAMPS)dev $(TENSORFLOW)/.installed ## run the fast tests (under 15 minutes)
	@echo "==> fast tests"
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMPS)dev $(TENSORFLOW)/.installed ## run the slow tests (under 45 minutes)
	@echo "==> slow tests"
	@$(BIN)/python -m pytest -m slow

learn: $(STAMPS)learn ## install what the course needs and show the board
	@$(BIN)/python -m course

bench: $(STAMPS)bench ## measure the solutions against their peers, quickly
	@echo "==> benchmarks (out/benchmarks)"
	@$(BIN)/python -m benchmarks --quick

tensorflow: $(TENSORFLOW)/.installed ## give TensorFlow models an environment of their own
	@echo "export INFERENCE_TENSORFLOW_PYTHON=$(INFERENCE_TENSORFLOW_PYTHON)"

lint: $(STAMPS)dev ## check style and types
	@echo "==> ruff"
	@$(BIN)/ruff check .
	@echo "==> mypy"
	@$(BIN)/mypy

templates: $(STAMPS)dev ## check that the templates are what the solutions give
	@echo "==> templates"
	@$(BIN)/python -m course generate --check

clean: ## remove results and the environments
	rm -rf out $(VENV) $(TENSORFLOW)

$(BIN)/python:
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)

$(STAMPS)%: $(SETUP) | $(BIN)/python
	@echo "==> installing .[$*] into $(VENV)$(if $(filter demo edge bench,$*),, (torch: some gigabytes, minutes))"
	@$(PIP) --editable '.[$*]'
	@$(PIP) --no-deps --requirement requirements-nodeps.txt
	@touch $@

# Without it (no wheel for this machine, no network) the tests of TensorFlow models skip and say so.
$(TENSORFLOW)/.installed: constraints-tensorflow.txt | $(BIN)/python
	@echo "==> installing TensorFlow into $(TENSORFLOW) (1.6 GB)"
	@$(PYTHON) -m venv $(TENSORFLOW)
	@$(TENSORFLOW)/bin/pip install --quiet --disable-pip-version-check \
		--constraint constraints-tensorflow.txt $(TENSORFLOW_WHEEL) \
		&& touch $@ || echo "TensorFlow could not be installed: its tests will skip"
