"""dlt's hints for the tables, derived from ``schema``."""

from __future__ import annotations

from typing import Any

from ..destinations import layout
from ..schema import EVENTS, REQUESTED_AT, TIMESTAMP, Column, Table

TAKES_MERGE_KEY = frozenset({"postgres", "snowflake"})
"""Destinations on which rows go by dlt's merge key.

dlt 1.31 deletes by "primary key OR merge key" in a subquery. PostgreSQL reduces it, the merge key
being part of the primary key, to the merge key. On Snowflake dlt deletes twice."""
TAKES_SCOPE = frozenset({"bigquery", "clickhouse", "databricks", "redshift"})
"""Destinations on which such rows go by a condition in place of the keys: one delete where dlt
would run two that cost money or a mutation each (BigQuery, ClickHouse), or an OR whose plan is not
known (Databricks, Redshift). The condition names columns unquoted, as these destinations take them
whatever the naming convention."""
SKIPS_BY_TIME = frozenset({"duckdb", "ducklake", "motherduck"})
"""Destinations that skip the parts of a table whose times lie outside a range of which they learn
while the statement runs: all deletes go by a condition that has one. A merge then costs what the
increment does; by the keys alone, as dlt 1.31 writes it, it reads the whole table's."""

MERGES_IN_ITS_OWN_WAY = frozenset({"filesystem"})
"""Destinations without delete-insert (dlt 1.31): Delta and Iceberg tables are merged by key, see
``lake``; plain files are appended to."""
EXACT_FILE_FORMATS = {"postgres": "insert_values"}
"""File formats for destinations whose own choice changes values. dlt 1.31 copies CSV into
PostgreSQL with FORCE_NULL, which turns empty texts into NULL; its Parquet way fails on an empty
table."""


def table_hints(
    table: Table, destination: str | None = None, timestamps_are_final: bool = True
) -> dict[str, Any]:
    """Arguments of a resource's ``apply_hints`` for a table.

    Merging deletes and inserts: several operations return the same event, and dlt's other merge
    strategies fail on, or keep, an id that stands twice in one load (dlt 1.31).

    Args:
        table: The table.
        destination: Short type of the destination, where it is known.
        timestamps_are_final: A newer version of a row has the same timestamp.
    """
    lies = layout(table, destination)
    hints: dict[str, Any] = {
        "table_name": table.name,
        "columns": {
            column.name: _column_hints(column, table) | dict(lies.columns.get(column.name, {}))
            for column in table.columns
        },
        "primary_key": list(table.key),
        "write_disposition": table.disposition,
    }
    if table.disposition == "merge" and destination not in MERGES_IN_ITS_OWN_WAY:
        hints["write_disposition"] = {"disposition": "merge", "strategy": "delete-insert"}
    if table.replaced_by and destination in TAKES_MERGE_KEY:
        hints["merge_key"] = table.replaced_by
    if scope := _scope(table, destination, timestamps_are_final):
        hints["write_disposition"]["destination_scope"] = scope
    if destination in EXACT_FILE_FORMATS:
        hints["file_format"] = EXACT_FILE_FORMATS[destination]
    if lies.table:
        hints["additional_table_hints"] = dict(lies.table)
    if table.is_child:
        hints["references"] = [
            {
                "referenced_table": EVENTS.name,
                "columns": ["event_id"],
                "referenced_columns": ["id"],
            }
        ]
    return hints


def _scope(table: Table, destination: str | None, timestamps_are_final: bool) -> str | None:
    """SQL for the rows that the staged ones replace, where keys do not say it best."""
    if table.disposition != "merge":
        return None
    columns = (table.replaced_by,) if table.replaced_by else table.key
    key = ", ".join(columns)
    scope = f"{f'({key})' if len(columns) > 1 else key} IN (SELECT {key} FROM {{staging_table}})"
    if destination in SKIPS_BY_TIME:
        time = TIMESTAMP.name
        least, most = (f"(SELECT {f}({time}) FROM {{staging_table}})" for f in ("min", "max"))
        return f"{scope} AND {time} BETWEEN {least} AND {most}" if timestamps_are_final else scope
    return scope if table.replaced_by and destination in TAKES_SCOPE else None


def _column_hints(column: Column, table: Table) -> dict[str, Any]:
    hints: dict[str, Any] = {
        "name": column.name,
        "data_type": column.data_type,
        "nullable": column.nullable,
        "description": column.description,
    }
    if column.data_type == "timestamp":
        hints["timezone"] = True
        hints["precision"] = 6
    if column == REQUESTED_AT and table.disposition == "merge":
        hints["dedup_sort"] = "desc"
    if column.personal != "no":
        hints["x-np6-personal"] = column.personal
    return hints
