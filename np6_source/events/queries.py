"""An answer's events projected onto columns, derived from ``schema``.

One pass of DuckDB over the file gives each event's JSON beside a struct with the known fields; that
is all an event costs of which every part is accounted for (see ``accounting``). What is not is
examined by a second query, which hashes the event's shape and so tells the events that hold
something unknown (see ``drift``). Arrow takes the columns out of the struct: it does so without
copying, and a SELECT of as many expressions would take DuckDB longer to plan than a small answer
takes to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import (
    EVENT_ID,
    EVENT_TABLES,
    EXECUTION_DATA,
    TIMESTAMP,
    Column,
    Path,
)
from .drift import CONTAINERS, DISCRIMINATORS, EARLIEST_MS, LATEST_MS, LEAVES

RAW = "raw"
"""The event's JSON; of examined events NULL where their shape is known to be clean."""
KNOWN = "known"
"""The struct with the known fields. Dates are JSON, to tell numbers from texts."""
REPEATS = "repeats"
"""Whether a key of the free data object stands more than once."""
SHAPE = "shape"
"""Hash of the event's shape."""
DATA = "data"
"""The free data object of an execution, as JSON text."""

DATES = tuple(leaf for leaf, data_type in LEAVES.items() if data_type == "timestamp")
"""The payload paths of dates."""

_SOURCED: dict[tuple[Path, ...], Column] = {
    column.paths: column for table in EVENT_TABLES for column in table.columns if column.paths
}
_ALIASES = {paths: f"c{number}" for number, paths in enumerate(_SOURCED)}


def alias(column: Column) -> str:
    """Name of the projection's column that fills a table column.

    Columns of several tables that stand at the same payload paths share one.
    """
    return _ALIASES[column.paths] if column.paths else column.name


def select_known(file: str, largest_event: int) -> str:
    """SQL that reads an answer's file and gives what is known of each event.

    Args:
        file: Path of the file, one JSON array.
        largest_event: Bytes that one event may have.

    Returns:
        A SELECT of the top-level fields of ``KNOWN``, and ``REPEATS``. It fails where one of them
        is no object but should be.
    """
    columns = ", ".join(f"{_literal(key)}: {_literal(_type(f))}" for key, f in _structure().items())
    return f"""
        SELECT *, {_repeats(EXECUTION_DATA)} AS {REPEATS}
        FROM read_json(
            {_literal(file)}, format = 'array', maximum_object_size = {largest_event},
            columns = {{{columns}}}
        )
    """


def select_events(file: str, largest_event: int) -> str:
    """SQL that reads an answer's file and gives a row per event.

    Args:
        file: Path of the file, one JSON array.
        largest_event: Bytes that one event may have.

    Returns:
        A SELECT of ``RAW``, ``KNOWN`` and ``REPEATS``.
    """
    return f"""
        SELECT json::VARCHAR AS {RAW}, {KNOWN}, {_repeats(f"{KNOWN}.{EXECUTION_DATA}")} AS {REPEATS}
        FROM (
            SELECT json, json_transform(json, {_literal(json.dumps(_structure()))}) AS {KNOWN}
            FROM read_json_objects(
                {_literal(file)}, format = 'array', maximum_object_size = {largest_event}
            )
        )
    """


def select_examined(events: str, clean_shapes: Iterable[int]) -> str:
    """SQL that looks at every key and type of events.

    Args:
        events: A relation with the rows of ``select_events``.
        clean_shapes: Shapes of which nothing is left; their events come without ``RAW``.

    Returns:
        A SELECT for ``examined``.
    """
    clean = ", ".join(map(str, clean_shapes))
    is_unclean = f"{SHAPE} NOT IN ({clean})" if clean else "true"
    return f"""
        SELECT * EXCLUDE ({RAW}), CASE WHEN {is_unclean} THEN {RAW} END AS {RAW}
        FROM (SELECT {KNOWN}, {_EXAMINED}, {RAW} FROM {events})
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
        node[keys[-1]] = "VARCHAR" if data_type == "text" and leaf not in CONTAINERS else "JSON"
    return root


def _type(node: Any) -> str:
    """The type of a part of the structure, as SQL writes it."""
    if isinstance(node, str):
        return node
    fields = ", ".join(f'"{key}" {_type(part)}' for key, part in node.items())
    return f"STRUCT({fields})"


def _repeats(path: str) -> str:
    data = _quoted(path)
    return f"""
        CASE WHEN {data} IS NOT NULL
            THEN len(json_keys({data})) > len(list_distinct(json_keys({data})))
        END
    """


def known_fields(batch: pa.RecordBatch) -> pa.StructArray:
    """``KNOWN`` from a batch of ``select_known``."""
    names = [name for name in batch.schema.names if name != REPEATS]
    return pa.StructArray.from_arrays([batch[name] for name in names], names=names)


def known_values(known: pa.StructArray) -> dict[str, pa.Array]:
    """The values of the known fields, and the objects they stand in, by payload path.

    Paths at which no event of the batch has a value are left out.
    """
    found: dict[str, pa.Array] = {}
    _collect(known, "", found)
    return found


def _collect(node: pa.StructArray, prefix: str, found: dict[str, pa.Array]) -> None:
    for entry, values in zip(node.type, node.flatten(), strict=True):
        if values.null_count < len(values):
            path = f"{prefix}{entry.name}"
            found[path] = values
            if pa.types.is_struct(entry.type):
                _collect(values, f"{path}.", found)


def examined(batch: pa.RecordBatch) -> pa.Table:
    """The columns of a batch of ``select_examined``.

    Returns:
        As ``columns``, with ``SHAPE`` and ``RAW``.
    """
    values = known_values(batch[KNOWN])
    for path, name in _EXTRACTED.items():
        values[path] = batch[name]
    wide = columns(values, len(batch))
    return wide.append_column(SHAPE, batch[SHAPE]).append_column(RAW, batch[RAW])


def columns(values: Mapping[str, pa.Array], length: int) -> pa.Table:
    """Columns from the values at payload paths.

    Args:
        values: The values by path; a path that is not there has none.
        length: Number of events.

    Returns:
        A table with a column for each ``alias`` (text, or milliseconds since the epoch) and
        ``DATA``.
    """
    arrays = [_column_values(values, column, length) for column in _SOURCED.values()]
    data = values.get(EXECUTION_DATA)
    if data is None:
        data = pa.nulls(length, pa.string())
    else:
        data = pc.if_else(pc.starts_with(data, "{"), data, None)
    return pa.table([*arrays, data], names=[*_ALIASES.values(), DATA])


def _column_values(values: Mapping[str, pa.Array], column: Column, length: int) -> pa.Array:
    """The first of a column's paths that has a value, event by event."""
    alternatives = [array for _, array in alternative_values(values, column)]
    if not alternatives:
        return pa.nulls(length, pa.int64() if column.data_type == "timestamp" else pa.string())
    return alternatives[0] if len(alternatives) == 1 else pc.coalesce(*alternatives)


def alternative_values(
    values: Mapping[str, pa.Array], column: Column
) -> list[tuple[Path, pa.Array]]:
    """The values at each of a column's paths that has some."""
    return [
        (path, array) for path in column.paths if (array := _path_values(values, path)) is not None
    ]


def _path_values(values: Mapping[str, pa.Array], path: Path) -> pa.Array | None:
    found = values.get(path.path)
    if found is None or path.when is None:
        return found
    discriminator, expected = path.when
    kind = values.get(discriminator)
    return None if kind is None else pc.if_else(pc.equal(kind, expected), found, None)


def _field(path: str) -> str:
    return _quoted(f"{KNOWN}.{path}")


def _quoted(path: str) -> str:
    return ".".join(f'"{key}"' for key in path.split("."))


def _value(path: str) -> str:
    """SQL for the value at a payload path; NULL where there is none that fits."""
    keys = path.split(".")
    for depth in range(1, len(keys)):
        prefix = ".".join(keys[:depth])
        if prefix in LEAVES:
            return f"json_extract_string({_field(prefix)}, '$.{'.'.join(keys[depth:])}')"
    if path in CONTAINERS:
        return f"json_extract_string({_field(path)}, '$')"
    if path in DATES:
        date = f"json_transform({_field(path)}, '\"BIGINT\"')"
        return f"CASE WHEN {date} BETWEEN {EARLIEST_MS} AND {LATEST_MS} THEN {date} END"
    return _field(path)


def _shape() -> str:
    """SQL for the hash of everything that decides whether an event is clean."""
    containers = ", ".join(f"'$.{path}'" for path in CONTAINERS)
    leaves = ", ".join(f"'$.{path}'" for path in LEAVES)
    parts = [
        f"json_keys({RAW}, ['$', {containers}])",
        f"json_type({RAW}, [{leaves}, {containers}])",
        *map(_value, DISCRIMINATORS),
        *(f"{_value(date)} IS NULL" for date in DATES),
        REPEATS,
    ]
    return f"hash({', '.join(parts)})"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_EXTRACTED = {
    path: f"x{number}"
    for number, path in enumerate(
        leaf
        for leaf, data_type in LEAVES.items()
        if leaf in DATES or (data_type != "json" and _value(leaf).startswith("json_extract_string"))
    )
}
"""Columns of ``select_examined`` for dates, and for the paths within fields that stay JSON."""

_EXAMINED = ", ".join(
    [*(f"{_value(path)} AS {name}" for path, name in _EXTRACTED.items()), f"{_shape()} AS {SHAPE}"]
)
