"""The SQL with which DuckDB reads a response's file, derived from ``contract``.

``select_known`` reads the known fields alone, which is all that most files need.
``select_events`` reads each event's JSON beside them, and ``select_examined`` looks at every key
and type of the events that hold something unknown. Arrow takes the columns out of the struct of
known fields (see ``columns``): it does so without copying, and a SELECT of as many expressions
would take DuckDB longer to plan than a small response takes to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ..schema import EXECUTION_DATA, TOMBSTONE
from .contract import (
    CONTAINERS,
    DATES,
    DISCRIMINATORS,
    EARLIEST_MS,
    ID_ALIAS,
    LATEST_MS,
    LEAVES,
    LISTS,
    TIMESTAMP_ALIAS,
)

RAW = "raw"
"""The event's JSON; of examined events NULL where their shape is known to be clean."""
KNOWN = "known"
"""The struct with the known fields. Dates are JSON, to tell numbers from texts."""
REPEATS = "repeats"
"""Whether a key of the free data object occurs more than once."""
SHAPE = "shape"
"""Hash of the event's shape."""
DATA = "data"
"""The free data object of an execution, as JSON text."""


def select_known(file: str, largest_event: int) -> str:
    """SQL that reads what is known of each event of a response.

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
    """SQL that reads a row per event of a response.

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
        A SELECT for ``columns.of_examined``.
    """
    clean = ", ".join(map(str, clean_shapes))
    is_unclean = f"{SHAPE} NOT IN ({clean})" if clean else "true"
    return f"""
        SELECT * EXCLUDE ({RAW}), CASE WHEN {is_unclean} THEN {RAW} END AS {RAW}
        FROM (SELECT {KNOWN}, {_EXAMINED}, {RAW} FROM {events})
    """


def select_execution_data(events: str, tombstones: bool) -> str:
    """SQL for a row per key of the ``DATA`` of the events in a relation.

    Of a key that occurs more than once the first value counts, as everywhere. With ``tombstones``
    an empty object gives a row that says so: the keys of an earlier version go by it.
    """
    none_left = f"""
        UNION ALL
        SELECT {ID_ALIAS}, {TIMESTAMP_ALIAS}, '', NULL, '{TOMBSTONE.value}'
        FROM {events}
        WHERE json_type({DATA}) = 'OBJECT' AND len(json_keys({DATA})) = 0
    """
    return f"""
        SELECT
            {ID_ALIAS}, {TIMESTAMP_ALIAS}, entry.key,
            entry.value ->> '$' AS value,
            CASE
                WHEN entry.type IN ('UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT') THEN 'integer'
                WHEN entry.type = 'DOUBLE' THEN
                    CASE WHEN regexp_full_match(entry.value ->> '$', '-?[0-9]+')
                        THEN 'integer' ELSE 'number' END
                WHEN entry.type = 'VARCHAR' THEN 'string'
                ELSE lower(entry.type)
            END AS value_type
        FROM {events}, json_each({events}.{DATA}) AS entry
        QUALIFY row_number() OVER (
            PARTITION BY {ID_ALIAS}, entry.key ORDER BY entry.id
        ) = 1
        {none_left if tombstones else ""}
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


def _field(path: str) -> str:
    return _quoted(f"{KNOWN}.{path}")


def _quoted(path: str) -> str:
    return ".".join(f'"{key}"' for key in path.split("."))


def _value(path: str) -> str:
    """SQL for the value at a payload path; NULL where there is none that fits."""
    value = _single_value(path)
    if path not in LISTS:
        return value
    found = f"json_extract({RAW}, '$.{path}')"
    is_text = (
        f"len(list_filter(json_extract({found}, '$[*]'), lambda x: json_type(x) <> 'VARCHAR')) = 0"
    )
    return f"""
        CASE
            WHEN json_type({found}) IS DISTINCT FROM 'ARRAY' THEN {value}
            WHEN json_array_length({found}) = 0 OR NOT {is_text} THEN NULL
            WHEN json_array_length({found}) = 1 THEN json_extract_string({found}, '$[0]')
            ELSE {found}::VARCHAR
        END
    """


def _single_value(path: str) -> str:
    keys = path.split(".")
    for depth in range(1, len(keys)):
        prefix = ".".join(keys[:depth])
        if prefix in LEAVES:
            return f"json_extract_string({_field(prefix)}, '$.{'.'.join(keys[depth:])}')"
    if path in CONTAINERS:
        return f"json_extract_string({_field(path)}, '$')"
    if path in DATES:
        # Fractions are cut off: rounded up, an event at a window's end would lie outside of it.
        number = f"TRY_CAST(json_extract_string({_field(path)}, '$') AS DOUBLE)"
        date = f"TRY_CAST(floor({number}) AS BIGINT)"
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
        *(f"{_value(path)} IS NULL" for path in (*DATES, *LISTS)),
        REPEATS,
    ]
    return f"hash({', '.join(parts)})"


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


EXTRACTED = {
    path: f"x{number}"
    for number, path in enumerate(
        leaf
        for leaf, data_type in LEAVES.items()
        if leaf in (*DATES, *LISTS)
        or (data_type != "json" and _value(leaf).startswith("json_extract_string"))
    )
}
"""Columns of ``select_examined`` for dates, for texts that may be lists, and for the paths within
fields that stay JSON."""

_EXAMINED = ", ".join(
    [*(f"{_value(path)} AS {name}" for path, name in EXTRACTED.items()), f"{_shape()} AS {SHAPE}"]
)
