"""dlt's DuckDB destination, which merges the tables straight from a load's Parquet files.

dlt 1.31 copies every row into a staging dataset in the same file, compresses it there, and copies
it once more. This destination is configured as dlt's own (``destination.duckdb``), and merges each
table in one transaction from the files. Tables that are not this source's go dlt's way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import dlt.destinations
from dlt.common.utils import uniq_id
from dlt.destinations.impl.duckdb.duck import DuckDbClient

from .dlt_internals.jobs import columns_of, file_of_later_job, has_parquet, keys_of, sql_job
from .dlt_internals.packages import note_in_package
from .tables.merge_from_files import MERGE, ROW_OF_FILE, FileMerge

if TYPE_CHECKING:
    from dlt.common.destination.client import FollowupJobRequest, LoadJob
    from dlt.common.destination.typing import PreparedTableSchema
    from dlt.common.storages.load_package import LoadJobInfo

WITHOUT_STAGING = "np6_without_staging"
"""Key in a load package's state: files of it that are done are in no staging dataset."""


class duckdb(dlt.destinations.duckdb):  # noqa: N801 - named as dlt names destinations
    """``dlt.destinations.duckdb``, without a staging dataset for this source's tables.

    ``dlt.pipeline(destination="np6_source.duck.duckdb")`` names it too. A pipeline can change to it
    and back between loads.
    """

    @property
    def destination_type(self) -> str:
        """Dlt's own, so that a pipeline's state names nothing of this package."""
        return "dlt.destinations.duckdb"

    @property
    def client_class(self) -> type[DuckDbClient]:
        """The client that dlt loads with."""
        return DirectClient


def is_begun_without_staging(pipeline: dlt.Pipeline) -> bool:
    """Whether a pending package cannot be loaded to the end by the pipeline's destination.

    Its files that are done are in no staging dataset, from which dlt's own DuckDB destination would
    merge.
    """
    if isinstance(pipeline.destination, duckdb):
        return False
    return any(
        WITHOUT_STAGING in pipeline.get_load_package_state(load_id)
        for load_id in pipeline.list_normalized_load_packages()
    )


class DirectClient(DuckDbClient):
    """dlt's client, with a merge of its own."""

    def should_load_data_to_staging_dataset(self, table_name: str) -> bool:
        """Whether a table's rows are staged."""
        return not self._merges_directly(
            self.prepare_load_table(table_name)
        ) and super().should_load_data_to_staging_dataset(table_name)

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        """The job for a file; one that is merged directly waits for the others of its table."""
        if not (has_parquet(file_path) and self._merges_directly(table)):
            return super().create_load_job(table, file_path, load_id, restore)
        note_in_package(WITHOUT_STAGING)
        return file_of_later_job(file_path)

    def create_table_chain_completed_followup_jobs(
        self,
        table_chain: Sequence[PreparedTableSchema],
        completed_table_chain_jobs: Sequence[LoadJobInfo] | None = None,
    ) -> list[FollowupJobRequest]:
        """The merge of a table, once all its files are there."""
        jobs = completed_table_chain_jobs or ()
        files = [job.file_path for job in jobs if job.job_file_info.file_format == "parquet"]
        (table, *nested) = table_chain
        if nested or not self._merges_directly(table) or len(files) != len(jobs):
            return super().create_table_chain_completed_followup_jobs(
                table_chain, completed_table_chain_jobs
            )
        return [self._merge(table, files)]

    @staticmethod
    def _merges_directly(table: PreparedTableSchema) -> bool:
        return table["write_disposition"] == "merge" and MERGE in table

    def _merge(self, table: PreparedTableSchema, files: Iterable[str]) -> FollowupJobRequest:
        known: dict[str, Any] = cast("Any", table)
        how, name = known[MERGE], known["name"]
        merge = FileMerge(
            source=_rows_of(files),
            target=self.sql_client.make_qualified_table_name(name),
            key=keys_of(table),
            columns=columns_of(table),
            by=how["by"],
            in_range_of_time=how["in_range_of_time"],
            tombstones=how["tombstones"],
            filled=how.get("filled", ()),
            aside=f"np6_{uniq_id()}",
        )
        return sql_job(name, merge.statements())


def _rows_of(files: Iterable[str]) -> str:
    """The rows of Parquet files as SQL, with ``ROW_OF_FILE``."""
    file, _ = ROW_OF_FILE
    paths = ", ".join(map(_literal, files))
    return (
        f"read_parquet([{paths}], union_by_name = true, filename = '{file}',"
        " file_row_number = true)"
    )


def _literal(path: str) -> str:
    """A path as SQL, without what DuckDB takes for a pattern and dlt for the end of a statement."""
    for special in "[*?":
        path = path.replace(special, f"\0{special}]")
    path = path.replace("\0", "[").replace("'", "''")
    ends = {";", *(character for character in path if character.splitlines() == [""])}
    for character in ends:
        path = path.replace(character, f"' || chr({ord(character)}) || '")
    return f"'{path}'"
