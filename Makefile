# What a newcomer needs: `make run`. What a developer needs: `make check`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONDONTWRITEBYTECODE # or each of a dozen processes compiles Dagster anew
INSTALL := $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q pyproject.toml

.PHONY: run check test bench bench-smoke chaos browser lock

run: $(VENV)/run.stamp ## the whole platform with demo data on this machine; options for it: UP="--ports auto"
	$(BIN)/threads-agent up --demo $(UP)

$(BIN)/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is %d.%d; name one: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-uv.lock
	touch $@

$(VENV)/run.stamp: requirements.lock pyproject.toml | $(BIN)/uv
	@echo "installing what the platform needs into $(VENV): about 900 MB, a minute or so, this once"
	$(INSTALL) --no-deps --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock pyproject.toml | $(BIN)/uv
	$(INSTALL) --no-deps --require-hashes -r requirements-dev.lock
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/run.stamp

check: $(VENV)/dev.stamp ## lint, types, import contracts and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 tests/domain tests/clients tests/commands tests/sensors tests/test_*.py

test: $(VENV)/dev.stamp browser ## everything: also the database, the processes, the browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 3 --dist loadfile --durations 15 --ignore tests/chaos/test_ledger.py
	$(BIN)/pytest -q -rP tests/chaos/test_ledger.py

bench: $(VENV)/dev.stamp ## measure against the goals; takes a quiet machine and half an hour
	$(BIN)/python -m benchmarks

bench-smoke: $(VENV)/dev.stamp ## every benchmark at a tiny size, as in `make test`
	$(BIN)/pytest -q tests/benchmarks

chaos: $(VENV)/dev.stamp browser ## kill everything while work flows; lost, doubled, and how long until it is back
	CHAOS_EXAMPLES=2000 $(BIN)/pytest -q tests/chaos/test_pending_machine.py
	$(BIN)/python -m tests.chaos --tier N --report chaos-report.md

browser: ## the tests drive Debian's Chromium; installed here when that is allowed
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
		{ echo "the browser tests need chromium; install it with your package manager" >&2; exit 1; }

lock: $(VENV)/dev.stamp ## resolve the lock files anew
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q --group pyproject.toml:install -o requirements-uv.lock
	$(COMPILE) --group build -o requirements.lock
	$(COMPILE) --group build --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) --group build --group dev --group train -c requirements-dev.lock -o requirements-train.lock
