PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TARGETS ?=
export TARGETS

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench torture mutants clean

SEED    ?= 7
MINUTES ?= 30

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/run: pyproject.toml
	@echo "Installing into $(VENV) (once; half a minute or so)…"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[indexer,broker]'
	@touch $@

$(VENV)/dev: pyproject.toml
	@echo "Installing into $(VENV) (once; half a minute or so)…"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[indexer,broker,dev]'
	@touch $@ $(VENV)/run

run: $(VENV)/run ## broker, indexer, page and one agent on this machine
	@$(BIN)/python -m indexer.house

demo: $(VENV)/run ## the same, with a simulated swarm over a week
	@$(BIN)/python -m bench.demo

test: $(VENV)/dev ## lint, types and every test
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(VENV)/dev ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/dev ## print every number that the README states
	@$(BIN)/python -m bench

torture: $(VENV)/dev ## half an hour of breaking everything (SEED=7 MINUTES=30; wants root)
	@$(BIN)/python -m tests.torture --seed $(SEED) --minutes $(MINUTES)

mutants: $(VENV)/dev ## plant known bugs, and see that the torture notices each (wants root)
	@$(BIN)/python -m tests.torture.mutants

clean: ## remove the virtual environment and the data under var/
	rm -rf $(VENV) var artefacts build
