"""Pipelines that load into one dataset do so one after the other.

Merging deletes rows and inserts them. Two processes that merge the same event at once each see
nothing to delete, and both insert it (PostgreSQL, read committed). Extraction, most of the work,
is not held up.

Every wait is bounded and logged. ``[sources.np6]`` in dlt's configuration has the bounds:
``lock_wait`` (3,600 seconds) for other loads of this package, ``file_wait`` (10 seconds) for a
DuckDB file that some other program has open. ``telling_of_waits`` tells who shows a run's progress.
"""

from __future__ import annotations

import hashlib
import logging
import os
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
from .dlt_internals.destinations import configuration_of
from .dlt_internals.pipelines import before_each_commit
from .errors import AlreadyRunning, Np6Error, SettingError

logger = logging.getLogger(__name__)

TTurn = Callable[[dlt.Pipeline], AbstractContextManager[None]]
"""Waits until a pipeline may load, and keeps others from it meanwhile."""

WAITS = {"lock_wait": 3600.0, "file_wait": 10.0}
"""The settings, with their seconds where the configuration says nothing."""

LOOKS_AGAIN = 0.25
"""Seconds between two looks at a lock that somebody else has."""

_HELD: ContextVar[frozenset[str]] = ContextVar("np6_held_locks", default=frozenset())
"""The locks of this thread: taking one again does not wait for itself."""

_TOLD: ContextVar[Callable[[Waiting | None], None]] = ContextVar(
    "np6_told_of_waits", default=lambda wait: None
)
"""Who is told of the waits of this thread."""

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


@dataclass(frozen=True)
class Waiting:
    """A wait for a lock, under way.

    Attributes:
        name: What is waited for.
        why: Who has it.
        most: Seconds that the wait takes at most.
    """

    name: str
    why: str
    most: float


@contextmanager
def telling_of_waits(told: Callable[[Waiting | None], None]) -> Iterator[None]:
    """Tells of every wait for a lock that begins in this thread meanwhile.

    Args:
        told: Called with each wait when it begins, and with None when it ends.
    """
    token = _TOLD.set(told)
    try:
        yield
    finally:
        _TOLD.reset(token)


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
    if destination_of(pipeline).lock != "advisory":
        yield
        return
    client = pipeline.sql_client()
    # As the database has it: dlt writes "NP6" and "np6" to the same one.
    name = f"dataset {client.dataset_name}"
    if name in _HELD.get():
        yield
        return
    digest = hashlib.sha256(f"np6 {client.dataset_name}".encode()).digest()
    key = int.from_bytes(digest[:8], "big", signed=True)
    # In a transaction, not in the session: PgBouncer may give the session to somebody else.
    with client, client.begin_transaction():
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
        with in_database(pipeline, wait), _in_lake(pipeline, wait):
            yield
        return
    name = str(file.resolve())
    if name in _HELD.get():
        yield
        return
    wait = wait or patience()
    path = file.with_name(f"{file.name}.np6.lock")
    reads_only = getattr(pipeline.destination, "reads_only", False)
    if reads_only and not os.access(path, os.W_OK):
        # Nobody has loaded here with a lock, or another user does: DuckDB's own lock remains.
        with _opened(pipeline, file, wait), _held(name):
            yield
        return
    with (
        holding(path, f"DuckDB file {file.name}", wait),
        _opened(pipeline, file, wait),
        _held(name),
    ):
        yield


@contextmanager
def _in_lake(pipeline: dlt.Pipeline, wait: Patience | None = None) -> Iterator[None]:
    """The lock of tables on files that take one writer, where they lie on this machine: Iceberg."""
    one_writer = destination_of(pipeline).one_writer
    formats = {
        table.get("table_format")
        for name in (pipeline.schema_names if one_writer else ())
        for table in pipeline.schemas[name].data_tables()
    }
    if not one_writer & formats:
        yield
        return
    config = configuration_of(pipeline)
    if not config.is_local_filesystem:
        yield
        return
    # As the folder is called: dlt writes "NP6" and "np6" to the same one.
    dataset = config.normalize_dataset_name(pipeline.default_schema)
    name = f"the tables of dataset {dataset}"
    if name in _HELD.get():
        yield
        return
    folder = Path(config.make_local_path(config.bucket_url))
    path = folder / f"{dataset}.np6.lock"
    with holding(path, name, wait or patience()), _held(name):
        yield


@contextmanager
def holding(path: Path, name: str, wait: Patience) -> Iterator[None]:
    """The lock on a file, taken by processes of this package one after the other.

    Args:
        path: The file; it is made where it is not there.
        name: What is waited for, for messages.
        wait: How long to wait.

    Raises:
        DatasetBusy: Others kept it for too long, or the wait was ended.
        SettingError: The file cannot be made.
    """
    lock = lock_file(path)

    def is_taken() -> bool:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        return True

    _wait_for(is_taken, name, wait, lambda: f"{_holder_of(path)} has it")
    try:
        yield
    finally:
        lock.release()


def lock_file(path: Path) -> FileLock:
    """A lock on a file that is made where it is not there; its folder likewise.

    Args:
        path: The file.

    Raises:
        SettingError: It cannot be made. filelock takes some of the errors for a lock that somebody
            else has, and waits (4.2).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
    except OSError as error:
        raise SettingError(
            f"The lock file {path} cannot be made ({error.strerror}): loads into one dataset wait"
            " for each other there. Name a folder that this user may write to."
        ) from None
    return FileLock(path)


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
            named = holder_named_by(error)
            if named is None:
                problem = error  # That it cannot be opened is for the load step to say.
                return True
            holder = named
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
    # Several steps of a command may wait for the same: the terminal says it once a minute.
    cause = {"cause": f"waiting for {name}"}
    logger.warning("Waiting up to %.0f s for %s: %s.", wait.lock, name, why(), extra=cause)
    told = _TOLD.get()
    told(Waiting(name, why(), wait.lock))
    try:
        while not is_taken():
            now = time.monotonic()
            if wait.stop_when() or now - begun >= wait.lock:
                raise DatasetBusy(
                    f"{name} is in use: {why()}. Waited {now - begun:.0f} s. Run it again later:"
                    " what a load has extracted by now is loaded then. `np6-source check` says"
                    " whether it is free."
                )
            if now - said >= 60:
                said = now
                logger.warning("Still waiting for %s, for %.0f s: %s.", name, now - begun, why())
            time.sleep(LOOKS_AGAIN)
    finally:
        told(None)


def holder_named_by(error: BaseException) -> str | None:
    """The process that has a DuckDB file open, as DuckDB's error names it; None: no such error."""
    if "Could not set lock" not in str(error):
        return None
    found = _HOLDER.search(str(error))
    if found is None:
        return "another program"
    return f"process {found['pid']} ({Path(found['program']).name})"


def _holder_of(lock: Path) -> str:
    """The process that has a lock on a file, where Linux tells it."""
    try:
        inode = f":{lock.stat().st_ino}"
        lines = Path("/proc/locks").read_text().splitlines()
        found = (line.split() for line in lines)
        process = next(one[4] for one in found if "FLOCK" in one and one[5].endswith(inode))
        program = Path(f"/proc/{process}/comm").read_text().strip()
    except (OSError, StopIteration):
        return "another load"
    return f"process {process} ({program}), which loads or reads as well,"


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
    database = configuration_of(pipeline).credentials.database
    return None if not isinstance(database, str) or database == ":memory:" else Path(database)
