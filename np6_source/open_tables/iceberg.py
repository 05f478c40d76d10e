"""Iceberg tables: rows put in place of others, and what a table keeps of earlier loads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .merge import ROWS_AT_ONCE, Merge, without_tombstones

if TYPE_CHECKING:
    from pyiceberg.table import Table as IcebergTable

SNAPSHOTS_KEPT = 50
"""Snapshots of an Iceberg table that stay; twice as many are there before the older ones go. A load
makes two."""

KEPT_SMALL = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "commit.manifest-merge.enabled": "true",
}
"""Properties of Iceberg's that keep a table's metadata from growing; those that are set stay."""


def replace_rows(table: IcebergTable, files: Sequence[str], merge: Merge) -> None:
    """Puts rows into an Iceberg table, in place of earlier ones, in one commit.

    Rows are taken by a hash of their first key column, so many at a time that memory is bounded;
    columns that the files lack keep their values.

    Args:
        table: The table.
        files: Parquet files with the rows, each key once; no key is NULL.
        merge: How rows replace others.
    """
    from pyiceberg.expressions import In

    first = merge.key[0]
    count = sum(pq.read_metadata(file).num_rows for file in files)
    shares = -(-count // ROWS_AT_ONCE)
    with table.transaction() as transaction:
        for share in range(shares):
            rows = _share_of(files, first, share, shares)
            if not rows.num_rows:
                continue
            old = table.scan(row_filter=In(first, pc.unique(rows[first]).to_pylist())).to_arrow()
            rows = merge.completed(rows, old)
            comparable = old.select([*merge.key, merge.requested_at])
            taken, gone = merge.outcome(rows, comparable)
            if old.num_rows:
                transaction.delete(In(first, pc.unique(old[first]).to_pylist()))
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
            both = pa.concat_tables([written, kept], promote_options="permissive")
            transaction.append(_as_in(table, both))


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


def bound_metadata(table: IcebergTable) -> None:
    """Keeps what an Iceberg table remembers of earlier loads from growing with every load.

    The newest ``SNAPSHOTS_KEPT`` snapshots stay for readers; files that only older ones have are
    removed.
    """
    missing = {n: value for n, value in KEPT_SMALL.items() if n not in table.properties}
    if missing:
        with table.transaction() as transaction:
            transaction.set_properties(missing)
    by_age = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
    old = by_age[:-SNAPSHOTS_KEPT]
    # Twice as many before any go: a load that expires nothing writes one file less.
    if len(by_age) < 2 * SNAPSHOTS_KEPT:
        return
    files = _files_of(table, old)
    table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in old]).commit()
    for path in files - _files_of(table, table.snapshots()):
        # What is gone already, another process has removed.
        with suppress(OSError):
            table.io.delete(path)


def _files_of(table: IcebergTable, snapshots: Sequence[Any]) -> set[str]:
    """Paths of the files that snapshots are made of."""
    manifests = {
        manifest.manifest_path: manifest
        for snapshot in snapshots
        for manifest in snapshot.manifests(table.io)
    }
    data = {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
    }
    return {snapshot.manifest_list for snapshot in snapshots} | set(manifests) | data
