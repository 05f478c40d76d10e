"""``np6_source.deduplication``: the rows that a merge would have left."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
import sqlglot

from np6_source.deduplication import latest, parquet_views
from np6_source.schema import CAMPAIGNS, EVENT_TABLES, EVENTS, EXECUTION_DATA_TABLE, TABLES

START = datetime(2024, 3, 1, tzinfo=timezone.utc)


def rows_after(table: Any, *rows: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """What is left of rows of (values of text columns …, minutes of ``requested_at``)."""
    with duckdb.connect() as connection:
        connection.register("rows", table.arrow_schema.empty_table())
        connection.execute("CREATE TABLE kept AS FROM rows")
        names = [c.name for c in table.columns if c.data_type == "text"]
        for *values, minutes in rows:
            asked = START + timedelta(minutes=minutes)
            connection.execute(
                f"INSERT INTO kept ({', '.join(names)}, timestamp, requested_at)"
                f" VALUES ({', '.join('?' * (len(names) + 2))})",
                [*values, START, asked],
            )
        return connection.execute(
            f"SELECT {', '.join(names)} FROM ({latest(table, 'kept')}) ORDER BY ALL"
        ).fetchall()


def test_each_key_once_as_asked_for_last() -> None:
    found = rows_after(
        EXECUTION_DATA_TABLE,
        ("one", "a", "old", "string", 1),
        ("one", "a", "new", "string", 2),
        ("two", "a", "same", "string", 1),
        ("two", "a", "same", "string", 1),
    )
    assert found == [("one", "a", "new", "string"), ("two", "a", "same", "string")]


def test_a_newer_version_of_an_event_replaces_all_of_its_keys() -> None:
    found = rows_after(
        EXECUTION_DATA_TABLE, ("one", "a", "1", "integer", 1), ("one", "b", "2", "integer", 2)
    )
    assert found == [("one", "b", "2", "integer")]


def test_what_a_row_lacks_another_of_the_same_version_has() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("empty", EVENTS.arrow_schema.empty_table())
        connection.execute("CREATE TABLE kept AS FROM empty")
        for day, minutes, kind, channel, recipient in (
            (1, 1, "message", "email", "a@x.example"),
            (1, 2, None, "sms", None),
            (2, 0, "earlier version", None, None),
        ):
            connection.execute(
                "INSERT INTO kept (id, timestamp, action_kind, channel, recipient, requested_at)"
                " VALUES ('one', ?, ?, ?, ?, ?)",
                [
                    START + timedelta(days=day),
                    kind,
                    channel,
                    recipient,
                    START + timedelta(days=9, minutes=minutes),
                ],
            )
        found = connection.sql(
            f"SELECT action_kind, channel, recipient FROM ({latest(EVENTS, 'kept')})"
        ).fetchall()
    assert found == [("message", "sms", None)]


def test_campaigns_of_an_event_do_not_replace_each_other() -> None:
    assert rows_after(CAMPAIGNS, ("one", "x", 1), ("one", "y", 2)) == [("one", "x"), ("one", "y")]


@pytest.mark.parametrize("dialect", ["postgres", "bigquery", "databricks"])
def test_the_query_is_one_of_the_dialect(dialect: str) -> None:
    for table in TABLES:
        query = latest(table, f"np6.{table.name}", dialect)
        assert sqlglot.parse_one(query, dialect=dialect).named_selects == [
            column.name for column in table.columns
        ]


def test_views_over_parquet_files_have_every_row_once_and_no_unproven_window(
    tmp_path: Path,
    serve: Callable[..., Any],
    event: Callable[..., Any],
    source_of: Callable[..., Any],
    at: Callable[[str], int],
) -> None:
    sandbox = serve((event(n, at("03-01") + n, type="hit") for n in range(20)), now=at("03-02"))
    pipeline = dlt.pipeline(
        "np6_test",
        destination=dlt.destinations.filesystem(f"file://{tmp_path}/lake"),
        dataset_name="np6",
        pipelines_dir=str(tmp_path / "pipelines"),
    )
    pipeline.run(source_of(sandbox))
    (load,) = (tmp_path / "lake" / "np6" / "_dlt_loads").glob("*.jsonl")
    with duckdb.connect() as connection:
        for view in parquet_views(f"{tmp_path}/lake/np6"):
            connection.execute(view)

        def count(rows: str) -> int:
            ((found,),) = connection.execute(f"SELECT count(*) FROM {rows}").fetchall()
            return int(found)

        assert count("events") == count("events__hits") == 20
        assert count(f"read_parquet('{tmp_path}/lake/np6/events/*.parquet')") == 40
        assert count("load_windows") > 0
        assert {table.name for table in EVENT_TABLES} < {
            row[0] for row in connection.execute("SHOW TABLES").fetchall()
        }
        load.write_text(load.read_text().replace('"load_id":"', '"load_id":"9'))
        assert count("load_windows") == 0
