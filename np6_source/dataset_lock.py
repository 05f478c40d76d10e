"""Processes that load into one dataset do so one after the other.

Merging deletes rows and inserts them. Two processes that merge the same event at once each see
nothing to delete, and both insert it (PostgreSQL, read committed). Extraction, most of the work,
is not held up.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dlt
from filelock import FileLock

from .destinations import destination_of

logger = logging.getLogger(__name__)

TTurn = Callable[[dlt.Pipeline], AbstractContextManager[None]]
"""Waits until a pipeline may load, and keeps others from it meanwhile."""


@contextmanager
def in_database(pipeline: dlt.Pipeline) -> Iterator[None]:
    """A turn at the dataset, where the destination has a lock for it: PostgreSQL.

    The lock ends with its connection, so a process that is killed holds nobody up. If it is lost
    meanwhile, leaving raises the database's error.
    """
    if destination_of(pipeline).lock != "advisory":
        yield
        return
    digest = hashlib.sha256(f"np6 {pipeline.dataset_name}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    # In a transaction, not in the session: PgBouncer may give the session to somebody else.
    with pipeline.sql_client() as client, client.begin_transaction():
        logger.info("Waiting for a turn at dataset %s", pipeline.dataset_name)
        client.execute_sql("SELECT pg_advisory_xact_lock(%s)", key)
        yield


@contextmanager
def in_database_or_file(pipeline: dlt.Pipeline) -> Iterator[None]:
    """The same, and at a DuckDB file, which one process at a time can open: a lock beside it."""
    if destination_of(pipeline).lock != "file":
        with in_database(pipeline):
            yield
        return
    database = getattr(pipeline.sql_client().credentials, "database", None)
    if not isinstance(database, str) or database == ":memory:":
        yield
        return
    file = Path(database)
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name(f"{file.name}.np6.lock")):
        yield
