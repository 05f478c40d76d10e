"""Step 5: whether the destination takes a row, which is tried so that nothing of it stays."""

from __future__ import annotations

import argparse
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dlt
import duckdb
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ...dataset_lock import duckdb_file
from ...destinations import kind_of_destination
from ...windows import SECOND
from ..destination import looking
from ..outcome import SIGNALLED, TRY_AGAIN_LATER, outcome_of
from .findings import Finding, Step

LITTLE_SPACE = 1024**3
"""Bytes free on a disk below which there is a warning."""

_ENGINES = {"clickhouse": " ENGINE = Memory"}
"""What CREATE TABLE has to say besides, by destination."""


class _Undo(Exception):
    """Rolls a transaction back."""


def check_destination(options: argparse.Namespace) -> tuple[list[Step], dlt.Pipeline | None]:
    """Connects, and writes and removes a row; for DuckDB and files looks at the disk too.

    Returns:
        The steps, and the pipeline; None where the options make none.
    """
    began = time.monotonic()
    folder: Path | None = None
    pipeline: dlt.Pipeline | None = None
    try:
        with looking(options, waits=False, reads_only=False) as pipeline:
            what, folder = _try_to_write(pipeline)
            finding = Finding(what)
    except Exception as error:
        finding = finding_of(error)
    step = Step("destination", finding, int((time.monotonic() - began) * SECOND))
    return [step] if folder is None else [step, _disk(folder)], pipeline


def finding_of(error: Exception) -> Finding:
    """What an error means that a load would meet as well.

    Raises:
        Exception: The error, where it is a defect of this program, or Ctrl-C.
    """
    outcome = outcome_of(error)
    if outcome is None or outcome.status >= SIGNALLED:
        raise error
    what, _, advice = outcome.message.partition("\n")
    is_later = outcome.status == TRY_AGAIN_LATER
    return Finding(what, "error", advice or None, is_later)


def _try_to_write(pipeline: dlt.Pipeline) -> tuple[str, Path | None]:
    """Writes; returns what was seen, and the folder on this machine that a load fills."""
    name = pipeline.destination.destination_name
    file = duckdb_file(pipeline)
    if file is not None and not file.exists():
        _write_to_new_file(file)
        return f"{name} {file} can be made", file.parent
    with pipeline.destination_client() as client:
        if isinstance(client, FilesystemClient):
            _write_object(client)
            folder = Path(client.dataset_path) if client.is_local_filesystem else None
            return f"{name} {client.config.bucket_url} can be written to", folder
        if not isinstance(client, SqlJobClientBase):
            client.is_storage_initialized()
            return f"{name} answers", None
        has_dataset = _write_row(pipeline, client.sql_client)
    is_there = "there" if has_dataset else "to be made"
    where = f" {file}" if file is not None else ""
    what = f"{name}{where} can be written to, dataset {pipeline.dataset_name} is {is_there}"
    return what, file.parent if file is not None else None


def _write_to_new_file(file: Path) -> None:
    """Makes a DuckDB file beside the one that is to be, and removes it."""
    own = file.with_name(f".{file.name}.{_own_name()}")
    try:
        with duckdb.connect(str(own)) as connection:
            connection.execute("CREATE TABLE np6_check (id INTEGER)")
            connection.execute("INSERT INTO np6_check VALUES (1)")
    finally:
        own.unlink(missing_ok=True)
        own.with_name(f"{own.name}.wal").unlink(missing_ok=True)


def _write_row(pipeline: dlt.Pipeline, client: SqlClientBase[Any]) -> bool:
    """Writes a one-row table; returns whether the dataset is there.

    Into the staging dataset where a load has made it, else into a dataset of its own, so that what
    is dropped is nobody else's. In a transaction that is rolled back where DDL takes part in one.
    """
    has_dataset = client.has_dataset()
    with client.with_staging_dataset():
        is_made = has_dataset and client.has_dataset()
    name = _own_name()
    dataset = client.staging_dataset_name if is_made else f"{pipeline.dataset_name}_{name}"
    engine = _ENGINES.get(kind_of_destination(pipeline), "")
    with client.with_alternative_dataset_name(dataset):
        table = client.make_qualified_table_name(name)
        with _leaving_nothing(client, table, makes_dataset=not is_made):
            if not is_made:
                client.create_dataset()
            client.execute_sql(f"CREATE TABLE {table} (id INTEGER){engine}")
            client.execute_sql(f"INSERT INTO {table} VALUES (1)")
    return has_dataset


@contextmanager
def _leaving_nothing(client: SqlClientBase[Any], table: str, makes_dataset: bool) -> Iterator[None]:
    if client.capabilities.supports_ddl_transactions:
        try:
            with client.begin_transaction():
                yield
                raise _Undo
        except _Undo:
            return
    try:
        yield
    finally:
        if not makes_dataset:
            client.execute_sql(f"DROP TABLE IF EXISTS {table}")
        elif client.has_dataset():
            client.drop_dataset()


def _write_object(client: FilesystemClient) -> None:
    """Writes an object into the dataset's folder and removes it, with the folders made for it."""
    name = _own_name()
    made: list[str] = []
    if client.is_local_filesystem:
        folder = Path(client.dataset_path)
        made = [str(one) for one in (folder, *folder.parents) if not one.exists()]
    file = client.pathlib.join(client.dataset_path, name)
    try:
        client.fs_client.makedirs(client.dataset_path, exist_ok=True)
        client.fs_client.write_text(file, "np6-source check", encoding="utf-8")
        client.fs_client.rm_file(file)
    finally:
        for one in made:
            if Path(one).is_dir() and not any(Path(one).iterdir()):
                Path(one).rmdir()


def _own_name() -> str:
    return f"np6_check_{secrets.token_hex(4)}"


def _disk(folder: Path) -> Step:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = shutil.disk_usage(there).free
    what = f"{free / 1000**3:,.1f} GB free where {folder} is"
    if free >= LITTLE_SPACE:
        return Step("disk", Finding(what))
    advice = "An event takes 0.2 to 0.3 KB in DuckDB, and its package as much while it is loaded."
    return Step("disk", Finding(what, "warning", advice))
