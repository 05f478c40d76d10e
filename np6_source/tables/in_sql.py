"""Names of tables and columns as a destination's SQL has them, and its transactions."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dlt.common.schema import Schema
from dlt.destinations.sql_client import SqlClientBase

from ..schema import Table
from .naming import name_of


def path_in_sql(table: Table, client: SqlClientBase[Any], schema: Schema) -> str:
    """A table's name, with the dataset's."""
    return client.make_qualified_table_name(name_of(table, schema))


def column_in_sql(name: str, client: SqlClientBase[Any], schema: Schema) -> str:
    """A column's name, quoted."""
    return client.escape_column_name(schema.naming.normalize_path(name))


def in_one_transaction(client: SqlClientBase[Any]) -> AbstractContextManager[Any]:
    """A transaction for what is executed meanwhile, where the destination has any."""
    capabilities = client.capabilities
    if capabilities.supports_ddl_transactions or capabilities.supports_transactions:
        return client.begin_transaction()
    return nullcontext()
