"""Parquet files that dlt takes into a load package as they are."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import dlt
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.common.configuration import known_sections, resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.data_writers.buffered import BufferedDataWriter
from dlt.common.data_writers.writers import ArrowToParquetWriter
from dlt.common.destination.capabilities import DestinationCapabilitiesContext
from dlt.common.destination.reference import AnyDestination
from dlt.common.metrics import DataWriterMetrics
from dlt.extract.extractors import ImportFileMeta
from dlt.extract.items import DataItemWithMeta, TableNameMeta
from dlt.normalize.configuration import ItemsNormalizerConfiguration


@dataclass(frozen=True)
class PackageParquet:
    """How dlt writes the Parquet files of the load package that is being extracted.

    Attributes:
        open: Opens a file of rows of a schema. It may be called in any thread.
        row_group_size: Rows per row group; None: as many as are written at once.
        largest_file: Bytes that a file may have for the destination; None: any number.
    """

    open: Callable[[BinaryIO, pa.Schema], pq.ParquetWriter]
    row_group_size: int | None
    largest_file: int | None


def package_parquet() -> PackageParquet | None:
    """How files are written that dlt takes for its own; None: it does more than write them.

    Read in dlt 1.31: ``BufferedDataWriter`` begins a new file by a number of rows or bytes where
    one is configured; ``ArrowExtractor`` adds the column ``_dlt_load_id`` where that is.
    """
    buffered = resolve_configuration(BufferedDataWriter.BufferedDataWriterConfiguration())
    if buffered.file_max_items or buffered.file_max_bytes:
        return None
    sections = (known_sections.NORMALIZE, "parquet_normalizer")
    if resolve_configuration(ItemsNormalizerConfiguration(), sections=sections).add_dlt_load_id:
        return None
    container = Container()
    capabilities = (
        container[DestinationCapabilitiesContext]
        if DestinationCapabilitiesContext in container
        else DestinationCapabilitiesContext.generic_capabilities()
    )
    # Configuration is resolved here: a thread of our own would not find it.
    configured = ArrowToParquetWriter(io.BytesIO(), caps=capabilities)

    def open_file(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
        writer = copy.copy(configured)
        writer._f = file
        return writer._create_writer(schema)

    size = configured.parquet_format.row_group_size
    return PackageParquet(open_file, size, capabilities.recommended_file_size)


class ImportedTable(ImportFileMeta):
    """Marks an item as a Parquet file of one of a resource's tables.

    dlt's own mark of a file names no table, and its mark of a table no file; both have slots, so
    that no class can inherit from both. dlt tells them apart with ``isinstance`` (dlt 1.31).

    Attributes:
        table_name: The table.
        is_taken: Whether dlt has opened the file, to link it into its load package.
    """

    __slots__ = ("is_taken", "path", "table_name")

    def __init__(self, table_name: str, file: Path, row_count: int) -> None:
        """Takes the file, which must stay until dlt has taken it."""
        self.table_name = table_name
        self.is_taken = False
        metrics = DataWriterMetrics(str(file), row_count, file.stat().st_size, 0, 0)
        super().__init__(str(file), metrics, "parquet", create_table_variant=False)

    __class__ = property(lambda _: TableNameMeta)

    @property
    def file_path(self) -> str:
        """The file; who asks for it takes it."""
        self.is_taken = True
        return self.path

    @file_path.setter
    def file_path(self, path: str) -> None:
        self.path = path


def imported(mark: ImportedTable, schema: pa.Schema) -> DataItemWithMeta:
    """An item by which dlt takes a file into the load package, as it is.

    Who iterates over the resource in place of loading it gets the item without its mark, an empty
    table: then ``mark.is_taken`` is false (dlt 1.31).

    Args:
        mark: Which file, of which table.
        schema: That of its rows, from which dlt computes the table's.
    """
    return DataItemWithMeta(mark, schema.empty_table())


def copies_parquet(destination: AnyDestination) -> bool:
    """Whether dlt loads Parquet into PostgreSQL, by the ADBC driver (dlt 1.31).

    False where it is not installed, or switched off by ``disable_adbc_detection``.
    """
    selector: Any = destination.capabilities().loader_file_format_selector
    if selector is None:
        return False
    _, supported = selector("insert_values", ["insert_values", "parquet"], table_schema={})
    return "parquet" in supported


def table_without_rows(table_name: str, rows: pa.Table, file_format: Any) -> DataItemWithMeta:
    """An item that makes a table, in a file of its own format.

    The format is the table's, unless an item with rows of the table follows (dlt 1.31: hints that
    come with an item change the resource's, and the last item's count).

    Args:
        table_name: The table.
        rows: None, in the table's schema.
        file_format: The format of the file.
    """
    hints = dlt.mark.make_hints(table_name=table_name, file_format=file_format)
    return dlt.mark.with_hints(rows, hints, create_table_variant=True)
