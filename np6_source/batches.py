"""Tables on their way to dlt: marked with the hints of their table, few and large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dlt
import pyarrow as pa

from np6_source import hints
from np6_source.schema import TABLES, Table

ROWS_AT_ONCE = 50_000
"""Rows that are gathered, over windows, before they are handed to dlt."""


def tables_not_yet_there() -> Iterator[Any]:
    """An empty batch for every table that no load has made yet, so that queries find them all."""
    schema = dlt.current.source_schema()
    seen = {table["name"] for table in schema.data_tables(seen_data_only=True)}
    for table in TABLES:
        if schema.naming.normalize_tables_path(table.name) not in seen:
            yield _marked(table, table.arrow_schema.empty_table())


def _marked(table: Table, rows: pa.Table) -> Any:
    """Rows marked for their table, with its hints."""
    destination = dlt.current.pipeline().destination
    kind = destination.destination_type.rpartition(".")[2] if destination else None
    return dlt.mark.with_hints(
        rows, dlt.mark.make_hints(**hints.table_hints(table, kind)), create_table_variant=True
    )


class GatheredTables:
    """Small tables of many windows, gathered to a few large ones."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[pa.Table]] = {}
        self._rows = 0
        self._marked: set[str] = set()

    def add(self, name: str, table: pa.Table) -> Iterator[Any]:
        """Gathers a table; yields everything once enough has come together."""
        self._waiting.setdefault(name, []).append(table)
        self._rows += table.num_rows
        if self._rows >= ROWS_AT_ONCE:
            yield from self.flush()

    def flush(self) -> Iterator[Any]:
        """Yields everything that was gathered."""
        waiting, self._waiting, self._rows = self._waiting, {}, 0
        for table in TABLES:
            if table.name not in waiting:
                continue
            rows = pa.concat_tables(waiting.pop(table.name))
            if table.name in self._marked:
                yield dlt.mark.with_table_name(rows, table.name)
            else:
                self._marked.add(table.name)
                yield _marked(table, rows)
