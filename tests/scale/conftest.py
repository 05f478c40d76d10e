"""A PostgreSQL server for the session, worker processes, and datasets that can be compared."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from np6_source.schema import EVENT_TABLES
from np6_source.windows import Window, merged, to_ms

SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class PostgresServer:
    """A server on a socket of its own.

    Attributes:
        url: Where dlt finds it.
    """

    url: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What a statement gives; nothing where it gives no rows."""
        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def rows(self, dataset: str, table: str, *without: str) -> list[dict[str, Any]]:
        """A table, in the order of all its columns."""
        names = [
            name
            for (name,) in self.query(
                "SELECT column_name FROM information_schema.columns WHERE table_schema ="
                f" '{dataset}' AND table_name = '{table}' ORDER BY column_name"
            )
            if name not in without
        ]
        columns = ", ".join(f'"{name}"' for name in names)
        order = ", ".join(str(number + 1) for number in range(len(names)))
        found = self.query(f'SELECT {columns} FROM "{dataset}"."{table}" ORDER BY {order}')
        return [dict(zip(names, values, strict=True)) for values in found]

    def contents(self, dataset: str) -> dict[str, list[dict[str, Any]]]:
        """Every event table, row by row, without the time of asking."""
        return {
            table.name: self.rows(dataset, table.name, "requested_at") for table in EVENT_TABLES
        }

    def ids(self, dataset: str) -> list[str]:
        """The ids in ``events``; one that stands twice shows."""
        return sorted(row["id"] for row in self.rows(dataset, "events"))

    def covered(self, dataset: str) -> dict[tuple[str, str], list[Window]]:
        """What the ledger proves, joined."""
        spans: dict[tuple[str, str], list[Window]] = {}
        for row in self.rows(dataset, "load_windows"):
            window = Window(to_ms(row["window_start"]), to_ms(row["window_end"]))
            spans.setdefault((row["resource"], row["scope_id"]), []).append(window)
        return {scope: merged(windows) for scope, windows in spans.items()}

    @contextmanager
    def holding(self, key: int) -> Iterator[None]:
        """Holds an advisory lock."""
        connection = psycopg2.connect(self.url)
        try:
            connection.cursor().execute("SELECT pg_advisory_lock(%s)", [key])
            yield
        finally:
            connection.close()

    def waiting(self) -> int:
        """How many wait for an advisory lock."""
        ((count,),) = self.query(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        )
        return int(count)

    def datasets(self) -> set[str]:
        """The names of all schemas."""
        return {name for (name,) in self.query("SELECT nspname FROM pg_namespace")}


@pytest.fixture(scope="session")
def postgres(postgres_url: str) -> PostgresServer:
    return PostgresServer(postgres_url)


@pytest.fixture
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes find no configuration but the environment's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DLT_PROJECT_DIR", str(tmp_path))


@pytest.fixture
def workers(in_own_folder: None) -> Iterator[ProcessPoolExecutor]:
    """Four processes."""
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        yield pool


@pytest.fixture
def process(in_own_folder: None) -> Iterator[Callable[..., Any]]:
    """Starts single processes; those that still run are killed with the test."""
    started = []

    def start(target: Callable[..., None], *arguments: Any) -> Any:
        process = SPAWN.Process(target=target, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.is_alive():
            os.kill(process.pid, 9)
        process.join()
