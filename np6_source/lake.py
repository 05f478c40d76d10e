"""dlt's filesystem destination, with every event once in its Delta and Iceberg tables.

dlt 1.31 merges into them by key, but takes a load's rows as they come. An event that two operations
return in one load would stand twice in a Delta table, and make pyiceberg fail. This destination is
configured as dlt's own (``destination.filesystem``); its merges get each key once, with the row
that was asked for last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import dlt.destinations
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.common.schema.utils import get_columns_names_with_prop, get_dedup_sort_tuple
from dlt.destinations.impl.filesystem.filesystem import (
    DeltaLoadFilesystemJob,
    FilesystemClient,
    IcebergLoadFilesystemJob,
    ReferenceFollowupJob,
    TableFormatLoadFilesystemJob,
)

from . import destinations
from .errors import SettingError

if TYPE_CHECKING:
    from dlt.common.destination import Destination
    from dlt.common.destination.typing import PreparedTableSchema
    from dlt.common.schema.typing import TTableFormat, TTableSchema
    from pyiceberg.table import Table as IcebergTable

ROWS_AT_ONCE = 50_000

FILES = destinations.destination("filesystem")

KEEPS_COPIES = (
    "The filesystem destination appends: an event that several operations return, or that is read"
    " again, stands in several rows. Read with np6_source.deduplication, or set table_format to"
    " 'delta' or 'iceberg'."
)
"""What to say where ``keeps_copies``."""


class filesystem(dlt.destinations.filesystem):  # noqa: N801 - named as dlt names destinations
    """``dlt.destinations.filesystem``, whose Delta and Iceberg merges get every key once.

    ``dlt.pipeline(destination="np6_source.lake.filesystem")`` names it too.
    """

    @property
    def client_class(self) -> type[FilesystemClient]:
        """The client that dlt loads with."""
        return super().client_class if self.is_hf else LakeClient


class LakeClient(FilesystemClient):
    """dlt's client, with jobs of its own for open table formats."""

    @staticmethod
    def get_reference_followup_job_class(
        table: PreparedTableSchema,
    ) -> type[ReferenceFollowupJob] | None:
        """The job that merges a load's files into a table."""
        job = FilesystemClient.get_reference_followup_job_class(table)
        if job is DeltaLoadFilesystemJob:
            return DeltaJob
        return IcebergJob if job is IcebergLoadFilesystemJob else job


class _EachKeyOnce(TableFormatLoadFilesystemJob):
    """Hands on each key of a load once."""

    def run(self) -> None:
        """Loads the files."""
        table = cast("TTableSchema", self._load_table)
        key = get_columns_names_with_prop(table, "primary_key")
        sort = get_dedup_sort_tuple(table)
        if table["write_disposition"] != "merge" or not key or sort is None:
            super().run()
            return
        with tempfile.TemporaryDirectory(prefix="np6_lake_") as folder:
            given = self.file_paths
            self.file_paths = each_key_once(given, key, " ".join(sort), Path(folder))
            try:
                self.load()
            finally:
                self.file_paths = given

    def load(self) -> None:
        """Loads the files, in which each key stands once."""
        super().run()


class DeltaJob(_EachKeyOnce, DeltaLoadFilesystemJob):
    """Loads into a Delta table, which it makes first where there is none.

    dlt 1.31 appends to a table that it did not find: of two processes that make it at once, the
    second would put in again what the first put in.
    """

    def load(self) -> None:
        """Merges the files."""
        try:
            self._job_client.load_open_table("delta", self.load_table_name)
        except DestinationUndefinedEntity:
            self._make_table()
        super().load()

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
            configuration=config.deltalake_configuration,
            storage_options=deltalake_storage_options(
                config.credentials, config.deltalake_storage_options
            ),
        )


class IcebergJob(_EachKeyOnce, IcebergLoadFilesystemJob):
    """Loads into an Iceberg table.

    dlt 1.31 merges in batches of 1,000 rows, each a commit that reads the table anew.
    """

    def load(self) -> None:
        """Merges the files, or creates the table from them."""
        table = cast("TTableSchema", self._load_table)
        try:
            there = self._job_client.load_open_table(
                "iceberg", self.load_table_name, schema=self.arrow_dataset.schema
            )
        except DestinationUndefinedEntity:
            super().load()  # creates it, and comes here again
            return
        rows = self.arrow_dataset.to_table()
        if rows.num_rows:
            replace_rows(there, rows, get_columns_names_with_prop(table, "primary_key"))


def replace_rows(table: IcebergTable, rows: pa.Table, key: Sequence[str]) -> None:
    """Puts rows into an Iceberg table, in place of those with the same key, in one commit.

    Args:
        table: The table.
        rows: The rows, each key once; no key is NULL.
        key: Columns that identify a row. Rows are looked for by the first.
    """
    from pyiceberg.expressions import In

    same_first = table.scan(row_filter=In(key[0], pc.unique(rows[key[0]]).to_pylist())).to_arrow()
    same_first = same_first.select(rows.column_names).cast(rows.schema)
    kept = same_first.join(rows.select(key), keys=list(key), join_type="left anti")
    with table.transaction() as transaction:
        if same_first.num_rows:
            transaction.delete(In(key[0], pc.unique(same_first[key[0]]).to_pylist()))
        kept = kept.select(rows.column_names).cast(rows.schema)
        transaction.append(pa.concat_tables([rows, kept]))


def each_key_once(files: Sequence[str], key: Sequence[str], order: str, folder: Path) -> list[str]:
    """Parquet files with the rows of others, but each key once.

    Args:
        files: Parquet files.
        key: Columns that identify a row.
        order: Column and direction; the row that comes first stays.
        folder: Where to write; temporary files go there too.

    Returns:
        The files in order; those that lose no row are the given ones.
    """
    columns = ", ".join(f'"{name}"' for name in key)
    column, _, direction = order.partition(" ")
    # DuckDB takes a single quote in a path as the end of a literal, and * or [ as a pattern:
    # parameters avoid the first, dlt's names of folders and files have neither of the others.
    query = f"""
        SELECT filename, list(file_row_number)
        FROM (
            SELECT filename, file_row_number, row_number() OVER (
                PARTITION BY {columns}
                ORDER BY "{column}" {direction}, filename DESC, file_row_number DESC
            ) AS place
            FROM read_parquet($files, filename = true, file_row_number = true)
        )
        WHERE place > 1
        GROUP BY filename
    """
    with duckdb.connect(
        config={"memory_limit": "300MB", "temp_directory": str(folder)}
    ) as connection:
        repeated = dict(connection.execute(query, {"files": list(files)}).fetchall())
    return [
        _without(Path(file), repeated[file], folder / f"{number}.parquet")
        if file in repeated
        else file
        for number, file in enumerate(files)
    ]


def _without(source: Path, rows: Sequence[int], target: Path) -> str:
    """Copies a Parquet file without some of its rows."""
    dropped = pa.array(rows, pa.int64())
    position = 0
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            numbers = pa.array(range(position, position + batch.num_rows), pa.int64())
            writer.write_batch(batch.filter(pc.invert(pc.is_in(numbers, dropped))))
            position += batch.num_rows
    return str(target)


def check_format(
    destination: Destination[Any, Any] | None, table_format: TTableFormat | None
) -> None:
    """Refuses tables in which events would stand twice unsaid.

    Args:
        destination: Where a resource is about to load to.
        table_format: The format of its tables, None: the destination's own.

    Raises:
        SettingError: dlt's own filesystem destination would be asked to merge.
    """
    if (
        isinstance(destination, dlt.destinations.filesystem)
        and not isinstance(destination, filesystem)
        and table_format in FILES.merges_into
    ):
        raise SettingError(
            f"dlt's filesystem destination does not merge an event that stands twice in one load"
            f" into a {table_format} table. Take the one that does, with the same configuration:"
            " destination='np6_source.lake.filesystem'"
        )


def keeps_copies(
    destination: Destination[Any, Any] | None, table_format: TTableFormat | None
) -> bool:
    """Whether dlt appends to the tables of a destination, so that copies of a row stay."""
    is_files = isinstance(destination, dlt.destinations.filesystem)
    return is_files and FILES.appends_to(table_format)
