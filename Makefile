# Entry points; `make` alone lists them.

PIPELINE ?= bert_finetune
PARAMS ?=
ENGINE ?=
ARGS ?=
RUN ?=
SERVERS ?=
export PIPELINE PARAMS ENGINE ARGS SERVERS

# A Python 3.11 or newer that runs: version managers put names on PATH that do not.
IS_NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.13 python3.12; do $$p -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)

# Index of PyTorch's wheels without CUDA (about 200 MB instead of 3 GB); used if there is no NVIDIA GPU and it is reachable.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Archived upstream, so in a separate environment; its dependencies, such as PyTorch, come from .venv.
TORCHSERVE = torchserve==0.12.0 torch-model-archiver==0.12.0
PACKAGES = -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
ACTIONLINT := $(VENV)/bin/actionlint
ACTIONLINT_VERSION := v1.7.12
OASDIFF := $(VENV)/bin/oasdiff
OASDIFF_VERSION := v1.37.0
HELM := $(VENV)/bin/helm
HELM_VERSION := v4.3.1

NAMESPACE ?= toolchain

# The registry of images, for building, pushing, deploying and pipelines.
ifneq ($(REGISTRY),)
export TOOLCHAIN_REGISTRY := $(REGISTRY)
endif

.DEFAULT_GOAL := help
.PHONY: help setup submit schedule compile components docs images arm64 torchserve mlflow report doctor helm deploy cluster monitor test lint scan bench clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## Create .venv with pinned versions; again only if they change

submit: $(READY)  ## Run a pipeline: PIPELINE=bert_finetune PARAMS="max_train_rows=1000 epochs=2" ENGINE=local|cluster ARGS=--no-cache
	@$(PY) -c "$$SUBMIT"

schedule: $(READY)  ## Apply manifests/schedules/ to the cluster, after showing the difference
	@$(PY) -m cli schedule apply

compile: $(READY)  ## Compile every pipeline to Kubeflow's YAML, into build/pipelines/
	@$(PY) -m cli compile all -o build/pipelines

components: $(READY)  ## Update the components, and docs/start/parameters.md, with the settings of the steps' Config
	@$(PY) -m cli.setup.components
	@$(PY) -m cli.setup.parameter_reference

docs: $(READY)  ## Build the documentation's site into build/docs, and update its diagram
	@$(PY) docs/diagram.py
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet

images: $(READY)  ## Build every image (NAMES="base train" for some): REGISTRY=, PUSH=1, BUILDER=, PYTHON_IMAGE=, TORCH_INDEX=, PLATFORMS=
	@$(PY) -m cli images $(NAMES) $(if $(PUSH),--push) $(if $(BUILDER),--builder "$(BUILDER)") \
		$(if $(PYTHON_IMAGE),--python-image "$(PYTHON_IMAGE)") $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)") \
		$(if $(PLATFORMS),--platforms "$(PLATFORMS)")

arm64: $(READY)  ## Create an emulated arm64 Python in .venv-arm64, in which runs test the selected variant; on Debian
	@$(PY) -m cli.setup.arm64

torchserve: $(READY)  ## Create .venv-torchserve, in which TorchServe archives are tested; needs Java 11 or newer
	@$(PY) -m venv .venv-torchserve
	@.venv-torchserve/bin/python -m pip install --quiet --no-deps $(TORCHSERVE)
	@$(PY) $(PACKAGES) > "$$(.venv-torchserve/bin/python $(PACKAGES))/beside.pth"  # searched behind its own

deploy: $(READY) helm  ## Install or upgrade the services on the cluster of KUBECONFIG: NAMESPACE=toolchain VALUES=my-values.yaml REGISTRY=, FORCE=1 to overwrite manual changes
	@$(PY) -m cli.setup.deploy --namespace "$(NAMESPACE)" $(if $(VALUES),--values "$(VALUES)") $(if $(FORCE),--force-conflicts)

helm:  ## Build helm 4 into .venv, unless it is on PATH
	@helm version --short 2>/dev/null | grep -q '^v4' || $(MAKE) --no-print-directory $(HELM)

cluster: images helm  ## Create a kind cluster on this machine with all services; needs Docker, kind and kubectl
	@kind get clusters | grep -qx toolchain || kind create cluster --name toolchain --wait 5m
	@kind export kubeconfig --name toolchain  # makes it the current cluster of kubectl and helm
	@$(PY) -c "$$IMAGES" | xargs kind load docker-image --name toolchain
	@$(MAKE) --no-print-directory deploy

mlflow: $(READY)  ## Serve MLflow with this machine's runs and models at http://127.0.0.1:5000 (Ctrl-C stops it)
	@mkdir -p runs
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(VENV)/bin/mlflow server --backend-store-uri sqlite:///runs/mlflow.db --host 127.0.0.1 --port 5000 \
		--allowed-hosts localhost:5000,127.0.0.1:5000 --workers 1

monitor: $(READY)  ## Monitor model servers and runs with Prometheus (Ctrl-C stops it): SERVERS="127.0.0.1:8080 ...", PROMETHEUS_PORT=9090
	@$(PY) -m cli.setup.monitor $$SERVERS $(if $(PROMETHEUS_PORT),--port "$(PROMETHEUS_PORT)")

report: $(READY)  ## Print the path of the last report (or that of RUN=), and open it on a desktop
	@$(PY) -m cli report $(RUN)
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] && command -v xdg-open >/dev/null; then \
		xdg-open "$$($(PY) -m cli report $(RUN) | head -n 1)"; fi

doctor: $(READY)  ## Check what this machine and its cluster offer, and how to add what is missing
	@$(PY) -m cli doctor

test: $(READY)  ## Run the whole test suite (two workers, one thread each)
	@OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2 --dist loadfile

lint: $(READY)  ## Check style, types, import rules, shell scripts, Dockerfiles and workflows
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/shellcheck .ci/run .ci/scan charts/toolchain/files/*.sh
	$(VENV)/bin/hadolint images/*/Dockerfile
	@if command -v go >/dev/null; then $(MAKE) --no-print-directory $(ACTIONLINT) && echo actionlint && \
		PATH="$(CURDIR)/$(VENV)/bin:$$PATH" actionlint; \
	else echo "workflows not checked: actionlint needs Go to build"; fi

scan: $(READY) helm  ## Run the security scanners, in .venv-scan: bandit, checkov, kube-score, zizmor; needs Go
	@.ci/scan

bench: $(READY)  ## Run the benchmarks of docs/optimize/benchmarks.md on this machine (long)
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; PYTHONPATH=. $(PY) $$script || failed="$$failed $$script"; done; \
		[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

clean:  ## Remove environments and caches, but not runs/
	rm -rf $(VENV) .venv-arm64 .venv-scan .venv-torchserve build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis *.egg-info

# PARAMS is split like shell arguments (quotes keep spaces), but not expanded or executed.
define SUBMIT
import os, shlex, sys
words = [word for pair in shlex.split(os.environ["PARAMS"]) for word in ("-p", pair)]
engine = ["--engine", os.environ["ENGINE"]] if os.environ["ENGINE"] else []
extra = shlex.split(os.environ["ARGS"])
os.execv(sys.executable, [sys.executable, "-m", "cli", "submit", os.environ["PIPELINE"], *engine, *words, *extra])
endef
export SUBMIT

# The stamp is written last: an interrupted setup starts again.
$(READY): pyproject.toml constraints.txt data.txt
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: install it, or name it by PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c '$(IS_NEW_ENOUGH)' || { echo "$(PYTHON) is older than Python 3.11: name another by PYTHON=/path/to/python"; exit 1; }
	@echo "setting up $(VENV) (one to three minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) cli/setup/environment.py "$(TORCH_CPU_INDEX)"
	@touch $@

# Built from its pinned Go module: package indexes have no current version.
$(ACTIONLINT): | $(READY)
	@GOBIN=$(CURDIR)/$(VENV)/bin go install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)

# Likewise; a test compares our comparison of OpenAPI documents with oasdiff's.
$(OASDIFF): | $(READY)
	@GOBIN=$(CURDIR)/$(VENV)/bin go install github.com/oasdiff/oasdiff@$(OASDIFF_VERSION)

# Built from its pinned Go module too: 3 minutes, once.
$(HELM): | $(READY)
	@echo "building helm $(HELM_VERSION) (a few minutes, once)"
	@command -v go >/dev/null || { echo "neither helm 4 nor Go, which builds it, is installed: install one of them"; exit 1; }
	@GOBIN=$(CURDIR)/$(VENV)/bin go install helm.sh/helm/v4/cmd/helm@$(HELM_VERSION)

# The full names of the images of this checkout.
define IMAGES
from components import images
print(*sorted(map(images.image, images.IMAGES)))
endef
export IMAGES
