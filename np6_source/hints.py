"""dlt's hints for the tables, derived from ``schema``."""

from __future__ import annotations

from typing import Any

from np6_source.schema import EVENTS, REQUESTED_AT, Column, Table

JOINS_ON_EITHER_KEY = frozenset({"duckdb", "motherduck", "ducklake"})
"""Destinations that are quick to delete by primary key or merge key. dlt 1.31 writes that as an OR
in a subquery, which PostgreSQL, for one, answers row by row."""


def table_hints(table: Table, destination: str | None = None) -> dict[str, Any]:
    """Arguments of ``dlt.resource`` or ``dlt.mark.make_hints`` for a table.

    Merging deletes and inserts: several operations return the same event, and dlt's other merge
    strategies fail on, or keep, an id that stands twice in one load (dlt 1.31).

    Args:
        table: The table.
        destination: Short type of the destination, where it is known.
    """
    hints: dict[str, Any] = {
        "table_name": table.name,
        "columns": {column.name: _column_hints(column, table) for column in table.columns},
        "primary_key": list(table.key),
        "write_disposition": (
            {"disposition": "merge", "strategy": "delete-insert"}
            if table.disposition == "merge"
            else table.disposition
        ),
    }
    if table.replaced_by and destination in JOINS_ON_EITHER_KEY:
        hints["merge_key"] = table.replaced_by
    if table.is_child:
        hints["references"] = [
            {
                "referenced_table": EVENTS.name,
                "columns": ["event_id"],
                "referenced_columns": ["id"],
            }
        ]
    return hints


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
