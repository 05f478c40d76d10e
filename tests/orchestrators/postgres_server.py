"""Databases on the tests' PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import dlt
import psycopg2

from np6_source.schema import EVENT_TABLES


class Postgres:
    """A server that listens on a socket in a folder."""

    def __init__(self, socket: str) -> None:
        self._server = f"postgresql://postgres:unused@{quote(socket, safe='')}"

    def new_database(self, name: str) -> str:
        """Makes a database; gives its URL."""
        connection = psycopg2.connect(f"{self._server}/postgres")
        try:
            connection.autocommit = True
            connection.cursor().execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()
        return f"{self._server}/{name}"

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
