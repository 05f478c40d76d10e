"""What the adversary does to a database behind a pipeline's back, on DuckDB and on PostgreSQL."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import dlt
import duckdb
import psycopg2
from psycopg2 import sql

from tests.support import Warehouse


class DuckDbFile(Warehouse):
    """A DuckDB file.

    Attributes:
        errors: What a query raises where a table is not there.
        environment: What the script needs beside its options.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (duckdb.Error,)
    environment: Mapping[str, str] = {}

    @property
    def address(self) -> tuple[str, str]:
        """The name of dlt's destination, and what it is made with."""
        return "duckdb", str(self.database)

    def options(self) -> list[str]:
        """The script's options that name the pipeline and the database."""
        return [
            *("--pipeline", self.name),
            *("--pipelines-dir", str(self.pipelines_dir)),
            *("--duckdb-file", str(self.database)),
        ]

    def is_there(self) -> bool:
        """Whether the database can be asked."""
        return self.database.exists()

    def back_up(self, folder: Path) -> None:
        """Copies the database; the folder is its own."""
        shutil.copy(self.database, folder / "events.duckdb")

    def put_back(self, folder: Path) -> None:
        """Replaces the database with a copy."""
        self.remove()
        shutil.copy(folder / "events.duckdb", self.database)

    def put_table_back(self, table: str, folder: Path) -> None:
        """Replaces a table with that of a copy.

        Raises:
            duckdb.Error: One of the two has no such table.
        """
        self.query(
            f"ATTACH '{folder / 'events.duckdb'}' AS older; DELETE FROM np6.{table};"
            f" INSERT INTO np6.{table} BY NAME FROM older.np6.{table}"
        )

    def remove(self) -> None:
        """Removes the database."""
        Path(f"{self.database}.wal").unlink(missing_ok=True)
        self.database.unlink(missing_ok=True)

    def milliseconds(self, column: str) -> str:
        """SQL for a time as milliseconds since the epoch."""
        return f"epoch_ms({column})"


class PostgresDatabase(DuckDbFile):
    """A database of a PostgreSQL server."""

    errors: ClassVar[tuple[type[Exception], ...]] = (psycopg2.Error,)

    def __init__(self, folder: Path, name: str, server: str, database: str) -> None:
        """Makes the database.

        Args:
            folder: For dlt's working files.
            name: The pipeline's name.
            server: Folder of the server's socket.
            database: Name of a database that is not there yet.
        """
        super().__init__(folder, name)
        self._server = server
        self._name = database
        url = f"postgresql://postgres:unused@{quote(server, safe='')}/{database}"
        self._url = url
        self.environment = {"DESTINATION__POSTGRES__CREDENTIALS": url}
        self._run_on_server(f"CREATE DATABASE {database}")

    @property
    def pipeline(self) -> dlt.Pipeline:
        """The pipeline, as a new process would find it."""
        return dlt.pipeline(
            self.name,
            destination=dlt.destinations.postgres(self._url),
            dataset_name="np6",
            pipelines_dir=str(self.pipelines_dir),
        )

    @property
    def address(self) -> tuple[str, str]:
        """See ``DuckDbFile``."""
        return "postgres", self._url

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with closing(self._connection(self._name)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def options(self) -> list[str]:
        """See ``DuckDbFile``."""
        return [
            *("--pipeline", self.name, "--pipelines-dir", str(self.pipelines_dir)),
            *("--destination", "postgres", "--dataset", "np6"),
        ]

    def is_there(self) -> bool:
        """See ``DuckDbFile``."""
        return True

    def back_up(self, folder: Path) -> None:
        """See ``DuckDbFile``."""
        self._copy(self._name, self._copy_in(folder))

    def put_back(self, folder: Path) -> None:
        """See ``DuckDbFile``."""
        self._copy(self._copy_in(folder), self._name)

    def put_table_back(self, table: str, folder: Path) -> None:
        """See ``DuckDbFile``.

        Raises:
            psycopg2.Error: One of the two has no such table.
        """
        rows = io.StringIO()
        with (
            closing(self._connection(self._copy_in(folder))) as older,
            older.cursor() as cursor,
        ):
            cursor.execute(f"SELECT * FROM np6.{table} LIMIT 0")
            names = sql.SQL(", ").join(sql.Identifier(column.name) for column in cursor.description)
            columns = names.as_string(older)
            cursor.copy_expert(f"COPY np6.{table} ({columns}) TO STDOUT", rows)
        rows.seek(0)
        with closing(self._connection(self._name)) as newer, newer, newer.cursor() as cursor:
            newer.autocommit = False
            cursor.execute(f"DELETE FROM np6.{table}")
            cursor.copy_expert(f"COPY np6.{table} ({columns}) FROM STDIN", rows)

    def remove(self) -> None:
        """Drops the datasets, as whoever has a server does: the database stays."""
        for (name,) in self.query("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'np6%'"):
            self.query(f'DROP SCHEMA "{name}" CASCADE')

    def milliseconds(self, column: str) -> str:
        """See ``DuckDbFile``."""
        return f"(extract(epoch FROM {column}) * 1000)::bigint"

    def _copy_in(self, folder: Path) -> str:
        return f"{self._name}_{folder.name}"

    def _copy(self, of: str, to: str) -> None:
        self._run_on_server(f"DROP DATABASE IF EXISTS {to} WITH (FORCE)")
        # A database that is copied must have no other connections: those of what was killed.
        self._run_on_server(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{of}'"
        )
        self._run_on_server(f"CREATE DATABASE {to} TEMPLATE {of}")

    def _run_on_server(self, statement: str) -> None:
        with closing(self._connection("postgres")) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def _connection(self, database: str) -> Any:
        connection = psycopg2.connect(host=self._server, user="postgres", dbname=database)
        connection.autocommit = True
        return connection
