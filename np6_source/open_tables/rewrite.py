"""A snapshot of an Iceberg table that puts files in place of others, and keeps its manifests few.

pyiceberg 0.12's own overwrite carries on a manifest of each earlier one that only says which files
went, for ever, and merges none. Its classes are not promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

MANIFESTS_MERGED = 8
"""Manifests from which on they become one."""

MANIFEST_SIZE = 8 * 1024 * 1024
"""Bytes of a merged manifest at most: Iceberg's own default."""


class _FewManifests(_OverwriteFiles):  # type: ignore[misc]
    def _validate_concurrency(self) -> None:
        """Never commits on top of a version that the rows were not merged into."""
        if self._commit_window is not None and not self._commit_window.is_empty():
            raise CommitFailedException("Another process has committed to the table meanwhile.")

    def _process_manifests(self, manifests: list[Any]) -> list[Any]:
        live = [
            manifest
            for manifest in manifests
            if manifest.added_snapshot_id == self._snapshot_id
            or manifest.has_added_files()
            or manifest.has_existing_files()
        ]
        merging = _ManifestMergeManager(MANIFEST_SIZE, MANIFESTS_MERGED, True, self)
        merged: list[Any] = merging.merge_manifests(live)
        return merged


def snapshot(transaction: Any, io: Any, gone: Iterable[Any], added: Iterable[Any]) -> None:
    """Makes the snapshot.

    Args:
        transaction: A transaction of the table.
        io: The table's.
        gone: The data files that go.
        added: The data files that come.
    """
    is_empty = transaction.table_metadata.current_snapshot() is None
    operation = Operation.APPEND if is_empty else Operation.OVERWRITE
    with _FewManifests(operation=operation, transaction=transaction, io=io) as made:
        for file in gone:
            made.delete_data_file(file)
        for file in added:
            made.append_data_file(file)
