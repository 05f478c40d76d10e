"""Under which policies a dataset's rows were masked: the table ``_np6_maskings``.

Whoever extracted before, or whose state is from before, learns of it here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.sql_client import SqlClientBase

TABLE = "_np6_maskings"

COLUMNS = {
    "masking_id": "VARCHAR(32)",
    "policy_before": "VARCHAR",
    "policy": "VARCHAR",
    "masked_at": "TIMESTAMP WITH TIME ZONE",
    "row_counts": "VARCHAR",
    "rewritten_at": "TIMESTAMP WITH TIME ZONE",
}
"""The table's columns with their types in SQL. The policies are as ``load_windows.policy``, empty
where everything was kept. ``rewritten_at``: when the former values were gone from the database's
files too."""


@dataclass(frozen=True)
class Masking:
    """A row of the table.

    Attributes:
        policy_before: The policy of the rows before.
        policy: Theirs since.
        masked_at: When, UTC.
    """

    policy_before: str
    policy: str
    masked_at: datetime


def created(table: str) -> str:
    """The statement that makes the table where it is not there.

    Args:
        table: Its name in SQL.
    """
    columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    return f"CREATE TABLE IF NOT EXISTS {table} ({columns})"


def listed(client: SqlClientBase[Any], schema: Schema) -> tuple[Masking, ...]:
    """The rows of the table, the earliest first; none where it is not there.

    Args:
        client: A connection to the dataset, open.
        schema: The source's schema.
    """
    table = client.make_qualified_table_name(schema.naming.normalize_tables_path(TABLE))
    query = f'SELECT "policy_before", "policy", "masked_at" FROM {table} ORDER BY "masked_at"'
    try:
        return tuple(Masking(*row) for row in client.execute_sql(query) or ())
    except DatabaseUndefinedRelation:
        return ()


def present_policies(recorded: Iterable[str], maskings: Sequence[Masking]) -> frozenset[str]:
    """Policies as they are called since the rows were masked.

    Args:
        recorded: Policies that a state remembers.
        maskings: The table's rows, the earliest first.
    """
    found = set()
    for policy in recorded:
        for masking in maskings:
            policy = masking.policy if policy == masking.policy_before else policy
        found.add(policy)
    return frozenset(found)
