"""SQL over a dataset's files, which Arrow reads.

dlt reads Delta tables through an extension that DuckDB downloads (dlt 1.31). Here DuckDB reads
their files through Arrow, and plain Parquet files likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset
from dlt.destinations import duckdb as duckdb_destination
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

TRead = Callable[[FilesystemClient, str], "pa.dataset.Dataset | None"]
"""The rows of a table, by its name; None where it is not there."""


class ArrowSqlClient(DuckDbSqlClient):
    """SQL over tables that Arrow reads, which are called by their names alone.

    Every table is as it was when the connection was opened.
    """

    def __init__(self, files: FilesystemClient, names: Collection[str], read: TRead) -> None:
        """Prepares a connection.

        Args:
            files: dlt's client of the dataset.
            names: The tables; those that are not there are left out.
            read: Opens a table: ``delta.rows``, or ``parquet.rows``.
        """
        credentials = DuckDbCredentials(":memory:")
        capabilities = duckdb_destination().capabilities()
        super().__init__("main", "main", credentials, capabilities)
        self._conn: Any = None
        self.files = files
        self.names = names
        self.read = read
        self.columns: dict[str, frozenset[str]] = {}

    def open_connection(self) -> Any:
        """Opens the tables as they are now."""
        self._conn = duckdb.connect(config={"memory_limit": "300MB", "threads": 1})
        self._conn.execute("SET TimeZone = 'UTC'")
        # deltalake 1.6 writes texts as string_view, which pyarrow 26 cannot compare with one.
        self._conn.execute("SET disabled_optimizers = 'filter_pushdown,join_filter_pushdown'")
        for name in self.names:
            if (rows := self.read(self.files, name)) is not None:
                self.columns[name] = frozenset(rows.schema.names)
                self._conn.register(name, rows)
        return self._conn

    def close_connection(self) -> None:
        """Closes the connection."""
        if self._conn:
            self._conn.close()
            self._conn = None

    def make_qualified_table_name(
        self, table_name: str, quote: bool = True, casefold: bool = True
    ) -> str:
        """A table's name in SQL."""
        return self.escape_column_name(table_name, quote, casefold)

    def selected(self, query: str, values: Sequence[Any]) -> pa.Table:
        """What a query returns; ``%s`` stands for a value."""
        found: pa.Table = self._conn.execute(query.replace("%s", "?"), values).to_arrow_table()
        return found
