# `make` alone lists what there is. Everything lives in .venv; each set of requirements is installed once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
WORKERS ?= 4
ACTIONLINT := 1.7.12

# A run of the tests starts hundreds of processes: with this set, each of them would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Installing a larger set satisfies the smaller ones that it contains.
STAMP_demo  := $(VENV)/.installed-demo
STAMP_test  := $(VENV)/.installed-test
STAMP_check := $(VENV)/.installed-check
STAMP_coverage := $(VENV)/.installed-coverage
STAMP_mutants := $(VENV)/.installed-mutants
STAMP_docs  := $(VENV)/.installed-docs
STAMP_package := $(VENV)/.installed-package
STAMP_lock  := $(VENV)/.installed-lock
WITHIN_test  := $(STAMP_demo)
WITHIN_check := $(STAMP_demo) $(STAMP_test)
WITHIN_coverage := $(STAMP_demo) $(STAMP_test)
WITHIN_mutants := $(STAMP_demo) $(STAMP_test) $(STAMP_check)
WITHIN_lock  := $(STAMP_demo) $(STAMP_test) $(STAMP_check) $(STAMP_coverage) $(STAMP_mutants) $(STAMP_docs) $(STAMP_package)

##@ Use it

demo: $(STAMP_demo) ## Run an Agent on a real JetStream, without a cluster, and show the run
	@$(BIN)/heed demo $(ARGS)

image: ## Build the container image (docker, podman or buildah); IMAGE=…, BASE=…, BUILDER=…
	@builder="$(BUILDER)"; \
	for tool in docker podman; do \
	  if [ -z "$$builder" ] && command -v $$tool >/dev/null && $$tool info >/dev/null 2>&1; then builder=$$tool; fi; \
	done; \
	if [ -z "$$builder" ] && command -v buildah >/dev/null; then builder=buildah; fi; \
	case "$$builder" in \
	  docker) set -- docker build ;; \
	  podman) set -- podman build ;; \
	  buildah) set -- buildah bud --format docker --isolation chroot --network host $(BUILDAH_ARGS) ;; \
	  *) echo "make image: no working docker, podman or buildah found; install one (and start its daemon)" >&2; exit 1 ;; \
	esac; \
	pip=$${PIP_CONFIG_FILE:-/etc/pip.conf}; \
	if [ -f "$$pip" ]; then set -- "$$@" --secret "id=pip,src=$$pip"; fi; \
	certificates=$${PIP_CERT:-$$($(PYTHON) -m pip config get global.cert 2>/dev/null)}; \
	if [ -f "$$certificates" ]; then set -- "$$@" --secret "id=certificates,src=$$certificates"; fi; \
	set -- "$$@" $(if $(BASE),--build-arg BASE=$(BASE)) --tag $(IMAGE); \
	echo "$$@ ."; \
	"$$@" --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null || echo unknown) .

IMAGE ?= heed:dev

##@ Work on it

venv: $(STAMP_check) ## Create .venv with everything needed to work on Heed

test: $(STAMP_test) ## Run every test, from nothing: builds a real control plane first (once); WORKERS=… processes
	$(BIN)/python tests/cluster/controlplane/build.py
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

unit: $(STAMP_test) ## Run the quick tests only
	$(BIN)/python -m pytest -n $(WORKERS) tests/unit $(ARGS)

browser: $(STAMP_test) ## Open the pages of approval links in Chromium; HEED_PICTURES=FOLDER keeps pictures; INSTALL=1 installs it (root, Debian)
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null || { \
	  if [ -n "$(INSTALL)" ]; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends chromium fonts-noto-core; \
	  else echo "make browser: no Chromium on PATH; on Debian as root: make browser INSTALL=1" >&2; exit 1; fi; }
	$(BIN)/python -m pytest -n $(WORKERS) tests/browser $(ARGS)

# Each process writes what it ran into a file of its own, also where a test fails: the figures are shown all the same.
coverage: $(STAMP_coverage) ## Which lines and branches do unit and integration tests run? A summary, and htmlcov/index.html
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -p tests.coverage_of_children -n $(WORKERS) tests/unit tests/integration $(ARGS); \
	tests=$$?; $(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report && exit $$tests

check: lint types layers workflows ## Lint, format, types, layers and workflows (make -k check: all, whatever fails)

lint: $(STAMP_check)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP_check)
	$(BIN)/mypy
	$(BIN)/mypy $(wildcard examples/*/agent.py)

layers: $(STAMP_check)
	$(BIN)/lint-imports --no-logo

# What shellcheck and pyflakes would add depends on whether a machine has them, so they are not asked.
workflows: | $(BIN)/python
	@if [ ! -x $(BIN)/actionlint-$(ACTIONLINT) ]; then \
	  command -v go >/dev/null || { echo "workflows: not checked; actionlint is built with go, which is not installed"; exit 0; }; \
	  GOBIN=$(abspath $(BIN)) go install github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT) \
	    && mv $(BIN)/actionlint $(BIN)/actionlint-$(ACTIONLINT) \
	    || { echo "workflows: not checked; actionlint $(ACTIONLINT) could not be built"; test -z "$$CI"; exit; }; \
	fi; \
	echo "$(BIN)/actionlint-$(ACTIONLINT)"; \
	$(BIN)/actionlint-$(ACTIONLINT) -shellcheck= -pyflakes=

verify: $(STAMP_check) ## Are generated and locked files current?
	$(BIN)/heed crds --check --output crds --output charts/heed/files/crds
	$(BIN)/python -m tests.jobfields --check
	$(BIN)/python -m tests.python_reference --check
	$(BIN)/python .ci/release.py version --check
	$(BIN)/python requirements/lock.py --check

cluster: $(STAMP_test) ## Bring up a real node on this machine, as root, without Docker; INSTALL=1 installs what is missing
	@$(BIN)/python -m tests.e2e.node up $(if $(INSTALL),--install)

cluster-down: $(STAMP_test) ## Remove that node and everything it made
	@$(BIN)/python -m tests.e2e.node down

e2e: $(STAMP_test) ## Run the end-to-end tests; E2E_CLUSTER=node (default), kind, or current (the current kubeconfig)
	$(BIN)/python -m tests.e2e $(if $(INSTALL),--install) $(ARGS)

bench: $(STAMP_test) ## Measure throughput, latency and cost
	$(BIN)/python -m tests.bench $(ARGS)

faults: $(STAMP_test) ## Let everything go wrong at once and check the model; SEED=…, EVENTS=…
	$(BIN)/python tests/cluster/controlplane/build.py
	$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(EVENTS),--events $(EVENTS)) $(ARGS)

scenarios: $(STAMP_test) ## Let single things go wrong under load: clock, disk, frozen, another, edits, three-nodes (ARGS="clock disk")
	$(BIN)/python tests/cluster/controlplane/build.py
	$(BIN)/python -m tests.faults.scenarios $(ARGS)

kueue: $(STAMP_test) ## Build the real Kueue, once, ten minutes, and see Jobs wait in its queue
	$(BIN)/python tests/cluster/controlplane/build.py
	$(BIN)/python -m tests.cluster.kueue.run
	$(BIN)/python -m pytest tests/cluster/test_kueue.py $(ARGS)

keda: $(STAMP_test) ## Build the real KEDA, once, a quarter of an hour and more, and see it scale workers to zero and back
	$(BIN)/python tests/cluster/controlplane/build.py
	$(BIN)/python -m tests.cluster.keda.run
	$(BIN)/python -m pytest tests/cluster/test_keda.py $(ARGS)

inference: $(STAMP_test) ## Build llama.cpp's server, once, some minutes, and see the model client get along with it
	$(BIN)/python -m tests.inference.build
	$(BIN)/python -m pytest tests/inference $(ARGS)

mutants: $(STAMP_mutants) ## Which one-line changes of the code does no test notice? Hours; goes on where it stopped; ARGS="--sample 500"
	$(BIN)/python -m tests.mutation run $(ARGS)

docs: $(STAMP_docs) ## Build the site of the documentation into site/; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

build: $(STAMP_package) ## Build wheel and sdist into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .

installed: build ## Install the wheel apart from this checkout, and run the demo with it
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder/venv"; \
	pip="$$folder/venv/bin/python -m pip --disable-pip-version-check --quiet"; \
	$$pip install --require-hashes --requirement requirements/demo.txt; \
	$$pip install --no-deps --no-index dist/heed-*.whl; \
	cd "$$folder"; \
	test "$$(venv/bin/heed --version)" = "heed, version $$(venv/bin/python -c 'from importlib.metadata import version; print(version("heed"))')"; \
	venv/bin/heed --version; \
	venv/bin/heed demo --example "$(CURDIR)/examples/research"

##@ Change it

format: $(STAMP_check) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(STAMP_check) ## Write the CRDs, the version (of pyproject.toml) and what else is generated
	$(BIN)/python .ci/release.py version
	$(BIN)/heed crds --output crds --output charts/heed/files/crds
	$(BIN)/python -m tests.jobfields
	$(BIN)/python -m tests.python_reference
	$(BIN)/python -m tests.e2e.rbac_page

lock: $(STAMP_lock) ## Pin the requirements again; ARGS=--upgrade takes the newest versions
	$(BIN)/python requirements/lock.py $(ARGS)

clean: ## Remove .venv, caches and build results
	rm -rf $(VENV) build dist site operator/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Help

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- the virtual environment ---------------------------------------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Heed needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not there')." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "could not create $(VENV): is the venv module installed (Debian: python3-venv)?" >&2; exit 1; }

# The package is installed in place and only when its metadata changes; code changes need no reinstall.
$(VENV)/.installed-%: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "installing requirements/$*.txt"
	@$(PIP) install --require-hashes --requirement $<
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $(WITHIN_$*) $@

.PHONY: demo image venv test unit browser coverage check lint types layers workflows verify cluster cluster-down e2e bench faults scenarios kueue keda mutants docs build installed format generate lock clean help
