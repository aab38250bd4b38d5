# Works on a machine with Python 3.11 or newer, git and make; everything else is brought into this folder.

BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format docs bench bundle inspector app-tools conformance fastmcp postgres

help: ## Show what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(READY) ## Edit a photograph on the sandbox, through the real server; no key needed
	@$(BIN)/python examples/demo.py

test: check ## Everything that continuous integration runs
	$(BIN)/pytest -n auto --cov --cov-report=term-missing

check: $(READY) ## Lint, format, types, floors of the house, generated parts of the documents
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/cog -I . --check README.md

format: $(READY) ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY) ## Write anew what is generated: the README's tables, the tools in snapshots and manifest
	$(BIN)/cog -I . -r README.md
	$(BIN)/python -m tests.snapshot
	$(BIN)/python -m tests.bundle
	$(BIN)/python -m tests.startup

bench: $(READY) ## Measure what docs/performance.md tells, in under ten minutes
	$(BIN)/python bench

bundle: $(READY) ## Build the bundle for desktop applications into dist/, and try it
	@$(BIN)/python -m scripts.bundle

inspector: $(READY) ## Bring the MCP Inspector, for the test with an independent client
	scripts/inspector.sh

app-tools: $(READY) ## Bring what the test of the App needs: the inspector, axe-core, and in CI a Chromium
	scripts/app-tools.sh

conformance: $(READY) ## Bring the protocol's conformance suites, for their test
	scripts/conformance.sh

fastmcp: $(READY) ## Bring FastMCP, a task-aware client that is not ours, for its test
	scripts/fastmcp.sh

postgres: $(READY) ## Bring PostgreSQL for the journal's tests, where it may be installed
	scripts/postgres.sh

$(READY): pyproject.toml uv.lock
	scripts/uv.sh sync --locked
	@touch $@
