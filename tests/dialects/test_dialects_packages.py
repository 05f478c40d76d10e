"""What dlt would upload to destinations that are not there: files, and the schema to go by.

Needs none of the destinations' client libraries.
"""

from __future__ import annotations

import pyarrow as pa
import pytest

from np6_source.schema import EVENT_TABLES, LOAD_WINDOWS, TABLES, Table
from tests.dialects.offline import Offline

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def files_of(offline: Offline, table: Table) -> list[pa.Schema]:
    """The table's files: an empty one in the first load, later ones only where there are rows."""
    files = [
        package.schema(table.name) for package in offline.packages if table.name in package.files
    ]
    assert files
    return files


@EACH_TABLE
def test_every_table_comes_as_parquet(offline: Offline, table: Table) -> None:
    assert all(table.name in package.files for package in offline.packages[:1])


@EACH_TABLE
def test_the_files_have_the_columns_of_the_table_in_its_order(
    offline: Offline, table: Table
) -> None:
    # Redshift copies parquet by position.
    for schema in files_of(offline, table):
        assert schema.names == [column.name for column in table.columns]
    assert list(offline.schema.tables[table.name]["columns"]) == [
        column.name for column in table.columns
    ]


@EACH_TABLE
def test_the_files_have_the_types_that_the_table_gets(offline: Offline, table: Table) -> None:
    expected = {
        "text": pa.string(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "bigint": pa.int64(),
    }
    for schema in files_of(offline, table):
        for column in table.columns:
            assert schema.field(column.name).type == expected[column.data_type]
            assert schema.field(column.name).nullable is column.nullable


@EACH_TABLE
def test_what_identifies_a_person_stays_marked_in_dlts_schema(
    offline: Offline, table: Table
) -> None:
    columns = offline.schema.tables[table.name]["columns"]
    marked = {name: hints.get("x-np6-personal", "no") for name, hints in columns.items()}
    assert marked == {column.name: column.personal for column in table.columns}


@EACH_TABLE
def test_no_file_destination_would_partition_by_the_moment(offline: Offline, table: Table) -> None:
    for hints in offline.schema.tables[table.name]["columns"].values():
        assert "partition" not in hints


def test_events_are_merged_and_the_ledger_is_appended(offline: Offline) -> None:
    tables = offline.schema.tables
    for table in EVENT_TABLES:
        assert tables[table.name]["write_disposition"] == "merge"
        assert tables[table.name]["x-merge-strategy"] == "delete-insert"  # type: ignore[typeddict-item]
    assert tables[LOAD_WINDOWS.name]["write_disposition"] == "append"
