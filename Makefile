# Targets with a line after ## are shown by `make help`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests wait more than they compute: two workers on two cores. `make test WORKERS=0` runs one test after the other.
WORKERS ?= 2
IN_WORKERS := -n $(WORKERS) --dist loadscope --no-loadscope-reorder
# Those of the scenarios that also run with operator and agents as pods: the main job, and fail-over.
POD_SCENARIOS := lifecycle health handshake drift failure absence ignorance refusals connection_sync failover failover_faults failover_connections
UNIT_TESTS := crds/tests core/tests operator/tests node-agent/tests cli/tests e2e/tests
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: help venv lint check unit prepare api-test scenarios e2e-kubernetes e2e-kind test test-long test-pods bench bench-ipvs bench-failover bench-scale demo demo-kind dashboard images images-twice manifests fmt generate lock clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: requirements/dev.txt pyproject.toml
	@echo "Python environment: installing the locked packages into $(VENV) (about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@printf '#!/bin/sh\nexec "$$(dirname "$$(readlink -f "$$0")")/python" -m lvs_lab "$$@"\n' > $(BIN)/lvs-lab
	@chmod 755 $(BIN)/lvs-lab
	@touch $@

venv: $(VENV)/.installed ## The Python environment in .venv, from the hashed lock

lint: venv ## Format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m lvs_api.generate --check

check: lint unit ## lint and the unit tests: about two minutes

unit: venv ## Tests that need neither an API server nor a lab
	$(BIN)/pytest -q $(IN_WORKERS) $(UNIT_TESTS)

prepare: venv ## Install and build what API servers, labs and images are made of; cached outside the checkout (cold: 20 minutes)
	@$(BIN)/python -m lvs_lab prepare
	@$(BIN)/python -m lvs_lab.image_build > /dev/null

api-test: prepare ## Tests against a real API server
	$(BIN)/pytest $(IN_WORKERS) e2e/api

scenarios: prepare ## Tests on labs: guests with real kernels, a real control plane
	$(BIN)/pytest $(IN_WORKERS) -m "not long" e2e/scenarios

e2e-kubernetes: prepare ## Of these the life of a release on real kubelets: helm install, traffic, upgrade, uninstall, nothing left
	$(BIN)/pytest e2e/scenarios/test_kubelet_quick_start.py

e2e-kind: venv ## The same files on a cluster by kind, where docker is there; else it says why they did not run
	$(BIN)/pytest --cluster=kind e2e/scenarios/test_kubelet_quick_start.py

test: lint prepare ## Everything that CI runs; pytest's summary of all tests comes last (an hour and a quarter on 2 cores, when prepared)
	$(BIN)/pytest $(IN_WORKERS) -m "not long"

test-long: prepare test-pods ## Tests that take minutes and want an otherwise idle machine, test-pods among them
	$(BIN)/pytest -m long

test-pods: prepare ## Scenarios of the main job and of fail-over once more, operator and agents as pods on real kubelets
	$(BIN)/pytest --agents=pods $(POD_SCENARIOS:%=e2e/scenarios/test_%.py)

bench: prepare ## The figures that this project promises, measured in labs
	$(BIN)/python -m bench load
	$(BIN)/python -m bench weight
	$(BIN)/python -m bench ipvs
	$(BIN)/python -m bench failover
	$(BIN)/python -m bench scale

bench-ipvs: prepare ## Of these the figures about IPVS: beside prebuilt netlink buffers, ipvsadm and keepalived (about 15 minutes)
	$(BIN)/python -m bench ipvs

bench-failover: prepare ## Of these the figures about failing over: beside keepalived alone (about half an hour)
	$(BIN)/python -m bench failover

bench-scale: prepare ## Of these the control loop with 5,000 services and 50,000 real servers, and edits on their way to a kernel beside kube-proxy (about 20 minutes)
	$(BIN)/python -m bench scale

demo: venv ## See it work: a cluster of real kernels, helm install, traffic, a dying server (KEEP=1 leaves it up)
	@$(BIN)/python -m lvs_lab.demo

demo-kind: venv ## The same on containers, for those with docker: a cluster by kind, traffic, a node that stops (KEEP=1 leaves it up)
	@$(BIN)/python -m lvs_lab.demo.on_kind

dashboard: prepare ## Draw the dashboard's picture in docs/reference anew, from a run in a lab (two minutes)
	LVS_DASHBOARD_PICTURE=docs/reference/dashboard.png $(BIN)/pytest -q e2e/scenarios/test_dashboard.py

images: venv ## Build both images with buildah; say where they, their sizes and lists of contents (CycloneDX) are
	@$(BIN)/python -m lvs_lab.image_build

images-twice: venv ## Build both images twice from nothing and compare them: each file that differs is named (20 minutes)
	@$(BIN)/python -m lvs_lab.image_twice

manifests: venv ## Write dist/crds.yaml and dist/install.yaml for kubectl, from the chart (VALUES=FILE: your values)
	@$(BIN)/python -m lvs_lab.plain_manifests dist $(addprefix --values=,$(VALUES))

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
