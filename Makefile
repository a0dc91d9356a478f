# Everything a developer or CI does. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
# TORCH_INDEX: PyTorch's CPU wheels for Linux on x86-64 have an index of their own (pytorch.org, "Get Started", Linux, Pip, CPU).
OUTPUT ?= build/package
IMAGE ?= localhost/valence:dev
MODEL_IMAGE ?= localhost/valence-model:dev
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
# glibc would keep freed blocks of up to 32 MiB for later, apart for each thread (the image sets the same).
export MALLOC_MMAP_THRESHOLD_ := 1048576
export MALLOC_TRIM_THRESHOLD_ := 2097152
# The native engine; the image is compiled by the same rule. Optional: what it can't compute is ONNX Runtime's.
NATIVE := app/model/native/libtransformer.so
CFLAGS ?= -O2 -fstack-protector-strong -D_FORTIFY_SOURCE=2 -Wl,-z,relro,-z,now,-z,noexecstack
VENV := .venv
LOAD_TESTS := load bench app/scoring/test_drift_http.py app/model/test_source.py app/model/test_download.py
VENV_EXPORT := .venv-export
POETRY := .poetry/bin/poetry
PIP := pip install --quiet --disable-pip-version-check
# pip installs what the lock says and honours the indexes and mirrors that the user has set up for it; Poetry would not.
PIP_LOCKED := $(PIP) --no-deps --require-hashes -r /dev/stdin
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
TORCH = $(shell sed -n 's/^torch = "\(.*\)"/torch==\1/p' pyproject.toml) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
.PHONY: $(shell sed -n 's/^\([a-z][a-z0-9 -]*\):.*/\1/p' $(MAKEFILE_LIST))

##@ Use
help: ## Show this list
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
run: $(VENV)/.main $(NATIVE) ## Serve the bundled model (or MODEL_DIR=models/wine-quality) on 127.0.0.1:8000; Ctrl-C stops it
	@echo 'Page:  http://127.0.0.1:8000/'; $(if $(MODEL_DIR),export VALENCE_MODEL_DIR=$(MODEL_DIR),\
	  echo "Try:   curl -s http://127.0.0.1:8000/predict -d '{\"text\": [\"I hate you.\", \"I love you.\"]}'"); exec $(VENV)/bin/gunicorn
export: $(VENV_EXPORT)/.export ## Make a model package: MODEL=ID_OR_FOLDER OUTPUT=FOLDER
	@$(VENV_EXPORT)/bin/python -m model_export $(if $(MODEL),--model $(MODEL)) --output $(OUTPUT)
score: $(VENV)/.score $(NATIVE) ## Score a file of texts without a server: INPUT=in.csv SCORE="--text-column review"
	@$(VENV)/bin/python -m app.score $(if $(INPUT),"$(INPUT)") $(SCORE)
up: ## Start the whole stack on this machine, with Prometheus, Grafana, Jaeger and MLflow (docs/compose.md)
	@$(COMPOSE) version >/dev/null 2>&1 || { echo "error: '$(COMPOSE)' is missing: install Docker Engine with its Compose" \
	  'plugin, or name what you have: make up COMPOSE=podman-compose' >&2; exit 1; }
	@REVISION=$(REVISION) $(COMPOSE) up --build --detach --wait
	@echo 'API http://127.0.0.1:8000/, Grafana :3000, Prometheus :9090, Jaeger :16686, MLflow :5000'
down: ## Stop the stack of `make up`; its volumes stay
	@$(COMPOSE) --profile load --profile training down

##@ Develop
check: $(VENV)/.dev ## Verify style, types, import rules and the lock; changes nothing
	$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check .
	$(VENV)/bin/mypy && $(VENV)/bin/lint-imports --no-cache && $(VENV)/bin/zizmor --offline --quiet .github
	$(POETRY) check --lock
lint: $(VENV)/.dev ## Repair what `check` finds, as far as tools can
	$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .
# Images of Python often set it; each process of the tests would compile all that it imports of ours.
test test-manifests test-load test-export checkov e2e: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.dev $(VENV)/.load $(NATIVE) redis-server ## Run all tests but the slower ones: manifests, load, export, containers
	$(VENV)/bin/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(addprefix --ignore tests/,k8s observability $(LOAD_TESTS))
test-manifests: $(VENV)/.dev $(VENV)/.load $(NATIVE) redis-server ## Run the tests of manifests, alerts and dashboards
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile tests/k8s tests/observability
test-load: $(VENV)/.dev $(VENV)/.load $(NATIVE) .venv-mlflow/bin/mlflow redis-server ## Run the tests of load tools, benchmarks, drift and registries
	$(VENV)/bin/pytest --numprocesses 3 --dist loadfile $(addprefix tests/,$(LOAD_TESTS))
test-export: $(VENV_EXPORT)/.export .venv-mlflow/bin/mlflow .venv-kserve/bin/kserve ## Test export and training (installs PyTorch for CPUs)
	$(VENV_EXPORT)/bin/pytest --numprocesses 2 --dist loadfile tests/{model_export,training,app/http/protocols/test_kserve.py}
checkov: .venv-checkov/bin/checkov $(VENV)/.dev ## Hold the rendered manifests against checkov's policies (.checkov.yaml)
	@$(VENV)/bin/pytest -q tests/k8s/test_checkov.py
lock: $(POETRY) ## Write poetry.lock anew after a change of pyproject.toml
	$(POETRY) lock
rules: $(VENV)/.dev ## Renew compose/prometheus/rules.yml from the PrometheusRules of .k8s
	@$(VENV)/bin/python compose/prometheus/rules.py > compose/prometheus/rules.yml
install: $(VENV)/.dev $(NATIVE) ## Make .venv with everything that the service and its tests need
install-export: $(VENV_EXPORT)/.export ## Make .venv-export with PyTorch for CPUs and transformers
clean: ## Remove what the other targets made
	rm -rf $(VENV) $(VENV_EXPORT) .venv-checkov .venv-mlflow .venv-kserve $(NATIVE) .poetry build .*_cache .hypothesis

##@ Measure
bench: $(VENV)/.main $(NATIVE) redis-server ## Compare with the raw limits and the usual way, by ratios: BENCH="--rounds 3"
	@mkdir -p build && $(VENV)/bin/python -m bench --json build/bench.json $(BENCH)
overload: $(VENV)/.main $(NATIVE) ## Ask for ten times what the service can do, and say which promises it keeps
soak: $(VENV)/.main $(NATIVE) ## Send 100,000 texts of all lengths, then nothing: memory and idle CPU
fuzz: $(VENV)/.dev $(NATIVE) ## Send wrong input of every kind, minutes, from a seed: ARGS="--seed 2 --seconds 30"
chaos: $(VENV)/.main $(NATIVE) redis-server ## Break the service in every way under traffic: ARGS="--seconds 10 --only Redis"
overload soak fuzz chaos:
	@$(VENV)/bin/python -m bench.$@ --json build/$@.json $(ARGS)
load: $(VENV)/.load $(NATIVE) redis-server ## Load the service (or BASE_URL) with k6 and write a report: PROFILE=mission
	@$(VENV)/bin/python -m load.run --profile $(PROFILE)
locust: $(VENV)/.load ## Load LOCUST_HOST by hand, on Locust's page at http://127.0.0.1:8089
	@$(VENV)/bin/locust -f load/locust/locustfile.py --host $(LOCUST_HOST) --web-host 127.0.0.1
locust-headless: $(VENV)/.load ## Load LOCUST_HOST with 10 to 10,000 users; report and CSV files in build/locust
	@mkdir -p build/locust && $(VENV)/bin/locust -f load/locust/locustfile.py,load/locust/steps.py --host $(LOCUST_HOST) \
	  --headless --only-summary --html build/locust/report.html --csv build/locust/locust

##@ Deploy
image: ## Build the image IMAGE, with the bundled model or MODEL=ID_OR_FOLDER MODEL_REVISION=SHA
	@$(call build-image,--tag $(IMAGE) --build-arg REVISION=$(REVISION))
model-image: ## Build the model alone as MODEL_IMAGE, for .k8s/components/model-volume: MODEL=ID_OR_FOLDER
	@$(call build-image,--target model --tag $(MODEL_IMAGE))
render: ## Show what `make deploy` would apply: OVERLAY=prod
	@kubectl kustomize .k8s/overlays/$(OVERLAY)
deploy: ## Make the cluster that kubectl points at hold OVERLAY and no more of ours, and wait until it is ready
	@$(PYTHON) .k8s/deploy.py $(OVERLAY)
e2e: $(VENV)/.dev $(VENV)/.e2e ## Build the image, run both overlays as real pods, break them (root and podman; minutes)
	IMAGE=$(IMAGE) CLUSTER_TOOLS=$(CLUSTER_TOOLS) $(VENV)/bin/pytest tests/e2e
$(NATIVE): app/model/native/transformer.c
	@if [ "$$(uname -m)" != x86_64 ]; then :; \
	elif ! command -v $(CC) >/dev/null; then \
	  echo 'note: no C compiler ($(CC)), so ONNX Runtime computes the model; Debian: apt-get install gcc libc6-dev' >&2; \
	elif ! { $(CC) $(CFLAGS) -Wall -Wextra -shared -fPIC -o $@.part $< && mv $@.part $@; }; then \
	  echo 'note: $(CC) cannot compile $< (GCC 12 can), so ONNX Runtime computes the model' >&2; fi
$(POETRY): | python
	@$(call make-venv,.poetry) && .poetry/bin/$(PIP) poetry==2.5.1 poetry-plugin-export==1.10.1
$(VENV)/.main: poetry.lock | $(POETRY)
	@echo 'Setting up $(VENV) (once, about half a minute) ...'; $(call make-venv,$(VENV))
	@$(POETRY) export --only main | $(VENV)/bin/$(PIP_LOCKED) && touch $@
# Tools with requirements of their own; MLflow's server is for the tests and docs/tutorial.md. KServe's client is no program.
.venv-checkov/bin/checkov .venv-mlflow/bin/mlflow .venv-kserve/bin/kserve:
	@$(call make-venv,$(@D:/bin=)); $(@D)/$(PIP) $(filter $(@F)==%,checkov==3.3.30 mlflow==3.17.2 kserve==0.21.0) && touch $@
$(VENV)/.%: $(VENV)/.main
	@$(POETRY) export $(if $(filter score registry,$*),--only main --extras,--only) $* | $(VENV)/bin/$(PIP_LOCKED) && touch $@
# The lock holds torch as PyPI has it, with gigabytes of CUDA on Linux: it comes first, as the CPU build.
$(VENV_EXPORT)/.export: poetry.lock | $(POETRY)
	@echo 'Setting up $(VENV_EXPORT) (once, some minutes) ...'; $(call make-venv,$(VENV_EXPORT))
	@if $(VENV_EXPORT)/bin/pip install --disable-pip-version-check --dry-run $(TORCH) 2>&1 | grep -q nvidia-; then \
	  echo 'error: $(TORCH) would bring gigabytes of CUDA here. Name the index of its CPU builds (pytorch.org, "Get' \
	    'Started", Linux, Pip, CPU): make $(MAKECMDGOALS) TORCH_INDEX=...' >&2; exit 1; fi
	@$(VENV_EXPORT)/bin/$(PIP) $(TORCH)
	@$(POETRY) export --with dev,export | awk '/^[a-z]/ {wanted = !/^(torch==|triton==|nvidia-|cuda-)/} wanted' | \
	  $(VENV_EXPORT)/bin/$(PIP_LOCKED) && touch $@
build-image = $(if $(BUILDER),,echo 'error: building an image needs docker, podman or buildah' >&2; exit 1;) $(BUILDER) $(1) \
  $(foreach name,EXTRAS MODEL MODEL_REVISION TORCH_INDEX PYTHON_IMAGE,$(if $($(name)),--build-arg '$(name)=$($(name))')) .
# apt-or COMMAND,PACKAGE: what is missing is installed as root on Debian (where venv is a package), elsewhere named in a line.
apt-or = $(1) || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get -qq update && apt-get -qq install -y $(2) \
  >/dev/null; } || { echo 'error: $(2) is missing: install it (Debian: apt-get install $(2))' >&2; exit 1; }
make-venv = $(call apt-or,$(PYTHON) -c 'import ensurepip' 2>/dev/null,python3-venv); $(PYTHON) -m venv $(1)
python:
	@case $$(uname) in Linux) ;; Darwin) echo 'note: on macOS one worker on ONNX Runtime should work (docs/platforms.md)' >&2;; \
	  *) echo 'error: Valence needs Linux or macOS: on Windows take WSL 2 or the image (docs/platforms.md)' >&2; exit 1;; esac
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	  { echo 'error: Valence needs Python 3.11 to 3.13; name one: make PYTHON=python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
redis-server:
	@$(call apt-or,command -v redis-server >/dev/null,redis-server)
