# Needs Python 3.10 to 3.13 and make; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALLED := $(VENV)/.installed
# What runs the product: the development environment where it is there, else the installed package.
PRODUCT := $(if $(wildcard $(READY)),$(READY),$(INSTALLED))
# Every operation, kind of fault, SQL dialect and shape of an event, one by one.
MATRICES := tests/sandbox tests/dialects tests/views/test_dialects.py tests/views/test_figures.py \
	tests/views/test_messages_table.py tests/views/test_robots.py tests/extract/test_resources.py \
	tests/events/test_unmapped.py tests/events/test_drift.py
# Whole stories: host projects, destinations, workers side by side, faults, erasure.
STORIES := tests/adversary tests/destinations tests/faults tests/guest tests/scale \
	tests/reliability/test_kinds.py \
	tests/cli/test_erase.py tests/cli/test_mask.py tests/cli/test_person.py tests/cli/test_retain.py \
	tests/cli/test_robots.py tests/extract/test_robots.py
# What another DuckDB could break: parsing, merges and kills within them, views, locks and errors.
BY_DUCKDB := tests/events/test_reader.py tests/events/test_rows.py tests/views/test_goldens.py \
	tests/test_loading.py::TestCheckpoints tests/test_loading.py::TestPendingPackages \
	tests/destinations/test_direct.py::test_a_pipeline_changes_to_it_and_back \
	tests/cli/test_gaps.py::TestGaps::test_holes_are_listed_and_filled tests/cli/test_open_file.py
# Tests make thousands of small files: in memory, where there is room for them.
IN_MEMORY := $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { print "TMPDIR=/dev/shm" }')
NOT_HERE := not soak and not destinations and not environments and not orchestrators
DESTINATIONS := .venv-destinations
DIALECTS := .venv-dialects
REPORT := .venv-report
# Airflow and Dagster each have an environment of their own: dlt asks Airflow's database for its
# configuration wherever Airflow is installed.
ENGINES_READY := build/engines/airflow/.ready build/engines/dagster/.ready

# The tests start hundreds of processes: the modules are compiled once, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo run test test-loads test-matrices test-stories test-versions soak test-destinations \
	test-orchestrators reliability test-guest dlt-init-bundle lint format docs bench bench-page bench-memory bench-growth bench-latency \
	bench-startup bench-many bench-parts bench-policies bench-postgres bench-views report test-report clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

# What users need.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' \
		|| { echo "Needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[sandbox]'
	@touch $@

install: $(PRODUCT) ## Install np6-source and the local NP6 API into .venv, without development tools

# Virtual environments of their own: these packages need other versions, and much room.
$(DESTINATIONS)/.ready: pyproject.toml constraints-destinations.txt
	$(PYTHON) -m venv $(DESTINATIONS)
	$(DESTINATIONS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints-destinations.txt --editable '.[destinations]'
	@touch $@

$(DIALECTS)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DIALECTS)
	$(DIALECTS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,dialects]'
	@touch $@

demo: $(PRODUCT) ## Load a made-up account from a local NP6 API into DuckDB, and query it
	@$(BIN)/python pipelines/demo.py

$(REPORT)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(REPORT)
	$(REPORT)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[report]'
	@touch $@

$(REPORT)/.ready-to-test: $(REPORT)/.ready
	$(REPORT)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev,report]'
	@touch $@

report: $(REPORT)/.ready ## Draw what is loaded, in the browser: NP6_REPORT_FILE=demo.duckdb make report
	@$(REPORT)/bin/python -m marimo -y run pipelines/np6_report.py $(ARGS)

test-report: $(REPORT)/.ready-to-test ## Look at the report in a browser without a window
	@$(REPORT)/bin/python -m pytest -q tests/views/test_report.py $(ARGS)

run: $(PRODUCT) ## Load your account: make run ARGS="--start 2024-01-01"
	@$(BIN)/python pipelines/np6_to_duckdb.py $(ARGS)

test: $(READY) ## Run what a change needs, in a minute or two
	@$(IN_MEMORY) $(BIN)/python -m pytest -q -n auto --dist loadgroup -m "$(NOT_HERE) and not loads" \
		$(addprefix --ignore=,$(MATRICES) $(STORIES)) $(ARGS)

test-loads: $(READY) ## Run whole loads, commands and what the docs print: a quarter of an hour
	@$(IN_MEMORY) $(BIN)/python -m pytest -q -n auto --dist loadgroup -m "$(NOT_HERE) and loads" \
		$(addprefix --ignore=,$(MATRICES) $(STORIES)) $(ARGS)

test-stories: $(READY) ## Run whole stories: host projects, destinations, workers, faults, erasure
	@$(IN_MEMORY) $(BIN)/python -m pytest -q -n auto --dist loadgroup -m "$(NOT_HERE)" $(STORIES) $(ARGS)

test-matrices: $(READY) ## Run the matrices: operations, faults, dialects, shapes of events
	@$(IN_MEMORY) $(BIN)/python -m pytest -q -n auto --dist loadfile -m "$(NOT_HERE)" $(MATRICES) $(ARGS)

# The oldest release of DuckDB that is supported, and the one that dlt cannot read through yet.
build/duckdb-%/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv build/duckdb-$*
	build/duckdb-$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	build/duckdb-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		'duckdb==$*.*'
	@touch $@

test-versions: build/duckdb-1.4/.ready build/duckdb-2.0/.ready ## Run a part of the tests on DuckDB 1.4 and 2.0
	@build/duckdb-1.4/bin/python -m pytest -q -n 2 $(BY_DUCKDB) $(ARGS)
	@build/duckdb-2.0/bin/python -m pytest -q -n 2 $(BY_DUCKDB) $(ARGS)

test-destinations: $(DESTINATIONS)/.ready $(DIALECTS)/.ready ## Run or check every destination that can be
	@$(DESTINATIONS)/bin/python -m pytest -q -n 2 --timeout=600 -m "not soak" tests/destinations \
		tests/scale tests/test_lake.py tests/runs tests/test_deduplication.py \
		tests/upkeep/test_reloaded_lake.py $(ARGS)
	@$(DIALECTS)/bin/python -m pytest -q -n 2 tests/dialects $(ARGS)

build/engines/%/.ready: pyproject.toml \
		tests/orchestrators/%-constraints.txt tests/orchestrators/%-requirements.txt
	$(PYTHON) -m venv build/engines/$*
	build/engines/$*/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint tests/orchestrators/$*-constraints.txt \
		--requirement tests/orchestrators/$*-requirements.txt --editable '.[sandbox]'
	@touch $@

test-orchestrators: $(ENGINES_READY) ## Let Airflow and Dagster run their pipelines
	@build/engines/airflow/bin/python -m pytest -q tests/orchestrators/test_airflow*.py $(ARGS)
	@build/engines/dagster/bin/python -m pytest -q tests/orchestrators/test_dagster.py \
		tests/orchestrators/test_github_actions.py $(ARGS)

soak: $(READY) $(DESTINATIONS)/.ready ## Run the long tests: kills, floods, big answers, years of loads
	@$(BIN)/python -m pytest -q -m "soak and not destinations" --timeout=3000 $(ARGS)
	@$(DESTINATIONS)/bin/python -m pytest -q -n 2 -m "soak and destinations" tests/destinations $(ARGS)

# What came of it is kept, so that a test can tell whether the page shows it.
reliability: $(READY) ## Inject each kind of trouble (ARGS="--times 10"), and write docs/reliability.md
	@$(BIN)/python -m tests.reliability --json tests/reliability/results.json \
		--page docs/reliability.md $(ARGS)

test-guest: $(READY) ## Run the tests in fresh environments: the wheel as a guest, dlt init
	@$(BIN)/python -m pytest -q -m environments --timeout=900 $(ARGS)

dlt-init-bundle: $(READY) ## Write the layout that `dlt init np6 duckdb --location ...` takes
	@$(BIN)/python .ci/dlt_init_bundle.py

lint: $(READY) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## Bring the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(READY) ## Make the derived parts of the documentation anew
	@$(BIN)/python -m np6_source documentation README.md llms.txt docs/*.md

bench: $(READY) ## Measure against other ways to do the same (ARGS=--quick: without installing them)
	@$(BIN)/python tests/benchmarks/throughput.py $(ARGS)

# What is measured is kept, so that a test can tell whether the page shows it.
bench-page: $(READY) ## Put the last results of bench and bench-growth into docs/speed.md
	@cp $(wildcard build/benchmarks/results.json build/benchmarks/growth.json) tests/benchmarks/
	@$(BIN)/python tests/benchmarks/throughput.py --json tests/benchmarks/results.json --page docs/speed.md
	@$(BIN)/python tests/benchmarks/growth.py --json tests/benchmarks/growth.json --page docs/speed.md

bench-memory: $(READY) ## Measure the memory that answers of 0.1 and 1 GB take (ARGS=--full: and 4)
	@$(BIN)/python tests/benchmarks/memory.py $(ARGS)

bench-growth: $(READY) ## Measure increment after increment into one file
	@$(BIN)/python tests/benchmarks/growth.py $(ARGS)

bench-latency: $(READY) ## Measure many windows and many ids over a slow network
	@$(BIN)/python tests/benchmarks/latency.py $(ARGS)

bench-startup: $(READY) ## Measure a run that finds nothing new
	@$(BIN)/python tests/benchmarks/startup.py $(ARGS)

bench-many: $(READY) ## Measure a schedule every five minutes for a day, and 2,000 ids without news
	@$(BIN)/python tests/benchmarks/many_small.py $(ARGS)

bench-parts: $(READY) ## Measure what a part of a backfill costs, by workers and destination
	@$(BIN)/python tests/benchmarks/parts.py $(ARGS)

bench-policies: $(READY) ## Measure what a policy for personal data costs
	@$(BIN)/python tests/benchmarks/policies.py $(ARGS)

bench-postgres: $(READY) ## Measure binary COPY into PostgreSQL beside INSERT statements
	@$(BIN)/python tests/benchmarks/postgres.py $(ARGS)

bench-views: $(READY) ## Measure what the views cost over 2 million events
	@$(BIN)/python tests/benchmarks/views.py $(ARGS)

clean: ## Remove what make has made
	rm -rf $(VENV) $(DESTINATIONS) $(DIALECTS) $(REPORT) build dist demo.duckdb demo.duckdb.np6.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis
