"""Iceberg tables: rows put in place of others, and files in place of files.

pyiceberg 0.12 replaces rows by a delete and an append, three snapshots that read every column of
every file twice, as ids are random. Here only the ids are read of all, and there is one snapshot.
``ArrowScan`` and ``_dataframe_to_data_files`` are what its ``Transaction.delete`` uses; neither is
promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .compaction import ROWS_JOINED
from .merge import ROWS_AT_ONCE, Merge, without_tombstones

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

READERS = 8
"""Files whose ids are read at once."""


def replace_rows(table: IcebergTable, files: Sequence[str], merge: Merge) -> None:
    """Puts rows into an Iceberg table, in place of earlier ones, in one commit.

    Rows are taken by a hash of their first key column, so many at a time that memory is bounded;
    columns that the files lack keep their values. Rows that are replaced go to the new rows' file,
    their neighbours stay together: the next load, which replaces the newest rows, leaves them be.

    Args:
        table: The table.
        files: Parquet files with the rows, each key once; no key is NULL.
        merge: How rows replace others.
    """
    first = merge.key[0]
    count = sum(pq.read_metadata(file).num_rows for file in files)
    shares = -(-count // ROWS_AT_ONCE)
    with table.transaction() as transaction:
        for share in range(shares):
            rows = _share_of(files, first, share, shares)
            if rows.num_rows:
                _replace(table, transaction, rows, merge)


def _replace(table: IcebergTable, transaction: Any, rows: pa.Table, merge: Merge) -> None:
    """Puts rows into a table, in one snapshot."""
    first = merge.key[0]
    keys = pc.unique(rows[first])
    touched = _with_keys(table, transaction, first, keys)
    parts = [_rows_of(table, [task], first, keys) for task in touched]
    old = pa.concat_tables([table.schema().as_arrow().empty_table(), *parts], **_PERMISSIVE)
    rows = merge.completed(rows, old)
    taken, gone = merge.outcome(rows, old.select([*merge.key, merge.requested_at]))
    if not taken.num_rows:
        return
    new = _as_in(table, _written_and_kept(taken, gone, old, merge))
    neighbours = (_without_keys(read(table, [task]), first, keys) for task in touched)
    replace_files(table, transaction, touched, [[new], *_together(neighbours)])


_PERMISSIVE: Any = {"promote_options": "permissive"}


def _with_keys(table: IcebergTable, transaction: Any, column: str, keys: pa.Array) -> list[Any]:
    """The scan tasks of files that have one of the keys."""
    from pyiceberg.expressions import In

    condition = In(column, keys.to_pylist())
    tasks = list(transaction._scan(row_filter=condition).plan_files())

    def has_one(task: Any) -> bool:
        return bool(_rows_of(table, [task], column, keys, [column]).num_rows)

    with ThreadPoolExecutor(READERS) as readers:
        return [task for task, has in zip(tasks, readers.map(has_one, tasks), strict=True) if has]


def _rows_of(
    table: IcebergTable,
    tasks: Sequence[Any],
    column: str,
    keys: pa.Array,
    columns: Sequence[str] = ("*",),
) -> pa.Table:
    """The rows of files that have one of the keys."""
    found = read(table, tasks, columns)
    return found.filter(pc.is_in(found[column], keys.cast(found.schema.field(column).type)))


def _without_keys(rows: pa.Table, column: str, keys: pa.Array) -> pa.Table:
    known = pc.is_in(rows[column], keys.cast(rows.schema.field(column).type))
    return rows.filter(pc.invert(known))


def _written_and_kept(taken: pa.Table, gone: pa.Table, old: pa.Table, merge: Merge) -> pa.Table:
    """The rows of a load as they are written, and those of the table that they do not replace."""
    written = without_tombstones(taken)
    with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("old", old)
        connection.register("gone", gone)
        connection.register("written", written)
        keys = ", ".join(f'"{name}"' for name in merge.key)
        missing = [name for name in old.column_names if name not in written.column_names]
        others = "".join(f', old."{name}"' for name in missing)
        kept = connection.sql(f"SELECT * FROM old ANTI JOIN gone USING ({keys})")
        kept = kept.to_arrow_table()
        if missing and old.num_rows:
            written = connection.sql(
                f"SELECT written.*{others} FROM written LEFT JOIN old USING ({keys})"
            ).to_arrow_table()
    return pa.concat_tables([written, kept], **_PERMISSIVE)


def _together(tables: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    """Tables gathered into lists of a bounded number of rows."""
    gathered: list[pa.Table] = []
    for rows in tables:
        if gathered and sum(map(len, gathered)) + len(rows) > ROWS_JOINED:
            yield gathered
            gathered = []
        gathered.append(rows)
    if gathered:
        yield gathered


def read(table: IcebergTable, tasks: Sequence[Any], columns: Sequence[str] = ("*",)) -> pa.Table:
    """The rows of some of a table's files, with the columns that the table has now.

    Args:
        table: The table.
        tasks: What ``plan_files`` of its scans returns.
        columns: Which columns.
    """
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    schema = table.schema() if "*" in columns else table.schema().select(*columns)
    return ArrowScan(table.metadata, table.io, schema, AlwaysTrue()).to_table(tasks)


def replace_files(
    table: IcebergTable,
    transaction: Any,
    gone: Iterable[Any],
    written: Iterable[Sequence[pa.Table]],
) -> None:
    """Puts files in place of others, in one snapshot of a transaction.

    Args:
        table: The table.
        transaction: One of its transactions.
        gone: Scan tasks of the files that go.
        written: The rows that come, in lists that become a file each, one in memory at a time.
    """
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    from .rewrite import snapshot

    def added() -> Iterator[Any]:
        for tables in written:
            rows = _as_in(table, pa.concat_tables(tables, **_PERMISSIVE))
            if rows.num_rows:
                yield from _dataframe_to_data_files(table.metadata, rows, table.io)

    snapshot(transaction, table.io, [task.file for task in gone], added())


def _as_in(table: IcebergTable, rows: pa.Table) -> pa.Table:
    """Rows with the types and the nullability of an Iceberg table's columns."""
    schema = table.schema().as_arrow()
    fields = [schema.field(name) for name in schema.names if name in rows.column_names]
    return rows.select([field.name for field in fields]).cast(pa.schema(fields))


def _share_of(files: Sequence[str], first: str, share: int, shares: int) -> pa.Table:
    """The rows of files whose first key column falls into a share of its hashes."""
    with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"SELECT * FROM read_parquet($files, union_by_name = true)"
            f' WHERE hash("{first}") % $shares = $share',
            {"files": list(files), "share": share, "shares": shares},
        ).to_arrow_table()
