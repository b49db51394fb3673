PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TARGETS ?=
export TARGETS

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench torture combinations mutants deb ipk apk zipapp packages clean

SEED    ?= 7
MINUTES ?= 30
JOBS    ?=

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

test: $(VENV)/dev ## lint, types and every test (JOBS=2: in so many processes)
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q $(if $(JOBS),-n $(JOBS) --dist loadgroup --no-loadscope-reorder) $(PYTEST_ARGS)

lint: $(VENV)/dev ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(VENV)/dev ## print every number that the README states
	@$(BIN)/python -m bench

torture: $(VENV)/dev ## half an hour of breaking everything (SEED=7 MINUTES=30; wants root)
	@$(BIN)/python -m tests.torture --seed $(SEED) --minutes $(MINUTES)

combinations: $(VENV)/dev ## the agent's tests over old and new libraries and Pythons (hours)
	@$(BIN)/python -m tests.combinations

mutants: $(VENV)/dev ## plant known bugs, and see that the torture notices each (wants root)
	@$(BIN)/python -m tests.torture.mutants

packages: deb ipk apk zipapp ## all of the four below, into dist/

deb: $(VENV)/dev ## swarming-agent and swarming-indexer for Debian and Raspberry Pi OS
	@$(BIN)/python packaging/build/deb.py

ipk: $(VENV)/dev ## swarming-agent and its LuCI page for OpenWrt 24.10
	@$(BIN)/python packaging/build/ipk.py

apk: $(VENV)/dev ## the same for OpenWrt 25.12
	@$(BIN)/python packaging/build/apk.py

zipapp: $(VENV)/dev ## the agent as one file for any Python from 3.11 on
	@$(BIN)/python packaging/build/pyz.py

clean: ## remove the virtual environment, what was built, and the data under var/
	rm -rf $(VENV) var artefacts build dist
