"""The SELECT that projects an answer's events onto columns, derived from ``schema``.

One pass of DuckDB over the file: each event's JSON is transformed to a struct with the known
fields, the table columns are taken from it, and a hash of the event's shape tells the events that
hold something unknown (see ``drift``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from np6_source.drift import CONTAINERS, DISCRIMINATORS, EARLIEST_MS, LATEST_MS, LEAVES
from np6_source.schema import (
    EVENT_ID,
    EVENT_TABLES,
    EXECUTION_DATA,
    TIMESTAMP,
    Column,
    Path,
)

RAW = "raw"
"""The event's JSON; NULL where its shape is known to be clean."""
SHAPE = "shape"
"""Hash of the event's shape."""
DATA = "data"
"""The free data object of an execution, as JSON text."""

_SOURCED: dict[tuple[Path, ...], Column] = {
    column.paths: column for table in EVENT_TABLES for column in table.columns if column.paths
}
_ALIASES = {paths: f"c{number}" for number, paths in enumerate(_SOURCED)}


def alias(column: Column) -> str:
    """Name of the projection's column that fills a table column.

    Columns of several tables that stand at the same payload paths share one.
    """
    return _ALIASES[column.paths] if column.paths else column.name


def select_events(file: str, largest_event: int, clean_shapes: Iterable[int]) -> str:
    """SQL that reads an answer's file and gives a row per event.

    Args:
        file: Path of the file, one JSON array.
        largest_event: Bytes that one event may have.
        clean_shapes: Shapes of which nothing is left; their events come without ``RAW``.

    Returns:
        A SELECT with a column for each ``alias`` (text, or milliseconds since the epoch), ``DATA``,
        ``SHAPE`` and ``RAW``.
    """
    clean = ", ".join(map(str, clean_shapes))
    is_unclean = f"{SHAPE} NOT IN ({clean})" if clean else "true"
    return f"""
        SELECT {_COLUMNS}, CASE WHEN {is_unclean} THEN json::VARCHAR END AS {RAW}
        FROM (
            SELECT json, json_transform(json, {_literal(json.dumps(_structure()))}) AS known
            FROM read_json_objects(
                {_literal(file)}, format = 'array', maximum_object_size = {largest_event}
            )
        )
    """


def select_execution_data(rows: str) -> str:
    """SQL that gives a row per key of the ``DATA`` of the events in the relation ``rows``.

    Of a key that stands more than once the first value counts, as everywhere.
    """
    return f"""
        SELECT
            {alias(EVENT_ID)}, {alias(TIMESTAMP)}, entry.key,
            entry.value ->> '$' AS value,
            CASE
                WHEN entry.type IN ('UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT') THEN 'integer'
                WHEN entry.type = 'DOUBLE' THEN
                    CASE WHEN regexp_full_match(entry.value ->> '$', '-?[0-9]+')
                        THEN 'integer' ELSE 'number' END
                WHEN entry.type = 'VARCHAR' THEN 'string'
                ELSE lower(entry.type)
            END AS value_type
        FROM {rows}, json_each({rows}.{DATA}) AS entry
        QUALIFY row_number() OVER (
            PARTITION BY {alias(EVENT_ID)}, entry.key ORDER BY entry.id
        ) = 1
    """


def _structure() -> dict[str, Any]:
    """DuckDB's ``json_transform`` structure with every known field.

    A field that may hold a value or an object, as a discriminator says, stays JSON.
    """
    root: dict[str, Any] = {}
    for leaf, data_type in LEAVES.items():
        keys = leaf.split(".")
        if any(".".join(keys[:depth]) in LEAVES for depth in range(1, len(keys))):
            continue
        node = root
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        is_json = data_type == "json" or leaf in CONTAINERS
        node[keys[-1]] = "JSON" if is_json else "VARCHAR" if data_type == "text" else "BIGINT"
    return root


def _field(path: str) -> str:
    return "known." + ".".join(f'"{key}"' for key in path.split("."))


def _value(path: str) -> str:
    """SQL for the value at a payload path; NULL where there is none that fits."""
    keys = path.split(".")
    for depth in range(1, len(keys)):
        prefix = ".".join(keys[:depth])
        if prefix in LEAVES:
            return f"json_extract_string({_field(prefix)}, '$.{'.'.join(keys[depth:])}')"
    if path in CONTAINERS:
        return f"json_extract_string({_field(path)}, '$')"
    if LEAVES[path] == "timestamp":
        in_calendar = f"{_field(path)} BETWEEN {EARLIEST_MS} AND {LATEST_MS}"
        return f"CASE WHEN {in_calendar} THEN {_field(path)} END"
    return _field(path)


def _alternative(path: Path) -> str:
    if path.when is None:
        return _value(path.path)
    discriminator, expected = path.when
    return f"CASE WHEN {_value(discriminator)} = {_literal(expected)} THEN {_value(path.path)} END"


def _expression(column: Column) -> str:
    return f"coalesce({', '.join(map(_alternative, column.paths))})"


def _shape() -> str:
    """SQL for the hash of everything that decides whether an event is clean."""
    containers = ", ".join(f"'$.{path}'" for path in CONTAINERS)
    leaves = ", ".join(f"'$.{path}'" for path in LEAVES)
    dates = [leaf for leaf, data_type in LEAVES.items() if data_type == "timestamp"]
    data_keys = f"json_keys({_field(EXECUTION_DATA)})"
    parts = [
        f"json_keys(json, ['$', {containers}])",
        f"json_type(json, [{leaves}, {containers}])",
        *map(_value, DISCRIMINATORS),
        *(f"{_value(date)} IS NULL" for date in dates),
        f"len({data_keys}) = len(list_distinct({data_keys}))",
    ]
    return f"hash({', '.join(parts)})"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_DATA_TYPE = f"json_type({_field(EXECUTION_DATA)})"
_COLUMNS = ", ".join(
    [
        *(f"{_expression(column)} AS {alias(column)}" for column in _SOURCED.values()),
        f"CASE WHEN {_DATA_TYPE} = 'OBJECT' THEN {_field(EXECUTION_DATA)}::VARCHAR END AS {DATA}",
        f"{_shape()} AS {SHAPE}",
    ]
)
