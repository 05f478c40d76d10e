"""The destinations, started by the tests themselves; everything on this machine."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from np6_source.loading import LoadReport, load
from np6_source.sandbox import Sandbox
from np6_source.schema import EVENT_TABLES
from tests.destinations.stores import (
    Bucket,
    DeltaStore,
    DirectStore,
    DuckDBStore,
    DuckLakeStore,
    IcebergStore,
    ParquetStore,
    PostgresStore,
    Store,
)

FILES = {"delta": DeltaStore, "iceberg": IcebergStore, "parquet": ParquetStore}
NAMES = [
    "postgres",
    *(
        # A package of the extra `destinations` that is missing fails the test.
        pytest.param(name, marks=pytest.mark.destinations)
        for name in (
            "duckdb",
            "direct",
            "ducklake",
            *(f"{kind}-{place}" for kind in FILES for place in ("local", "s3")),
        )
    ),
]
_numbers = itertools.count()


MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """moto's S3 server; its URL. A process of its own: deltalake waits with Python's lock held."""
    with subprocess.Popen(
        [sys.executable, "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url, "moto did not start: is the extra `destinations` installed?"
        try:
            yield url
        finally:
            process.kill()


@pytest.fixture
def make_store(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Store]:
    """Makes an empty store by its name."""

    def make(name: str) -> Store:
        folder = tmp_path / name
        if name == "duckdb":
            return DuckDBStore(folder)
        if name == "direct":
            return DirectStore(folder)
        if name == "ducklake":
            return DuckLakeStore(folder)
        number = f"{os.getpid()}x{next(_numbers)}"
        if name == "postgres":
            server = request.getfixturevalue("postgres_socket")
            return PostgresStore(folder, server, f"test_{number}")
        kind, _, place = name.partition("-")
        bucket = None
        if place == "s3":
            bucket = Bucket(f"bucket-{number}", request.getfixturevalue("s3_server"))
            bucket.file_system().create_dir(bucket.name)
        return FILES[kind](folder, bucket)

    return make


@pytest.fixture(params=NAMES)
def store(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)


class SideBySide:
    """The destination under test, and a DuckDB that gets the same."""

    def __init__(self, store: Store, reference: Store) -> None:
        self.store = store
        self.reference = reference

    def load(self, make_source: Callable[..., Any], **options: Any) -> LoadReport:
        """One invocation of ``loading.load`` for each; the report of the one under test."""
        load(self.reference.pipeline, make_source, **options)
        with_options = lambda: make_source(**self.store.source_options)  # noqa: E731
        return load(self.store.pipeline, with_options, **options)

    def check(self) -> dict[str, list[dict[str, Any]]]:
        """Compares table by table, column by column, value by value; gives the rows."""
        rows = {table.name: self.store.rows(table) for table in EVENT_TABLES}
        for table in EVENT_TABLES:
            expected = _without_time_of_asking(self.reference.rows(table))
            assert _without_time_of_asking(rows[table.name]) == expected, table.name
        return rows


def _without_time_of_asking(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert all(row["requested_at"] for row in rows)
    return [{n: value for n, value in row.items() if n != "requested_at"} for row in rows]


@pytest.fixture
def side_by_side(store: Store, make_store: Callable[[str], Store], tmp_path: Path) -> SideBySide:
    return SideBySide(store, DuckDBStore(tmp_path / "reference"))


@pytest.fixture
def make(source_of: Callable[..., Any]) -> Callable[..., Callable[..., Any]]:
    """Makes a maker of sources, as ``load`` wants it."""

    def make(sandbox: Sandbox, *names: str, **options: Any) -> Callable[..., Any]:
        settings = {"on_error": "keep"} | options
        return lambda **more: source_of(sandbox, *names, **settings, **more)

    return make
