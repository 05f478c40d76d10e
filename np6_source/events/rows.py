"""The rows of a batch's events, table by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import (
    CAMPAIGNS,
    EVENT_ID,
    EVENT_TABLES,
    EXECUTION_DATA_TABLE,
    TIMESTAMP,
    Table,
)
from .contract import TYPE_ALIAS, alias
from .queries import DATA, select_execution_data


def by_table(
    wide: pa.Table,
    connection: duckdb.DuckDBPyConnection,
    requested_at: int,
    campaign_id: str | None,
    tombstones: bool = False,
) -> Iterator[tuple[str, pa.Table]]:
    """Cuts a batch into the tables of ``schema``; those without rows are left out.

    Args:
        wide: From ``columns.from_values``, with ``unmapped``.
        connection: Unfolds the free data objects.
        requested_at: When the request was sent, milliseconds since the epoch.
        campaign_id: The campaign the events were loaded through, if any.
        tombstones: An execution without data has a row that says so, ``schema.TOMBSTONE``.

    Yields:
        A table's name and its rows.
    """
    constants = {"requested_at": requested_at, "campaign_id": campaign_id}
    for table in EVENT_TABLES:
        rows = _rows(wide, table, connection, campaign_id, tombstones)
        if rows is not None and rows.num_rows:
            yield table.name, _projected(rows, table, constants)


def _rows(
    wide: pa.Table,
    table: Table,
    connection: duckdb.DuckDBPyConnection,
    campaign_id: str | None,
    tombstones: bool,
) -> pa.Table | None:
    if table is EXECUTION_DATA_TABLE:
        return _execution_data(wide, connection, tombstones)
    if table is CAMPAIGNS and campaign_id is None:
        return None
    return wide.filter(_has_row(wide, table)) if table.row_types else wide


def _execution_data(
    wide: pa.Table, connection: duckdb.DuckDBPyConnection, tombstones: bool
) -> pa.Table | None:
    with_data = wide.filter(pc.is_valid(wide[DATA]))
    if not with_data.num_rows:
        return None
    with connection.cursor() as cursor:
        cursor.register("executions", with_data)
        return cursor.sql(select_execution_data("executions", tombstones)).to_arrow_table()


def _has_row(wide: pa.Table, table: Table) -> pa.ChunkedArray:
    """Which events have a row in a table with at most one row per event."""
    has_row = pc.fill_null(pc.is_in(wide[TYPE_ALIAS], pa.array(table.row_types)), False)
    for column in table.columns:
        if column.paths and column not in (EVENT_ID, TIMESTAMP):
            has_row = pc.or_(has_row, pc.is_valid(wide[alias(column)]))
    return has_row


def _projected(rows: pa.Table, table: Table, constants: Mapping[str, object]) -> pa.Table:
    """A table's columns, in its types, from a batch's."""
    arrays = []
    for column in table.columns:
        if column.name in constants:
            array = pa.repeat(pa.scalar(constants[column.name]), rows.num_rows)
        else:
            array = rows[alias(column)]
        if column.data_type == "timestamp":
            array = array.cast(pa.timestamp("ms", tz="UTC"))
        arrays.append(array.cast(column.arrow_type))
    return pa.table(arrays, schema=table.arrow_schema)
