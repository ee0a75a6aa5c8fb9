# Targets with a line after ## are shown by `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help venv check fmt generate lock unit api-test test demo images clean bench

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "Python environment: installing the locked packages into $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@printf '#!/bin/sh\nexec "$$(dirname "$$(readlink -f "$$0")")/python" -m lvs_lab "$$@"\n' > $(BIN)/lvs-lab
	@chmod 755 $(BIN)/lvs-lab
	@touch $@

venv: $(VENV)/.installed ## The Python environment in .venv, from the hashed lock

check: venv ## Lint, types, layers, generated files, unit tests: about a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m lvs_api.generate --check
	$(BIN)/pytest -q crds/tests core/tests operator/tests node-agent/tests cli/tests e2e/tests

test: check ## Everything that CI runs

demo: venv ## See it work: a cluster of real kernels, helm install, traffic, a dying server (KEEP=1 leaves it up)
	@$(BIN)/python -m lvs_lab.demo

images: venv ## Build both images with buildah, and say where they are
	@$(BIN)/python -m lvs_lab.image_build

fmt: venv ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: venv ## Write the CRDs, the chart's copies and the API reference
	$(BIN)/python -m lvs_api.generate

lock: venv ## Resolve dependencies anew into requirements/*.txt
	$(BIN)/uv lock --upgrade
	@for part in operator node-agent cli; do \
	  $(BIN)/uv export -q --frozen --no-emit-project --no-header --no-dev --extra $$part -o requirements/$$part.txt > /dev/null; done
	$(BIN)/uv export -q --frozen --no-emit-project --no-header --all-extras -o requirements/dev.txt > /dev/null

clean: ## Remove what the build left in the checkout
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
