"""The tables of the dimensions, declared on the dlt resource that is about to load them.

Newer rows replace earlier ones by the columns that say what a response is about: all rows of an
account, or all rows of one id. dlt's ``replace`` would not do: it shows readers an empty table or
drops the one that views are on, and takes away what another account has loaded (dlt 1.31).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.schema.typing import TTableFormat
from dlt.extract import DltResource

from ..destinations import Destination, destination_of
from ..lake import check_format
from ..schema import Table
from .declaration import names_in_sql
from .hints import column_hints
from .merge import TName, snapshot_scope
from .naming import name_of


def declare_snapshots(
    resource: DltResource,
    tables: Mapping[Table, tuple[str, ...]],
    table_format: TTableFormat | None = None,
) -> list[Table]:
    """Gives a resource the hints of its tables.

    Args:
        resource: The resource, while dlt extracts it.
        tables: The tables, the parent first, with the columns by whose values earlier rows go.
        table_format: The format of the tables; None: the destination's own.

    Returns:
        The tables that no load has made yet.
    """
    pipeline = dlt.current.pipeline()
    destination = destination_of(pipeline)
    check_format(pipeline.destination, table_format)
    parent = next(iter(tables))
    schema = dlt.current.source_schema()
    name = names_in_sql(schema) if destination.quotes else str
    for table, replaced_by in tables.items():
        own = snapshot_hints(table, replaced_by, destination, parent, name)
        resource.apply_hints(create_table_variant=True, table_format=table_format, **own)
    there = {found["name"] for found in schema.data_tables(seen_data_only=True)}
    return [table for table in tables if name_of(table, schema) not in there]


def snapshot_hints(
    table: Table,
    replaced_by: tuple[str, ...],
    destination: Destination,
    parent: Table,
    name: TName = str,
) -> dict[str, Any]:
    """Arguments of a resource's ``apply_hints`` for a table.

    Args:
        table: The table.
        replaced_by: Columns by whose values earlier rows go.
        destination: Where to.
        parent: The table whose ids a child's rows name.
        name: Gives a column's name as the destination's SQL has it.
    """
    hints: dict[str, Any] = {
        "table_name": table.name,
        "columns": {column.name: column_hints(column, table) for column in table.columns},
        "primary_key": list(table.key),
        "merge_key": [],
        "write_disposition": "merge",
    }
    if destination.file_format:
        hints["file_format"] = destination.file_format
    if destination.replaces != "by itself":
        hints["write_disposition"] = {"disposition": "merge", "strategy": "delete-insert"}
        if scope := snapshot_scope(replaced_by, destination, name):
            hints["write_disposition"]["destination_scope"] = scope
        elif replaced_by != table.key:
            hints["merge_key"] = list(replaced_by)
    if table is not parent:
        hints["references"] = [
            {
                "referenced_table": parent.name,
                "columns": list(table.key[:2]),
                "referenced_columns": ["account", "id"],
            }
        ]
    return hints
