"""Some columns of a table of a lake, whatever its format, as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from . import delta, parquet


def read_columns(
    client: FilesystemClient, name: str, columns: Sequence[str]
) -> pa.RecordBatchReader | None:
    """Reads columns of a table, a bounded number of rows at a time.

    Args:
        client: dlt's client of the dataset, with the schema that the table is of.
        name: The table.
        columns: Names of its columns.

    Returns:
        The rows; of plain files all that any file has. None where there is no such table.
    """
    if client.is_open_table("iceberg", name):
        try:
            table: Any = client.load_open_table("iceberg", name)
        except DestinationUndefinedEntity:
            return None
        reader: pa.RecordBatchReader = table.scan(
            selected_fields=tuple(columns)
        ).to_arrow_batch_reader()
        return reader
    is_delta = client.is_open_table("delta", name)
    rows = delta.rows(client, name) if is_delta else parquet.rows(client, name)
    return None if rows is None else rows.scanner(columns=list(columns)).to_reader()
