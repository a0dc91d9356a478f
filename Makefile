# Everything a developer or CI does. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# PyTorch's CPU wheels are not on PyPI for Linux on x86-64: name their index (pytorch.org, "Get Started", Linux, Pip, CPU).
TORCH_INDEX ?=
MODEL ?=
OUTPUT ?= build/package
IMAGE ?= localhost/valence:dev
OVERLAY ?= dev
PROFILE ?= smoke
LOCUST_HOST ?= http://127.0.0.1:8000
COMPOSE ?= docker compose

# Starts pods on a machine without a cluster; not part of this repository.
CLUSTER_TOOLS ?= ../shared/tools/cluster
# The first that works. A docker without its daemon does not, and image format "docker" keeps the HEALTHCHECK.
BUILDER ?= $(or $(wildcard $(CLUSTER_TOOLS)/image-build),$(shell \
  docker info >/dev/null 2>&1 && echo docker build || { command -v podman >/dev/null && echo podman build --format docker; } \
  || { command -v buildah >/dev/null && echo buildah build --layers --format docker; }))

# The native engine. Optional: what it can't compute, and every machine without a C compiler, is ONNX Runtime's.
NATIVE := app/native/libtransformer.so
CC ?= cc
VENV := .venv
VENV_EXPORT := .venv-export
POETRY := .poetry/bin/poetry
# pip installs what the lock says and honours the indexes and mirrors that the user has set up for it; Poetry would not.
PIP_LOCKED := install --quiet --disable-pip-version-check --no-deps --require-hashes
TORCH := $(shell sed -n 's/^torch = "\(.*\)"/torch==\1/p' pyproject.toml)

##@ Use
.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.main $(NATIVE) ## Serve the bundled model on 127.0.0.1:8000; Ctrl-C stops it
	@echo 'Page:  http://127.0.0.1:8000/'
	@echo "Try:   curl -s http://127.0.0.1:8000/predict -d '{\"text\": [\"I hate you.\", \"I love you.\"]}'"
	@exec $(VENV)/bin/gunicorn

.PHONY: export
export: $(VENV_EXPORT)/.export ## Make a model package: MODEL=ID_OR_FOLDER OUTPUT=FOLDER
	@$(VENV_EXPORT)/bin/python -m model_export $(if $(MODEL),--model $(MODEL)) --output $(OUTPUT)

.PHONY: up
up: ## Start the whole stack on this machine, with Prometheus, Grafana, Jaeger and MLflow (docs/compose.md)
	$(need-compose)
	@REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(COMPOSE) up --build --detach --wait
	@echo 'API     http://127.0.0.1:8000/        Prometheus  http://127.0.0.1:9090/'
	@echo 'Grafana http://127.0.0.1:3000/        Jaeger      http://127.0.0.1:16686/'
	@echo 'MLflow  http://127.0.0.1:5000/        load        docker compose run --rm k6'

.PHONY: down
down: ## Stop the stack of `make up`; its volumes stay
	$(need-compose)
	@$(COMPOSE) --profile load down

##@ Develop
.PHONY: check
check: $(VENV)/.dev ## Verify style, types, import rules and the lock; changes nothing
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(POETRY) check --lock

.PHONY: lint
lint: $(VENV)/.dev ## Repair what `check` finds, as far as tools can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: test
test: $(VENV)/.dev $(VENV)/.load $(NATIVE) redis-server ## Run all tests but those of the export and of containers (no PyTorch needed)
	$(VENV)/bin/pytest

.PHONY: test-export
test-export: $(VENV_EXPORT)/.export ## Run the tests of the export (installs PyTorch for CPUs)
	$(VENV_EXPORT)/bin/pytest tests/model_export

.PHONY: lock
lock: $(POETRY) ## Write poetry.lock anew after a change of pyproject.toml
	$(POETRY) lock

.PHONY: rules
rules: $(VENV)/.dev ## Renew compose/prometheus/rules.yml from the PrometheusRules of .k8s
	@$(VENV)/bin/python compose/prometheus/rules.py > compose/prometheus/rules.yml

.PHONY: install
install: $(VENV)/.dev $(NATIVE) ## Make .venv with everything that the service and its tests need

.PHONY: install-export
install-export: $(VENV_EXPORT)/.export ## Make .venv-export with PyTorch for CPUs and transformers

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf $(VENV) $(VENV_EXPORT) $(NATIVE) .poetry build .*_cache .hypothesis

##@ Measure
.PHONY: bench
bench: $(VENV)/.main $(NATIVE) redis-server ## Compare with the raw limits and the usual way, by ratios: BENCH="--rounds 3"
	@mkdir -p build
	@$(VENV)/bin/python -m load.bench --json build/bench.json $(BENCH)

.PHONY: overload
overload: $(VENV)/.main $(NATIVE) ## Ask for ten times what the service can do, and say which promises it keeps
	@mkdir -p build
	@$(VENV)/bin/python -m load.overload --json build/overload.json

.PHONY: soak
soak: $(VENV)/.main $(NATIVE) ## Send 100,000 texts of all lengths, then nothing: memory and idle CPU
	@mkdir -p build
	@$(VENV)/bin/python -m load.soak --json build/soak.json

.PHONY: load
load: $(VENV)/.load $(NATIVE) redis-server ## Load the service (or BASE_URL) with k6 and write a report: PROFILE=mission
	@$(VENV)/bin/python -m load.run --profile $(PROFILE)

.PHONY: locust
locust: $(VENV)/.load ## Load LOCUST_HOST by hand, on Locust's page at http://127.0.0.1:8089
	@$(VENV)/bin/locust -f load/locustfile.py --host $(LOCUST_HOST) --web-host 127.0.0.1

.PHONY: locust-headless
locust-headless: $(VENV)/.load ## Load LOCUST_HOST with 10 to 10,000 users; report and CSV files in build/locust
	@mkdir -p build/locust
	@$(VENV)/bin/locust -f load/locustfile.py,load/locust_steps.py --host $(LOCUST_HOST) --headless --only-summary \
	  --html build/locust/report.html --csv build/locust/locust

##@ Deploy
.PHONY: image
image: ## Build the image IMAGE, with the bundled model or MODEL=ID_OR_FOLDER MODEL_REVISION=SHA
	@$(if $(BUILDER),,echo 'error: building an image needs docker, podman or buildah' >&2; exit 1;) \
	  $(BUILDER) --tag $(IMAGE) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) \
	  $(foreach name,MODEL MODEL_REVISION TORCH_INDEX PYTHON_IMAGE,$(if $($(name)),--build-arg $(name)=$($(name)))) .

.PHONY: render
render: ## Show what `make deploy` would apply: OVERLAY=prod
	@kubectl kustomize .k8s/overlays/$(OVERLAY)

.PHONY: deploy
deploy: ## Apply OVERLAY to the cluster that kubectl points at, and wait until it is ready
	kubectl apply -k .k8s/overlays/$(OVERLAY)
	kubectl rollout status deployment --timeout 5m --selector app.kubernetes.io/part-of=valence \
	  --namespace $$(sed -n 's/^namespace: //p' .k8s/overlays/$(OVERLAY)/kustomization.yaml)

.PHONY: e2e
e2e: $(VENV)/.dev $(VENV)/.e2e ## Build the image, run both overlays as real pods, break them (root and podman; minutes)
	IMAGE=$(IMAGE) CLUSTER_TOOLS=$(CLUSTER_TOOLS) $(VENV)/bin/pytest tests/e2e

$(NATIVE): app/native/transformer.c
	@if [ "$$(uname -m)" != x86_64 ]; then :; \
	elif ! command -v $(CC) >/dev/null; then \
	  echo 'note: no C compiler ($(CC)), so ONNX Runtime computes the model; Debian: apt-get install gcc libc6-dev' >&2; \
	elif ! { $(CC) -O2 -Wall -Wextra -shared -fPIC -o $@.part $< && mv $@.part $@; }; then \
	  echo 'note: $(CC) cannot compile $< (GCC 12 can), so ONNX Runtime computes the model' >&2; fi

$(POETRY): | python
	$(call make-venv,.poetry)
	@.poetry/bin/pip install --quiet --disable-pip-version-check poetry==2.5.1 poetry-plugin-export==1.10.1

$(VENV)/.main: poetry.lock | $(POETRY)
	@echo 'Setting up $(VENV) (once, about half a minute) ...'
	$(call make-venv,$(VENV))
	@$(POETRY) export --only main | $(VENV)/bin/pip $(PIP_LOCKED) -r /dev/stdin
	@touch $@

$(VENV)/.dev: $(VENV)/.main
	@$(POETRY) export --only dev | $(VENV)/bin/pip $(PIP_LOCKED) -r /dev/stdin
	@touch $@

$(VENV)/.load: $(VENV)/.main
	@$(POETRY) export --only load | $(VENV)/bin/pip $(PIP_LOCKED) -r /dev/stdin
	@touch $@

$(VENV)/.e2e: $(VENV)/.main
	@$(POETRY) export --only e2e | $(VENV)/bin/pip $(PIP_LOCKED) -r /dev/stdin
	@touch $@

# The lock holds torch as PyPI has it, with gigabytes of CUDA on Linux: torch comes first and as the CPU build, then all
# others from the lock.
$(VENV_EXPORT)/.export: poetry.lock | $(POETRY)
	@echo 'Setting up $(VENV_EXPORT) (once, some minutes) ...'
	$(call make-venv,$(VENV_EXPORT))
	@if $(VENV_EXPORT)/bin/pip install --disable-pip-version-check --dry-run $(TORCH) $(TORCH_FROM) 2>&1 | grep -q nvidia-; then \
	  echo 'error: $(TORCH) would bring gigabytes of CUDA here. Name the index of its CPU builds (pytorch.org, "Get' \
	    'Started", Linux, Pip, CPU): make $(MAKECMDGOALS) TORCH_INDEX=...' >&2; exit 1; fi
	@$(VENV_EXPORT)/bin/pip install --quiet --disable-pip-version-check $(TORCH) $(TORCH_FROM)
	@$(POETRY) export --with dev,export | awk '/^[a-z]/ {wanted = !/^(torch==|triton==|nvidia-|cuda-)/} wanted' \
	  | $(VENV_EXPORT)/bin/pip $(PIP_LOCKED) -r /dev/stdin
	@touch $@

TORCH_FROM := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

define need-compose
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "error: '$(COMPOSE)' is missing: install Docker Engine with its Compose" \
	  'plugin, or name what you have: make $(MAKECMDGOALS) COMPOSE=podman-compose' >&2; exit 1; }
endef

# make-venv FOLDER: Debian splits the venv module off into a package of its own.
define make-venv
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null; } || \
	  { echo 'error: $(PYTHON) cannot make virtual environments: install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(1)
endef

.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo 'error: Valence needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }

.PHONY: redis-server
redis-server:
	@command -v redis-server >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get -qq update && apt-get -qq install -y redis-server >/dev/null; } || \
	  { echo 'error: the tests need redis-server: install it (Debian: apt-get install redis-server)' >&2; exit 1; }
