"""Whether the tables of a lake are there, where their metadata says they are, and can be opened.

No ledger is read of files. A table whose folder or log is gone would be made anew by the next load,
without what the cursor says it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa
from dlt.common.destination.exceptions import DestinationUndefinedEntity
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

from ..errors import SettingError, TableMissing

if TYPE_CHECKING:
    from dlt.common.schema.typing import TTableFormat

FORMATS: tuple[TTableFormat, ...] = ("delta", "iceberg")

_ELSE_ANEW = (
    "Or remove the table's folder, and read everything again with --reload, which makes the table"
    " anew."
)


def missing_from_lake(client: FilesystemClient, expected: Iterable[str]) -> list[str]:
    """Which of the tables a lake does not have.

    Args:
        client: dlt's client of the dataset, with the schema that the tables are of.
        expected: Their names.

    Raises:
        TableMissing: One is there, and cannot be opened.
    """
    return [
        name
        for name, columns in client.get_storage_tables(list(expected))
        if not columns or not _can_be_opened(client, name)
    ]


def _can_be_opened(client: FilesystemClient, name: str) -> bool:
    """Whether there is such a table; True of plain files."""
    for table_format in FORMATS:
        if client.is_open_table(table_format, name):
            try:
                client.load_open_table(table_format, name)
            except DestinationUndefinedEntity:
                return False
            except SettingError:
                raise
            except Exception as error:
                if not _is_of_content(error):
                    raise
                record = "log" if table_format == "delta" else "metadata"
                raise TableMissing(
                    f"Table {name} of dataset {client.dataset_name!r} cannot be opened: a file of"
                    f" its {record} is damaged or gone ({type(error).__name__}). Put the file back,"
                    f" or the lake. {_ELSE_ANEW}"
                ) from error
    return True


@contextmanager
def named_where_damaged(dataset: str, name: str) -> Iterator[None]:
    """Makes one sentence of the errors of a merge into a table of which a file is gone or damaged.

    Args:
        dataset: Name of the dataset.
        name: The table.

    Raises:
        TableMissing: Says which file it is, and what to do.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_file(error):
            raise
        raise TableMissing(
            f"A file of table {name} of dataset {dataset!r} is gone or damaged: put it back, or the"
            f" lake. {_ELSE_ANEW} {' '.join(str(error).split())[:500]}"
        ) from error


def _is_of_file(error: Exception) -> bool:
    """Whether the cause of an error is a file of a table: not the network, nor the rows.

    So the errors of deltalake 1.6 and pyarrow 26 read.
    """
    if isinstance(error, FileNotFoundError | EOFError | UnicodeDecodeError):
        return True
    of_library = isinstance(error, pa.ArrowInvalid) or type(error).__name__ == "DeltaError"
    return of_library and any(text in str(error) for text in ("Parquet", "Object at location"))


def _is_of_content(error: Exception) -> bool:
    """Whether files could be read, and say nothing that makes sense; else it may be the network."""
    # deltalake 1.6 has the one for a log that is cut off or has a gap, pyiceberg 0.12 the other.
    of_libraries = ("DeltaError", "ValidationError")
    return isinstance(error, ValueError | EOFError) or type(error).__name__ in of_libraries
