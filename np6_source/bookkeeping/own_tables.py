"""The tables that this package keeps beside the source's: what was changed in rows after a load.

No load writes them. They are made with their first row, so that most datasets have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

from ..tables.in_sql import column_in_sql


@dataclass(frozen=True)
class OwnTable:
    """A table of this package's own.

    Attributes:
        name: Its name, before the schema's naming.
        columns: Its columns with their types in SQL.
    """

    name: str
    columns: Mapping[str, str]

    def path(self, client: SqlClientBase[Any], schema: Schema) -> str:
        """The table's name in SQL."""
        return client.make_qualified_table_name(schema.naming.normalize_tables_path(self.name))

    def path_in_copy(self, client: SqlClientBase[Any], schema: Schema) -> str:
        """Its name in SQL in a copy of the database, which is called otherwise."""
        name = schema.naming.normalize_tables_path(self.name)
        return ".".join(client.make_qualified_table_name_path(name, quote=True)[-2:])

    def column(self, name: str, client: SqlClientBase[Any], schema: Schema) -> str:
        """The name of one of its columns in SQL."""
        return column_in_sql(name, client, schema)

    def created(self, client: SqlClientBase[Any], schema: Schema, path: str | None = None) -> str:
        """The statement that makes the table where it is not there.

        Args:
            client: A connection to the dataset.
            schema: The source's schema.
            path: The table's name in SQL, where it is not ``path``.
        """
        columns = ", ".join(
            f"{self.column(name, client, schema)} {kind}" for name, kind in self.columns.items()
        )
        return f"CREATE TABLE IF NOT EXISTS {path or self.path(client, schema)} ({columns})"

    def rows(
        self, client: SqlClientBase[Any], schema: Schema, selected: str, order: str = ""
    ) -> list[Any]:
        """What a query of the table returns; nothing where the table is not there.

        Args:
            client: A connection to the dataset, open.
            schema: The source's schema.
            selected: What to select, in SQL.
            order: What to order by, in SQL; empty: in no order.
        """
        ordered = f" ORDER BY {order}" if order else ""
        query = f"SELECT {selected} FROM {self.path(client, schema)}{ordered}"
        try:
            return list(client.execute_sql(query) or ())
        except DatabaseUndefinedRelation:
            return []


ERASURES = OwnTable(
    "_np6_erasures",
    {
        "erasure_id": "VARCHAR(32)",
        "kind": "VARCHAR(16)",
        "digest": "VARCHAR(32)",
        "before": "TIMESTAMP WITH TIME ZONE",
        "erased_at": "TIMESTAMP WITH TIME ZONE",
        "key_id": "VARCHAR(8)",
        "row_counts": "VARCHAR",
        "rewritten_at": "TIMESTAMP WITH TIME ZONE",
    },
)
"""Who was erased. ``before``: events published before it count, NULL: all. ``rewritten_at``: when
the values were gone from the database's files too."""

MASKINGS = OwnTable(
    "_np6_maskings",
    {
        "masking_id": "VARCHAR(32)",
        "policy_before": "VARCHAR",
        "policy": "VARCHAR",
        "masked_at": "TIMESTAMP WITH TIME ZONE",
        "row_counts": "VARCHAR",
        "rewritten_at": "TIMESTAMP WITH TIME ZONE",
    },
)
"""Under which policies rows were masked. The policies are as ``load_windows.policy``, empty where
everything was kept. ``rewritten_at`` as above."""

REMOVALS = OwnTable(
    "_np6_removals",
    {
        "cutoff": "TIMESTAMP WITH TIME ZONE",
        "removed_at": "TIMESTAMP WITH TIME ZONE",
        "row_counts": "VARCHAR(2000)",
        "rewritten_at": "TIMESTAMP WITH TIME ZONE",
    },
)
"""Up to when events were removed by age. ``rewritten_at`` as above."""
