# The project's chores; `make` lists them. ARGS="…" is handed on to what a target runs.

.DEFAULT_GOAL := help
BIN := .venv/bin
STAMP := .venv/.up-to-date
RUNS := .venv/.runs
CLIENTS := tests/integration/http/clients

# Only asked for where there is no uv, which finds a Python by itself.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; \
	done)

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything, by uv or else by pip

$(STAMP): pyproject.toml uv.lock
	@echo 'Installing everything into .venv: the package, all extras, what tests and checks it …' >&2
	@if command -v uv >/dev/null; then \
		uv sync --all-extras --locked; \
	elif [ -n "$(PYTHON)" ]; then \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' && \
		$(BIN)/python -m pip install --quiet --group dev --editable '.[all,testing]'; \
	else \
		echo 'Python 3.11 or newer is needed, and none is on the PATH' >&2; exit 1; \
	fi
	@touch $(RUNS) $@

# The same .venv, with no more in it than `taskscheduler dev` runs on; `setup` adds the rest.
$(RUNS): pyproject.toml uv.lock
	@echo 'Installing what taskscheduler runs on into .venv; this is done once …' >&2
	@if command -v uv >/dev/null; then \
		uv sync --extra embedded --no-default-groups --inexact --locked; \
	elif [ -n "$(PYTHON)" ]; then \
		$(PYTHON) -m venv .venv && \
		$(BIN)/python -m pip install --disable-pip-version-check --editable '.[embedded]' \
			| awk '/^Collecting/ { print "  " $$2 } /^Installing collected/ { print "  …" } { fflush() }' >&2 && \
		test -x $(BIN)/taskscheduler; \
	else \
		echo 'Python 3.11 or newer is needed, and none is on the PATH' >&2; exit 1; \
	fi
	@touch $@

.PHONY: setup-test
setup-test: setup .clients/.up-to-date $(CLIENTS)/node_modules/.up-to-date ## Also provide PgBouncer, RabbitMQ, Prometheus and Chromium, which the tests talk to
	@.ci/unpack pgbouncer
	@.ci/unpack rabbitmq-server
	@.ci/unpack prometheus || echo 'There is no Prometheus: its tests are left out' >&2
	@.ci/unpack chromium || echo 'There is no Chromium: its tests are left out' >&2

# The generator lives apart: what it asks for must not decide what the package is tested with.
.clients/.up-to-date: pyproject.toml
	@$(BIN)/python -m venv .clients
	@.clients/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.clients/bin/python -m pip install --quiet --group clients
	@touch $@

# What makes a TypeScript client of the served OpenAPI document.
$(CLIENTS)/node_modules/.up-to-date: $(CLIENTS)/package.json .clients/.up-to-date
	@cd $(CLIENTS) && PATH="$(CURDIR)/.clients/bin:$$PATH" npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

.PHONY: run
run: $(RUNS) ## Run the whole of it on one machine: `taskscheduler dev`
	@echo 'Starting taskscheduler dev: a PostgreSQL under .taskscheduler, the API, a worker …' >&2
	@exec $(BIN)/taskscheduler dev $(ARGS)

.PHONY: test
test: setup-test ## Run all tests
	@$(BIN)/python -m pytest $(ARGS)

.PHONY: lint
lint: setup ## Check style, types and the directions of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports

.PHONY: format
format: setup ## Put the code into shape
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

.PHONY: docs
docs: .docs/.up-to-date ## Build the documentation as a site, and serve it
	@.docs/bin/zensical serve $(ARGS)

.PHONY: docs-build
docs-build: .docs/.up-to-date ## Build the documentation into .docs-site, without the network
	@.docs/bin/zensical build --strict $(ARGS)

# What builds the site lives apart, too: the package does not need it, nor do its tests.
.docs/.up-to-date: pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo 'Python 3.11 or newer is needed, and none is on the PATH' >&2; exit 1; fi
	@$(PYTHON) -m venv .docs
	@.docs/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.docs/bin/python -m pip install --quiet --group docs
	@touch $@

.PHONY: bench
bench: setup .bench/.up-to-date ## Measure beside peers, on a PostgreSQL of its own
	@$(BIN)/python -m benchmarks $(ARGS)

# The peers live apart: what they ask for must not decide what the package is tested with.
.bench/.up-to-date: pyproject.toml benchmarks/peers/node/package.json
	@$(BIN)/python -m venv .bench
	@.bench/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.bench/bin/python -m pip install --quiet --group bench
	@if command -v npm >/dev/null; then \
		cd benchmarks/peers/node && npm install --no-package-lock --no-audit --no-fund --silent; \
	else \
		echo 'There is no npm on the PATH: graphile-worker and pg-boss are left out' >&2; \
	fi
	@touch $@

.PHONY: bench-quick
bench-quick: setup ## Measure a little, beside a bare loop of psycopg
	@$(BIN)/python -m benchmarks --quick $(ARGS)

.PHONY: demo-compose
demo-compose: setup ## Run the whole deployment, kill parts of it, and see every task completed
	@if docker pull --quiet $(or $(PYTHON_IMAGE),python:3.13-slim) >/dev/null 2>&1; then \
		deploy/demo; \
	else \
		echo 'No image can be pulled: the bases are made of Debian packages' >&2; \
		.ci/with-engine .ci/demo-compose; \
	fi

.PHONY: drill-systemd
drill-systemd: setup ## Follow docs/deploy.md on a machine with systemd, and disturb the units
	@.ci/with-engine $(BIN)/python .ci/drill-systemd

.PHONY: chaos
chaos: setup ## Kill, pause and cut off, and see that the promises hold
	@$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: oracle
oracle: setup ## Compare schedules with a walk through every change of clocks of ten years
	@$(BIN)/python -m tests.oracle $(ARGS)

.PHONY: mutants
mutants: setup ## Break the package in small ways, and see that the tests notice
	@$(BIN)/python -m tests.mutants $(ARGS)
