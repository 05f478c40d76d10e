"""An answer's events projected onto columns, derived from ``schema``.

One pass of DuckDB over the file transforms each event's JSON to a struct with the known fields, and
hashes the event's shape, which tells the events that hold something unknown (see ``drift``). Arrow
takes the columns out of the struct: it does so without copying, and a SELECT of as many expressions
would take DuckDB longer to plan than a small answer takes to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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

_KNOWN = "known"
"""The struct with the known fields."""

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
        A SELECT for ``columns``.
    """
    clean = ", ".join(map(str, clean_shapes))
    is_unclean = f"{SHAPE} NOT IN ({clean})" if clean else "true"
    return f"""
        SELECT * EXCLUDE (json), CASE WHEN {is_unclean} THEN json::VARCHAR END AS {RAW}
        FROM (
            SELECT {_SELECTED}, json
            FROM (
                SELECT json, json_transform(json, {_literal(json.dumps(_structure()))}) AS known
                FROM read_json_objects(
                    {_literal(file)}, format = 'array', maximum_object_size = {largest_event}
                )
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


def columns(batch: pa.RecordBatch) -> pa.Table:
    """The columns of a batch of ``select_events``.

    Returns:
        A table with a column for each ``alias`` (text, or milliseconds since the epoch), ``DATA``,
        ``SHAPE`` and ``RAW``.
    """
    names = [*_ALIASES.values(), DATA, SHAPE, RAW]
    values = [_column_values(batch, column) for column in _SOURCED.values()]
    return pa.table([*values, batch[DATA], batch[SHAPE], batch[RAW]], names=names)


def _column_values(batch: pa.RecordBatch, column: Column) -> pa.Array:
    """The first of a column's paths that has a value, event by event."""
    alternatives = [_path_values(batch, path) for path in column.paths]
    return alternatives[0] if len(alternatives) == 1 else pc.coalesce(*alternatives)


def _path_values(batch: pa.RecordBatch, path: Path) -> pa.Array:
    values = _values(batch, path.path)
    if path.when is None:
        return values
    discriminator, expected = path.when
    return pc.if_else(pc.equal(_values(batch, discriminator), expected), values, None)


def _values(batch: pa.RecordBatch, path: str) -> pa.Array:
    """The values at a payload path; null where there is none that fits."""
    if path in _EXTRACTED:
        return batch[_EXTRACTED[path]]
    values = pc.struct_field(batch[_KNOWN], path.split("."))
    if LEAVES[path] == "timestamp":
        in_calendar = pc.and_(
            pc.greater_equal(values, EARLIEST_MS), pc.less_equal(values, LATEST_MS)
        )
        return pc.if_else(in_calendar, values, None)
    return values


def _field(path: str) -> str:
    return f"{_KNOWN}." + ".".join(f'"{key}"' for key in path.split("."))


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


_EXTRACTED = {
    path: f"x{number}"
    for number, path in enumerate(
        leaf
        for leaf, data_type in LEAVES.items()
        if data_type != "json" and _value(leaf).startswith("json_extract_string")
    )
}
"""Columns of the SELECT for the paths within fields that stay JSON."""

_DATA_TYPE = f"json_type({_field(EXECUTION_DATA)})"
_SELECTED = ", ".join(
    [
        _KNOWN,
        *(f"{_value(path)} AS {name}" for path, name in _EXTRACTED.items()),
        f"CASE WHEN {_DATA_TYPE} = 'OBJECT' THEN {_field(EXECUTION_DATA)}::VARCHAR END AS {DATA}",
        f"{_shape()} AS {SHAPE}",
    ]
)
