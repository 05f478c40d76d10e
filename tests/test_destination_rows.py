"""Hints that lay out the tables: given where they do good, and nowhere else."""

from __future__ import annotations

import pytest

from np6_source.destinations import DESTINATIONS, Layout, destination
from np6_source.schema import (
    EVENT_TABLES,
    EVENTS,
    LOAD_WINDOWS,
    TABLES,
    Table,
)
from np6_source.tables.hints import table_hints

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
EACH_EVENT_TABLE = pytest.mark.parametrize("table", EVENT_TABLES, ids=lambda table: table.name)
EACH_LAYOUT = pytest.mark.parametrize("kind", [row.kind for row in DESTINATIONS if row.layout])


@EACH_TABLE
@pytest.mark.parametrize("kind", ["duckdb", "postgres", "snowflake", "filesystem", None])
def test_destinations_that_gain_nothing_get_nothing(table: Table, kind: str | None) -> None:
    assert destination(kind).lay_out(table) == Layout()


@EACH_LAYOUT
def test_the_ledger_lies_as_it_comes(kind: str) -> None:
    assert destination(kind).lay_out(LOAD_WINDOWS) == Layout()


@EACH_EVENT_TABLE
@EACH_LAYOUT
def test_every_table_of_events_is_laid_out_by_time(table: Table, kind: str) -> None:
    found = destination(kind).lay_out(table)
    assert "timestamp" in found.columns or "timestamp" in str(found.table)


@EACH_TABLE
@EACH_LAYOUT
def test_hints_name_columns_of_the_table(table: Table, kind: str) -> None:
    assert set(destination(kind).lay_out(table).columns) <= {
        column.name for column in table.columns
    }


@EACH_TABLE
@EACH_LAYOUT
def test_no_table_is_partitioned_by_the_single_moment(table: Table, kind: str) -> None:
    for column in table_hints(table, kind)["columns"].values():
        assert "partition" not in column


@EACH_TABLE
@EACH_LAYOUT
def test_a_layout_takes_nothing_from_the_columns_own_hints(table: Table, kind: str) -> None:
    plain = table_hints(table)["columns"]
    for name, hints in table_hints(table, kind)["columns"].items():
        assert hints.items() >= plain[name].items()


def test_events_on_bigquery() -> None:
    hints = table_hints(EVENTS, "bigquery")

    assert hints["columns"]["timestamp"]["x-bigquery-partition"] is True
    assert hints["additional_table_hints"] == {"x-bigquery-cluster-columns": ["type", "action_id"]}


def test_events_on_redshift() -> None:
    columns = table_hints(EVENTS, "redshift")["columns"]

    assert [name for name, hints in columns.items() if hints.get("cluster")] == ["id"]
    assert [name for name, hints in columns.items() if hints.get("sort")] == ["timestamp"]


@EACH_TABLE
def test_tables_are_clustered_by_columns_of_theirs(table: Table) -> None:
    # With the time, no more than the four that BigQuery and Databricks take.
    assert len(table.cluster_by) <= 3
    assert set(table.cluster_by) <= {column.name for column in table.columns}
