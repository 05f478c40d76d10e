"""The views on ClickHouse itself, over the rows that DuckDB has."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.schema import TABLES
from np6_source.views import statements, views
from np6_source.views.base_tables import BASE_TABLES, LOADS
from np6_source.views.translation import Names, plain_names, translated
from tests.support import Warehouse
from tests.views.accounts import STORIES
from tests.views.reading import CELLS, DIFFERENT, load, reading, rows
from tests.views.test_dialects import MOMENTS, day_and_seconds, instant

pytestmark = pytest.mark.destinations

DATABASE = "np6_events"
TYPES = {"text": "String", "timestamp": "DateTime64(6, 'UTC')", "bigint": "Int64"}
OF_NOW = ("days_since_open", "days_since_click", "lag_minutes")


@pytest.mark.parametrize("name", STORIES)
def test_clickhouse_gives_the_same_cells(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    from chdb import session

    pipeline = Warehouse(tmp_path / "duckdb").pipeline
    story = STORIES[name]()
    load(pipeline, story)
    present = columns_of(pipeline)
    names = Names("clickhouse", lambda n: [DATABASE, f"np6___{n}"], lambda n: n, present)
    clickhouse = session.Session(str(tmp_path / "clickhouse"))
    try:
        clickhouse.query(f"CREATE DATABASE {DATABASE}")
        with reading(pipeline) as client:
            for table, columns in present.items():
                copy(client, clickhouse, table, columns)
            expected = {view.name: rows(client, view.name) for view in views()}
        cells = 0
        wrong: list[Any] = []
        for _, statement in statements(names, message_key=story.message_key):
            clickhouse.query(statement)
        for view in views():
            found = clickhouse.query(
                f"SELECT * FROM {DATABASE}.np6___{view.name}", "ArrowTable"
            ).to_pylist()
            wanted = {tuple(row[k] for k in view.key): row for row in expected[view.name]}
            assert len(found) == len(wanted), view.name
            for row in found:
                same = wanted[tuple(plain(row[k]) for k in view.key)]
                for column in view.columns:
                    if column not in OF_NOW:
                        cells += 1
                        if not agree(row[column], same[column]):
                            wrong.append((view.name, column, row, same))
        record_property(CELLS, cells)
        record_property(DIFFERENT, len(wrong))
        assert not wrong, wrong[:5]
        assert name == "empty" or cells > 500
    finally:
        clickhouse.close()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/Los_Angeles"])
def test_days_and_seconds_do_not_depend_on_the_session(zone: str, tmp_path: Path) -> None:
    from chdb import session

    first = min(MOMENTS)
    clickhouse = session.Session(str(tmp_path / "clickhouse"))
    try:
        clickhouse.query(f"SET session_timezone = '{zone}'")
        assert zone in str(clickhouse.query("SELECT timeZone()", "CSV"))
        for moment, day in MOMENTS.items():
            query = day_and_seconds("'first'", "'second'")
            sql = translated(query, plain_names("clickhouse", DATABASE))
            for name, text in (("first", first), ("second", moment)):
                time = text.replace("T", " ")
                sql = sql.replace(f"'{name}'", f"toDateTime64('{time}', 6, 'UTC')")
            (found,) = clickhouse.query(sql, "ArrowTable").to_pylist()
            seconds = (instant(moment) - instant(first)).total_seconds()
            assert found["seconds"] == pytest.approx(seconds, abs=1e-6)
            assert str(found["day"]) == day
    finally:
        clickhouse.close()


def columns_of(pipeline: dlt.Pipeline) -> dict[str, frozenset[str]]:
    """The columns of the tables that views read, where they are there."""
    with pipeline.sql_client() as client:
        found = client.execute_sql(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'np6'"
        )
    there: dict[str, set[str]] = {}
    for table, column in found or ():
        if column in BASE_TABLES.get(table, ()):
            there.setdefault(table, set()).add(column)
    return {table: frozenset(columns) for table, columns in there.items()}


def copy(client: Any, clickhouse: Any, table: str, columns: frozenset[str]) -> None:
    """Makes a table as dlt does on ClickHouse, and fills it with DuckDB's rows."""
    nullable = {(t.name, c.name): c.nullable for t in TABLES for c in t.columns}
    kinds = {(t.name, c.name): TYPES[c.data_type] for t in TABLES for c in t.columns}
    kinds |= {(LOADS, "status"): "Int64", (LOADS, "inserted_at"): TYPES["timestamp"]}
    shown = []
    for column in sorted(columns):
        kind = kinds.get((table, column), "String")
        is_nullable = nullable.get((table, column), column not in ("event_id", "robot_class"))
        shown.append(f"`{column}` {f'Nullable({kind})' if is_nullable else kind}")
    there = f"{DATABASE}.np6___{table}"
    clickhouse.query(
        f"CREATE TABLE {there} ({', '.join(shown)}) ENGINE = MergeTree ORDER BY tuple()"
    )
    listed = ", ".join(f'"{column}"' for column in sorted(columns))
    with client.execute_query(f"SELECT {listed} FROM np6.{table}") as cursor:
        held = cursor.fetchall()
    for first in range(0, len(held), 500):
        values = ", ".join(
            f"({', '.join(literal(value) for value in row)})" for row in held[first : first + 500]
        )
        clickhouse.query(f"INSERT INTO {there} VALUES {values}")


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, datetime):
        return f"'{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value)


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return value.isoformat() if isinstance(value, date) else value


def agree(found: Any, expected: Any) -> bool:
    found = plain(found)
    if isinstance(expected, bool):
        return bool(found) is expected and found is not None
    if isinstance(expected, float) and found is not None:
        return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return bool(found == expected)
