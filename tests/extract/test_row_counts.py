"""Rows that go from a table by another hand are loaded again by the next run, whatever it finds.

The account has activations, hits and executions with data. After each kind of removal one plain
``pipeline.run`` goes on from its progress, and the tables are what they were.
"""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Callable
from typing import Any

import dlt
import pyarrow.compute as pc
import pytest

from np6_source.ledger import coverage
from np6_source.runs.isolation import isolated_pipeline
from np6_source.windows import SECOND, Window, gaps
from tests.support import PostgresDataset, Warehouse, at, event

ALL = "actions_events"
BY_ID = "action_events_activations"
HOUR = 3600 * SECOND
HOURS = 96
TMake = Callable[..., Any]


def made() -> list[Any]:
    """An event an hour for four days: hits, executions with data, activations in turn."""
    events = []
    for n in range(HOURS):
        body = event(n, at("03-01") + n * HOUR + 1, action=f"00000{n % 2}")
        activation = body["source"]["detail"]["activation"]
        if n % 3 == 0:
            link = {"type": "open", "label": f"link {n}"}
            body["type"], body["source"]["detail"]["link"] = "hit", link
        elif n % 3 == 1:
            execution = {**activation, "data": {"shop": f"shop {n}", "basket": n}}
            body["type"], body["source"]["detail"] = "execution", {"execution": execution}
        events.append(body)
    return events


@pytest.fixture
def sandbox(serve: TMake) -> Any:
    return serve(made(), now=at("03-02T00:30"))


@pytest.fixture
def source(sandbox: Any, source_of: TMake) -> Callable[..., Any]:
    return lambda **options: source_of(sandbox, ALL, **options)


def run_until(warehouse: Warehouse, sandbox: Any, source: Callable[[], Any], *moments: str) -> None:
    for moment in moments:
        sandbox.now = at(moment)
        warehouse.run(source())


REMOVALS = {
    "one event": ["DELETE FROM np6.events WHERE id = 'event-00030'"],
    "an hour": ["DELETE FROM np6.events WHERE hour(timestamp) = 7"],
    "a day": ["DELETE FROM np6.events WHERE day(timestamp) = 2"],
    "the newest": ["DELETE FROM np6.events WHERE timestamp > '2024-03-04T20:00:00Z'"],
    "all events": ["TRUNCATE np6.events"],
    "hits": ["TRUNCATE np6.events__hits"],
    "a day of hits": ["DELETE FROM np6.events__hits WHERE day(timestamp) = 3"],
    "one hit": ["DELETE FROM np6.events__hits WHERE event_id = 'event-00030'"],
    "the data of executions": ["TRUNCATE np6.events__execution_data"],
    "a day of both": [
        "DELETE FROM np6.events WHERE day(timestamp) = 2",
        "DELETE FROM np6.events__hits WHERE day(timestamp) = 2",
    ],
    "events and ledger": ["TRUNCATE np6.events", "TRUNCATE np6.load_windows"],
    "half of all": ["DELETE FROM np6.events WHERE hash(id) % 2 = 0"],
}


@pytest.mark.parametrize(
    ("removal", "moments"),
    [
        *((removal, ["03-04T23:59"]) for removal in ("one event", "a day", "all events")),
        *((removal, ["03-02T00:30", "03-03T12:00", "03-04T23:59"]) for removal in REMOVALS),
    ],
)
def test_the_next_run_loads_what_was_removed(
    warehouse: Warehouse,
    sandbox: Any,
    source: Callable[..., Any],
    removal: str,
    moments: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run_until(warehouse, sandbox, source, *moments)
    before = warehouse.contents()
    assert len(before["events"]) == HOURS
    assert len(before["events__execution_data"]) == 64
    warehouse.execute(*REMOVALS[removal])
    with caplog.at_level(logging.WARNING, "np6_source"):
        warehouse.run(source())
    assert "read again" in caplog.text
    assert warehouse.contents() == before
    # And then it is over: nothing of the past is read any more.
    caplog.clear()
    sandbox.requests.clear()
    sandbox.now = at("03-05T01:00")
    warehouse.run(source())
    assert caplog.text == ""
    assert min(r.query["start"] for r in sandbox.requests) >= "2024-03-04T22"


def test_what_another_call_puts_back_does_not_hide_the_rest(
    warehouse: Warehouse, sandbox: Any, source: Callable[..., Any], source_of: TMake
) -> None:
    """An isolated part, a backfill and ids given once fill the emptied table, but not all of it."""
    run_until(warehouse, sandbox, source, "03-03T00:30", "03-04T23:59")
    before = warehouse.contents()
    for step in range(3):
        warehouse.execute("TRUNCATE np6.events", "TRUNCATE np6.events__hits")
        span = {"start": at("03-02"), "end": at("03-02T12:00")}
        if step == 0:
            destination = dlt.destinations.duckdb(str(warehouse.database))
            with isolated_pipeline("part", destination, "np6") as part:
                part.run(source(**span))
        elif step == 1:
            warehouse.run(source(**span))
        else:
            warehouse.run(source_of(sandbox, BY_ID, action_ids=["000001"]))
        assert 0 < len(warehouse.ids()) < HOURS
        warehouse.run(source())
        assert warehouse.contents() == before, step
        if step == 1:
            warehouse.run(source())  # Finds everything in its place.


def test_an_older_table_put_back_beside_newer_ones_is_completed(
    warehouse: Warehouse, sandbox: Any, source: Callable[..., Any]
) -> None:
    run_until(warehouse, sandbox, source, "03-04T23:59")
    older = "WHERE timestamp < '2024-03-02T00:30:00Z'"
    warehouse.execute(f"CREATE TABLE np6.saved AS FROM np6.events {older}")
    warehouse.execute(f"CREATE TABLE np6.saved_hits AS FROM np6.events__hits {older}")
    before = warehouse.contents()
    for table, saved in (("events", "saved"), ("events__hits", "saved_hits")):
        warehouse.execute(
            f"TRUNCATE np6.{table}", f"INSERT INTO np6.{table} BY NAME FROM np6.{saved}"
        )
        warehouse.run(source())
        assert warehouse.contents() == before, table


def test_each_of_two_resources_reads_what_it_may_have_lost(
    warehouse: Warehouse, sandbox: Any, source_of: TMake
) -> None:
    names = ("actions_events", "actions_reactivities")
    source = lambda: source_of(sandbox, *names)  # noqa: E731
    run_until(warehouse, sandbox, source, "03-03T00:30", "03-04T23:59")
    before = warehouse.contents()
    warehouse.execute("DELETE FROM np6.events WHERE type = 'hit' AND day(timestamp) <= 2")
    warehouse.run(source())
    assert warehouse.contents() == before


def test_what_nobody_reads_again_is_a_gap(
    warehouse: Warehouse, sandbox: Any, source: Callable[..., Any], source_of: TMake
) -> None:
    """A history that a backfill loaded has no progress that could go back."""
    sandbox.now = at("03-04T23:59")
    warehouse.run(source(start=at("03-01"), end=at("03-03")))
    warehouse.run(source(start=at("03-03")))
    span = Window(at("03-01"), at("03-04"))
    assert gaps(span, coverage(warehouse.pipeline)[ALL, ""]) == []
    warehouse.execute("DELETE FROM np6.events WHERE day(timestamp) = 2 AND hour(timestamp) < 3")
    missing = [Window(at("03-02"), at("03-03"))]
    assert gaps(span, coverage(warehouse.pipeline)[ALL, ""]) == missing
    warehouse.run(source(start=at("03-03")))
    assert gaps(span, coverage(warehouse.pipeline)[ALL, ""]) == missing
    warehouse.run(source(start=at("03-02"), end=at("03-03")))
    assert gaps(span, coverage(warehouse.pipeline)[ALL, ""]) == []
    assert len(warehouse.ids()) == HOURS


def test_a_project_that_leaves_rows_out_reads_them_again_twice_and_then_no_more(
    warehouse: Warehouse,
    sandbox: Any,
    source: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def without_hits() -> Any:
        given = source()
        given.resources[ALL].add_map(
            lambda table: (
                table.filter(pc.not_equal(table["type"], "hit"))
                if "agency" in table.column_names
                else table
            )
        )
        return given

    moments = ("03-02T00:30", "03-03T00:30", "03-03T00:31", "03-03T00:32")
    run_until(warehouse, sandbox, without_hits, *moments)
    sandbox.requests.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING, "np6_source"):
        run_until(warehouse, sandbox, without_hits, "03-03T00:35", "03-03T00:40", "03-03T00:45")
    assert "2024-03-01" not in caplog.text
    assert min(r.query["start"] for r in sandbox.requests) > "2024-03-02T23"
    assert len(warehouse.ids()) == 32


def test_a_run_that_fails_meanwhile_reads_again_later(
    warehouse: Warehouse, sandbox: Any, source: Callable[..., Any]
) -> None:
    run_until(warehouse, sandbox, source, "03-03T00:30", "03-04T23:59")
    before = warehouse.contents()
    warehouse.execute("DELETE FROM np6.events WHERE day(timestamp) = 2")
    warehouse.run(source(largest_load=1, window=3600.0))
    assert len(warehouse.ids()) < HOURS
    warehouse.run(source())
    assert warehouse.contents() == before


def test_an_old_ledger_without_counts_still_tells_an_emptied_table(
    warehouse: Warehouse, sandbox: Any, source: Callable[..., Any]
) -> None:
    run_until(warehouse, sandbox, source, "03-04T23:59")
    before = warehouse.contents()
    for column in ("distinct_count", "table_counts", "key_digest"):
        warehouse.execute(f"UPDATE np6.load_windows SET {column} = NULL")
    warehouse.execute("TRUNCATE np6.events")
    warehouse.run(source())
    assert warehouse.contents() == before


def test_ten_years_cost_a_moment(warehouse: Warehouse, sandbox: Any, source: Any) -> None:
    """The newest days only are counted where a day's full count found nothing."""
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

    run_until(warehouse, sandbox, source, "03-03T00:30", "03-04T23:59", "03-04T23:59")
    asked: list[str] = []
    execute = DuckDbSqlClient.execute_sql

    def counted(self: Any, sql: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(str(sql))
        return execute(self, sql, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DuckDbSqlClient, "execute_sql", counted)
        warehouse.run(source())
    by_day = [sql for sql in asked if "GROUP BY d" in sql]
    assert by_day
    assert all(">=" in sql for sql in by_day)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM np6.events WHERE timestamp < '2024-03-01T05:00:00Z'",
        "TRUNCATE np6.events__hits",
        "TRUNCATE np6.events__execution_data",
    ],
)
def test_the_same_holds_on_postgresql(
    postgres_dataset: Callable[[str], PostgresDataset],
    sandbox: Any,
    source: Callable[..., Any],
    statement: str,
) -> None:
    dataset = postgres_dataset(f"np6_{zlib.crc32(statement.encode())}")
    sandbox.now = at("03-04T23:59")
    rows = []
    for step in range(3):
        pipeline = dataset.pipeline
        with pipeline.sql_client() as client:
            if step == 2:
                client.execute_sql(statement.replace("np6.", f"{dataset.name}."))
        pipeline.run(source())
        with pipeline.sql_client() as client:
            rows.append(
                [
                    client.execute_sql(f"SELECT {key} FROM {table} ORDER BY 1")
                    for table, key in (
                        ("events", "id"),
                        ("events__hits", "event_id"),
                        ("events__execution_data", "event_id, key"),
                    )
                ]
            )
    assert rows[2] == rows[1] == rows[0]
    assert [len(found) for found in rows[2]] == [96, 32, 64]


class TestTwoAccountsInOneDataset:
    """Under one schema name, so that their ledger is one."""

    def test_the_ledger_of_one_does_not_prove_the_other_after_a_restore(
        self, warehouse: Warehouse, serve: TMake, source_of: TMake, tmp_path: Any
    ) -> None:
        first = serve([event(n, at("03-01") + n * HOUR + 1) for n in range(48)])
        theirs = [event(100 + n, at("03-01") + n * HOUR + 1) for n in range(48)]
        for body in theirs:
            body["identity"] = {"type": "customer", "agency": "OTHER", "customer": "900"}
        second = serve(theirs, key="another-key")
        other = Warehouse(tmp_path, "other", warehouse.database)
        first.now = second.now = at("03-02")
        warehouse.run(source_of(first, ALL, same_account=False))
        other.run(source_of(second, ALL, same_account=False))
        backup = warehouse.database.with_suffix(".backup")
        shutil.copy(warehouse.database, backup)
        first.now = second.now = at("03-03")
        other.run(source_of(second, ALL, same_account=False))
        shutil.copy(backup, warehouse.database)
        # The first goes on, and proves the second day, of its own account.
        warehouse.run(source_of(first, ALL, same_account=False))
        first.now = second.now = at("03-03T06:00")
        other.run(source_of(second, ALL, same_account=False))
        assert len(warehouse.ids()) == 96
