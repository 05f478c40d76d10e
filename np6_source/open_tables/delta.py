"""A dataset's Delta tables, read through Arrow, and changed so that no file keeps old values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.dataset
from dlt.common.schema import Schema
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

if TYPE_CHECKING:
    from deltalake import DeltaTable

LOG_RETENTION = "delta.logRetentionDuration"
"""Delta's property: how long a table's log stays; 30 days where it is not set. The log is cut here
without it: Delta compares the age of files by two clocks."""

ATTEMPTS = 10
"""How often a change is tried, where others commit to the table meanwhile."""

_VERSION = re.compile(r"[0-9]{20}")
"""What the names of files in a log begin with."""

ORPHANS_AGE = 24
"""Hours after which a file that no version of a table names is taken for one that a killed load has
left. A younger one may be of a load that is about to commit it."""


def is_delta(client: FilesystemClient, schema: Schema, table: str) -> bool:
    """Whether a table of a schema is one of Delta's."""
    return table in schema.tables and client.is_open_table("delta", table)


def delta_table(client: FilesystemClient, name: str) -> DeltaTable | None:
    """A Delta table of a dataset as it is now; None where there is none.

    Args:
        client: dlt's client of the dataset.
        name: The table's name, after the schema's naming.
    """
    location, options = _location(client, name), _options(client)
    # Looked for before: deltalake need not be installed where there are no Delta tables.
    log = f"{client.get_table_dir(name).rstrip('/')}/_delta_log"
    client.fs_client.invalidate_cache(log)
    if not client.fs_client.exists(log):
        return None
    from deltalake import DeltaTable

    if not DeltaTable.is_deltatable(location, options):
        return None
    return DeltaTable(location, storage_options=options)


def append(client: FilesystemClient, name: str, rows: pa.Table) -> None:
    """Adds rows to a Delta table, which is made where it is not there."""
    from deltalake import write_deltalake

    write_deltalake(_location(client, name), rows, mode="append", storage_options=_options(client))


def change(client: FilesystemClient, name: str, keys: pa.Table, new: Mapping[str, str]) -> None:
    """Changes rows of a Delta table, or removes them, in one commit.

    The commit names columns, and no value.

    Args:
        client: dlt's client of the dataset.
        name: The table.
        keys: Columns of the table; each row says which rows of the table are meant. No row is
            there twice.
        new: The columns' new values as SQL; empty: the rows go.
    """
    if not keys.num_rows:
        return
    same = " AND ".join(f'target."{column}" = source."{column}"' for column in keys.column_names)

    def commit(table: DeltaTable) -> None:
        merging = table.merge(
            source=keys, predicate=same, source_alias="source", target_alias="target"
        )
        if new:
            merging.when_matched_update({f'"{column}"': new[column] for column in new}).execute()
        else:
            merging.when_matched_delete().execute()

    _committed(client, name, commit)


def forget_versions(client: FilesystemClient, name: str) -> None:
    """Removes the files that a Delta table does not need now, and what its log says of them.

    A file that a load is about to commit stays. A checkpoint has the statistics of the files that
    are there; earlier entries of the log go, as Delta's own cleaning does it.
    """

    def commit(table: DeltaTable) -> None:
        kept = table.metadata().configuration.get(LOG_RETENTION, "interval 30 days")
        table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=False)
        table.vacuum(ORPHANS_AGE, dry_run=False, enforce_retention_duration=False, full=True)
        # A version of which the log has nothing to say; the checkpoint is of it.
        table.alter.set_table_properties({LOG_RETENTION: kept})
        table.update_incremental()
        table.create_checkpoint()
        log = f"{client.get_table_dir(name).rstrip('/')}/_delta_log"
        for path in client.fs_client.ls(log, detail=False, refresh=True):
            version = _VERSION.match(str(path).rpartition("/")[2])
            if version and int(version[0]) < table.version():
                client.fs_client.rm_file(str(path))

    _committed(client, name, commit)


def _committed(client: FilesystemClient, name: str, commit: Callable[[DeltaTable], None]) -> None:
    """Commits to a table, on top of what others have committed meanwhile."""
    from deltalake.exceptions import CommitFailedError

    for attempt in range(ATTEMPTS):
        table = delta_table(client, name)
        if table is None:
            return
        try:
            commit(table)
            return
        except CommitFailedError:
            if attempt == ATTEMPTS - 1:
                raise


def rows(client: FilesystemClient, name: str) -> pa.dataset.Dataset | None:
    """The rows of a Delta table as they are now, for ``ArrowSqlClient``; None: it is not there."""
    table = delta_table(client, name)
    return None if table is None else table.to_pyarrow_dataset()


def _location(client: FilesystemClient, name: str) -> str:
    return client.get_open_table_location("delta", name)


def _options(client: FilesystemClient) -> dict[str, str]:
    from dlt.common.libs.deltalake import deltalake_storage_options

    config = client.config
    return deltalake_storage_options(config.credentials, config.deltalake_storage_options)
