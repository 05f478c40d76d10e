"""The tables under the names that a dlt schema's naming convention gives them."""

from __future__ import annotations

from dlt.common.schema import Schema

from ..schema import TABLES, Table


def name_of(table: Table, schema: Schema) -> str:
    """Name of a table in a schema."""
    return schema.naming.normalize_tables_path(table.name)


def names(schema: Schema) -> list[str]:
    """Names of all tables, in the order of ``TABLES``."""
    return [name_of(table, schema) for table in TABLES]


def filled(schema: Schema) -> list[str]:
    """Names of the tables that some load has made, as far as the schema knows."""
    seen = {table["name"] for table in schema.data_tables(seen_data_only=True)}
    return [name for name in names(schema) if name in seen]
