"""A copy of a DuckDB file that analysts open while the loader has its own.

DuckDB lets one process at a time write to a file, and nobody else read it meanwhile.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseException
from dlt.destinations.sql_client import SqlClientBase

from ..destinations import kind_of_destination
from ..dlt_internals.pipelines import is_taken_for_catalog
from ..errors import Np6Error, SettingError


class PublishingFailed(Np6Error):
    """The copy could not be made; the one before is as it was."""


def check_publishing(pipeline: dlt.Pipeline, target: Path) -> Path:
    """Returns the file of a pipeline that is to be published.

    Raises:
        SettingError: The destination is no DuckDB file, or the copy would be the file itself, or
            the copy's folder does not exist, or the copy would be named as the dataset.
    """
    database = None
    if kind_of_destination(pipeline) == "duckdb":
        database = getattr(pipeline.sql_client().credentials, "database", None)
    if not isinstance(database, str) or database == ":memory:":
        raise SettingError("publish: only a DuckDB file can be published")
    source = Path(database)
    if source.absolute().resolve() == target.absolute().resolve():
        raise SettingError(f"publish: {target} is the loader's own file; name another")
    if not target.absolute().parent.is_dir():
        raise SettingError(f"publish: the folder {target.parent} does not exist; make it first")
    if target.is_dir():
        raise SettingError(f"publish: {target} is a folder; name a file in it")
    dataset = str(pipeline.sql_client().dataset_name)
    if is_taken_for_catalog(target, dataset):
        raise SettingError(
            f"publish: DuckDB would call {target} {dataset}, as the dataset in it, and find every"
            " view ambiguous; name the file otherwise"
        )
    return source


def publish(pipeline: dlt.Pipeline, target: Path) -> None:
    """Puts a whole state of a pipeline's DuckDB file beside it, under another name, by rename.

    dlt's staging schemas stay out of the copy.

    A reader that has the copy open goes on with the state it opened; one that opens it anew sees
    the new one.

    Args:
        pipeline: The pipeline.
        target: The copy.

    Raises:
        SettingError: See ``check_publishing``.
        PublishingFailed: The copy could not be made; the one before is as it was.
    """
    source = check_publishing(pipeline, target)
    if not source.exists():
        raise PublishingFailed(f"Nothing is loaded into {source} yet: there is nothing to publish.")
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        # The open connection keeps other processes from writing meanwhile.
        with pipeline.sql_client() as client:
            client.execute_sql("FORCE CHECKPOINT")
            _copy(source, temporary)
            _leave_staging_out(client, temporary)
        # What a reader who wrote left beside the copy belongs to the copy that goes.
        target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
        os.replace(temporary, target)
        _sync_folder(target.absolute().parent)
    except (OSError, DatabaseException) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        why, *_ = str(getattr(error, "strerror", None) or error).splitlines()
        raise PublishingFailed(
            f"{target} could not be written ({why}); the copy before it, if"
            " any, is as it was. Everything is loaded: run this again, or with another --publish."
        ) from error


def _leave_staging_out(client: SqlClientBase[Any], copy: Path) -> None:
    """Drops dlt's staging schemas from a copy: they hide the tables from readers."""
    dataset = str(client.dataset_name)
    found = client.execute_sql(
        "SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()"
        " AND (schema_name IN (%s, %s) OR starts_with(schema_name, %s))",
        client.staging_dataset_name,
        f"{dataset}_staging",
        f"{dataset}_staging_of_",
    )
    if not found:
        return
    file = str(copy.absolute()).replace("'", "''")
    client.execute_sql(f"ATTACH '{file}' AS np6_copy")
    for (name,) in found:
        client.execute_sql(f"DROP SCHEMA np6_copy.{client.escape_column_name(name)} CASCADE")
    client.execute_sql("FORCE CHECKPOINT np6_copy")
    client.execute_sql("DETACH np6_copy")
    with copy.open("rb+") as written:
        os.fsync(written.fileno())


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def _sync_folder(folder: Path) -> None:
    """Writes the rename down, where folders can be opened."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
