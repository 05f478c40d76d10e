"""The Parquet files of a dataset's tables: plain files, and those of open formats."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.dataset
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient


def parquet_files(client: FilesystemClient, name: str) -> list[str]:
    """Paths of a table's Parquet files, of all versions that an open format keeps."""
    try:
        return sorted(p for p in client.list_table_files(name) if p.endswith(".parquet"))
    except DestinationUndefinedEntity:
        return []


def rows_of(client: FilesystemClient, paths: Collection[str]) -> pa.dataset.Dataset:
    """The rows of files, as an Arrow dataset; a column that one has is there for all."""
    each = [pa.dataset.dataset([path], filesystem=client.fs_client) for path in paths]
    schema = pa.unify_schemas([one.schema for one in each], promote_options="permissive")
    return pa.dataset.dataset([one.replace_schema(schema) for one in each])


def rows(client: FilesystemClient, name: str) -> pa.dataset.Dataset | None:
    """The rows of a table's files, for ``arrow_sql.ArrowSqlClient``; None: it has none."""
    paths = parquet_files(client, name)
    return rows_of(client, paths) if paths else None
