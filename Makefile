# Needs Python 3.10 to 3.13 and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Airflow and Dagster each have an environment of their own: dlt asks Airflow's database for its
# configuration wherever Airflow is installed.
ENGINES_READY := build/engines/airflow/.ready build/engines/dagster/.ready

.DEFAULT_GOAL := help
.PHONY: help demo run test soak lint format docs bench bench-memory bench-growth \
	bench-latency bench-startup bench-parts test-orchestrators clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## Load a made-up account from a local NP6 API into DuckDB, and query it
	@$(BIN)/python pipelines/demo.py

run: $(READY) ## Load your account: make run ARGS="--start 2024-01-01"
	@$(BIN)/python pipelines/np6_to_duckdb.py $(ARGS)

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest -q -m "not soak and not orchestrators" -n auto --dist loadfile $(ARGS)

build/engines/%/.ready: pyproject.toml constraints.txt tests/orchestrators/%-constraints.txt
	$(PYTHON) -m venv build/engines/$*
	build/engines/$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --constraint tests/orchestrators/$*-constraints.txt \
		--requirement tests/orchestrators/$*-requirements.txt --editable '.[sandbox]'
	@touch $@

test-orchestrators: $(ENGINES_READY) ## Let Airflow and Dagster run their pipelines
	@build/engines/airflow/bin/python -m pytest -q tests/orchestrators/test_airflow*.py $(ARGS)
	@build/engines/dagster/bin/python -m pytest -q tests/orchestrators/test_dagster.py \
		tests/orchestrators/test_github_actions.py $(ARGS)

soak: $(READY) ## Run the long tests: kills, floods, big answers
	@$(BIN)/python -m pytest -q -m soak --timeout=3000 $(ARGS)

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## Bring the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY) ## Make the derived parts of the documentation anew
	@$(BIN)/python -m np6_source.documentation README.md docs/tables.md

bench: $(READY) ## Measure against other ways to do the same (ARGS=--quick: without installing them)
	@$(BIN)/python tests/benchmarks/throughput.py $(ARGS)

bench-memory: $(READY) ## Measure the memory that answers of 0.1 and 1 GB take (ARGS=--full: and 4)
	@$(BIN)/python tests/benchmarks/memory.py $(ARGS)

bench-growth: $(READY) ## Measure increment after increment into one file
	@$(BIN)/python tests/benchmarks/growth.py $(ARGS)

bench-latency: $(READY) ## Measure many windows and many ids over a slow network
	@$(BIN)/python tests/benchmarks/latency.py $(ARGS)

bench-startup: $(READY) ## Measure a run that finds nothing new
	@$(BIN)/python tests/benchmarks/startup.py $(ARGS)

bench-parts: $(READY) ## Measure what a part of a backfill costs, by workers and destination
	@$(BIN)/python tests/benchmarks/parts.py $(ARGS)

clean: ## Remove what make has made
	rm -rf $(VENV) build dist demo.duckdb .mypy_cache .pytest_cache .ruff_cache .hypothesis
