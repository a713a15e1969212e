# `make` lists what can be done. Everything below works on a fresh clone: each target sets up what it needs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The Python to build the environment with (3.11 or later), and how many tests run at once.
PYTHON ?= python3
WORKERS ?= 3
# More arguments for pytest, such as ARGS='-k routing'.
ARGS ?=
# What the benchmarks run on: the interpreter as a distribution ships it. One that was built at home without
# `--enable-optimizations` takes a sixth more time for everything.
BENCH_PYTHON ?= $(shell for python in /usr/bin/python3 $(PYTHON); do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

VENV := .venv
RUN := $(VENV)/bin/python
BENCH := $(VENV)/bench/bin/python
# An installed wheel elsewhere, or a variable of the shell, must not leak into the tests.
export PYTHONPATH :=
export PYTHONUNBUFFERED := 1

.PHONY: help setup system panel panel-types demo test test-quick coverage judges sbom fuzz audit-tampering faults ledger replicas isolation slow-clients rolling rotation lint \
	types format bench bench-peers bench-instructions bench-usage bench-drain bench-memory screenshots lock clean clean-all

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: system $(VENV)/.project $(VENV)/clients/.installed tests/node/node_modules/.installed tests/agents/node_modules/.installed panel ## Everything for development: packages, environments, clients, panel

system:
	@PYTHON=$(PYTHON) tools/install_system_packages

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ownkey needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try make PYTHON=python3.11" >&2; exit 1; }
	@PYTHON=$(PYTHON) tools/install_system_packages
	@echo "[1/6] Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.dependencies: requirements/dev.txt | $(VENV)/.created
	@echo "[2/6] Locked dependencies, every hash checked"
	@tools/install_python_packages $(RUN) requirements/dev.txt
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.dependencies
	@echo "[3/6] Ownkey itself, editable"
	@$(RUN) -m pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Clients whose needs do not agree with ours.
$(VENV)/clients/.installed: requirements/clients.txt | $(VENV)/.dependencies
	@echo "[4/6] Clients for the tests in $(VENV)/clients"
	@$(RUN) -m venv --clear --without-pip $(VENV)/clients
	@tools/install_python_packages $(RUN) requirements/clients.txt $(VENV)/clients/bin/python
	@touch $@

$(VENV)/bench/.installed: requirements/dev.txt pyproject.toml | $(VENV)/.project
	@echo "Benchmarks run on $$($(BENCH_PYTHON) -V) in $(VENV)/bench"
	@$(BENCH_PYTHON) -m venv --clear --without-pip $(VENV)/bench
	@tools/install_python_packages $(RUN) requirements/dev.txt $(BENCH)
	@$(RUN) -m pip --python $(BENCH) install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Programs that look at this repository from outside.
$(VENV)/judges/.installed: requirements/judges.txt | $(VENV)/.dependencies
	@echo "Judges in $(VENV)/judges"
	@$(RUN) -m venv --clear --without-pip $(VENV)/judges
	@tools/install_python_packages $(RUN) requirements/judges.txt $(VENV)/judges/bin/python
	@touch $@

judges/node_modules/.installed: judges/package-lock.json
	@cd judges && npm ci --loglevel=error --no-audit --no-fund && touch node_modules/.installed

# npm checks the hashes of its own lock.
tests/%/node_modules/.installed: tests/%/package-lock.json
	@echo "[$(if $(filter agents,$*),6,5)/6] Node packages for the tests: $*"
	@if command -v npm >/dev/null; then \
		cd tests/$* && npm ci --loglevel=error --no-audit --no-fund && touch node_modules/.installed; \
	else \
		echo "  npm is not installed: the tests that need its packages will be skipped (Node 20.19 or later)"; \
	fi

web/node_modules/.installed: web/package-lock.json
	@if command -v npm >/dev/null; then \
		cd web && npm ci --loglevel=error --no-audit --no-fund && touch node_modules/.installed; \
	else \
		echo "  npm is not installed: the panel cannot be built here (it needs Node 20.19 or later)" >&2; exit 1; \
	fi

panel: src/ownkey/http/static/panel.js ## The settings panel, the administrators' view and the sign-in page

src/ownkey/http/static/panel.js: web/node_modules/.installed web/build.js $(shell find web/src web/pages -type f)
	@echo "The panel"
	@cd web && node_modules/.bin/tsc --noEmit && node build.js

panel-types: $(VENV)/.project web/node_modules/.installed ## Renew the panel's types from the OpenAPI description
	@tools/write_panel_types $(RUN)

demo: $(VENV)/.project panel ## The main job with three users; ONCE=1 ends after the table
	@$(VENV)/bin/ownkey demo $(if $(filter-out 0,$(ONCE)),--once)

test: setup ## All tests
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-quick: setup ## Tests without the slow ones
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal -q -m "not slow" $(ARGS)

coverage: setup ## All tests, with line and branch coverage: half as long again
	@$(RUN) -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(ARGS)

judges: setup $(VENV)/judges/.installed judges/node_modules/.installed ## What linters, provers and fuzzers of other people find; two minutes
	@$(RUN) -m pytest -q judges $(ARGS)

sbom: setup $(VENV)/judges/.installed ## What is in a release, as CycloneDX: build/sbom/server.json and panel.json
	@mkdir -p build/sbom
	@PYTHONWARNINGS=ignore $(VENV)/judges/bin/cyclonedx-py requirements --pyproject pyproject.toml -o build/sbom/server.json requirements/run.txt
	@cd web && npm sbom --package-lock-only --omit dev --sbom-format cyclonedx > ../build/sbom/panel.json

fuzz: setup $(VENV)/judges/.installed ## Each fuzzer for a minute; FUZZ_SECONDS=600 for longer
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(RUN) -m pytest -q -s judges/test_fuzz.py $(ARGS)

ledger: setup ## Ten thousand mixed requests, checked call by call against the providers' own books
	@LEDGER_REQUESTS=10000 $(RUN) -m pytest -q -s tests/gateway/test_two_ledgers.py $(ARGS)

audit-tampering: setup ## A thousand ways of tampering with the audit trail, on two versions of PostgreSQL
	@AUDIT_TAMPERINGS=$${AUDIT_TAMPERINGS:-1000} $(RUN) -m pytest -q tests/postgres/test_audit.py -k tamperings $(ARGS)

faults: setup ## Servers killed, frozen, cut off, their clocks set wrong, power lost, for thirteen minutes: both books agree
	@FAULTS_SECONDS=$${FAULTS_SECONDS:-780} FAULTS_CLIENTS=32 FAULTS_POWER=20 $(RUN) -m pytest -q -s tests/faults $(ARGS)

replicas: setup ## Five gateways: how soon a revocation holds everywhere, and a minute without the database
	@REPLICAS_LONG=1 $(RUN) -m pytest -q -s tests/replicas $(ARGS)

isolation: setup ## A million requests through PgBouncer, a quarter given up: no key crosses over
	@ISOLATION_REQUESTS=$${ISOLATION_REQUESTS:-1000000} $(RUN) -m pytest -q -s tests/gateway/test_isolation.py $(ARGS)

slow-clients: setup ## How long honest calls take beside a thousand slow clients, and beside one user's flood; two minutes
	@SLOW_CLIENTS=1000 $(RUN) -m pytest -q -s tests/cli/test_patience_at_length.py $(ARGS)

rotation: setup ## A rotation of the wrapping key of 100,000 users under load, its rotator killed 50 times; two minutes
	@ROTATION_USERS=$${ROTATION_USERS:-100000} ROTATION_KILLS=$${ROTATION_KILLS:-50} ROTATION_RATE=$${ROTATION_RATE:-500} \
		$(RUN) -m pytest -q -s tests/rotation $(ARGS)

rolling: setup ## Twenty restarts of two servers behind nginx while streams run: nothing is lost; two minutes
	@ROLLING_RESTARTS=20 $(RUN) -m pytest -q -s tests/cli/test_draining.py -k rolling $(ARGS)

lint: $(VENV)/.project ## Style, and the floors of the house
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(VENV)/bin/lint-imports

types: $(VENV)/.project ## Strict type check
	@$(RUN) -m mypy

format: $(VENV)/.project ## Rewrite in the house style
	@$(RUN) -m ruff check --fix --exit-zero
	@$(RUN) -m ruff format

bench: setup $(VENV)/bench/.installed ## Direct, nginx and Ownkey side by side in one run, some seven minutes; ARGS='--cases c1,c64' for some
	@$(BENCH) -m bench $(ARGS)

bench-peers: setup $(VENV)/bench/.installed ## The same with other gateways, which it installs below bench/.build: some minutes more
	@$(BENCH) -m bench --cases c1,c64,streams,paced --output bench/results/peers.json $(ARGS) \
		direct nginx ownkey ferrogw tensorzero portkey litellm

bench-instructions: setup $(VENV)/bench/.installed ## What one request costs in instructions: the same on a busy machine; ARGS='--cases c64'
	@$(BENCH) -m bench.instructions $(ARGS)

bench-usage: setup $(VENV)/bench/.installed ## Questions about usage over ten million calls; ARGS='--events 1000000' is quick
	@$(BENCH) -m bench.usage_queries $(ARGS)

bench-drain: setup $(VENV)/bench/.installed ## How fast usage goes into PostgreSQL; ARGS='--events 5000' is quick
	@$(BENCH) -m bench.usage_drain $(ARGS)

bench-memory: setup $(VENV)/bench/.installed ## What a warm user with three keys takes of memory; ARGS='--users 3000' is quick
	@$(BENCH) -m bench.memory $(ARGS)

screenshots: setup ## Pictures of every view into build/screenshots, and those of the README; ARGS=usage for some
	@$(RUN) tools/take_screenshots $(ARGS)

lock: ## Renew requirements/*.txt from pyproject.toml (needs uv); ARGS=--upgrade for newer versions
	@tools/lock_dependencies $(ARGS)

clean: ## Remove caches and build products
	@rm -rf build dist .coverage .coverage.* coverage.xml .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache bench/.build src/ownkey/http/static
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## Also remove the environment and the Node clients
	@rm -rf $(VENV) judges/node_modules tests/node/node_modules tests/agents/node_modules web/node_modules
