# Every target works on a fresh machine with Python 3.11 or later and a package index.
# PYTHON names the interpreter to build .venv with; DATA_DIR, PORT, FLOWER_PORT and STANDIN_PORT
# let several stacks run side by side.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes
# Without arguments, three workers: on two cores one of them mostly waits for processes it has started.
PYTEST_ARGS ?= --numprocesses 3
BENCH_ARGS ?=
PROVE_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo up shell test check bench prove types-js browser node proxy format lock clean reset

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runs ## one real checkout over HTTP against a stand-in Razorpay, its timeline, then stop
	@$(BIN)/python -m workers.stack demo

up: $(VENV)/.runs ## the whole shop on this machine, seeded, until Ctrl-C; prints its addresses, then "ready"
	@$(BIN)/python -m workers.stack up

shell: $(VENV)/.runs ## a Python shell on the shop's database, beside `make up` or alone
	@$(BIN)/python -m workers.stack run $(BIN)/python manage.py shell

test: $(VENV)/.tests browser node proxy ## every test, browser tests too (PYTEST_ARGS='-k stock' for some)
	node --test tests/js/*.test.js
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.tests ## format, lint, types, migrations, settings, then every test: what CI runs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	DEBUG=1 $(BIN)/mypy
	$(MAKE) types-js
	$(BIN)/python -m workers.stack run $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m workers.stack run $(BIN)/python manage.py check
	$(MAKE) test

bench: $(VENV)/.tests ## how fast it is, beside two reference shops (BENCH_ARGS='--quick'; tests/bench/README.md)
	@$(BIN)/python -m tests.bench $(BENCH_ARGS)

prove: $(VENV)/.tests ## the fault suite: kills, outages and load, then the books (LONG=1: for half an hour, written to docs/proof.md; SEED=7: again)
	@$(BIN)/python -m tests.prove $(if $(LONG),--long --write-proof docs/proof.md) $(if $(SEED),--seed $(SEED)) $(PROVE_ARGS)

format: $(VENV)/.tests ## format the code, and mend what the linter can mend by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lock: $(VENV)/.tests ## pin requirements*.txt again after a change of requirements*.in (UPGRADE=--upgrade: newest)
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) -c requirements.txt requirements-otel.in -o requirements-otel.txt
	$(COMPILE) -c requirements.txt requirements-local.in -o requirements-local.txt
	$(COMPILE) -c requirements-local.txt requirements-dev.in -o requirements-dev.txt

# A browser of the system, not one that a test tool downloads. CHROMIUM may name another.
browser:
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { \
			echo "The browser tests need Chromium: install it, or set CHROMIUM to its path." >&2; exit 1; }; \
		echo "installing chromium"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; }

node:
	@command -v node >/dev/null && command -v npm >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { \
			echo "The storefront's tests need Node.js with npm: install them." >&2; exit 1; }; \
		echo "installing nodejs"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm >/dev/null; }

proxy:
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { \
			echo "The tests of the proxy need nginx: install it." >&2; exit 1; }; \
		echo "installing nginx"; apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light openssl >/dev/null; }

types-js: node tests/js/node_modules/.made
	cd tests/js && npm run --silent types

tests/js/node_modules/.made: tests/js/package-lock.json
	cd tests/js && npm ci --silent --no-audit --no-fund
	@touch $@

clean: ## remove .venv and caches; the data stays
	rm -rf $(VENV) tests/js/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

reset: ## remove .data: the embedded databases, their secrets and logs
	rm -rf .data

COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet $(UPGRADE) \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links

# Made anew, not patched, so that it holds exactly what is pinned. The stamps say what is in it.
$(VENV)/.runs: requirements-local.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: set PYTHON")'
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements-local.txt
	@touch $@

$(VENV)/.tests: requirements-dev.txt $(VENV)/.runs
	$(PIP) -r requirements-dev.txt
	@touch $@
