# Every target sets up what it needs: an own .venv, through uv, with the versions of constraints.txt.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Pins that replace those of constraints.txt; .venv remembers them: make setup CONSTRAINTS=constraints/torch-2.14.txt
CONSTRAINTS ?= $(or $(shell cat $(READY) 2>/dev/null),constraints.txt)
PINS   := $(VENV)/constraints.txt
ARGS   ?=
BASE   ?= HEAD
WORKERS ?= 2
# These need a commit or checkpoints.
ASKING := $(patsubst %,benchmarks/%.py,against same_numbers quick identification_worlds review_decisions)
# Containers often set it; each process of a test would then compile thousands of files anew.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest -q -rs --durations=15 --durations-min=1 --numprocesses $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup train pretrain test test-slow test-slurm fuzz lint format check bench bench-quick torture docs notebooks profile wheel constraints clean

help:  ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Make .venv with everything in it; nothing else

ifneq ($(CONSTRAINTS),$(shell cat $(READY) 2>/dev/null))
.PHONY: $(READY)
endif
$(READY): pyproject.toml constraints.txt $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "setting up $(VENV) (some GB of torch, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@awk -F== '!seen[$$1]++' $(CONSTRAINTS) constraints.txt > $(PINS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(PINS) uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint $(PINS) --editable ".[dev]"
	@echo $(CONSTRAINTS) > $@

train: $(READY)  ## Train on the synthetic default; ARGS="dataset=msmt17 trainer.devices=4" passes on
	@$(BIN)/python -m dccc_lightning $(ARGS)

pretrain: $(READY)  ## Remake the weights that come with the package
	@$(BIN)/python -m dccc_lightning experiment=pretrain_synthetic \
		pretrain.copy_to=src/dccc_lightning/weights/resnet10_synthetic.pt $(ARGS)

test: $(READY)  ## Run the tests, apart from the slow ones, in WORKERS=2 processes
	@$(PYTEST) $(ARGS)

test-slow: $(READY)  ## Run the slow tests alone
	@$(PYTEST) -m slow $(ARGS)

test-slurm: $(READY)  ## Run the tests on a real SLURM, which they start (root, Debian or Ubuntu)
	@$(BIN)/python -m pytest -q -rs -m slurm tests/slurm $(ARGS)

fuzz: $(READY)  ## Run the property tests with examples that they have not seen
	@$(BIN)/python -m pytest -q -m "hypothesis and not slow" --hypothesis-profile=fuzz $(ARGS)

lint: $(READY)  ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY)  ## Mend what can be mended by a program
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint test test-slow test-slurm  ## What CI runs

bench: $(READY)  ## Measure the kernels against plain references
	@for script in $(filter-out $(ASKING),$(wildcard benchmarks/*.py)); do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-quick: $(READY)  ## Two minutes: time of the kernels over that of BASE=HEAD, a commit
	@$(BIN)/python benchmarks/quick.py $(BASE) $(ARGS)

docs: $(READY)  ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

notebooks: $(READY)  ## Run the notebooks and keep their outputs, small and without paths
	@$(BIN)/python tests/notebook_runs.py $(ARGS)

torture: $(READY)  ## Kill tiny runs 100 times and resume them; ARGS="FOLDER --kills 20 --seed 7"
	@$(BIN)/python benchmarks/torture $(ARGS)

profile: $(READY)  ## Say which hooks of an epoch take how long; ARGS="trainer.profiler=pytorch" for a trace
	@$(BIN)/python -m dccc_lightning epochs=2 eval_every=2 trainer.profiler=simple output=outputs/profile/$$(date +%Y-%m-%d_%H-%M-%S) $(ARGS)

wheel: $(READY)  ## Build dist/*.tar.gz, and dist/*.whl from it
	@$(BIN)/python -m build --no-isolation --outdir dist .

constraints: $(READY)  ## Write constraints.txt, or what differs in CONSTRAINTS, from what .venv holds
	@$(BIN)/uv pip freeze --exclude-editable | grep -E '^[A-Za-z0-9_.-]+==' > $(PINS)
	@if [ $(CONSTRAINTS) = constraints.txt ]; then cp $(PINS) constraints.txt; \
	else grep -vxFf constraints.txt $(PINS) > $(CONSTRAINTS); fi

clean:  ## Remove .venv, caches and builds
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info src/*.egg-info
