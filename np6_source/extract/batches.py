"""Tables on their way to dlt: named, few and large."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import dlt
import pyarrow as pa

from ..dlt_internals.files import table_without_rows
from ..dlt_internals.resources import last_of_its_windows
from ..schema import TABLES
from ..tables.naming import filled, name_of
from .spool import are_large

ROWS_AT_ONCE = 50_000
"""Rows that are gathered, over windows, before they are handed to dlt."""

BYTES_AT_ONCE = 32 * 1024 * 1024
"""Bytes that are gathered, where events are so large that fewer rows have as many."""

FEWEST_BYTES = 1024 * 1024
"""Bytes of a table of large rows, at least, that is a file: each is a load job of its own."""


def tables_not_yet_there(
    filled_now: Collection[str] = (), needs_rows: bool = False
) -> Iterator[Any]:
    """An item for every table that no load has made yet, so that queries find them all.

    Args:
        filled_now: Tables of which the load package has rows already.
        needs_rows: Files without rows cannot be loaded in the format of the others.
    """
    schema = dlt.current.source_schema()
    there = filled(schema)
    for table in TABLES:
        if name_of(table, schema) in there or table.name in filled_now:
            continue
        rows = table.arrow_schema.empty_table()
        if needs_rows:
            yield table_without_rows(table.name, rows, "insert_values")
        else:
            yield dlt.mark.with_table_name(rows, table.name)


class GatheredTables:
    """Small tables of many windows, gathered to a few large ones."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[pa.Table]] = {}
        self._rows = 0
        self._bytes = 0

    @property
    def is_enough(self) -> bool:
        """Whether enough has come together to be handed on."""
        return self._rows >= ROWS_AT_ONCE or self._bytes >= BYTES_AT_ONCE

    def add(self, name: str, table: pa.Table) -> None:
        """Gathers a table; one without rows is as none."""
        if not table.num_rows:
            return
        self._waiting.setdefault(name, []).append(table)
        self._rows += table.num_rows
        self._bytes += table.nbytes

    def take_large(self) -> Iterator[tuple[str, pa.Table]]:
        """Yields the tables of large rows, by name, and forgets them.

        They are to be handed on as files: dlt 1.31 keeps 5,000 rows in memory before it writes
        them, whatever they weigh.
        """
        for name, waiting in list(self._waiting.items()):
            bytes_of_rows = sum(rows.nbytes for rows in waiting)
            count = sum(rows.num_rows for rows in waiting)
            if bytes_of_rows >= FEWEST_BYTES and are_large(bytes_of_rows, count):
                del self._waiting[name]
                self._rows -= count
                self._bytes -= bytes_of_rows
                yield name, pa.concat_tables(waiting)

    def flush(self, handed_on: Callable[[], None] | None = None) -> Iterator[Any]:
        """Yields everything that was gathered.

        Args:
            handed_on: To be called once dlt has taken the last of it.
        """
        waiting, self._waiting = self._waiting, {}
        self._rows = self._bytes = 0
        names = [table.name for table in TABLES if table.name in waiting]
        for name in names:
            rows = pa.concat_tables(waiting.pop(name))
            if handed_on is not None and name == names[-1]:
                yield last_of_its_windows(rows, name, handed_on)
            else:
                yield dlt.mark.with_table_name(rows, name)
