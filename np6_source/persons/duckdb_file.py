"""A DuckDB file written anew, so that what was removed from its tables is in none of its bytes.

After UPDATE and DELETE the old blocks stay in the file; CHECKPOINT, VACUUM and a new connection do
not remove them (DuckDB 1.5 and 2.0). A copy of the tables has none. It takes the file's name by a
rename while the file is open, so that nobody can write to the old one in between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.sql_client import SqlClientBase

from ..dataset_lock import duckdb_file
from ..errors import Np6Error

COPY = "np6_rewritten"
"""Name under which the new file is attached."""


class RewritingFailed(Np6Error):
    """The file could not be written anew; it is as it was."""


TCopy = Callable[[SqlClientBase[Any], str], None]
"""Fills the attached ``COPY`` from a catalog, whose name it gets."""


def whole(client: SqlClientBase[Any], old: str) -> None:
    """Copies everything as it is."""
    client.execute_sql(f'COPY FROM DATABASE "{old}" TO {COPY}')


def rewrite(pipeline: dlt.Pipeline, statements: list[str], copy: TCopy = whole) -> Path | None:
    """Writes the DuckDB file of a pipeline anew.

    To be called inside ``dataset_lock.in_database_or_file``, as the last thing: connections that
    are open go on with the old file.

    Args:
        pipeline: The pipeline.
        statements: To run in the new file before it takes the old one's name; ``{}`` stands for
            its catalog.
        copy: How the new file is filled.

    Returns:
        The file; None where the destination is no DuckDB file.

    Raises:
        RewritingFailed: There is no room, or the file cannot be replaced.
    """
    file = duckdb_file(pipeline)
    if file is None:
        return None
    file = file.resolve()
    new = file.with_name(f".{file.name}.np6_rewriting")
    need = 2 * file.stat().st_size
    if shutil.disk_usage(file.parent).free < need:
        raise RewritingFailed(
            f"{file} has to be written anew, for which {need / 1000**2:,.0f} MB must be free in"
            f" {file.parent}. The tables are as they should be, but the file's free blocks still"
            " hold what was removed: make room, and run the same again."
        )
    try:
        with pipeline.sql_client() as client:
            _copy(client, new, statements, copy)
            shutil.copymode(file, new)
            _sync(new)
            os.replace(new, file)
            file.with_name(f"{file.name}.wal").unlink(missing_ok=True)
            _sync(file.parent)
    except OSError as error:
        raise RewritingFailed(
            f"{file} could not be written anew ({error.strerror or error}); its free blocks still"
            " hold what was removed. Run the same again."
        ) from error
    finally:
        for left in (new, new.with_name(f"{new.name}.wal")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    return file


def _copy(client: SqlClientBase[Any], new: Path, statements: list[str], copy: TCopy) -> None:
    for left in (new, new.with_name(f"{new.name}.wal")):
        left.unlink(missing_ok=True)
    ((old,),) = client.execute_sql("SELECT current_database()") or []
    client.execute_sql("FORCE CHECKPOINT")
    path = str(new).replace("'", "''")
    client.execute_sql(f"ATTACH '{path}' AS {COPY}")
    try:
        copy(client, old)
        for statement in statements:
            client.execute_sql(statement.format(COPY))
    finally:
        client.execute_sql(f"DETACH {COPY}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
