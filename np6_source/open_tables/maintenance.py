"""Keeps Delta and Iceberg tables small into which a schedule loads for years.

Every load leaves data files of its own, and a merge looks into all of them, as ids are random.
Small files are joined once there are many, in a commit of its own, a bounded number of bytes at a
time. What no version of the table names any more is removed at an age that spares its readers. A
load is complete without all this: what fails is said, and a later load does it.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .compaction import DataFile, groups
from .iceberg import read, replace_files

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyiceberg.table import Table as IcebergTable

logger = logging.getLogger(__name__)

SNAPSHOTS_KEPT = 20
"""Snapshots of an Iceberg table that stay, and that may go before any does: a load makes one. Each
costs the next load some 5 ms (pyiceberg 0.12)."""

KEPT_FOR = timedelta(hours=6)
"""Age up to which a snapshot stays however many there are: a query may still read its files."""

UNKNOWN_AFTER = timedelta(days=3)
"""Age from which on a file that no snapshot names was left by a load that was killed. Iceberg's own
``remove_orphan_files`` has the same default."""

NOT_YET_THERE = ".np6-new"
"""Ending of a file that gets its own name once it is whole."""

DELTA_FILE = 8 * 1024 * 1024
DELTA_KEPT_SMALL = {"delta.targetFileSize": str(DELTA_FILE)}
"""Properties of Delta's that bound what a merge writes anew (100 MB by itself); those that are set
stay."""

VACUUM_EVERY = 100
"""Versions of a Delta table, about, between two looks for files that no version names any more."""

ICEBERG_KEPT_SMALL = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
}
"""Properties of Iceberg's that keep a table's metadata from growing; those that are set stay."""

TListed = Callable[[], Iterable[tuple[str, datetime]]]
"""Lists the files in a table's folder: path in it, and when it was written."""


def keep_delta_small(table: DeltaTable) -> None:
    """Joins a Delta table's small files where there are many, and removes files long unused.

    A merge writes each file anew that holds one of its events, and new events into the same: the
    files' size bounds what a load leaves behind. deltalake 1.6 bounds the log itself: a checkpoint
    every 100 versions, entries for 30 days (``delta.checkpointInterval``,
    ``delta.logRetentionDuration``). Files that a version of the last week names stay
    (``delta.deletedFileRetentionDuration``). Of two commits at once that change the same files one
    is refused; a load is then merged again.

    Args:
        table: The table, as it is now.
    """
    try:
        joined = groups(_delta_files(table), DELTA_FILE // 2)
        if joined:
            table.optimize.compact(
                target_size=max(sum(file.size for file in group) for group in joined),
                max_concurrent_tasks=1,
            )
        if joined or table.version() % VACUUM_EVERY == 0:
            missing = {
                name: value
                for name, value in DELTA_KEPT_SMALL.items()
                if name not in table.metadata().configuration
            }
            if missing:  # A table from before this version.
                table.alter.set_table_properties(missing)
            # In full: a killed load leaves files that the log never had.
            table.vacuum(dry_run=False, full=True)
    except Exception as error:  # Each store has its own.
        _warn(table.table_uri.rstrip("/").rpartition("/")[2], error)


def _delta_files(table: DeltaTable) -> list[DataFile]:
    added = pa.table(table.get_add_actions(flatten=True))
    partitions = [name for name in added.column_names if name.startswith("partition.")]
    rows = added.select(["path", "size_bytes", "num_records", *partitions]).to_pylist()
    return [
        DataFile(
            row["path"],
            row["size_bytes"],
            row["num_records"] or 0,
            tuple(row[name] for name in partitions),
        )
        for row in rows
    ]


def keep_iceberg_small(table: IcebergTable, listed: TListed) -> None:
    """Joins an Iceberg table's small files where there are many, and forgets old snapshots.

    Args:
        table: The table, as it is now.
        listed: Lists the files in its folder.
    """
    try:
        _set_properties(table)
        compact_iceberg(table)
        expire_snapshots(table, listed)
    except Exception as error:  # Each catalog and store has its own.
        _warn(table.name()[-1], error)


def _warn(name: str, error: Exception) -> None:
    logger.warning(
        "Table %s: its files could not be tidied up (%s). Nothing is lost, and a later load does"
        " it.",
        name,
        type(error).__name__,
    )


def _set_properties(table: IcebergTable) -> None:
    missing = {n: value for n, value in ICEBERG_KEPT_SMALL.items() if n not in table.properties}
    if missing:
        with table.transaction() as transaction:
            transaction.set_properties(missing)


def compact_iceberg(table: IcebergTable) -> None:
    """Joins small data files of an Iceberg table, in one commit.

    Args:
        table: The table, as it is now.
    """
    spec = table.spec().spec_id
    tasks = {
        task.file.file_path: task
        for task in table.scan().plan_files()
        # Other engines write deletes beside the files; a partition of old is no longer written.
        if not task.delete_files and task.file.spec_id == spec
    }
    joined = groups(
        [
            DataFile(path, file.file_size_in_bytes, file.record_count, file.partition)
            for path, task in tasks.items()
            for file in [task.file]
        ]
    )
    if not joined:
        return
    gone = [[tasks[file.name] for file in group] for group in joined]
    with table.transaction() as transaction:
        replace_files(
            table, transaction, itertools.chain(*gone), ([read(table, group)] for group in gone)
        )


def expire_snapshots(table: IcebergTable, listed: TListed) -> None:
    """Forgets old snapshots of an Iceberg table once there are many, and removes their files.

    The newest stay, those of the last hours, and those with a name (branches and tags). Iceberg's
    properties ``history.expire.min-snapshots-to-keep`` and ``history.expire.max-snapshot-age-ms``
    say otherwise where a table has them.

    Args:
        table: The table, as it is now.
        listed: Lists the files in its folder.
    """
    old = [snapshot.snapshot_id for snapshot in _old_snapshots(table)]
    if len(old) < SNAPSHOTS_KEPT:
        return
    gone = [snapshot for snapshot in table.snapshots() if snapshot.snapshot_id in old]
    files = _files_of(table, gone)
    table.maintenance.expire_snapshots().by_ids(old).commit()
    named = _files_of(table, table.snapshots())
    for path in files - named:
        # What is gone already, another process has removed.
        with suppress(OSError):
            table.io.delete(path)
    for path in left_by_killed_loads(table.location(), named | _statistics(table), listed()):
        with suppress(OSError):
            table.io.delete(path)


def _old_snapshots(table: IcebergTable) -> list[Any]:
    """The snapshots that may go."""
    properties: Mapping[str, str] = table.properties
    kept = int(properties.get("history.expire.min-snapshots-to-keep", SNAPSHOTS_KEPT))
    age = float(
        properties.get("history.expire.max-snapshot-age-ms", KEPT_FOR.total_seconds() * 1000)
    )
    named = {reference.snapshot_id for reference in table.metadata.refs.values()}
    by_age = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
    return [
        snapshot
        for snapshot in by_age[: max(0, len(by_age) - kept)]
        if snapshot.snapshot_id not in named and snapshot.timestamp_ms < time.time() * 1000 - age
    ]


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
        for entry in manifest.fetch_manifest_entry(table.io)
    }
    return {snapshot.manifest_list for snapshot in snapshots} | set(manifests) | data


def _statistics(table: IcebergTable) -> set[str]:
    metadata = table.metadata
    found = [*metadata.statistics, *getattr(metadata, "partition_statistics", ())]
    return {one.statistics_path for one in found}


def left_by_killed_loads(
    location: str, named: set[str], listed: Iterable[tuple[str, datetime]]
) -> list[str]:
    """Files in an Iceberg table's folder that no snapshot names, and that are old enough to go.

    Args:
        location: The table's folder, as its metadata has it.
        named: The files that its snapshots name.
        listed: The files in its folder: path in it, and when it was written.

    Returns:
        Their paths, as the metadata would have them: data files, manifests and lists of manifests.
        None where files that are named are not in the folder: the two cannot be compared then.
    """
    root = f"{location.rstrip('/')}/"
    written = {f"{root}{path.replace(chr(92), '/')}": when for path, when in listed}
    if not named <= written.keys():
        return []
    before = datetime.now(timezone.utc) - UNKNOWN_AFTER
    return [
        path
        for path in sorted(written.keys() - named)
        if written[path] < before
        and path.removeprefix(root).startswith(("data/", "metadata/"))
        and path.endswith((".parquet", ".avro", NOT_YET_THERE))
    ]
