# Each target sets up what it needs in .venv. `make run` is all a user types.

PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv/bin
# With uv: the very versions of uv.lock. Else the newest that pyproject.toml allows.
UV := $(shell command -v uv)

unexport PYTHONDONTWRITEBYTECODE # else each of many processes compiles the same files anew

.PHONY: run test test-all test-numerics soak lint bench docs screenshots clean

run: .venv/installed
	$(VENV)/cognate run

# Two at a time, each with one thread of arithmetic. What takes long by its nature waits for `make test-all`.
PYTEST := pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

test: .venv/installed-dev .venv/browser
	OMP_NUM_THREADS=1 $(VENV)/python -m $(PYTEST) -m "not slow"

# Everything, and which branches of the code no test takes. Before a release.
test-all: .venv/installed-dev .venv/browser .venv/proxies
	$(VENV)/coverage erase
	OMP_NUM_THREADS=1 $(VENV)/coverage run -m $(PYTEST)
	$(VENV)/coverage combine --quiet
	$(VENV)/coverage report

# The numeric tests as on a processor of another kind: without vector instructions (default), or with AVX2 alone (avx2).
ISA := default
test-numerics: .venv/installed-dev
	OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=$(ISA) $(FOREIGN_$(ISA)) $(VENV)/python -m $(PYTEST) -m "not slow" $(NUMERIC)

FOREIGN_default := ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE
FOREIGN_avx2 := ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2
NUMERIC := tests/model tests/arithmetic tests/training

# Every fault as often as it takes to trust the answer; `make test` tries each a few times.
soak: .venv/installed-dev .venv/browser
	COGNATE_SOAK=1 $(VENV)/python -m pytest tests/faults --timeout=3600

lint: .venv/installed-dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo
	$(VENV)/hadolint Dockerfile

bench: .venv/installed-dev .venv/browser
	$(VENV)/python -m tests.bench

docs: .venv/installed-dev # what is written from the code: settings.md, metrics.md, cli.md
	$(VENV)/python -m tests.reference

screenshots: .venv/installed-dev .venv/browser
	$(VENV)/python -m tests.browser.screenshots

clean:
	rm -rf .venv

.venv/python:
	@test -n "$(PYTHON)" || { echo "Cognate Studio needs Python 3.11 or newer. Install it, then try again."; exit 1; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: pyproject.toml | .venv/python
	$(if $(UV),uv sync --quiet --frozen --inexact,$(VENV)/pip install --quiet --editable .)
	touch $@

.venv/installed-dev: pyproject.toml | .venv/python
	$(if $(UV),uv sync --quiet --frozen --inexact --extra dev,$(VENV)/pip install --quiet --editable '.[dev]')
	touch .venv/installed $@

# A browser for the tests: one that is here, else Debian's, else Playwright's own.
.venv/browser: | .venv/installed-dev
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; \
	else $(VENV)/python -m playwright install chromium; fi
	touch $@

# Proxies for the tests, where they can be had; without them they say that they are skipped.
.venv/proxies: | .venv/installed-dev
	@{ command -v nginx && command -v caddy; } >/dev/null || if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light caddy; fi
	touch $@
