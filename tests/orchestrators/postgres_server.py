"""A PostgreSQL server of the tests' own, from the ``pgserver`` wheel, on a socket in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import dlt
import pgserver
import psycopg2

from np6_source.schema import EVENT_TABLES


class Postgres:
    """A server; use it in a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = pgserver.get_server(folder, cleanup_mode="stop")

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()

    def new_database(self, name: str) -> str:
        """Makes a database; gives its URL."""
        self._server.psql(f"CREATE DATABASE {name};")
        return f"postgresql://postgres:unused@{quote(str(self.folder), safe='')}/{name}"

    def query(self, url: str, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        connection = psycopg2.connect(url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()

    def contents(self, url: str) -> dict[str, list[tuple[Any, ...]]]:
        """Every event table without the time of asking, one order for all."""
        found = {}
        for table in EVENT_TABLES:
            columns = ", ".join(f'"{c.name}"' for c in table.columns if c.name != "requested_at")
            found[table.name] = sorted(
                self.query(url, f"SELECT {columns} FROM np6.{table.name}"), key=repr
            )
        return found

    def loaded_at_once(self, source: Any, folder: Path) -> dict[str, list[tuple[Any, ...]]]:
        """What one undisturbed load puts into the tables of a database of its own."""
        url = self.new_database(f"at_once_{uuid4().hex[:8]}")
        dlt.pipeline(
            "at_once",
            destination=dlt.destinations.postgres(url),
            dataset_name="np6",
            pipelines_dir=str(folder),
        ).run(source)
        return self.contents(url)
