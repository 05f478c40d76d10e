"""dlt's filesystem destination, with every event once in its Delta and Iceberg tables.

dlt 1.31 merges into them by key, but takes a load's rows as they come. An event that two operations
return in one load would be in a Delta table twice, and make pyiceberg fail. This destination is
configured as dlt's own (``destination.filesystem``); its merges get each key once, with the row
that was requested last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
from .dataset_lock import holding, patience
from .destinations import CLOCK_NOISE
from .dlt_internals.pipelines import is_stop_requested
from .errors import SettingError
from .schema import EXECUTION_DATA_TABLE, TIMESTAMP, TOMBSTONE

if TYPE_CHECKING:
    from dlt.common.destination import Destination
    from dlt.common.destination.typing import PreparedTableSchema
    from dlt.common.schema.typing import TTableFormat, TTableSchema
    from pyiceberg.table import Table as IcebergTable

ROWS_AT_ONCE = 50_000
SNAPSHOTS_KEPT = 50
"""Snapshots of an Iceberg table that stay; twice as many are there before the older ones go. A load
makes two."""

KEPT_SMALL = {
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    "commit.manifest-merge.enabled": "true",
}
"""Properties of Iceberg's that keep a table's metadata from growing; those that are set stay."""

REPLACED_BY = "x-np6-replaced-by"
"""Table hint: column by which all earlier rows go when newer ones arrive."""

FILLED = "x-np6-filled"
"""Table hint: columns in which a row of the same version, with a value, stands in for one without;
see ``tables.merge``."""

GONE, NEWEST = "np6_gone", "np6_newest"
"""Columns that a merge into a Delta table adds to its source, and writes nowhere."""

FILES = destinations.destination("filesystem")

KEEPS_COPIES = (
    "The filesystem destination appends: an event that several operations return, or that is read"
    " again, has several rows. Read with np6_source.deduplication, or set table_format to 'delta'"
    " or 'iceberg'."
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
        table: dict[str, Any] = cast("Any", self._load_table)
        key = get_columns_names_with_prop(cast("TTableSchema", table), "primary_key")
        sort = get_dedup_sort_tuple(cast("TTableSchema", table))
        if table["write_disposition"] != "merge" or not key or sort is None:
            super().run()
            return
        with tempfile.TemporaryDirectory(prefix="np6_lake_") as folder:
            given = self.file_paths
            filled = [name for name in table.get(FILLED, ()) if name in table["columns"]]
            self.file_paths = each_key_once(given, key, " ".join(sort), Path(folder), filled)
            try:
                self.merge(Merge(key, table.get(REPLACED_BY), sort[0], filled))
            finally:
                self.file_paths = given

    def merge(self, merge: Merge) -> None:
        """Merges the files, which hold each key once."""
        raise NotImplementedError


@dataclass(frozen=True)
class Merge:
    """How rows replace others.

    Attributes:
        key: Columns that identify a row; rows are looked for by the first.
        replaced_by: Column by which all earlier rows go; None: rows go by their key.
        requested_at: Column that says which of two rows is newer.
        filled: Columns in which a row with the same key and timestamp stands in for one without a
            value.
    """

    key: Sequence[str]
    replaced_by: str | None
    requested_at: str
    filled: Sequence[str] = ()

    def completed(self, new: pa.Table, old: pa.Table) -> pa.Table:
        """Rows of a load with what the table's rows of the same version say besides.

        Args:
            new: The rows of the load, each key once.
            old: The table's rows with the same first key column as one of them.

        Returns:
            The rows. One that is older than the table's but says more is the table's, completed.
        """
        filled = [name for name in self.filled if name in new.column_names]
        if not filled or not old.num_rows:
            return new
        same = " AND ".join(f'n."{name}" = o."{name}"' for name in (*self.key, TIMESTAMP.name))
        time = f'"{self.requested_at}"'
        is_older = f"o.{time} > n.{time} + {CLOCK_NOISE} AND ({_says_more(filled, 'n', 'o')})"
        values = {name: f'n."{name}"' for name in new.column_names}
        for name in filled:
            values[name] = (
                f'CASE WHEN older THEN coalesce(o."{name}", n."{name}")'
                f' ELSE coalesce(n."{name}", o."{name}") END'
            )
        values[self.requested_at] = f"CASE WHEN older THEN o.{time} ELSE n.{time} END"
        columns = ", ".join(f'{value} AS "{name}"' for name, value in values.items())
        with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("new", new)
            connection.register("old", old)
            rows = connection.sql(
                f"SELECT {columns} FROM new AS n LEFT JOIN old AS o ON {same}"
                f", LATERAL (SELECT {is_older} AS older)"
            )
            return rows.to_arrow_table().cast(new.schema)

    def outcome(self, new: pa.Table, old: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Which rows of a load to write, and which rows of the table they replace.

        Args:
            new: The rows of the load, each key once.
            old: The table's rows with the same first key column as one of them.

        Returns:
            The rows to put in, those of ``new`` of which the table has nothing newer. The keys of
            the rows to take away.
        """
        by = [self.replaced_by] if self.replaced_by else list(self.key)
        with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("new", new)
            connection.register("old", old)
            same = " AND ".join(f'new."{name}" = old."{name}"' for name in by)
            time = f'"{self.requested_at}"'
            newer = f"old.{time} > new.{time} + {CLOCK_NOISE}"
            rows = connection.sql(f"SELECT * FROM new ANTI JOIN old ON {same} AND {newer}")
            rows = rows.to_arrow_table().select(new.column_names).cast(new.schema)
            connection.register("taken", rows)
            same = same.replace("new.", "taken.")
            keys = ", ".join(f'"{name}"' for name in self.key)
            gone = connection.sql(f"SELECT {keys} FROM old SEMI JOIN taken ON {same}")
            return rows, gone.to_arrow_table()


def _says_more(columns: Sequence[str], one: str, other: str) -> str:
    """Whether a row has a value where another has none, as SQL."""
    return " OR ".join(
        f'{one}."{name}" IS NOT NULL AND {other}."{name}" IS NULL' for name in columns
    )


def without_tombstones(rows: pa.Table) -> pa.Table:
    """The rows without those that only say that an event has none."""
    if not {*EXECUTION_DATA_TABLE.key, TOMBSTONE.column} <= set(rows.column_names):
        return rows  # A cancellation's value_type may have the same word.
    says = pc.equal(rows[TOMBSTONE.column], TOMBSTONE.value)
    return rows.filter(pc.invert(pc.fill_null(says, False)))


class DeltaJob(_EachKeyOnce, DeltaLoadFilesystemJob):
    """Loads into a Delta table, which it makes first where there is none.

    dlt 1.31 appends to a table that it did not find: of two processes that make it at once, the
    second would put in again what the first put in. It replaces newer rows by older ones, and
    leaves keys that a newer version of their event lacks.
    """

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
                    predicate=f"{same} AND ({_says_more(filled, 'source', 'target')})",
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
            configuration=config.deltalake_configuration,
            storage_options=deltalake_storage_options(
                config.credentials, config.deltalake_storage_options
            ),
        )


class IcebergJob(_EachKeyOnce, IcebergLoadFilesystemJob):
    """Loads into an Iceberg table, one process after the other where it lies in a local folder.

    dlt 1.31 merges in batches of 1,000 rows, each a commit that reads the table anew. Its catalog
    is each process's own: of two commits at once one is lost.
    """

    def run(self) -> None:
        """Loads the files, and bounds what the table's metadata keeps."""
        with self._alone():
            super().run()
            with suppress(DestinationUndefinedEntity):
                bound_metadata(self._job_client.load_open_table("iceberg", self.load_table_name))

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
        with tempfile.TemporaryDirectory(prefix="np6_lake_") as folder:
            empty = Path(folder) / "empty.parquet"
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
            yield
            return
        name = f"table {self.load_table_name}"
        with holding(Path(f"{folder.rstrip('/')}.np6.lock"), name, patience(is_stop_requested)):
            yield


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


def each_key_once(
    files: Sequence[str],
    key: Sequence[str],
    order: str,
    folder: Path,
    filled: Sequence[str] = (),
) -> list[str]:
    """Parquet files with the rows of others, but each key once.

    Args:
        files: Parquet files.
        key: Columns that identify a row.
        order: Column and direction; the row that comes first stays.
        folder: Where to write; temporary files go there too.
        filled: Columns in which the row that stays takes a value that others of the same version
            have.

    Returns:
        The files in order; those that lose no row are the given ones. Rows that were completed are
        in a further one.
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
            ) AS nth, count(*) OVER (PARTITION BY {columns}) AS copies
            FROM read_parquet($files, filename = true, file_row_number = true)
        )
        WHERE {"copies > 1" if filled else "nth > 1"}
        GROUP BY filename
    """
    completed = folder / "completed.parquet"
    with duckdb.connect(
        config={"memory_limit": "300MB", "temp_directory": str(folder)}
    ) as connection:
        repeated = dict(connection.execute(query, {"files": list(files)}).fetchall())
        if repeated and filled:
            _complete(connection, files, key, order, filled, completed)
    once = [
        _without(Path(file), repeated[file], folder / f"{number}.parquet")
        if file in repeated
        else file
        for number, file in enumerate(files)
    ]
    return [*once, str(completed)] if repeated and filled else once


def _complete(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[str],
    key: Sequence[str],
    order: str,
    filled: Sequence[str],
    target: Path,
) -> None:
    """Writes the rows of keys that occur more than once, each once and completed."""
    schema = pq.read_schema(files[0])
    connection.execute("SET TimeZone = 'UTC'")
    column, _, direction = order.partition(" ")
    keys = ", ".join(f'"{name}"' for name in key)
    first = f'ORDER BY "{column}" {direction}, filename DESC, file_row_number DESC'
    same = f'PARTITION BY {keys}, "{TIMESTAMP.name}"'
    values = ", ".join(
        f'coalesce("{name}", max("{name}") OVER ({same})) AS "{name}"'
        if name in filled
        else f'"{name}"'
        for name in schema.names
    )
    rows = connection.execute(
        f"""
        SELECT {values}
        FROM read_parquet(
            $files, union_by_name = true, filename = true, file_row_number = true
        )
        QUALIFY count(*) OVER (PARTITION BY {keys}) > 1
            AND row_number() OVER (PARTITION BY {keys} {first}) = 1
        """,
        {"files": list(files)},
    )
    read = getattr(rows, "to_arrow_reader", None) or rows.fetch_record_batch
    with pq.ParquetWriter(target, schema) as writer:
        for batch in read(ROWS_AT_ONCE):
            writer.write_table(pa.Table.from_batches([batch]).cast(schema))


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
    """Refuses tables in which events would be twice without a word.

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
            f"dlt's filesystem destination does not merge an event that is twice in one load"
            f" into a {table_format} table. Take the one that does, with the same configuration:"
            " destination='np6_source.lake.filesystem'"
        )


def check_writers(pipeline: dlt.Pipeline) -> None:
    """Refuses to load beside others into tables that take one writer at a time.

    Args:
        pipeline: A pipeline that is about to load what it has extracted.

    Raises:
        SettingError: Rows would be lost, or be in the table twice.
    """
    one_writer = destinations.destination_of(pipeline).one_writer
    in_force = {
        table.get("table_format")
        for name in pipeline.schema_names
        for table in pipeline.schemas[name].data_tables()
    }
    if refused := sorted(one_writer & in_force):
        raise SettingError(
            f"{refused[0].capitalize()} tables cannot be merged into by several processes at once:"
            " rows would be lost, or be in the table twice. Take table_format='delta', or give a"
            " lock (turn=...)."
        )


def keeps_copies(
    destination: Destination[Any, Any] | None, table_format: TTableFormat | None
) -> bool:
    """Whether dlt appends to the tables of a destination, so that copies of a row stay."""
    is_files = isinstance(destination, dlt.destinations.filesystem)
    return is_files and FILES.appends_to(table_format)
