"""``pipelines/np6_dagster.py``, run by Dagster: in this process, and in several of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

DEFINITIONS = Path(__file__).parents[2] / "pipelines" / "np6_dagster.py"
EVENTS, REACTIVITIES = ["np6_api", "actions_events"], ["np6_api", "actions_reactivities"]
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
TMake = Callable[..., Any]

pytestmark = [
    # dagster-dlt 0.29 calls what dlt 1.30 deprecated.
    pytest.mark.filterwarnings("ignore:drop_pending_packages is deprecated"),
    # Dagster 1.13 does with pydantic.
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]


class Dagster:
    """Dagster with a home of its own, and the definitions as it loads them."""

    def __init__(self, home: Path, definitions: Any) -> None:
        import dagster

        self.home = home
        self.definitions = definitions
        self._dagster = dagster
        self.instance = dagster.DagsterInstance.local_temp(str(home))

    def materialize(self, day: str | None = None, **options: Any) -> Any:
        """Materializes a day, or with ``tags`` a range of days."""
        return self._dagster.materialize(
            self.definitions.RESOURCES,
            partition_key=day,
            instance=self.instance,
            resources={"dlt_resource": self.definitions.DagsterDltResource()},
            raise_on_error=False,
            **options,
        )

    def key(self, path: list[str]) -> Any:
        """The key of an asset."""
        return self._dagster.AssetKey(path)

    def materialized(self, key: list[str]) -> set[str]:
        """Days of which an asset counts as materialized."""
        found: set[str] = self.instance.get_materialized_partitions(self.key(key))
        return found

    def latest(self, key: list[str]) -> Any:
        """What was noted about an asset last."""
        event = self.instance.get_latest_materialization_event(self.key(key))
        return event.asset_materialization if event else None


@pytest.fixture
def dagster(
    scheduled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Dagster]]:
    """Starts Dagster with some configuration on top of the scheduler's."""
    started = []

    def start(**variables: str) -> Dagster:
        for name, value in (scheduled.variables | variables).items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("np6_dagster", DEFINITIONS)
        assert spec
        assert spec.loader
        definitions = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(definitions)
        home = tmp_path / "dagster"
        home.mkdir()
        started.append(Dagster(home, definitions))
        return started[-1]

    yield start
    for found in started:
        found.instance.dispose()


def message_of(result: Any) -> str:
    """What a failed run says."""
    failures = [event for event in result.all_events if event.is_step_failure]
    return "\n".join(str(event.event_specific_data.error) for event in failures)


def test_partitions_in_any_order_and_repeated_ones_give_what_one_load_gives(
    dagster: TMake, found: TMake, loaded_at_once: TMake
) -> None:
    engine = dagster()
    for day in ("2024-03-03", "2024-03-02", "2024-03-03"):
        assert engine.materialize(day).success
    assert engine.materialized(EVENTS) == {"2024-03-02", "2024-03-03"}
    # The first day begins a little before itself.
    assert found() == loaded_at_once("2024-03-01T23:50:00Z", "2024-03-04")


def test_a_run_keeps_nothing_for_the_next(
    dagster: TMake, scheduled: Any, warehouse_in: TMake
) -> None:
    assert dagster().materialize("2024-03-02").success
    warehouse = warehouse_in(scheduled.folder, database=scheduled.database)
    tables = warehouse.query("SELECT DISTINCT schema_name, table_name FROM duckdb_tables()")
    assert {schema for schema, _ in tables} == {"np6"}
    assert "_dlt_pipeline_state" not in {table for _, table in tables}
    assert not list(Path(scheduled.variables["TMPDIR"]).glob("np6_*"))


def test_a_backfill_of_many_partitions_is_one_run(
    dagster: TMake, found: TMake, loaded_at_once: TMake
) -> None:
    engine = dagster()
    for _ in range(2):
        tags = {RANGE_START: "2024-03-01", RANGE_END: "2024-03-04"}
        assert engine.materialize(tags=tags).success
    assert engine.materialized(EVENTS) == {f"2024-03-0{day}" for day in range(1, 5)}
    assert found() == loaded_at_once("2024-03-01", "2024-03-05")


def test_every_table_is_an_asset_that_comes_from_every_resource(
    dagster: TMake, found: TMake
) -> None:
    engine = dagster()
    assert engine.materialize("2024-03-02").success
    graph = engine.definitions.definitions.resolve_asset_graph()
    for name, rows in found().items():
        written = engine.latest(["np6", name])
        assert (written.metadata["rows written"].value if written else 0) >= bool(rows)
        parents = graph.get(engine.key(["np6", name])).parent_keys
        assert sorted(key.path for key in parents) == [EVENTS, REACTIVITIES]


def test_an_id_that_fails_fails_its_assets_when_everything_else_is_loaded(
    dagster: TMake, scheduled: Any, found: TMake, loaded_at_once: TMake
) -> None:
    ids = scheduled.sandbox.account.example_ids("action_id", 2)
    bounces = ["np6_api", "action_events_bounces"]
    engine = dagster(SOURCES__NP6__ACTION_IDS=json.dumps(ids))
    with scheduled.sandbox.faults.during(f"status=404,path=/actions/{ids[0]}/events/bounces"):
        result = engine.materialize("2024-03-02")
    assert not result.success
    assert f"action_events_bounces, id {ids[0]}, " in message_of(result)
    assert engine.materialized(EVENTS) == {"2024-03-02"}
    assert engine.materialized(bounces) == set()
    expected = loaded_at_once("2024-03-01T23:50:00Z", "2024-03-03", action_ids=ids)
    assert found() == expected
    assert engine.materialize("2024-03-02").success
    assert engine.materialized(bounces) == {"2024-03-02"}
    assert found() == expected


def test_a_selection_loads_just_its_resources(dagster: TMake, scheduled: Any) -> None:
    engine = dagster()
    assert engine.materialize("2024-03-02", selection="key:np6_api/actions_reactivities").success
    assert {request.path for request in scheduled.sandbox.requests} == {"/actions/reactivities"}


def test_an_event_that_arrives_late_is_loaded_with_the_next_partition(
    dagster: TMake, serve: TMake, event: TMake, at: TMake, found: TMake
) -> None:
    early, late = event(1, at("03-02T12:00")), event(2, at("03-02T23:58"))
    sandbox = serve([early], now=at("03-10"))
    engine = dagster(SOURCES__NP6__API_KEY=sandbox.key, SOURCES__NP6__BASE_URL=sandbox.url)
    assert engine.materialize("2024-03-02").success
    sandbox.account.add_events([late])
    assert engine.materialize("2024-03-03").success
    assert [row["id"] for row in found()["events"]] == [early["id"], late["id"]]


def test_the_key_is_in_no_log_and_no_record(
    dagster: TMake, scheduled: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    key = scheduled.variables["SOURCES__NP6__API_KEY"]
    engine = dagster(RUNTIME__LOG_LEVEL="DEBUG")
    assert engine.materialize("2024-03-02").success
    with scheduled.sandbox.faults.during("status=401"):
        result = engine.materialize("2024-03-03")
    assert "status 401" in message_of(result)
    assert engine.materialized(EVENTS) == {"2024-03-02"}
    written = [path for path in scheduled.folder.rglob("*") if path.is_file()]
    assert any(engine.home in path.parents for path in written)
    for path in written:
        assert key.encode() not in path.read_bytes(), path
    output = capfd.readouterr()
    assert "actions_events" in output.err + output.out
    assert key not in output.err + output.out


def test_dagster_reads_the_file_without_a_key_and_asks_nothing(
    dagster: TMake, scheduled: Any
) -> None:
    del scheduled.variables["SOURCES__NP6__API_KEY"]
    definitions = dagster().definitions.definitions
    schedule = definitions.resolve_schedule_def("np6_daily_schedule")
    assert schedule.cron_schedule == "0 0 * * *"
    assert not scheduled.sandbox.requests


def test_processes_that_load_into_one_postgresql_dataset_at_once_give_what_one_load_gives(
    dagster: TMake, scheduled: Any, postgres: Any, source_of: TMake, tmp_path: Path
) -> None:
    url = postgres.new_database("dagster")
    # Processes that meet no database of Dagster's each try to make it.
    home = dagster().home
    environment = {
        **os.environ,
        **scheduled.variables,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "true",
        "DESTINATION__NP6_WAREHOUSE__DESTINATION_TYPE": "postgres",
        "DESTINATION__NP6_WAREHOUSE__CREDENTIALS": url,
        "SOURCES__NP6__WORKERS": "3",
    }
    command = ["-m", "dagster", "asset", "materialize", "-f", str(DEFINITIONS)]
    runs = [
        subprocess.Popen(
            [sys.executable, *command, "--select", "*", "--partition", day],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        # A day twice, at the same time.
        for day in ("2024-03-01", "2024-03-02", "2024-03-01")
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(outputs)
    expected = postgres.loaded_at_once(
        source_of(scheduled.sandbox, start="2024-03-01", end="2024-03-03"), tmp_path / "at-once"
    )
    assert expected["events__hits"]
    assert postgres.contents(url) == expected
    schemas = postgres.query(url, "SELECT schema_name FROM information_schema.schemata")
    assert not [name for (name,) in schemas if "staging" in name]
