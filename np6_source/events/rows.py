"""The rows of a batch's events, table by table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import (
    CAMPAIGNS,
    EVENT_ID,
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA_TABLE,
    REJECTED_EVENTS,
    ROBOTS,
    TIMESTAMP,
    Table,
)
from ..windows import Window
from .contract import TYPE_ALIAS, alias, event_column
from .queries import DATA, select_execution_data

_RECIPIENT = alias(event_column("recipient"))


@dataclass(frozen=True)
class Origin:
    """What a response was requested for, as its rows say it.

    Attributes:
        window: The span that is complete with the response.
        requested_at: When the request was sent, milliseconds since the epoch.
        requested: The span that was requested, where it is wider than ``window``.
        resource: Name of the resource.
        scope: The id as it may be stored; empty for the whole account.
        event_type: Type of events that do not say theirs.
        campaign_id: The campaign that was requested, if any.
        robot_class: The one class of robots whose hits were requested, if any.
        spans: The parts of ``window`` that are counted each, in order; none: it is one.
    """

    window: Window
    requested_at: int
    requested: Window | None = None
    resource: str = ""
    scope: str = ""
    event_type: str | None = None
    campaign_id: str | None = None
    robot_class: str | None = None
    spans: tuple[Window, ...] = ()


def by_table(
    wide: pa.Table,
    connection: duckdb.DuckDBPyConnection,
    origin: Origin,
    tombstones: bool = False,
) -> Iterator[tuple[str, pa.Table]]:
    """Cuts a batch into the tables of ``schema``; those without rows are left out.

    Args:
        wide: From ``columns.from_values``, with ``unmapped``.
        connection: Unfolds the free data objects.
        origin: What the response was requested for.
        tombstones: An execution without data has a row that says so, ``schema.TOMBSTONE``.

    Yields:
        A table's name and its rows.
    """
    constants = {
        "requested_at": origin.requested_at,
        "campaign_id": origin.campaign_id,
        "robot_class": origin.robot_class,
    }
    for table in EVENT_TABLES:
        rows = _rows(wide, table, connection, origin, tombstones)
        if rows is not None and rows.num_rows:
            yield table.name, _projected(rows, table, constants)


def rejected(contents: list[str], reasons: list[str], origin: Origin) -> pa.Table:
    """Rows of ``rejected_events``.

    Args:
        contents: The events as NP6 sent them.
        reasons: Why each could not be taken.
        origin: What the response was requested for.
    """
    constants = {
        "resource": origin.resource,
        "scope_id": origin.scope,
        "window_start": origin.window.start,
        "window_end": origin.window.end,
        "requested_at": origin.requested_at,
    }
    rows = pa.table({"content": pa.array(contents, pa.string()), "reason": reasons})
    return _projected(rows, REJECTED_EVENTS, constants)


def _rows(
    wide: pa.Table,
    table: Table,
    connection: duckdb.DuckDBPyConnection,
    origin: Origin,
    tombstones: bool,
) -> pa.Table | None:
    if table is EXECUTION_DATA_TABLE:
        return _execution_data(wide, connection, tombstones)
    if table is CAMPAIGNS and origin.campaign_id is None:
        return None
    if table is ROBOTS and origin.robot_class is None:
        return None
    if table is EVENTS:
        return wide.append_column("recipient_domain", _domains(wide[_RECIPIENT]))
    if not table.row_types:
        return wide
    has_row = _has_row(wide, table)
    if has_row is None:
        return wide
    # A filter copies whole columns: only those of the table.
    names = {alias(column) for column in table.columns}
    return wide.select([name for name in wide.column_names if name in names]).filter(has_row)


def _domains(addresses: pa.ChunkedArray) -> pa.ChunkedArray:
    """What follows the last ``@``, in lower case, without a dot at its end; NULL without one."""
    has_domain = pc.match_substring(addresses, "@")
    domains = pc.replace_substring_regex(addresses, r"(?s)^.*@", "")
    if pc.any(pc.ends_with(domains, ".")).as_py():
        domains = pc.replace_substring_regex(domains, r"\.$", "")
    return pc.if_else(has_domain, pc.utf8_lower(domains), None)


def _execution_data(
    wide: pa.Table, connection: duckdb.DuckDBPyConnection, tombstones: bool
) -> pa.Table | None:
    with_data = wide.filter(pc.is_valid(wide[DATA]))
    if not with_data.num_rows:
        return None
    with connection.cursor() as cursor:
        cursor.register("executions", with_data)
        found = cursor.sql(select_execution_data("executions", tombstones)).to_arrow_table()
    is_json = pc.is_in(found["value_type"], pa.array(["object", "array"]))
    looks_odd = pc.match_substring_regex(found["value"], r"(?i)\b(nan|inf|infinity)\b")
    is_odd = pc.and_(is_json, pc.fill_null(looks_odd, False))
    if not pc.any(is_odd).as_py():
        return found
    rows = pc.indices_nonzero(is_odd).to_pylist()
    texts = found["value"].to_pylist()
    for row in rows:
        texts[row] = _standard_json(texts[row])
    index = found.schema.get_field_index("value")
    return found.set_column(index, "value", pa.array(texts, pa.string()))


def _standard_json(text: str) -> str:
    """JSON with ``NaN`` and ``Infinity`` as texts: they are no JSON, but DuckDB lets them pass."""
    try:
        value = json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return json.dumps(text, ensure_ascii=False)
    if json.loads(text, parse_constant=lambda _: None) == value:
        return text
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _has_row(wide: pa.Table, table: Table) -> pa.ChunkedArray | None:
    """Which events have a row in a table with at most one row per event; None: all of them."""
    has_row = pc.fill_null(pc.is_in(wide[TYPE_ALIAS], pa.array(table.row_types)), False)
    for column in table.columns:
        if pc.all(has_row).as_py():
            return None
        if column.paths and column not in (EVENT_ID, TIMESTAMP):
            values = wide[alias(column)]
            if values.null_count < len(values):
                has_row = pc.or_(has_row, pc.is_valid(values))
    return has_row


def _projected(rows: pa.Table, table: Table, constants: Mapping[str, object]) -> pa.Table:
    """A table's columns, in its types, from a batch's."""
    arrays = []
    for column in table.columns:
        if column.name in constants:
            array = pa.repeat(pa.scalar(constants[column.name]), rows.num_rows)
        else:
            array = rows[alias(column)]
        if column.data_type == "timestamp":
            array = array.cast(pa.timestamp("ms", tz="UTC"))
        arrays.append(array.cast(column.arrow_type))
    return pa.table(arrays, schema=table.arrow_schema)
