"""What of a response the destination lacks or holds with other values.

The destination's rows of the same span of time are read and compared, whole, in a DuckDB in memory:
every destination then tells the same, and what did not change is not loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..dataset_lock import to_read
from ..open_tables.merge import without_tombstones
from ..schema import (
    EVENT_TABLES,
    EVENTS,
    REJECTED_EVENTS,
    REQUESTED_AT,
    ROBOTS,
    TIMESTAMP,
    Table,
)
from ..tables.in_sql import column_in_sql, path_in_sql
from ..tables.naming import name_of
from ..windows import Window, to_datetime

IDS_AT_ONCE = 500
"""Ids that are looked for in one query."""
LOOKED_FOR = 20_000
"""Ids that are looked for one by one; where more are missing, they are taken for new."""


@dataclass(frozen=True)
class Difference:
    """What of a response is to be loaded.

    Attributes:
        new: Ids of events that the destination lacks.
        changed: Ids of events of which it holds other values.
        there: How many events of the span the destination has, of whatever operation.
    """

    new: frozenset[str]
    changed: frozenset[str]
    there: int


class StoredRows:
    """Rows of the event tables, as the destination has them."""

    def __init__(self, client: SqlJobClientBase, schema: Schema) -> None:
        """Takes an open client of the destination, and the schema of its tables."""
        self._client: SqlClientBase[Any] = client.sql_client
        self._schema = schema
        self._storage = client

    def of_span(self, table: Table, span: Window) -> pa.Table:
        """A table's rows of a span of time."""
        column = self._name(TIMESTAMP.name)
        bounds = to_datetime(span.start), to_datetime(span.end)
        return self._rows(table, f"{column} >= %s AND {column} < %s", bounds)

    def of_events(self, ids: Sequence[str]) -> pa.Table:
        """The events with these ids, wherever they lie."""
        column = self._name("id")
        parts = [_as_stored(EVENTS).empty_table()]
        for first in range(0, len(ids), IDS_AT_ONCE):
            some = ids[first : first + IDS_AT_ONCE]
            given = ", ".join(["%s"] * len(some))
            parts.append(self._rows(EVENTS, f"{column} IN ({given})", some))
        return pa.concat_tables(parts)

    def not_rejected_before(self, rows: pa.Table) -> pa.Table:
        """Those of some rows of ``rejected_events`` that the table does not have."""
        resource, scope_id = rows["resource"][0].as_py(), rows["scope_id"][0].as_py()
        condition = f"{self._name('resource')} = %s AND {self._name('scope_id')} = %s"
        known = self._rows(REJECTED_EVENTS, condition, (resource, scope_id))["content"]
        return rows.filter(pc.invert(pc.is_in(rows["content"], value_set=known.combine_chunks())))

    def _name(self, column: str) -> str:
        return column_in_sql(column, self._client, self._schema)

    def _rows(self, table: Table, condition: str, values: Sequence[Any]) -> pa.Table:
        arrow = _as_stored(table)
        name = name_of(table, self._schema)
        _, there = self._storage.get_storage_table(name)
        known = {column.lower() for column in there}
        normalized = self._schema.naming.normalize_path
        columns = [c for c in arrow.names if normalized(c).lower() in known]
        if not columns:
            return arrow.empty_table()
        query = (
            f"SELECT {', '.join(self._name(column) for column in columns)}"
            f" FROM {path_in_sql(table, self._client, self._schema)} WHERE {condition}"
        )
        try:
            with self._client.execute_query(query, *values) as cursor:
                found = _fetched(cursor, [arrow.field(column) for column in columns])
        except DatabaseUndefinedRelation:
            return arrow.empty_table()
        return pa.table(
            {
                field.name: found[field.name]
                if field.name in columns
                else pa.nulls(len(found), field.type)
                for field in arrow
            },
            schema=arrow,
        )


def _as_stored(table: Table) -> pa.Schema:
    """A table's columns, of which each may lack a value: older versions did not fill all."""
    return pa.schema([pa.field(field.name, field.type) for field in table.arrow_schema])


def _fetched(cursor: Any, fields: Sequence[pa.Field]) -> pa.Table:
    """A query's rows. DuckDB hands them over as Arrow, under two names (1.4 to 2.0)."""
    native = getattr(cursor, "native_cursor", None)
    if isinstance(native, duckdb.DuckDBPyConnection):
        take = getattr(native, "to_arrow_table", None) or native.fetch_arrow_table
        rows = take()
        arrays = [_cast(column, field) for column, field in zip(rows.columns, fields, strict=True)]
    else:
        found = cursor.fetchall()
        columns: Iterable[Sequence[Any]] = zip(*found, strict=True) if found else [()] * len(fields)
        arrays = [
            pa.array([_plain(value) for value in column], field.type)
            for column, field in zip(columns, fields, strict=True)
        ]
    return pa.table(arrays, names=[field.name for field in fields])


def _cast(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if isinstance(column.type, pa.BaseExtensionType):  # JSON, since DuckDB 1.4.
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.string())
    return column.cast(field.type)


def _plain(value: Any) -> Any:
    """Drivers give JSON as objects."""
    return json.dumps(value) if isinstance(value, (dict, list)) else value


@contextmanager
def stored_rows(pipeline: dlt.Pipeline, schema: Schema) -> Iterator[StoredRows]:
    """The destination's rows, within the lock that it takes to read them."""
    with to_read(pipeline), pipeline.destination_client(schema.name) as client:
        assert isinstance(client, SqlJobClientBase)
        yield StoredRows(client, schema)


def difference(tables: Mapping[str, pa.Table], span: Window, stored: StoredRows) -> Difference:
    """What of a response is to be loaded: of an event all rows or none.

    Args:
        tables: The response's rows, by table.
        span: Its window.
        stored: The destination's rows.
    """
    events = tables.get(EVENTS.name, EVENTS.arrow_schema.empty_table())
    there = stored.of_span(EVENTS, span)
    known = set(there["id"].to_pylist())
    lacked = [one for one in pc.unique(events["id"]).to_pylist() if one not in known]
    elsewhere = stored.of_events(lacked) if 0 < len(lacked) <= LOOKED_FOR else there.slice(0, 0)
    changed = _changed(EVENTS, events, pa.concat_tables([there, elsewhere]))
    new = frozenset(lacked) - set(elsewhere["id"].to_pylist())
    for table in EVENT_TABLES:
        rows = tables.get(table.name)
        # Marks depend on what a request without a class returned: they go with new events alone.
        if table in (EVENTS, ROBOTS) or (rows is None and table.replaced_by is None):
            continue
        if rows is None:
            rows = table.arrow_schema.empty_table()
        old = stored.of_span(table, span)
        changed |= _changed(table, rows, old)
        if table.replaced_by is not None:
            changed |= _gone(table, rows, old) & set(events["id"].to_pylist())
    return Difference(new, frozenset(changed - new), there.num_rows)


def _changed(table: Table, new: pa.Table, old: pa.Table) -> set[str]:
    """Ids of rows of which the destination has none that is the same in every column.

    Of two versions of a row in one response one is kept: the same as one of them is the same.
    """
    new = without_tombstones(new)
    columns = [name for name in table.arrow_schema.names if name != REQUESTED_AT.name]
    kinds = {column.name: column.data_type for column in table.columns}
    sides = {
        side: pa.table(
            [_same_json(rows[name]) if kinds[name] == "json" else rows[name] for name in columns],
            names=columns,
        )
        for side, rows in (("new", new), ("old", old))
    }
    key = ", ".join(f'"{name}"' for name in table.key)
    return _ids(
        f'SELECT DISTINCT "{table.key[0]}" FROM (SELECT {key} FROM fresh EXCEPT'
        f" SELECT {key} FROM (SELECT * FROM fresh INTERSECT SELECT * FROM stored))",
        fresh=sides["new"],
        stored=sides["old"],
    )


def _gone(table: Table, new: pa.Table, old: pa.Table) -> set[str]:
    """Ids of rows in the destination that the response does not have any more."""
    new = without_tombstones(new)
    key = list(table.key)
    columns = ", ".join(f'"{name}"' for name in key)
    return _ids(
        f'SELECT DISTINCT "{key[0]}" FROM (SELECT {columns} FROM stored EXCEPT'
        f" SELECT {columns} FROM fresh)",
        fresh=new.select(key),
        stored=old.select(key),
    )


def _ids(query: str, **tables: pa.Table) -> set[str]:
    with duckdb.connect(config={"threads": 1, "memory_limit": "512MB"}) as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return {row[0] for row in connection.execute(query).fetchall()}


def _same_json(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON without what a destination may write otherwise: blanks, the order of keys."""
    if texts.null_count == len(texts):
        return texts
    plain = [None if text is None else _normal(text) for text in texts.to_pylist()]
    return pa.chunked_array([pa.array(plain, pa.string())])


def _normal(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except ValueError:
        return text


def only(rows: pa.Table, table: Table, ids: frozenset[str]) -> pa.Table:
    """The rows of some events."""
    column = "id" if table is EVENTS else "event_id"
    return rows.filter(pc.is_in(rows[column], value_set=pa.array(sorted(ids), pa.string())))
