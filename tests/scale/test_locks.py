"""One load at a time into a dataset: the waits, their ends, and a lock that goes away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import dlt
import duckdb
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.dataset_lock import DatasetBusy, Patience, in_database, in_database_or_file
from np6_source.loading import load
from np6_source.orchestration import without_state
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND
from tests.scale.part_workers import before_merging
from tests.support import Warehouse, at, event

pytestmark = pytest.mark.timeout(180)

ALL = "actions_events"
HOUR = 3600 * SECOND
EVERY_ID = [f"event-{n:05d}" for n in range(48)]
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    events = [event(n, at("03-01") + n * HOUR) for n in range(48)]
    sandbox: Sandbox = serve(events, now=at("03-03"))
    return sandbox


@pytest.fixture
def source(sandbox: Sandbox, source_of: TMake) -> TMake:
    return lambda **options: source_of(sandbox, ALL, on_error="keep", **options)


@contextmanager
def opened_elsewhere(database: Any, seconds: float) -> Iterator[int]:
    """Another program has a DuckDB file open; its process id."""
    code = (
        "import sys, time, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        " time.sleep(float(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(database), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield process.pid
        finally:
            process.kill()


class TestDuckDbFile:
    def test_a_program_that_keeps_it_open_is_named_after_some_seconds(
        self, warehouse: Warehouse, source: TMake, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        warehouse.load(source)
        state = warehouse.state()
        monkeypatch.setenv("SOURCES__NP6__FILE_WAIT", "1")
        with (
            opened_elsewhere(warehouse.database, 60) as process,
            pytest.raises(DatasetBusy, match=rf"events.duckdb is in use: process {process} \(pyth"),
        ):
            warehouse.load(source)
        assert "Waiting up to 1 s for DuckDB file events.duckdb" in caplog.text
        assert warehouse.state() == state

    def test_one_that_closes_it_in_time_is_waited_for(
        self, warehouse: Warehouse, source: TMake
    ) -> None:
        warehouse.load(source)
        with opened_elsewhere(warehouse.database, 3):
            assert warehouse.load(source).failures == []

    def test_what_was_extracted_when_it_was_opened_is_loaded_by_the_next_call(
        self, warehouse: Warehouse, source: TMake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__FILE_WAIT", "1")
        duckdb.connect(str(warehouse.database)).close()
        pipeline = warehouse.pipeline
        pipeline.extract(source())
        pipeline.normalize()
        with opened_elsewhere(warehouse.database, 60), pytest.raises(DatasetBusy):
            pipeline.load()
        warehouse.load(source)
        assert warehouse.ids() == EVERY_ID

    def test_a_wait_ends_when_the_call_is_asked_to_stop(
        self, warehouse: Warehouse, source: TMake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warehouse.load(source)
        # Nothing else ends it before the test's own end.
        monkeypatch.setenv("SOURCES__NP6__FILE_WAIT", "3600")
        with opened_elsewhere(warehouse.database, 3600):
            report = warehouse.load(source, stop_when=lambda: True)
        assert report.stopped

    def test_a_load_within_the_lock_does_not_wait_for_itself(
        self, warehouse: Warehouse, source: TMake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__LOCK_WAIT", "1")
        pipeline = warehouse.pipeline
        with in_database_or_file(pipeline), in_database_or_file(pipeline):
            load(without_state(pipeline), source)
        assert warehouse.ids() == EVERY_ID

    def test_two_loads_take_turns(self, warehouse: Warehouse, source: TMake) -> None:
        other = dlt.pipeline(
            "backfill",
            destination=dlt.destinations.duckdb(str(warehouse.database)),
            dataset_name="np6",
            pipelines_dir=str(warehouse.pipelines_dir),
        )
        with in_database_or_file(other):
            report = threading.Thread(target=warehouse.load, args=(source,))
            report.start()
            time.sleep(2)
            assert report.is_alive()
        report.join()
        assert warehouse.ids() == EVERY_ID


@pytest.mark.destinations
class TestPostgres:
    @pytest.fixture
    def pipeline(self, postgres: Any, tmp_path: Any, request: pytest.FixtureRequest) -> Any:
        return dlt.pipeline(
            "locks",
            destination=dlt.destinations.postgres(postgres.url),
            dataset_name=request.node.name.partition("[")[0].removeprefix("test_")[:40],
            pipelines_dir=str(tmp_path),
        )

    def test_a_pipeline_without_state_does_not_wait_for_itself(
        self, pipeline: Any, source: TMake, postgres: Any
    ) -> None:
        load(without_state(pipeline), source)
        with in_database(pipeline), in_database(pipeline):
            load(without_state(pipeline), source)
        assert postgres.ids(pipeline.dataset_name) == EVERY_ID

    def test_a_wait_is_said_and_bounded(self, pipeline: Any, caplog: Any) -> None:
        with in_database(pipeline):
            raised = _error_elsewhere(pipeline, Patience(lock=1))
        assert isinstance(raised, DatasetBusy)
        assert "is in use: another load has it. Waited 1 s." in str(raised)
        assert f"Waiting up to 1 s for dataset {pipeline.dataset_name}" in caplog.text

    def test_a_dataset_is_the_same_however_its_name_is_written(
        self, pipeline: Any, tmp_path: Any
    ) -> None:
        """dlt makes the schema in lower case of both."""
        shouted = dlt.pipeline(
            "shouted",
            destination=pipeline.destination,
            dataset_name=pipeline.dataset_name.upper(),
            pipelines_dir=str(tmp_path),
        )
        with in_database(pipeline):
            raised = _error_elsewhere(shouted, Patience(lock=0))
        assert isinstance(raised, DatasetBusy), raised

    def test_a_lock_that_is_lost_stops_the_load_before_its_commit(
        self, pipeline: Any, source: TMake, postgres: Any
    ) -> None:
        def lose_the_lock() -> None:
            postgres.query(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )

        load(pipeline, lambda: source(end="2024-03-02"))
        before = postgres.ids(pipeline.dataset_name)
        take_back = before_merging("events", lose_the_lock)
        try:
            with pytest.raises(PipelineStepFailed, match=r"The lock of dataset .* is lost"):
                load(pipeline, source)
        finally:
            take_back()
        assert postgres.ids(pipeline.dataset_name) == before
        load(pipeline, source)
        assert postgres.ids(pipeline.dataset_name) == EVERY_ID


def _error_elsewhere(pipeline: dlt.Pipeline, patience: Patience) -> BaseException:
    """What another thread gets that waits for a pipeline's lock."""

    def wait() -> None:
        with in_database(pipeline, patience):
            raise AssertionError("not reached")

    with ThreadPoolExecutor(1) as elsewhere:
        error = elsewhere.submit(wait).exception()
    assert error is not None
    return error
