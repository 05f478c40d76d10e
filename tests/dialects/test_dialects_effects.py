"""What the SQL of destinations that are not there does to rows.

ClickHouse's runs on the engine itself, embedded. The others' runs on DuckDB, translated by sqlglot:
that shows what the statements mean, not how the destinations carry them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlglot import ErrorLevel, exp

from np6_source.schema import EVENT_TABLES, EVENTS, LOAD_WINDOWS, TABLES, Table
from np6_source.windows import to_ms
from tests.dialects.offline import DIALECTS, Offline, sandboxes, source_of

pytestmark = pytest.mark.destinations

IN_STAGING = "np6_staging"


@pytest.fixture(scope="module")
def loaded(
    warehouse_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The tables on DuckDB, after the first and the second load."""
    warehouse = warehouse_in(tmp_path_factory.mktemp("loaded"))
    contents = []
    for sandbox in sandboxes():
        with sandbox:
            warehouse.run(source_of(sandbox))
        contents.append(warehouse.contents())
    return contents


def test_the_loads_have_something_to_replace(loaded: list[dict[str, Any]]) -> None:
    first, second = (
        sorted((row["key"], row["value"]) for row in contents["events__execution_data"])
        for contents in loaded
    )

    assert first == [("bar", "2"), ("bar", "2"), ("foo", "1"), ("foo", "1")]
    assert second == [("bar", "2"), ("foo", "1"), ("foo", "3"), ("foo", "3")]
    assert loaded[0]["events__hits"] != loaded[1]["events__hits"]
    assert all(len(loaded[0][table.name]) for table in EVENT_TABLES)


def rows_of(table: Table, names: list[str], rows: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Rows as ``Warehouse.contents`` gives them."""
    found = [
        {n: to_ms(v) if isinstance(v, datetime) else v for n, v in zip(names, row, strict=True)}
        for row in rows
    ]
    found.sort(key=lambda row: [row[name] for name in table.key])
    return [{n: v for n, v in row.items() if n != "requested_at"} for row in found]


class Translated:
    """Runs a destination's statements on DuckDB."""

    def __init__(self, offline: Offline) -> None:
        self.offline = offline
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        if offline.dialect.catalog:
            self.connection.execute(f"ATTACH ':memory:' AS {offline.dialect.catalog}")
            self.connection.execute(f"USE {offline.dialect.catalog}")
        for dataset in ("np6", IN_STAGING):
            self.connection.execute(f"CREATE SCHEMA {dataset}")

    def run(self, statement: str) -> None:
        """Runs a statement; comments, and how a table lies, are not for DuckDB."""
        parsed = self.offline.parsed(statement)
        if isinstance(parsed, exp.Create):
            parsed.set("properties", None)
            for constraint in parsed.find_all(exp.ColumnConstraint):
                if not isinstance(constraint.kind, exp.NotNullColumnConstraint):
                    constraint.pop()
            for length in parsed.find_all(exp.DataTypeParam):
                if length.name.lower() == "max":
                    length.pop()
        if not isinstance(parsed, exp.Comment):
            self.connection.execute(parsed.sql("duckdb", unsupported_level=ErrorLevel.RAISE))

    def fill(self, dataset: str, table: Table, files: list[Path]) -> None:
        """Loads parquet files, by position."""
        self.connection.execute(
            f"INSERT INTO {dataset}.{table.name} FROM read_parquet($1)", [list(map(str, files))]
        )

    def truncate(self, table: Table) -> None:
        self.connection.execute(f"TRUNCATE {IN_STAGING}.{table.name}")

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """What a table holds."""
        found = self.connection.execute(f"FROM np6.{table.name}")
        return rows_of(table, [c[0].lower() for c in found.description or ()], found.fetchall())

    def close(self) -> None:
        self.connection.close()


class Embedded:
    """Runs ClickHouse's statements on ClickHouse."""

    def __init__(self, folder: Path) -> None:
        from chdb import session

        self.session = session.Session(str(folder))
        self.run("CREATE DATABASE np6_events")

    def run(self, statement: str) -> None:
        self.session.query(statement)

    def fill(self, dataset: str, table: Table, files: list[Path]) -> None:
        """Loads parquet files, as dlt's client does by name."""
        names = ", ".join(f"`{column.name}`" for column in table.columns)
        for file in files:
            self.run(
                f"INSERT INTO np6_events.{dataset}___{table.name} ({names})"
                f" SELECT {names} FROM file('{file}', 'Parquet')"
            )

    def truncate(self, table: Table) -> None:
        self.run(f"TRUNCATE TABLE np6_events.{IN_STAGING}___{table.name}")

    def rows(self, table: Table) -> list[dict[str, Any]]:
        found = self.session.query(f"SELECT * FROM np6_events.np6___{table.name}", "ArrowTable")
        return rows_of(table, found.column_names, [tuple(r.values()) for r in found.to_pylist()])

    def close(self) -> None:
        self.session.close()


@pytest.fixture
def database(
    request: pytest.FixtureRequest, offline_for: Callable[[str], Offline], tmp_path: Path
) -> Iterator[tuple[Offline, Translated | Embedded]]:
    offline = offline_for(request.param)
    made = Embedded(tmp_path) if request.param == "clickhouse" else Translated(offline)
    try:
        yield offline, made
    finally:
        made.close()


EACH = pytest.mark.parametrize("database", sorted(DIALECTS), indirect=True)


def make_tables(offline: Offline, made: Translated | Embedded) -> None:
    for table in TABLES:
        for staging in (False, True):
            for statement in offline.created(table.name, staging):
                made.run(statement)


def merge(offline: Offline, made: Translated | Embedded, table: Table, files: list[Path]) -> None:
    made.truncate(table)
    made.fill(IN_STAGING, table, files)
    for statement in offline.merged(table.name):
        made.run(statement)


@EACH
def test_two_loads_end_with_the_rows_that_duckdb_has(
    database: tuple[Offline, Translated | Embedded], loaded: list[dict[str, Any]]
) -> None:
    offline, made = database
    make_tables(offline, made)

    windows = 0
    for package, expected in zip(offline.packages, loaded, strict=True):
        for table in EVENT_TABLES:
            merge(offline, made, table, package.files.get(table.name, []))
            assert made.rows(table) == expected[table.name], table.name
        made.fill("np6", LOAD_WINDOWS, package.files[LOAD_WINDOWS.name])
        assert len(made.rows(LOAD_WINDOWS)) > windows
        windows = len(made.rows(LOAD_WINDOWS))


@EACH
def test_of_two_versions_in_one_load_the_later_stays(
    database: tuple[Offline, Translated | Embedded], loaded: list[dict[str, Any]]
) -> None:
    offline, made = database
    make_tables(offline, made)

    for name in ("events", "events__hits"):
        (table,) = (table for table in EVENT_TABLES if table.name == name)
        files = [file for package in offline.packages for file in package.files[name]]
        merge(offline, made, table, files)
        assert made.rows(table) == loaded[1][name]


@pytest.mark.parametrize("database", ["clickhouse"], indirect=True)
def test_clickhouse_takes_twenty_years_in_one_insert(
    database: tuple[Offline, Translated | Embedded],
) -> None:
    """It refuses an insert into more than a hundred partitions, and dlt would stay stuck on it."""
    offline, made = database
    make_tables(offline, made)
    made.run(
        f"INSERT INTO np6_events.{IN_STAGING}___{EVENTS.name} (id, timestamp, requested_at)"
        " SELECT toString(number), toDateTime64('2000-01-01', 6, 'UTC') + number * 86400, now()"
        " FROM numbers(7305)"
    )
    for statement in offline.merged(EVENTS.name):
        made.run(statement)

    assert len(made.rows(EVENTS)) == 7305
