"""Jobs of a load package that the destination runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dlt.common.schema.utils import get_columns_names_with_prop
from dlt.common.storages.load_package import (
    ParsedLoadJobFileName,
)
from dlt.destinations.job_impl import FinalizedLoadJobWithFollowupJobs, FollowupJobRequestImpl
from dlt.load.exceptions import LoadClientJobException

if TYPE_CHECKING:
    from dlt.common.destination.client import FollowupJobRequest, LoadJob


def sql_job(table: str, statements: Iterable[str]) -> FollowupJobRequest:
    """A job of the load package that runs statements once the files before it are done.

    dlt 1.31 reads the statements of a ``.sql`` file one by one, each up to a semicolon at the end
    of a line.

    Args:
        table: Name of the table in the destination.
        statements: SQL, none with a semicolon at its end.
    """
    file = ParsedLoadJobFileName(table, ParsedLoadJobFileName.new_file_id(), 0, "sql")
    job = FollowupJobRequestImpl(file.file_name())
    job._save_text_file(";\n".join(statements))
    return job


def file_of_later_job(file_path: str) -> LoadJob:
    """The job of a file that has nothing to do itself, as a later one reads it (dlt 1.31)."""
    return FinalizedLoadJobWithFollowupJobs.from_file_path(file_path)


def has_parquet(file_path: str) -> bool:
    """Whether a load package's file is Parquet, by its name (dlt 1.31)."""
    return ParsedLoadJobFileName.parse(file_path).file_format == "parquet"


def keys_of(table: Any) -> list[str]:
    """The primary key of a prepared table's schema, by the names in the destination (dlt 1.31)."""
    return get_columns_names_with_prop(table, "primary_key")


def columns_of(table: Any) -> list[str]:
    """The columns of a prepared table's schema, by the names in the destination (dlt 1.31)."""
    return get_columns_names_with_prop(table, "name")


def refusal_of_job(error: BaseException) -> BaseException | None:
    """The destination's error, where the error is that of a load job; else None.

    dlt 1.31 has the traceback of that error in the job's message.
    """
    return error.client_exception if isinstance(error, LoadClientJobException) else None
