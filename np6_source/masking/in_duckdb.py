"""A DuckDB file under a policy: written anew, masked on the way, and put in the old one's place.

Values that are changed in place leave the old ones in the file, and all rows in one transaction do
not fit into its memory. The rename is the commit: a kill before it leaves the old file as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import sqlglot
from dlt.destinations.sql_client import SqlClientBase
from sqlglot import exp

from ..persons.dataset import Dataset
from ..persons.duckdb_file import COPY, RewritingFailed
from .values import NewValue, TNewValues

AT_ONCE = 20_000
"""Rows that are in memory at once."""

_BATCH = "np6_batch"


def masked_copy(
    data: Dataset, values: TNewValues, then: Sequence[str], made_anew: Collection[str] = ()
) -> Callable[[SqlClientBase[Any], str], None]:
    """A function that copies a database as ``persons.duckdb_file.rewrite`` wants it.

    Rows of dlt's staging schemas are left out.

    Args:
        data: The dataset.
        values: What changes; names of tables and columns as in ``schema``.
        then: Statements to run in the copy, with names of two parts.
        made_anew: Tables whose rows these make: none is copied, for a row that is deleted again
            leaves its values in the file.
    """
    dataset = str(data.client.dataset_name)
    naming = data.schema.naming
    changed = {
        (dataset, naming.normalize_tables_path(table)): {
            naming.normalize_path(one.column): one for one in its
        }
        for table, its in values.items()
    }
    left_out = {(dataset, naming.normalize_tables_path(table)) for table in made_anew}
    staging = (str(data.client.staging_dataset_name), f"{dataset}_staging")

    def copy(client: SqlClientBase[Any], old: str) -> None:
        connection = client.native_connection
        connection.execute(f'COPY FROM DATABASE "{old}" TO {COPY} (SCHEMA)')
        waiting = [
            (schema, table, sql)
            for schema, table, sql in connection.execute(
                "SELECT schema_name, table_name, sql FROM duckdb_tables()"
                " WHERE database_name = ? AND NOT temporary",
                [old],
            ).fetchall()
            if not schema.startswith(staging) and (schema, table) not in left_out
        ]
        while waiting:
            left = []
            for schema, table, sql in waiting:
                its = changed.get((schema, table), {})
                try:
                    _copy_rows(connection, old, (schema, table), sql, its)
                except duckdb.ConstraintException:
                    left.append((schema, table, sql))  # Another table has to be there first.
            if len(left) == len(waiting):
                names = ", ".join(f"{schema}.{table}" for schema, table, _ in left)
                raise RewritingFailed(f"{names} cannot be copied: nothing was changed.")
            waiting = left
        connection.execute(f"USE {COPY}")
        try:
            for statement in then:
                connection.execute(statement)
        finally:
            connection.execute(f'USE "{old}"')

    return copy


def _copy_rows(
    connection: duckdb.DuckDBPyConnection,
    old: str,
    path: tuple[str, str],
    sql: str,
    changed: dict[str, NewValue],
) -> None:
    full = ".".join(_quoted(part) for part in path)
    names = [
        name
        for (name,) in connection.execute(
            "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = ?"
            " AND table_name = ? ORDER BY column_index",
            [old, *path],
        ).fetchall()
        if name not in _generated(sql)
    ]
    columns = ", ".join(map(_quoted, names))
    into = f"INSERT INTO {COPY}.{full} ({columns})"
    if not changed:
        connection.execute(f'{into} SELECT {columns} FROM "{old}".{full}')
        return
    given = ", ".join(
        f"{_quoted(name)}::VARCHAR AS {_quoted(name)}" if name in changed else _quoted(name)
        for name in names
    )
    # Functions of Python's that DuckDB would call want numpy (1.5).
    with connection.cursor() as cursor:
        relation = cursor.sql(f'SELECT {given} FROM "{old}".{full}')
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        try:
            for batch in read(AT_ONCE):
                # Each INSERT on its own: a transaction would keep all batches until its end.
                connection.register(_BATCH, _changed(pa.Table.from_batches([batch]), changed))
                connection.execute(f"{into} SELECT {columns} FROM {_BATCH}")
                connection.unregister(_BATCH)
        except duckdb.ConstraintException:
            connection.execute(f"DELETE FROM {COPY}.{full}")  # It is tried again.
            raise


def _changed(rows: pa.Table, changed: dict[str, NewValue]) -> pa.Table:
    """Rows with their new values, without those that go."""
    found = rows
    for name, value in changed.items():
        if value.make is None:
            values = pa.nulls(rows.num_rows, pa.string())
        else:
            given = (rows[of].to_pylist() for of in value.of)
            values = pa.array([value.make(*each) for each in zip(*given, strict=True)], pa.string())
        found = found.set_column(found.schema.get_field_index(name), name, values)
    for name, value in changed.items():
        if not value.keeps_row:
            found = found.filter(pc.is_valid(found[name]))
    return found


def _generated(sql: str) -> set[str]:
    """The columns of a table that cannot be written to."""
    if "GENERATED" not in sql.upper():
        return set()
    kinds = (exp.ComputedColumnConstraint, exp.GeneratedAsIdentityColumnConstraint)
    parsed = sqlglot.parse_one(sql, read="duckdb")
    return {one.name for one in parsed.find_all(exp.ColumnDef) if one.find(*kinds)}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
