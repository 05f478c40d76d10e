"""Views are made, stay, are made anew and go, and touch nothing of anybody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest

from np6_source import views
from np6_source.dimensions import DIMENSIONS
from np6_source.ledger import coverage, missing, scope_key
from np6_source.sandbox import Sandbox, generated_account
from np6_source.schema import EVENTS, HITS, LOAD_WINDOWS
from np6_source.windows import Window, to_ms
from tests.support import Warehouse, at, event
from tests.views.reading import query

NAMES = {view.name for view in views.views()}
TMake = Callable[..., Any]


@pytest.fixture
def pipeline(pipeline: dlt.Pipeline, serve: TMake, source_of: TMake) -> dlt.Pipeline:
    """A pipeline that has loaded two events."""
    sandbox: Sandbox = serve(
        [event(1, at("03-01T10:00")), event(2, at("03-01T11:00"))],
        now=at("03-02"),
    )
    pipeline.run(source_of(sandbox, "actions_events"))
    return pipeline


def test_all_are_made_once(pipeline: dlt.Pipeline) -> None:
    first, second = views.make(pipeline), views.make(pipeline)

    assert (set(first.views), first.changed) == (NAMES, True)
    assert (set(second.views), second.changed) == (NAMES, False)
    assert query(pipeline, "SELECT count_sent FROM action_performance") == [(2,)]


def test_a_view_that_was_dropped_is_made_again(pipeline: dlt.Pipeline) -> None:
    views.make(pipeline)
    query(pipeline, "DROP VIEW data_quality")

    assert views.make(pipeline).changed
    assert len(query(pipeline, "SELECT * FROM data_quality")) == 12


def test_data_quality_counts_ids_that_stand_twice(pipeline: dlt.Pipeline) -> None:
    views.make(pipeline)
    twice = "SELECT count_found, count_of FROM data_quality WHERE check_name LIKE '%twice'"
    assert query(pipeline, twice) == [(0, 2)]

    query(pipeline, "INSERT INTO events SELECT * FROM events WHERE id = 'event-00001'")

    assert query(pipeline, twice) == [(1, 3)]


def test_they_change_with_the_columns_that_are_there(pipeline: dlt.Pipeline) -> None:
    """A database that the version before has filled lacks columns, until it has them."""
    with pipeline.sql_client() as client:
        client.execute_sql("ALTER TABLE events DROP COLUMN message_set_id")
    views.make(pipeline)
    assert query(pipeline, "SELECT message_set_id FROM messages") == [(None,), (None,)]

    query(pipeline, "ALTER TABLE events ADD COLUMN message_set_id VARCHAR")
    query(pipeline, "UPDATE events SET message_set_id = 'set'")

    assert views.make(pipeline).changed
    assert query(pipeline, "SELECT message_set_id FROM messages") == [("set",), ("set",)]


def test_dropping_leaves_the_tables(pipeline: dlt.Pipeline) -> None:
    views.make(pipeline)

    assert set(views.drop(pipeline)) == NAMES
    assert views.drop(pipeline) == ()
    assert query(pipeline, "SELECT count(*) FROM events") == [(2,)]


@pytest.mark.parametrize("kind", ["TABLE", "VIEW"])
def test_a_name_that_is_taken_stops_everything(pipeline: dlt.Pipeline, kind: str) -> None:
    query(pipeline, f"CREATE {kind} messages AS SELECT 1 AS mine")

    with pytest.raises(views.ViewsFailed, match="has messages already"):
        views.make(pipeline)
    assert views.drop(pipeline) == ()
    assert query(pipeline, "SELECT mine FROM messages") == [(1,)]


def test_a_view_that_somebody_put_in_place_of_ours_is_theirs(pipeline: dlt.Pipeline) -> None:
    views.make(pipeline)
    query(pipeline, "DROP VIEW data_quality")
    query(pipeline, "CREATE VIEW data_quality AS SELECT 1 AS mine")

    with pytest.raises(views.ViewsFailed, match="data_quality already"):
        views.make(pipeline)
    assert "data_quality" not in views.drop(pipeline)
    assert query(pipeline, "SELECT mine FROM data_quality") == [(1,)]


def test_a_view_of_somebody_elses_on_top_is_named_and_nothing_dropped(
    pipeline: dlt.Pipeline,
) -> None:
    views.make(pipeline)
    query(pipeline, "CREATE VIEW my_own AS SELECT message_id FROM messages")
    if pipeline.destination.destination_type.endswith("duckdb"):
        views.drop(pipeline)
        assert views.make(pipeline).changed
    else:
        with pytest.raises(views.ViewsFailed, match=r"\.my_own \(reads messages\)"):
            views.drop(pipeline)
    assert len(query(pipeline, "SELECT message_id FROM my_own")) == 2
    query(pipeline, "DROP VIEW my_own")


def test_a_view_of_somebody_elses_on_a_table_is_in_the_way_of_nothing(
    pipeline: dlt.Pipeline,
) -> None:
    views.make(pipeline)
    query(pipeline, "CREATE VIEW my_own AS SELECT id FROM events")

    assert set(views.drop(pipeline)) == NAMES
    assert len(query(pipeline, "SELECT id FROM my_own")) == 2
    query(pipeline, "DROP VIEW my_own")


def test_views_and_columns_are_described_in_the_destination(pipeline: dlt.Pipeline) -> None:
    views.make(pipeline)
    if pipeline.destination.destination_type.endswith("duckdb"):
        sql = (
            "SELECT comment FROM duckdb_columns() WHERE schema_name = 'np6'"
            " AND table_name = '{}' AND column_name = '{}'"
        )
    else:
        sql = (
            "SELECT col_description(a.attrelid, a.attnum) FROM pg_attribute AS a"
            " WHERE a.attrelid = '{}'::regclass AND a.attname = '{}'"
        )

    assert query(pipeline, sql.format("messages", "was_opened")) == [
        ("Whether a person opened it",)
    ]
    assert query(pipeline, sql.format("events", "id")) == [("The event's uuid",)]
    of_table = (
        "SELECT comment FROM duckdb_tables() WHERE schema_name = 'np6' AND table_name = '{}'"
        if pipeline.destination.destination_type.endswith("duckdb")
        else "SELECT obj_description('{}'::regclass, 'pg_class')"
    )
    for table in (EVENTS, HITS, LOAD_WINDOWS):
        assert query(pipeline, of_table.format(table.name)) == [(table.description,)]


def test_tables_of_names_and_their_children_are_described_once_they_are_there(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    views.make(pipeline)
    account = generated_account(events=200, actions=5, campaigns=2, seed=3)
    kinds = ("value_lists", "campaigns", "pressure_topics")
    pipeline.run(source_of(serve(account), *kinds, dimensions=kinds))

    assert views.make(pipeline).changed

    is_duckdb = pipeline.destination.destination_type.endswith("duckdb")
    told = dict(
        query(
            pipeline,
            "SELECT table_name || '.' || column_name, comment FROM duckdb_columns()"
            " WHERE schema_name = 'np6'"
            if is_duckdb
            else "SELECT c.relname || '.' || a.attname, col_description(c.oid, a.attnum)"
            " FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid"
            f" WHERE c.relnamespace = '{pipeline.dataset_name}'::regnamespace AND a.attnum > 0",
        )
    )
    expected = {
        f"{table.name}.{column.name}": column.description
        for row in DIMENSIONS
        if row.name in kinds
        for table in row.tables
        for column in table.columns
    }
    assert "value_lists__values.value" in expected
    assert {name: told[name] for name in expected} == expected


def test_freshness_has_the_gaps_that_the_ledger_has(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    """Ranges with gaps between, ones that touch and overlap, an id, and a class of robots."""
    events = [event(n, at("03-01") + n * 3_600_000) for n in range(24 * 9)]
    sandbox = serve(events, now=at("03-12"))
    of_action, of_target = "action_events_activations", "target_events_hits_open"
    ids = {"action_ids": ["000AA1"], "target_ids": ["CON00001"]}
    for start, end, resources, options in (
        ("2024-03-04", "2024-03-05", ("actions_events", of_action), {}),
        ("2024-03-05", "2024-03-06T12:00", ("actions_events",), {}),
        ("2024-03-06T06:00", "2024-03-07", ("actions_events", of_action), {}),
        ("2024-03-08", "2024-03-09", ("actions_events", of_target), {"classification": "mpp"}),
    ):
        pipeline.run(source_of(sandbox, *resources, start=start, end=end, **ids, **options))
    views.make(pipeline)

    found = {
        (resource, scope_key(scope, classification)): (*map(to_ms, times), gaps_found)
        for resource, scope, classification, *times, gaps_found in query(
            pipeline,
            "SELECT resource, scope_id, classification, covered_from, complete_from,"
            " complete_until, count_gaps FROM freshness",
        )
    }
    expected = {}
    for key, windows in coverage(pipeline).items():
        whole = Window(windows[0].start, windows[-1].end)
        between = missing(whole, {key: windows})
        last = between[-1].window.end if between else whole.start
        expected[key] = (whole.start, last, whole.end, len(between))
    assert found == expected
    assert {row[-1] for row in found.values()} >= {0, 1, 2}


def test_a_renamed_and_attached_file_has_them(
    tmp_path: Path, serve: TMake, source_of: TMake
) -> None:
    warehouse = Warehouse(tmp_path)
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-02"))
    warehouse.run(source_of(sandbox, "actions_events"))
    views.make(warehouse.pipeline)
    renamed = warehouse.database.rename(tmp_path / "renamed.duckdb")

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{renamed}' AS theirs (READ_ONLY)")
        for name in NAMES:
            connection.execute(f"SELECT * FROM theirs.np6.{name}").fetchall()
        assert connection.execute("SELECT count(*) FROM theirs.np6.messages").fetchall() == [(1,)]


def test_nothing_is_made_where_nothing_is_loaded(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    with pytest.raises(views.ViewsFailed, match="Nothing is loaded into dataset 'np6' yet"):
        views.make(warehouse.pipeline)
    assert not warehouse.database.exists()


def test_files_have_no_views(tmp_path: Path) -> None:
    pipeline = dlt.pipeline(
        "files",
        destination=dlt.destinations.filesystem(str(tmp_path / "lake")),
        dataset_name="np6",
        pipelines_dir=str(tmp_path / "pipelines"),
    )

    assert views.make(pipeline) == views.Made((), changed=False)
    assert views.drop(pipeline) == ()
