"""Pipelines that load into one dataset do so one after the other.

Merging deletes rows and inserts them. Two processes that merge the same event at once each see
nothing to delete, and both insert it (PostgreSQL, read committed). Extraction, most of the work,
is not held up.

Every wait is bounded and logged. ``[sources.np6]`` in dlt's configuration has the bounds:
``lock_wait`` (3,600 seconds) for other loads of this package, ``file_wait`` (10 seconds) for a
DuckDB file that some other program has open.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dlt.common.exceptions import TerminalException
from dlt.destinations.exceptions import DestinationConnectionError
from filelock import FileLock, Timeout

from .destinations import destination_of
from .dlt_internals import before_each_commit
from .errors import AlreadyRunning, Np6Error

logger = logging.getLogger(__name__)

TTurn = Callable[[dlt.Pipeline], AbstractContextManager[None]]
"""Waits until a pipeline may load, and keeps others from it meanwhile."""

WAITS = {"lock_wait": 3600.0, "file_wait": 10.0}
"""The settings, with their seconds where the configuration says nothing."""

LOOKS_AGAIN = 0.25
"""Seconds between two looks at a lock that somebody else has."""

_HELD: ContextVar[frozenset[str]] = ContextVar("np6_held_locks", default=frozenset())
"""The locks of this thread: taking one again does not wait for itself."""

_HOLDER = re.compile(r"lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")
"""How DuckDB 1.4 to 2.0 name the process that has a file open."""


class DatasetBusy(AlreadyRunning):
    """The dataset stayed locked for as long as this process may wait."""


class LockLost(Np6Error, TerminalException):
    """The lock went away while a package was loading; nothing is committed after that."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a lock.

    Attributes:
        lock: Seconds for other loads of this package.
        file: Seconds for other programs that have the DuckDB file open.
        stop_when: Asked while waiting; anything true ends the wait.
    """

    lock: float = WAITS["lock_wait"]
    file: float = WAITS["file_wait"]
    stop_when: Callable[[], object] = lambda: False


def patience(stop_when: Callable[[], object] = lambda: False) -> Patience:
    """What dlt's configuration says, see the module."""
    lock, file = (
        default if (found := dlt.config.get(f"sources.np6.{name}", float)) is None else found
        for name, default in WAITS.items()
    )
    return Patience(lock, file, stop_when)


@contextmanager
def in_database(pipeline: dlt.Pipeline, wait: Patience | None = None) -> Iterator[None]:
    """The lock of a dataset, where the destination has one: PostgreSQL.

    It ends with its connection, so a process that is killed holds nobody up. The loading
    pipeline's commits ask before that it is still there.

    Args:
        pipeline: The pipeline that is about to load.
        wait: How long to wait; None: as configured.

    Raises:
        DatasetBusy: Others kept the lock for too long, or the wait was ended.
        LockLost: The lock's connection ended meanwhile.
    """
    name = f"dataset {pipeline.dataset_name}"
    if destination_of(pipeline).lock != "advisory" or name in _HELD.get():
        yield
        return
    digest = hashlib.sha256(f"np6 {pipeline.dataset_name}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    # In a transaction, not in the session: PgBouncer may give the session to somebody else.
    with pipeline.sql_client() as client, client.begin_transaction():
        # The transaction does nothing while the package loads.
        client.execute_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

        def is_taken() -> bool:
            ((taken,),) = client.execute_sql("SELECT pg_try_advisory_xact_lock(%s)", key) or []
            return bool(taken)

        _wait_for(is_taken, name, wait or patience())
        with _held(name), before_each_commit(pipeline, _still_there(client, name)):
            yield


def _still_there(client: Any, name: str) -> Callable[[], None]:
    """A check that the lock's connection lives."""
    one_at_a_time = threading.Lock()

    def check() -> None:
        try:
            with one_at_a_time:
                client.execute_sql("SELECT 1")
        except Exception as error:
            raise LockLost(
                f"The lock of {name} is lost ({type(error).__name__}): another process may be"
                " loading. Nothing more of this package is committed; the next call loads it."
            ) from None

    return check


@contextmanager
def in_database_or_file(pipeline: dlt.Pipeline, wait: Patience | None = None) -> Iterator[None]:
    """The same, and at a DuckDB file, which one process at a time can open.

    Processes of this package wait for a lock file beside it, and then for other programs that
    have the file open. It stays open meanwhile: dlt opens a connection per job (1.31), and DuckDB
    writes everything down whenever the last one closes.

    Args:
        pipeline: The pipeline that is about to load, or to read.
        wait: How long to wait; None: as configured.

    Raises:
        DatasetBusy: Others kept it for too long, or the wait was ended.
        LockLost: See ``in_database``.
    """
    file = duckdb_file(pipeline)
    if file is None:
        with in_database(pipeline, wait):
            yield
        return
    name = str(file.resolve())
    if name in _HELD.get():
        yield
        return
    wait = wait or patience()
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.with_name(f"{file.name}.np6.lock"))

    def is_taken() -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    _wait_for(is_taken, f"DuckDB file {file.name}", wait)
    try:
        with _opened(pipeline, file, wait), _held(name):
            yield
    finally:
        lock.release()


def to_read(
    pipeline: dlt.Pipeline, turn: TTurn = in_database_or_file
) -> AbstractContextManager[None]:
    """The lock where it takes one to read as well: at a DuckDB file. Elsewhere none.

    Args:
        pipeline: The pipeline that is about to read from its destination.
        turn: The lock.
    """
    return turn(pipeline) if duckdb_file(pipeline) else nullcontext()


@contextmanager
def _opened(pipeline: dlt.Pipeline, file: Path, wait: Patience) -> Iterator[None]:
    """A DuckDB file, open; waits for programs that have it."""
    client = pipeline.sql_client()
    holder = "another program"
    problem: DestinationConnectionError | None = None

    def is_open() -> bool:
        nonlocal holder, problem
        try:
            client.open_connection()
        except DestinationConnectionError as error:
            if "Could not set lock" not in str(error):
                problem = error  # That it cannot be opened is for the load step to say.
                return True
            if found := _HOLDER.search(str(error)):
                program = Path(found["program"]).name
                holder = f"process {found['pid']} ({program})"
            return False
        return True

    _wait_for(
        is_open,
        f"DuckDB file {file.name}",
        Patience(wait.file, wait.file, wait.stop_when),
        lambda: f"{holder} has it open; close it there, or read a copy",
    )
    try:
        yield
    finally:
        if problem is None:
            client.close_connection()


def _wait_for(
    is_taken: Callable[[], bool],
    name: str,
    wait: Patience,
    why: Callable[[], str] = lambda: "another load has it",
) -> None:
    """Looks for a lock until it is taken.

    Raises:
        DatasetBusy: It took too long, or the wait was ended.
    """
    if is_taken():
        return
    begun = said = time.monotonic()
    logger.warning("Waiting up to %.0f s for %s: %s.", wait.lock, name, why())
    while not is_taken():
        now = time.monotonic()
        if wait.stop_when() or now - begun >= wait.lock:
            raise DatasetBusy(
                f"{name} is in use: {why()}. Waited {now - begun:.0f} s. What was extracted stays"
                " and is loaded by the next call: run it again later; `np6-source check`"
                " says whether it is free."
            )
        if now - said >= 60:
            said = now
            logger.warning("Still waiting for %s, for %.0f s: %s.", name, now - begun, why())
        time.sleep(LOOKS_AGAIN)


@contextmanager
def _held(name: str) -> Iterator[None]:
    token = _HELD.set(_HELD.get() | {name})
    try:
        yield
    finally:
        _HELD.reset(token)


def duckdb_file(pipeline: dlt.Pipeline) -> Path | None:
    """The file of a pipeline into DuckDB; None for memory, and for every other destination."""
    if destination_of(pipeline).lock != "file":
        return None
    database = getattr(pipeline.sql_client().credentials, "database", None)
    return None if not isinstance(database, str) or database == ":memory:" else Path(database)
