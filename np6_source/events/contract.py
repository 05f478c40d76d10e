"""What the schema says about an event's payload, path by path.

Every other module of this folder builds on it: the SQL that DuckDB runs, the columns that Arrow
makes, the proof that nothing is left, and the search for what is. Nothing here reads an event.
"""

from __future__ import annotations

from ..schema import (
    EVENT_ID,
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA,
    EXPECTED_VALUES,
    TIMESTAMP,
    Column,
    Path,
    TDataType,
)

EARLIEST_MS = -62_135_596_800_000
"""Milliseconds of 0001-01-01, the first instant that every destination can hold."""
LATEST_MS = 253_402_300_799_999
"""Milliseconds of the end of 9999, the last instant that every destination can hold."""

MAPPED_COLUMNS: tuple[Column, ...] = tuple(
    {
        column.paths: column
        for table in EVENT_TABLES
        for column in table.columns
        if column.paths and not column.derived
    }.values()
)
"""The columns that account for payload paths, each once."""

LEAVES: dict[str, TDataType] = {
    **{path.path: column.data_type for column in MAPPED_COLUMNS for path in column.paths},
    **{path.path: "text" for path, _ in EXPECTED_VALUES},
    EXECUTION_DATA: "json",
}
"""Every payload path the contract knows a value at, with the type expected there."""

CONTAINERS: tuple[str, ...] = tuple(
    dict.fromkeys(
        ".".join(keys[:depth])
        for keys in (leaf.split(".") for leaf in LEAVES)
        for depth in range(1, len(keys))
    )
)
"""Every payload path the contract expects an object at, outermost first."""

DISCRIMINATORS: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *(path.when[0] for column in MAPPED_COLUMNS for path in column.paths if path.when),
            *(path.path for path, _ in EXPECTED_VALUES),
        ]
    )
)
"""Paths whose value, not only type, decides what is known."""

DATES = tuple(leaf for leaf, data_type in LEAVES.items() if data_type == "timestamp")
"""The payload paths of dates."""

LISTS = tuple(path.path for column in MAPPED_COLUMNS if column.takes_list for path in column.paths)
"""The payload paths at which a list of texts is known."""

SOURCED: dict[tuple[Path, ...], Column] = {
    column.paths: column for table in EVENT_TABLES for column in table.columns if column.paths
}
"""A column for each set of payload paths that fills one."""

ALIASES = {paths: f"c{number}" for number, paths in enumerate(SOURCED)}
"""The name under which the values at such paths travel."""


def alias(column: Column) -> str:
    """Name of the column of a batch that fills a table's column.

    Columns of several tables with the same payload paths share one.
    """
    return ALIASES[column.paths] if column.paths else column.name


def event_column(name: str) -> Column:
    """The column of ``events`` with a name."""
    return next(column for column in EVENTS.columns if column.name == name)


ID_ALIAS, TIMESTAMP_ALIAS = alias(EVENT_ID), alias(TIMESTAMP)
TYPE_ALIAS = alias(event_column("type"))
