"""The jobs that merge a load's files into Delta and Iceberg tables, each key once.

dlt 1.31 takes a load's rows as they come: an event that two operations return in one load would be
in a Delta table twice, and make pyiceberg fail.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema.utils import get_columns_names_with_prop, get_dedup_sort_tuple
from dlt.common.storages.fsspec_filesystem import glob_files
from dlt.destinations.impl.filesystem.filesystem import (
    DeltaLoadFilesystemJob,
    FilesystemClient,
    IcebergLoadFilesystemJob,
    ReferenceFollowupJob,
    TableFormatLoadFilesystemJob,
)

from ..dataset_lock import holding, patience
from ..destinations import CLOCK_NOISE
from ..dlt_internals.pipelines import is_stop_requested
from ..schema import TIMESTAMP
from ..temporary_folder import temporary_folder
from .iceberg import replace_rows
from .intact import named_where_damaged
from .maintenance import DELTA_KEPT_SMALL, keep_delta_small, keep_iceberg_small
from .merge import (
    FILLED,
    REPLACED_BY,
    ROWS_AT_ONCE,
    Merge,
    each_key_once,
    says_more,
    without_tombstones,
)
from .whole_files import WholeFiles

if TYPE_CHECKING:
    from dlt.common.destination.typing import PreparedTableSchema
    from dlt.common.schema.typing import TTableFormat, TTableSchema

GONE, NEWEST = "np6_gone", "np6_newest"
"""Columns that a merge into a Delta table adds to its source, and writes nowhere."""

TRIES, LONGEST_WAIT = 10, 2.0
"""How often a merge is tried where others commit meanwhile, and the seconds between two tries at
most. dlt 1.31 then tries the job five times again."""


class LakeClient(FilesystemClient):
    """dlt's client, with jobs of its own for open table formats, and whole files."""

    def __init__(self, *arguments: Any) -> None:
        """As dlt's.

        Args:
            arguments: dlt's.
        """
        super().__init__(*arguments)
        if self.is_local_filesystem:
            self.fs_client = WholeFiles(self.bucket_path, **self.fs_client.storage_options)

    def create_dataset(self) -> None:
        """Makes the dataset's folder, which a kill may have left without the file that dlt adds."""
        self.fs_client.makedirs(self.dataset_path, exist_ok=True)

    @staticmethod
    def get_reference_followup_job_class(
        table: PreparedTableSchema,
    ) -> type[ReferenceFollowupJob] | None:
        """The job that merges a load's files into a table."""
        job = FilesystemClient.get_reference_followup_job_class(table)
        if job is DeltaLoadFilesystemJob:
            return DeltaJob
        return IcebergJob if job is IcebergLoadFilesystemJob else job

    def get_open_table_catalog(
        self, table_format: TTableFormat, catalog_name: str | None = None
    ) -> Any:
        """The catalog of Iceberg tables: the configured one, or one that reads the folders."""
        catalog = super().get_open_table_catalog(table_format, catalog_name)
        from dlt.common.libs.pyiceberg import is_ephemeral_catalog

        from .folder_catalog import FolderCatalog

        if isinstance(catalog, FolderCatalog) or not is_ephemeral_catalog(catalog):
            return catalog
        self._catalog = FolderCatalog(catalog.name, self.fs_client, **catalog.properties)
        self._catalog_namespaces.clear()
        return super().get_open_table_catalog(table_format, catalog_name)

    def load_open_table(self, table_format: TTableFormat, table_name: str, **options: Any) -> Any:
        """A Delta or Iceberg table as it is now."""
        if table_format == "iceberg" and self.is_open_table("iceberg", table_name):
            from .folder_catalog import FolderCatalog

            catalog = self.get_open_table_catalog("iceberg")
            if isinstance(catalog, FolderCatalog):
                folder = self.get_open_table_location("iceberg", table_name)
                catalog.find(f"{self.dataset_name}.{table_name}", folder)
        return super().load_open_table(table_format, table_name, **options)


class _EachKeyOnce(TableFormatLoadFilesystemJob):
    """Hands on each key of a load once."""

    def run(self) -> None:
        """Loads the files."""
        table: dict[str, Any] = cast("Any", self._load_table)
        key = get_columns_names_with_prop(cast("TTableSchema", table), "primary_key")
        sort = get_dedup_sort_tuple(cast("TTableSchema", table))
        if table["write_disposition"] != "merge" or not key or sort is None:
            super().run()
            return
        with temporary_folder("lake") as folder:
            given = self.file_paths
            filled = [name for name in table.get(FILLED, ()) if name in table["columns"]]
            self.file_paths = each_key_once(given, key, " ".join(sort), folder, filled)
            try:
                self.merge(Merge(key, table.get(REPLACED_BY), sort[0], filled))
            finally:
                self.file_paths = given

    def merge(self, merge: Merge) -> None:
        """Merges the files, which hold each key once."""
        raise NotImplementedError


def until_committed(merge: Callable[[], None], *refused: type[Exception]) -> None:
    """Merges again for as long as another process's commit comes first, each time into its rows.

    Args:
        merge: Reads the table anew and merges into it.
        refused: What it raises where another has committed meanwhile.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            merge()
            return
        except refused:
            if not tries_left:
                raise
            time.sleep(random.uniform(0, LONGEST_WAIT))


class DeltaJob(_EachKeyOnce, DeltaLoadFilesystemJob):
    """Loads into a Delta table, which it makes first where there is none.

    dlt 1.31 appends to a table that it did not find: of two processes that make it at once, the
    second would put in again what the first put in. It replaces newer rows by older ones, and
    leaves keys that a newer version of their event lacks.
    """

    def run(self) -> None:
        """Loads the files, and keeps the table's own few."""
        from deltalake.exceptions import CommitFailedError

        with named_where_damaged(self._job_client.dataset_name, self.load_table_name):
            until_committed(super().run, CommitFailedError)
        with suppress(DestinationUndefinedEntity):
            keep_delta_small(self._job_client.load_open_table("delta", self.load_table_name))

    def merge(self, merge: Merge) -> None:
        """Merges the files, in one commit."""
        from dlt.common.libs.deltalake import evolve_delta_table_schema

        try:
            table = self._job_client.load_open_table("delta", self.load_table_name)
        except DestinationUndefinedEntity:
            self._make_table()
            table = self._job_client.load_open_table("delta", self.load_table_name)
        evolve_delta_table_schema(table, self.arrow_dataset.schema)
        if merge.replaced_by is None:
            self._update(table, merge)
            return
        rows = self.arrow_dataset.to_table()
        if not rows.num_rows:
            return
        wanted = pa.schema([rows.schema.field(name) for name in (*merge.key, merge.requested_at)])
        replaced = pc.unique(rows[merge.replaced_by])
        # Not as the scan's filter: deltalake 1.6 writes texts as string_view, which pyarrow 26
        # cannot compare with one.
        old = pa.Table.from_batches(
            [
                batch.filter(pc.is_in(batch[merge.replaced_by], replaced))
                for scanned in table.to_pyarrow_dataset().to_batches(columns=wanted.names)
                for batch in [scanned.cast(wanted)]
            ],
            wanted,
        )
        rows, gone = merge.outcome(rows, old)
        rows = without_tombstones(rows)
        gone = gone.join(rows.select(merge.key), keys=list(merge.key), join_type="left anti")
        deleted = {
            name: gone[name].cast(rows.schema.field(name).type)
            if name in merge.key
            else pa.nulls(gone.num_rows, rows.schema.field(name).type)
            for name in rows.column_names
        }
        nullable = pa.schema([field.with_nullable(True) for field in rows.schema])
        source = pa.concat_tables([rows.cast(nullable), pa.table(deleted, schema=nullable)])
        flags = pa.array([False] * rows.num_rows + [True] * gone.num_rows, pa.bool_())
        source = source.append_column(GONE, flags)
        if source.num_rows:
            self._matched(table, source, merge).when_matched_delete(
                predicate=f"source.{GONE}"
            ).when_matched_update_all(except_cols=[GONE]).when_not_matched_insert_all(
                predicate=f"NOT source.{GONE}", except_cols=[GONE]
            ).execute()

    def _update(self, table: Any, merge: Merge) -> None:
        """Merges row by row; the rows stay in their files until Delta takes them."""
        time = f'"{merge.requested_at}"'
        with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            # As a column: deltalake 1.6 cannot write a predicate with an interval down.
            source = connection.sql(
                f"SELECT *, {time} + {CLOCK_NOISE} AS {NEWEST}"
                " FROM read_parquet($files, union_by_name = true)",
                params={"files": list(self.file_paths)},
            )
            # DuckDB 1.4 has the older name.
            read = getattr(source, "to_arrow_reader", None) or source.fetch_arrow_reader
            there = {field.name for field in table.schema().fields}
            filled = [c for c in merge.filled if c in source.columns and c in there]
            same = f'source."{TIMESTAMP.name}" = target."{TIMESTAMP.name}"'
            merging = self._matched(table, read(ROWS_AT_ONCE), merge)
            if filled:
                merging = merging.when_matched_update(
                    {
                        name: f'CASE WHEN {same} THEN coalesce(source."{name}", target."{name}")'
                        f' ELSE source."{name}" END'
                        if name in filled
                        else f'source."{name}"'
                        for name in source.columns
                        if name != NEWEST
                    },
                    predicate=f"source.{NEWEST} >= target.{time}",
                ).when_matched_update(
                    {name: f'coalesce(target."{name}", source."{name}")' for name in filled},
                    predicate=f"{same} AND ({says_more(filled, 'source', 'target')})",
                )
            else:
                merging = merging.when_matched_update_all(
                    predicate=f"source.{NEWEST} >= target.{time}", except_cols=[NEWEST]
                )
            merging.when_not_matched_insert_all(except_cols=[NEWEST]).execute()

    def _matched(self, table: Any, source: Any, merge: Merge) -> Any:
        from dlt.common.libs.deltalake import ensure_delta_compatible_arrow_data

        return table.merge(
            source=ensure_delta_compatible_arrow_data(source, self._partition_columns),
            predicate=" AND ".join(f'target."{name}" = source."{name}"' for name in merge.key),
            source_alias="source",
            target_alias="target",
            streamed_exec=self._job_client.config.deltalake_streamed_exec,
        )

    def _make_table(self) -> None:
        from deltalake import DeltaTable
        from dlt.common.libs.deltalake import (
            deltalake_storage_options,
            ensure_delta_compatible_arrow_schema,
        )

        config = self._job_client.config
        partition_by = self._partition_columns
        DeltaTable.create(
            self._job_client.get_open_table_location("delta", self.load_table_name),
            ensure_delta_compatible_arrow_schema(self.arrow_dataset.schema, partition_by),
            mode="ignore",
            partition_by=partition_by,
            configuration={**DELTA_KEPT_SMALL, **(config.deltalake_configuration or {})},
            storage_options=deltalake_storage_options(
                config.credentials, config.deltalake_storage_options
            ),
        )


class IcebergJob(_EachKeyOnce, IcebergLoadFilesystemJob):
    """Loads into an Iceberg table, one process after the other where it lies in a local folder.

    In a bucket, of two commits at once one is refused: its rows are merged again. dlt 1.31 merges
    in batches of 1,000 rows, each a commit that reads the table anew.
    """

    _is_under_way = False

    def run(self) -> None:
        """Loads the files, and keeps the table's own files and metadata few."""
        if self._is_under_way:  # dlt 1.31 calls it once more after it has made a table.
            super().run()
            return
        from pyiceberg.exceptions import CommitFailedException

        from .folder_catalog import TableChanged

        with self._alone():
            with named_where_damaged(self._job_client.dataset_name, self.load_table_name):
                until_committed(super().run, TableChanged, CommitFailedException)
            with suppress(DestinationUndefinedEntity):
                table = self._job_client.load_open_table("iceberg", self.load_table_name)
                keep_iceberg_small(table, self._files)

    def _files(self) -> Iterator[tuple[str, datetime]]:
        """The files in the table's folder: path in it, and when it was written."""
        client = self._job_client
        folder = client.get_open_table_location("iceberg", self.load_table_name)
        for file in glob_files(client.fs_client, folder, "**"):
            yield file["relative_path"], file["modification_date"]

    def merge(self, merge: Merge) -> None:
        """Merges the files, or creates the table from them."""
        try:
            table = self._job_client.load_open_table(
                "iceberg", self.load_table_name, schema=self.arrow_dataset.schema
            )
        except DestinationUndefinedEntity:
            self._make_table()
            table = self._job_client.load_open_table("iceberg", self.load_table_name)
        replace_rows(table, self.file_paths, merge)

    def _make_table(self) -> None:
        """Creates the table by dlt's own way, from no rows."""
        given = self.file_paths
        with temporary_folder("lake") as folder:
            empty = folder / "empty.parquet"
            pq.write_table(self.arrow_dataset.schema.empty_table(), empty)
            self.file_paths = [str(empty)]
            declared = self._load_table
            self._load_table = cast("Any", {**declared, "write_disposition": "append"})
            try:
                IcebergLoadFilesystemJob.run(self)
            finally:
                self.file_paths, self._load_table = given, declared

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other processes from the table, where it lies in a folder of this machine."""
        location = self._job_client.get_open_table_location("iceberg", self.load_table_name)
        folder = location.removeprefix("file://")
        if "://" in folder:
            self._is_under_way = True
            try:
                yield
            finally:
                self._is_under_way = False
            return
        name = f"table {self.load_table_name}"
        with holding(Path(f"{folder.rstrip('/')}.np6.lock"), name, patience(is_stop_requested)):
            self._is_under_way = True
            try:
                yield
            finally:
                self._is_under_way = False
