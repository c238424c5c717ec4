# Everything that one does with a checkout; `make help` tells.

SHELL := bash
.DEFAULT_GOAL := help

# The first Python on the path that is new enough; `make PYTHON=/path/to/python …` takes another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/installed
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# Tests keep the data of their servers in memory where 8 GiB are free there: it lives for seconds.
MEMORY := $(shell [ "$$(df --output=avail -B1G /dev/shm 2>/dev/null | tail -1)" -ge 8 ] 2>/dev/null && echo /dev/shm)
# Where bytecode is not written (as in many containers), each of the hundreds of processes would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(if $(MEMORY),TMPDIR=$(MEMORY)) $(BIN)/pytest -q
SOURCES := fbs_worker connectors tasks tests bench docs examples

.PHONY: help install demo test test-acceptance test-browser test-faults test-postgres soak test-lowest test-wheel test-live fidelity lint format bench docs screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(READY) ## Make the virtual environment .venv with everything in it (the others do it when needed)

$(READY): pyproject.toml constraints.txt
	@[ -n '$(PYTHON)' ] && '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or later is needed: install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'Setting up $(VENV) (once; it takes a minute or two) …'
	@[ -x $(BIN)/python ] || '$(PYTHON)' -m venv $(VENV) || \
		{ echo "Python's venv module is needed (Debian and Ubuntu: apt install python3-venv)." >&2; rm -rf $(VENV); exit 1; }
	@$(PIP) install 'pip>=25.1'  # the first to know dependency groups
	@$(PIP) install -c constraints.txt -e '.[api,django,embedded,flower,mcp]' --group dev
	@touch $@

demo: $(READY) ## Read an Odoo into PostgreSQL, once, with everything it needs (DOMAIN=rental; ODOO_URL=… reads yours)
	@$(BIN)/fbs demo $(if $(DOMAIN),--domain '$(DOMAIN)')

test: $(READY) ## Run the tests: unit and integration (the targets below have further ones)
	@$(PYTEST) -n 3 --dist worksteal -m 'not (faults or browser or postgres)' tests/unit tests/integration

test-acceptance: $(READY) ## Start and stop everything as a person does: commands, `fbs up`, demo, other applications
	@$(PYTEST) -n 3 --dist worksteal -m 'not (faults or browser or documents or wheel)' tests/acceptance

test-browser: $(READY) ## Look at the pages and the dashboard in Chromium
	@$(PYTEST) -n 2 -m browser

test-faults: $(READY) ## Break things: kill workers, restart servers, and see that nothing is lost
	@$(PYTEST) -n 4 -m faults

test-postgres: $(READY) ## Plan and apply migrations on the wheel's PostgreSQL, and on each that Debian has installed here
	@$(PYTEST) -n 4 -m 'postgres and not faults' tests/integration
	@found=; for folder in /usr/lib/postgresql/*/bin; do \
		[ -x "$$folder/postgres" ] || continue; found=yes; "$$folder/postgres" --version; \
		FBS_TEST_POSTGRES=$$folder $(PYTEST) -n 4 -m 'postgres and not faults' tests/integration || exit 1; \
	done; [ -n "$$found" ] || echo 'NO OTHER POSTGRESQL is installed here: migrations are tried on the wheel’s alone.' >&2

soak: $(READY) ## 200 rounds of work with faults at random (about 15 minutes; ROUNDS=20, SEED=7)
	@$(BIN)/python -m bench.soak --rounds $(or $(ROUNDS),200) $(if $(SEED),--seed $(SEED))

test-lowest: build/lowest/installed build/lowest-mcp/installed ## Try the lowest versions of all dependencies: commands, a demo, a worker's job, the API, Django, MCP
	@$(if $(MEMORY),TMPDIR=$(MEMORY)) build/lowest/bin/python $(LOWEST_PYTEST) $(LOWEST)
	@$(if $(MEMORY),TMPDIR=$(MEMORY)) build/lowest-mcp/bin/python $(LOWEST_PYTEST) tests/integration/test_mcp.py

LOWEST_PYTEST := -m pytest -q -p no:cacheprovider -p no:randomly -W default -m 'not faults'

LOWEST := tests/unit/test_upstream_contract.py tests/unit/test_cli.py tests/unit/test_django.py tests/acceptance/test_demo.py \
	tests/acceptance/test_up_down.py tests/integration/test_celery_compat.py tests/integration/test_django.py

# The library of MCP needs later versions of some of the others, so it has an environment of its own.
build/lowest/installed: EXTRAS := api,django,embedded,flower
build/lowest-mcp/installed: EXTRAS := api,embedded,mcp

build/%/installed: pyproject.toml tests/lowest/constraints.py $(READY)
	@echo 'Setting up $(@D) …'
	@rm -rf $(@D) && $(BIN)/python -m venv $(@D)
	@$(BIN)/python tests/lowest/constraints.py pyproject.toml $(EXTRAS) > $(@D)/constraints.txt
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check --no-input install -c $(@D)/constraints.txt \
		-e '.[$(EXTRAS)]' httpx hypothesis packaging psutil pytest
	@touch $@

test-wheel: $(READY) ## Build the wheel, install it into an empty environment, and run `fbs demo` there
	@rm -rf build/wheel && mkdir -p build/wheel/home
	@$(PIP) wheel --no-deps --wheel-dir build/wheel .
	@'$(PYTHON)' -m venv build/wheel/venv
	@build/wheel/venv/bin/python -m pip --quiet --disable-pip-version-check --no-input install -c constraints.txt \
		"$$(echo build/wheel/fbs_worker-*.whl)[embedded]"
	@cd build/wheel/home && HOME="$$PWD" env -u PYTHONPATH ../venv/bin/fbs demo
	@$(PYTEST) -n 2 -m wheel

test-live: $(READY) ## Run the live tests against a real Odoo 19 (the first time it is downloaded, about 5 minutes)
	@connection=$$(tests/live/live-odoo start) && status=0 || status=$$?; \
	trap 'tests/live/live-odoo stop' EXIT; \
	case $$status in \
		0) export $$connection ;; \
		75) echo 'No Odoo 19 can be downloaded here: the live tests are skipped.' >&2 ;; \
		*) exit $$status ;; \
	esac; \
	$(PYTEST) -m live tests/live

fidelity: $(READY) ## Compare what is discovered of an Odoo with its database: that of ODOO_URL, else a live one (ODOO=others)
	@if [ -z "$$ODOO_URL$$FBS_LIVE_URL" ]; then \
		trap 'tests/live/live-odoo stop' EXIT; \
		connection=$$(tests/live/live-odoo $(or $(ODOO),start)) || exit; \
		export $$connection; \
	fi; \
	$(BIN)/python -m tests.fidelity

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet --check $(SOURCES) || { $(BIN)/ruff format --check $(SOURCES); exit 1; }
	@$(BIN)/mypy

format: $(READY) ## Format the sources
	@$(BIN)/ruff check --quiet --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

bench: $(READY) ## Measure against a real Odoo 19; figures and method are in bench/README.md
	@$(BIN)/python -m bench

docs: $(READY) ## Build the documentation into build/docs, and run its examples; any warning fails it
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env --doctree-dir build/doctrees docs build/docs
	@$(PYTEST) -n 2 -m documents
	@echo 'build/docs/index.html'

screenshots: $(READY) ## Retake the screenshots of the documentation (needs Chromium)
	@$(BIN)/python -m docs.screenshots

clean: ## Remove what was built, the virtual environment too (data of `fbs up` and `fbs demo` stays)
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
