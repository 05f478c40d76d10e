"""Whether the tables still hold what the ledger says was loaded into them.

Rows go from a table by hand, by another program, or with a backup that is put back. The ledger's
counts show it. Of windows that do not overlap, all different ids must be in ``events``, and each
event of some types must have a row in a table of its own (``schema.Table.row_types``). The counts
are compared by UTC day. Days that lack rows prove nothing until they have been read again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dlt.common.schema import Schema
from dlt.destinations.sql_client import SqlClientBase

from ..schema import (
    CAMPAIGNS,
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA_TABLE,
    LOAD_WINDOWS,
    ROBOTS,
    TIMESTAMP,
    Table,
)
from ..tables.in_sql import column_in_sql, path_in_sql
from ..tables.naming import filled, name_of
from ..windows import DAY, Window, iso, to_datetime, to_ms
from .own_tables import REMOVALS

logger = logging.getLogger(__name__)

ROW_COUNTS = "row_counts"
"""Key of the source's state: when the tables were examined last, and what was missing then."""

RECENT_DAYS = 3
"""Days before the newest window whose rows every run counts."""

GROWN = 1.1
"""Growth of ``events`` after which all of it is counted again, beside once a day."""

_DAY_US = DAY * 1000

_ALL_TIME = Window(0, 253_402_300_800_000)

READINGS = 2
"""Times that a span is read again before its rows are believed to be left out on purpose."""

NEVER_READ_AGAIN = "~"
"""Sorts after every load package."""

MICROSECONDS: Mapping[str, str] = {
    "bigquery": "UNIX_MICROS({t})",
    "clickhouse": "toUnixTimestamp64Micro({t})",
    "databricks": "UNIX_MICROS({t})",
    "duckdb": "EPOCH_US({t})",
    "postgres": "EXTRACT(EPOCH FROM {t}) * 1000000",
    "redshift": "EXTRACT(EPOCH FROM {t}) * 1000000",
    "snowflake": "DATE_PART(EPOCH_MICROSECOND, {t})",
}
"""Microseconds since the epoch, by sqlglot's name of the dialect; others' days are not counted."""

_ONE_ID_EACH = ("action", "display", "notification")
"""Beginnings of the names of resources whose ids never return the same event."""


@dataclass(frozen=True)
class Missing:
    """Rows that were loaded and are not there any more.

    Attributes:
        table: The table that lacks them.
        window: The days that they were of.
        since: The load package from which on the days were read again.
    """

    table: str
    window: Window
    since: str

    def concerns(self, resource: str, classification: str) -> bool:
        """Whether rows of the table may be what a resource returned for a class of robots."""
        if self.table == ROBOTS.name:
            return bool(classification)
        return self.table != CAMPAIGNS.name or resource.startswith("campaign")


@dataclass(frozen=True)
class _Days:
    """Rows that a table must have, and has, in a span of whole days since the epoch."""

    table: str
    first: int
    last: int
    least: int
    found: int

    @property
    def key(self) -> str:
        return f"{self.table}/{self.first}-{self.last}"

    @property
    def window(self) -> Window:
        return Window(self.first * DAY, (self.last + 1) * DAY)


def examine(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: Iterable[str],
    newest: int,
    state: dict[str, Any],
    load_id: str,
    today: int,
    is_whole: bool = False,
    cutoff: int = 0,
) -> tuple[list[Missing], frozenset[str]]:
    """Compares the tables with the ledger.

    Every run counts the rows of each table and, by day, those of the newest days. All days are
    counted once a day, when a table has fewer rows than the run before saw, and when it has grown
    by a tenth.

    Args:
        client: A connection to the destination.
        schema: The source's schema.
        columns: The ledger's columns that the destination has.
        newest: The end of the newest window, milliseconds since the epoch.
        state: What earlier runs found; it is changed.
        load_id: The load package that is being extracted.
        today: The day, counted from the epoch.
        is_whole: Count all days.
        cutoff: Events published before it were removed by age, milliseconds since the epoch. What
            ``_np6_removals`` says counts as well.

    Returns:
        What is missing; also what an earlier run has found, until it has been read again. And the
        keys of what was found missing now, for ``note_read_again``.
    """
    tables = {table.name: table for table in EVENT_TABLES if _is_there(table, schema)}
    if EVENTS.name not in tables:
        return [], frozenset()
    counts = _row_counts(client, schema, tables.values())
    known = state.get(ROW_COUNTS, {})
    whole = (
        is_whole
        or known.get("day") != today
        or any(counts.get(name, 0) < rows for name, rows in known.get("rows", {}).items())
        or counts[EVENTS.name] > GROWN * known.get("whole", 0)
    )
    since = 0 if whole else newest // DAY - RECENT_DAYS
    kept_from = -(-max(cutoff, removed_before(client, schema)) // DAY)
    noted: dict[str, list[Any]] = {
        key: note
        for key, note in known.get("missing", {}).items()
        if _from_note(key, "").window.end > kept_from * DAY
    }
    lacking = list(_emptied(client, schema, columns, tables.values(), counts, kept_from))
    if all(days.table != EVENTS.name for days in lacking) and microseconds(client, ""):
        lacking += [
            days
            for days in _lacking_days(client, schema, columns, tables, since)
            if days.first >= kept_from
        ]
    found = {days.key: days for days in lacking}
    for key, days in found.items():
        before = noted.get(key)
        if before is None or days.found < before[1]:
            noted[key] = [load_id, days.found, 1]
            _warn(days)
        else:
            noted[key] = [before[0], max(before[1], days.found), before[2]]
    state[ROW_COUNTS] = {
        "day": today,
        "rows": counts,
        "whole": counts[EVENTS.name] if whole else known["whole"],
        "missing": noted,
        "lacking": sorted(found) if whole else sorted({*known.get("lacking", ()), *found}),
    }
    return missing_rows(state), frozenset(found)


def missing_rows(state: Mapping[str, Any]) -> list[Missing]:
    """What the state has noted as missing."""
    noted = state.get(ROW_COUNTS, {}).get("missing", {})
    return [_from_note(key, since) for key, (since, *_) in sorted(noted.items())]


def note_read_again(
    state: dict[str, Any], read_again: Iterable[Missing], lacking: frozenset[str], load_id: str
) -> bool:
    """Notes what all scopes have read again.

    Where rows are missing all the same, they went once more meanwhile, or a step of the project
    leaves them out. They are read a second time, and then believed to be left out.

    Args:
        state: The source's state; it is changed.
        read_again: What has been read again.
        lacking: What ``examine`` has just found missing.
        load_id: The load package that is being extracted.

    Returns:
        Whether something is to be read once more.
    """
    known, once_more = state[ROW_COUNTS], False
    for missing in read_again:
        key = f"{missing.table}/{missing.window.start // DAY}-{missing.window.end // DAY - 1}"
        if key in lacking and (note := known["missing"][key])[2] < READINGS:
            known["missing"][key] = [load_id, note[1], note[2] + 1]
            once_more = True
        elif key not in known["lacking"]:
            known["missing"].pop(key, None)
    return once_more


def _from_note(key: str, since: str) -> Missing:
    table, _, days = key.partition("/")
    first, _, last = days.partition("-")
    return Missing(table, Window(int(first) * DAY, (int(last) + 1) * DAY), since)


def _warn(days: _Days) -> None:
    span = "" if days.window == _ALL_TIME else f" of {iso(days.window.start)[:10]}"
    if days.last > days.first and span:
        span += f" to {iso(days.last * DAY)[:10]}"
    logger.warning(
        "%s%s: the table has %d rows, load_windows proves at least %d: some were removed since they"
        " were loaded, or got a timestamp of another day. The span is read again. Where a step of"
        " the project leaves rows out, this ends after two readings.",
        days.table,
        span,
        days.found,
        days.least,
    )


def _is_there(table: Table, schema: Schema) -> bool:
    return name_of(table, schema) in filled(schema)


def removed_before(client: SqlClientBase[Any], schema: Schema) -> int:
    """Up to when rows were removed by age, milliseconds since the epoch; 0: none were."""
    selected = f"MAX({REMOVALS.column('cutoff', client, schema)})"
    for (cutoff,) in REMOVALS.rows(client, schema, selected):
        return to_ms(cutoff) if cutoff is not None else 0
    return 0


def _row_counts(
    client: SqlClientBase[Any], schema: Schema, tables: Iterable[Table]
) -> dict[str, int]:
    names = {table.name: path_in_sql(table, client, schema) for table in tables}
    counts = ", ".join(f"(SELECT COUNT(*) FROM {name})" for name in names.values())
    (row,) = client.execute_sql(f"SELECT {counts}") or []
    return {name: int(count or 0) for name, count in zip(names, row, strict=True)}


def _emptied(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: Iterable[str],
    tables: Iterable[Table],
    counts: Mapping[str, int],
    kept_from: int,
) -> Iterator[_Days]:
    """Tables without a row to which some window, from a day on, has brought rows."""
    first, last = _ALL_TIME.start // DAY, _ALL_TIME.end // DAY - 1
    ledger = path_in_sql(LOAD_WINDOWS, client, schema)
    for table in tables:
        if counts[table.name]:
            continue
        begin = column_in_sql("window_start", client, schema)
        arguments: list[Any] = [to_datetime(kept_from * DAY)]
        if table is EVENTS:
            condition = f"{column_in_sql('event_count', client, schema)} > 0"
        elif table in (EXECUTION_DATA_TABLE, CAMPAIGNS, ROBOTS) and "table_counts" in columns:
            condition = f"{column_in_sql('table_counts', client, schema)} LIKE %s"
            arguments.append(f'%"{table.name}"%')
        else:
            continue  # Of the others each day's rows are known.
        query = f"SELECT COUNT(*) FROM {ledger} WHERE {begin} >= %s AND {condition}"
        ((windows,),) = client.execute_sql(query, *arguments) or []
        if windows:
            yield _Days(table.name, first, last, 1, 0)


def _lacking_days(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: Iterable[str],
    tables: Mapping[str, Table],
    since: int,
) -> list[_Days]:
    children = [t for t in tables.values() if t.row_types and t is not ROBOTS]
    events, by_child = _events_by_day(client, schema, children, since)
    lacking: dict[str, _Days] = {}
    for first, last, least in _proven_counts(client, schema, columns, since):
        found = sum(events.get(day, 0) for day in range(first, last + 1))
        days = _Days(EVENTS.name, first, last, least, found)
        if found < least and (days.key not in lacking or lacking[days.key].least < least):
            lacking[days.key] = days
    for child in children:
        expected = by_child[child.name]
        found_by_day = _rows_by_day(client, schema, child, since)
        for day, least in expected.items():
            if (found := found_by_day.get(day, 0)) < least:
                days = _Days(child.name, day, day, least, found)
                lacking[days.key] = days
    return list(lacking.values())


def _events_by_day(
    client: SqlClientBase[Any], schema: Schema, children: list[Table], since: int
) -> tuple[dict[int, int], dict[str, dict[int, int]]]:
    """Events by day, and those of them that have a row in each of the other tables."""
    kind = column_in_sql("type", client, schema)
    marks, sums = "", ""
    for number, child in enumerate(children):
        types = ", ".join(f"'{name}'" for name in child.row_types)
        marks += f", CASE WHEN {kind} IN ({types}) THEN 1 ELSE 0 END AS c{number}"
        sums += f", SUM(c{number})"
    rows = _by_day(client, schema, EVENTS, since, marks, sums)
    events = {int(day): int(count) for day, count, *_ in rows}
    by_child = {
        child.name: {int(row[0]): int(row[2 + number] or 0) for row in rows}
        for number, child in enumerate(children)
    }
    return events, by_child


def _rows_by_day(
    client: SqlClientBase[Any], schema: Schema, table: Table, since: int
) -> dict[int, int]:
    return {int(day): int(count) for day, count in _by_day(client, schema, table, since)}


def _by_day(
    client: SqlClientBase[Any],
    schema: Schema,
    table: Table,
    since: int,
    marks: str = "",
    sums: str = "",
) -> list[Any]:
    time = column_in_sql(TIMESTAMP.name, client, schema)
    bound = f" WHERE {microseconds(client, time)} >= {since * _DAY_US}" if since else ""
    query = (
        f"SELECT d, COUNT(*){sums} FROM (SELECT {_day(client, time)} AS d{marks}"
        f" FROM {path_in_sql(table, client, schema)}{bound}) days GROUP BY d"
    )
    return list(client.execute_sql(query) or [])


def _proven_counts(
    client: SqlClientBase[Any], schema: Schema, columns: Iterable[str], since: int
) -> Iterator[tuple[int, int, int]]:
    """First and last day of a span, and how many events at least are in it by the ledger."""
    there = set(columns)
    if "distinct_count" not in there:
        return
    quoted = {
        name: f"w.{column_in_sql(name, client, schema)}"
        for name in ("resource", "scope_id", "window_start", "window_end", "distinct_count")
    }
    optional = {
        name: f"COALESCE(w.{column_in_sql(name, client, schema)}, '')" if name in there else "''"
        for name in ("classification", "key_digest")
    }
    end = microseconds(client, "e")
    query = _COUNTS.format(
        **quoted,
        **optional,
        windows=path_in_sql(LOAD_WINDOWS, client, schema),
        packages=client.make_qualified_table_name(schema.loads_table_name),
        package=f"w.{column_in_sql('_dlt_load_id', client, schema)}",
        load_id=f"p.{column_in_sql('load_id', client, schema)}",
        status=f"p.{column_in_sql('status', client, schema)}",
        schema_name=f"p.{column_in_sql('schema_name', client, schema)}",
        first=_day(client, "b"),
        last=f"FLOOR(({end} - 1) / {_DAY_US})",
        recent=f"AND {microseconds(client, quoted['window_end'])} >= {since * _DAY_US}"
        if since
        else "",
    )
    chains: dict[tuple[str, str, str], list[tuple[int, int, int, int]]] = defaultdict(list)
    for resource, classification, key, *numbers in client.execute_sql(query, schema.name) or []:
        first, last, most, together = map(int, numbers)
        if first >= since:
            chains[resource, classification, key].append((first, last, most, together))
    for (resource, _, _), spans in chains.items():
        yield from _least(spans, resource.startswith(_ONE_ID_EACH))


def _least(
    spans: list[tuple[int, int, int, int]], are_apart: bool
) -> Iterator[tuple[int, int, int]]:
    """The counts of a resource's windows that may be added up.

    Args:
        spans: First and last day, events of the id that has most, events of all ids; one for each
            pair of days.
        are_apart: An event is of one id only.

    Yields:
        First and last day, and the events that must be in them.
    """
    counted = 3 if are_apart else 2
    for span in spans:
        yield span[0], span[1], span[counted]
    if not are_apart or all(first == last for first, last, *_ in spans):
        return
    # Windows that reach over midnight: the days that they hold together.
    first, last, least = None, -1, 0
    for span in sorted(spans):
        if first is None or span[0] > last:
            if first is not None:
                yield first, last, least
            first, last, least = span[0], span[1], 0
        last, least = max(last, span[1]), least + span[counted]
    if first is not None:
        yield first, last, least


_COUNTS = """
SELECT r, c, k, d1, d2, MAX(n), SUM(n) FROM (
  SELECT r, s, c, k, d1, d2, SUM(n) AS n FROM (
    SELECT r, s, c, k, n, {first} AS d1, {last} AS d2,
      CASE WHEN before IS NULL OR b >= before THEN 1 ELSE 0 END AS is_apart
    FROM (
      SELECT r, s, c, k, b, e, n, MAX(e) OVER (PARTITION BY r, s, c, k ORDER BY b, e DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (
        SELECT {resource} AS r, {scope_id} AS s, {classification} AS c, {key_digest} AS k,
          {window_start} AS b, {window_end} AS e, MAX({distinct_count}) AS n
        FROM {windows} w JOIN {packages} p ON {load_id} = {package}
        WHERE {status} = 0 AND {schema_name} = %s AND {window_start} < {window_end} {recent}
        GROUP BY {resource}, {scope_id}, {classification}, {key_digest}, {window_start},
          {window_end}
      ) each_once
    ) marked
  ) apart WHERE is_apart = 1 AND n > 0 GROUP BY r, s, c, k, d1, d2
) by_scope GROUP BY r, c, k, d1, d2
"""
"""Events by the windows that overlap no other: a row per resource and pair of days."""


def microseconds(client: SqlClientBase[Any], moment: str) -> str | None:
    """A moment as microseconds since the epoch, in SQL; None where the dialect is not known."""
    template = MICROSECONDS.get(client.capabilities.sqlglot_dialect or "")
    return template.format(t=moment) if template else None


def _day(client: SqlClientBase[Any], moment: str) -> str:
    return f"FLOOR({microseconds(client, moment)} / {_DAY_US})"
