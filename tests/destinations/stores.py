"""Destinations to load to, each with a reader that is neither dlt's nor this project's.

Values are compared exactly, in one form: times as microseconds since the epoch, which they must
have a zone for; texts and whole numbers as they are. Columns are compared by name, rows in the
order of their key.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import dlt
import duckdb
import pyarrow as pa

from np6_source import duck
from np6_source.deduplication import latest
from np6_source.lake import filesystem
from np6_source.schema import Table
from tests.support import ROOT

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
DATASET = "np6"
TYPES = {
    "character varying": "text",
    "VARCHAR": "text",
    "timestamp with time zone": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "bigint": "bigint",
    "BIGINT": "bigint",
}
"""What SQL calls the types."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3-compatible server.

    Attributes:
        name: The bucket.
        endpoint: Root of the server.
    """

    name: str
    endpoint: str

    @property
    def credentials(self) -> dict[str, str]:
        """As dlt has them."""
        return {
            "aws_access_key_id": "a-test-key-id",
            "aws_secret_access_key": "a-test-key",
            "endpoint_url": self.endpoint,
            "region_name": "us-east-1",
        }

    def file_system(self) -> Any:
        """The bucket, for readers of files."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=self.credentials["aws_access_key_id"],
            secret_key=self.credentials["aws_secret_access_key"],
            endpoint_override=self.endpoint,
            allow_bucket_creation=True,
            region="us-east-1",
        )


class Store(ABC):
    """A destination of one test, empty at first.

    Attributes:
        speaks_sql: Whether the ledger can be queried, here, without a download.
        keeps_every_copy: Whether rows stand there as often as they were loaded.
        source_options: What ``np6_source`` needs to be told.
        environment: dlt's configuration of it, for the script.
    """

    speaks_sql = True
    keeps_every_copy = False
    source_options: Mapping[str, Any] = {}
    environment: Mapping[str, str] = {}
    script_name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    @property
    @abstractmethod
    def destination(self) -> Any:
        """What dlt loads to."""

    @abstractmethod
    def stored(self, table: Table) -> pa.Table | None:
        """A table as it is; None where it is not."""

    @abstractmethod
    def drop(self, table: Table) -> None:
        """Takes a table away."""

    def columns(self, table: Table) -> dict[str, tuple[str, bool]]:
        """A table's columns in order: type, in this project's words, and whether it may be NULL."""
        found = self.stored(table)
        assert found is not None
        return {field.name: (type_name(field.type), field.nullable) for field in found.schema}

    @property
    def pipeline(self) -> dlt.Pipeline:
        """The pipeline, as a new process would find it."""
        return dlt.pipeline(
            "np6_test",
            destination=self.destination,
            dataset_name=DATASET,
            pipelines_dir=str(self.folder / "pipelines"),
        )

    def run(
        self, script: str, options: Mapping[str, Any], package: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Runs Python text to its end, in a process of its own.

        Args:
            script: The text. Its argument is JSON: ``destination``, ``folder`` (of the pipelines),
                and the options.
            options: What it needs besides; they come before the two.
            package: Folder with the version of the package that it imports.
        """
        is_files = self.script_name == "filesystem"
        given = {
            "destination": "np6_source.lake.filesystem" if is_files else self.script_name,
            "folder": str(self.folder / "pipelines"),
            **options,
        }
        environment = {"PYTHONPATH": str(package), "RUNTIME__DLTHUB_TELEMETRY": "false"}
        return subprocess.run(
            [sys.executable, "-c", script, json.dumps(given)],
            cwd=self.folder,
            env={**os.environ, **environment, **self.environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def named(self, name: str) -> dlt.Pipeline:
        """Another pipeline that loads into the same tables."""
        return dlt.pipeline(
            name,
            destination=self.destination,
            dataset_name=DATASET,
            pipelines_dir=str(self.folder / name),
        )

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """A table's rows as a user reads them, in the order of its key."""
        found = self.stored(table)
        assert found is not None, f"{table.name} is not there"
        if self.keeps_every_copy:
            found = deduplicated(table, found)
        return plain(table, found)


def type_name(arrow_type: pa.DataType) -> str:
    """What a reader's type is in this project's words."""
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return "text"
    if arrow_type in (pa.timestamp("us", "UTC"), pa.timestamp("us", "Etc/UTC")):
        return "timestamp"
    return "bigint" if arrow_type == pa.int64() else str(arrow_type)


def deduplicated(table: Table, found: pa.Table) -> pa.Table:
    """The rows that the documented query leaves."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("found", found)
        return connection.sql(latest(table, "found")).to_arrow_table()


def plain(table: Table, found: pa.Table) -> list[dict[str, Any]]:
    """Rows as dicts, in the order of the table's key."""
    rows = [{name: plain_value(value) for name, value in row.items()} for row in found.to_pylist()]
    return sorted(rows, key=lambda row: tuple(row[name] for name in table.key))


def plain_value(value: Any) -> Any:
    if isinstance(value, datetime):
        assert value.tzinfo is not None, f"{value} has no zone"
        return (value - EPOCH) // timedelta(microseconds=1)
    return value


class DuckDBStore(Store):
    text_type = "VARCHAR"
    script_name = "duckdb"

    @property
    def database(self) -> Path:
        return self.folder / "events.duckdb"

    @property
    def destination(self) -> Any:
        return dlt.destinations.duckdb(str(self.database))

    @property
    def environment(self) -> Mapping[str, str]:  # type: ignore[override]
        return {"DESTINATION__DUCKDB__CREDENTIALS": str(self.database)}

    def connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(str(self.database))
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("USE events")
        return connection

    def execute(self, statement: str) -> None:
        """Changes the database."""
        with self.connect() as connection:
            connection.execute(statement)

    def stored(self, table: Table) -> pa.Table | None:
        with self.connect() as connection:
            try:
                return connection.sql(f"SELECT * FROM {DATASET}.{table.name}").to_arrow_table()
            except duckdb.CatalogException:
                return None

    def columns(self, table: Table) -> dict[str, tuple[str, bool]]:
        with self.connect() as connection:
            found = connection.execute(f"DESCRIBE {DATASET}.{table.name}").fetchall()
        return {name: (TYPES.get(kind, kind), null == "YES") for name, kind, null, *_ in found}

    def drop(self, table: Table) -> None:
        with self.connect() as connection:
            connection.execute(f"DROP TABLE {DATASET}.{table.name}")


class DirectStore(DuckDBStore):
    """The same database, without a staging dataset."""

    script_name = "np6_source.duck.duckdb"

    @property
    def destination(self) -> Any:
        return duck.duckdb(str(self.database))


class DuckLakeStore(DuckDBStore):
    script_name = "ducklake"

    def __init__(self, folder: Path) -> None:
        import duckdb_extension_ducklake

        super().__init__(folder)
        package = Path(duckdb_extension_ducklake.__file__).parent
        (extension,) = package.glob("extensions/v*/ducklake.duckdb_extension")
        with duckdb.connect(config=self.config) as connection:
            connection.execute(f"INSTALL '{extension}'")

    @property
    def config(self) -> dict[str, Any]:
        return {"extension_directory": str(self.folder / "extensions")}

    @property
    def catalog(self) -> Path:
        return self.folder / "catalog.duckdb"

    @property
    def destination(self) -> Any:
        from dlt.destinations.impl.ducklake.configuration import DuckLakeCredentials

        credentials = DuckLakeCredentials(
            "lake",
            catalog=f"duckdb:///{self.catalog}",
            storage=f"file://{self.folder / 'files'}",
        )
        credentials.global_config = self.config
        return dlt.destinations.ducklake(credentials)

    @property
    def environment(self) -> Mapping[str, str]:
        prefix = "DESTINATION__DUCKLAKE__CREDENTIALS"
        return {
            f"{prefix}__DUCKLAKE_NAME": "lake",
            f"{prefix}__CATALOG": f"duckdb:///{self.catalog}",
            f"{prefix}__STORAGE__BUCKET_URL": f"file://{self.folder / 'files'}",
            f"{prefix}__GLOBAL_CONFIG": f'{{"extension_directory": "{self.folder}/extensions"}}',
        }

    def connect(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(config=self.config)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH 'ducklake:{self.catalog}' AS events")
        connection.execute("USE events")
        return connection


class PostgresStore(Store):
    text_type = "varchar"
    script_name = "postgres"

    def __init__(self, folder: Path, server: str, database: str) -> None:
        """A database of its own.

        Args:
            folder: For dlt's working files.
            server: Folder of the server's socket.
            database: Name of a database that is not there yet.
        """
        super().__init__(folder)
        self.server = server
        self.database = "postgres"
        self.execute(f"CREATE DATABASE {database}")
        self.database = database

    @property
    def url(self) -> str:
        return f"postgresql://postgres:unused@{quote(self.server, safe='')}/{self.database}"

    @property
    def destination(self) -> Any:
        return dlt.destinations.postgres(self.url)

    @property
    def environment(self) -> Mapping[str, str]:  # type: ignore[override]
        return {"DESTINATION__POSTGRES__CREDENTIALS": self.url}

    def execute(self, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        import psycopg2

        connection = psycopg2.connect(host=self.server, user="postgres", dbname=self.database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET TimeZone = 'Asia/Tokyo'")  # a reader's zone changes nothing
                cursor.execute(query)
                names = [column.name for column in cursor.description or ()]
                return names, cursor.fetchall() if names else []
        finally:
            connection.close()

    def stored(self, table: Table) -> pa.Table | None:
        _, found = self.execute(
            "SELECT 1 FROM information_schema.tables"
            f" WHERE table_schema = '{DATASET}' AND table_name = '{table.name}'"
        )
        if not found:
            return None
        names, rows = self.execute(f"SELECT * FROM {DATASET}.{table.name}")
        types = {column.name: column.arrow_type for column in table.columns}
        return pa.table(
            {
                name: pa.array([row[place] for row in rows], types.get(name))
                for place, name in enumerate(names)
            }
        )

    def columns(self, table: Table) -> dict[str, tuple[str, bool]]:
        _, found = self.execute(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            f" WHERE table_schema = '{DATASET}' AND table_name = '{table.name}'"
            " ORDER BY ordinal_position"
        )
        return {name: (TYPES.get(kind, kind), null == "YES") for name, kind, null in found}

    def drop(self, table: Table) -> None:
        self.execute(f"DROP TABLE {DATASET}.{table.name}")


class FileStore(Store):
    """Files in a folder, or in a bucket."""

    speaks_sql = False
    script_name = "filesystem"

    def __init__(self, folder: Path, bucket: Bucket | None) -> None:
        super().__init__(folder)
        self.bucket = bucket

    @property
    def url(self) -> str:
        """Where the datasets are."""
        return f"s3://{self.bucket.name}/lake" if self.bucket else f"file://{self.folder}/lake"

    @property
    def destination(self) -> Any:
        credentials = self.bucket.credentials if self.bucket else None
        return filesystem(self.url, credentials)

    @property
    def environment(self) -> Mapping[str, str]:  # type: ignore[override]
        prefix = "DESTINATION__FILESYSTEM__"
        credentials = self.bucket.credentials if self.bucket else {}
        return (
            {f"{prefix}BUCKET_URL": self.url}
            | {f"{prefix}CREDENTIALS__{n.upper()}": value for n, value in credentials.items()}
            | {f"SOURCES__NP6__{n.upper()}": value for n, value in self.source_options.items()}
        )

    def place(self, table: Table) -> str:
        """Where a table's files are, as the readers of files have it."""
        root = f"{self.bucket.name}/lake" if self.bucket else f"{self.folder}/lake"
        return f"{root}/{DATASET}/{table.name}"

    def file_system(self) -> Any:
        from pyarrow.fs import LocalFileSystem

        return self.bucket.file_system() if self.bucket else LocalFileSystem()

    def drop(self, table: Table) -> None:
        self.file_system().delete_dir(self.place(table))

    def files(self, folder: str, ending: str) -> list[str]:
        """The files in a folder, by name; none where there is no folder."""
        from pyarrow.fs import FileSelector

        selector = FileSelector(folder, allow_not_found=True, recursive=True)
        found = self.file_system().get_file_info(selector)
        return sorted(entry.path for entry in found if entry.path.endswith(ending))


class DeltaStore(FileStore):
    source_options: ClassVar = {"table_format": "delta"}

    def stored(self, table: Table) -> pa.Table | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        where, options = self.place(table), {}
        if self.bucket:
            where = f"s3://{where}"
            options = {
                "AWS_ACCESS_KEY_ID": self.bucket.credentials["aws_access_key_id"],
                "AWS_SECRET_ACCESS_KEY": self.bucket.credentials["aws_secret_access_key"],
                "AWS_ENDPOINT_URL": self.bucket.endpoint,
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }
        try:
            found: pa.Table = DeltaTable(where, storage_options=options).to_pyarrow_table()
        except TableNotFoundError:
            return None
        return found


class IcebergStore(FileStore):
    source_options: ClassVar = {"table_format": "iceberg"}

    def stored(self, table: Table) -> pa.Table | None:
        from pyiceberg.table import StaticTable

        versions = self.files(f"{self.place(table)}/metadata", ".metadata.json")
        if not versions:
            return None
        properties = {}
        if self.bucket:
            properties = {
                "s3.endpoint": self.bucket.endpoint,
                "s3.access-key-id": self.bucket.credentials["aws_access_key_id"],
                "s3.secret-access-key": self.bucket.credentials["aws_secret_access_key"],
                "s3.region": "us-east-1",
            }
        newest = f"s3://{versions[-1]}" if self.bucket else versions[-1]
        return StaticTable.from_metadata(newest, properties).scan().to_arrow()


class ParquetStore(FileStore):
    keeps_every_copy = True

    def stored(self, table: Table) -> pa.Table | None:
        import pyarrow.dataset

        files = self.files(self.place(table), ".parquet")
        if not files:
            return None
        return pyarrow.dataset.dataset(files, filesystem=self.file_system()).to_table()
