"""dlt's hints for the tables, derived from ``schema``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from .. import destinations
from ..destinations import Destination
from ..open_tables.merge import FILLED, REPLACED_BY
from ..schema import EVENTS, REQUESTED_AT, Column, Table
from .merge import TName, destination_scope, filled_columns
from .merge_from_files import MERGE, how_rows_are_replaced


def table_hints(
    table: Table,
    destination: str | None = None,
    timestamps_are_final: bool = False,
    name: TName = str,
    absent: Collection[str] = (),
) -> dict[str, Any]:
    """Arguments of a resource's ``apply_hints`` for a table.

    Merging deletes and inserts: several operations return the same event, and dlt's other merge
    strategies fail on, or keep, an id that occurs twice in one load (dlt 1.31).

    Args:
        table: The table.
        destination: Short type of the destination, where it is known.
        timestamps_are_final: A newer version of a row has the same timestamp.
        name: Gives a column's name as the destination's SQL has it.
        absent: Columns that are not to be completed, see ``merge.filled_columns``.
    """
    row = destinations.destination(destination)
    layout = row.lay_out(table)
    required = {column.name for column in table.columns if not column.nullable}
    hints: dict[str, Any] = {
        "table_name": table.name,
        "columns": {
            column.name: column_hints(column, table) | dict(layout.columns.get(column.name, {}))
            for column in table.columns
        },
        # ClickHouse refuses a key that may be NULL.
        "primary_key": [name for name in table.key if name in required],
        "write_disposition": _disposition(table, row, timestamps_are_final, name, absent),
    }
    if table.replaced_by and row.replaces == "keys":
        hints["merge_key"] = table.replaced_by
    if row.file_format:
        hints["file_format"] = row.file_format
    table_wide = dict(layout.table)
    if table.replaced_by and row.replaces == "by itself":
        table_wide[REPLACED_BY] = table.replaced_by
    if (filled := filled_columns(table, absent)) and row.replaces == "by itself":
        table_wide[FILLED] = filled
    if table.disposition == "merge" and row.kind == "duckdb":
        table_wide[MERGE] = how_rows_are_replaced(table, row, timestamps_are_final, absent)
    if table_wide:
        hints["additional_table_hints"] = table_wide
    if table.is_child:
        hints["references"] = [
            {
                "referenced_table": EVENTS.name,
                "columns": ["event_id"],
                "referenced_columns": ["id"],
            }
        ]
    return hints


def dispositions(table: Table, name: TName = str) -> list[Any]:
    """Every write disposition that ``table_hints`` gives a table, whatever the destination."""
    rows = (Destination(""), *destinations.DESTINATIONS)
    return [_disposition(table, row, final, name) for row in rows for final in (True, False)]


def _disposition(
    table: Table,
    row: Destination,
    timestamps_are_final: bool,
    name: TName,
    absent: Collection[str] = (),
) -> Any:
    if table.disposition != "merge" or row.replaces == "by itself":
        return table.disposition
    disposition = {"disposition": "merge", "strategy": "delete-insert"}
    scope = destination_scope(table, row, timestamps_are_final, name if row.quotes else str, absent)
    if scope:
        disposition["destination_scope"] = scope
    return disposition


def column_hints(column: Column, table: Table) -> dict[str, Any]:
    """Dlt's hints for a column."""
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
