"""Joins rows of the ledger of days long past: a schedule leaves hundreds a day, and one is enough.

Rows of one UTC day are joined whose windows touch or overlap, and that one resource, id, class of
robots and key have in common, with the policy they were loaded under. The joined row proves what
they proved together: the same span, and by ``row_counts`` the same number of events on that day.
What alarms and rechecks live on stays as it is, so do rows of packages that are not complete.

Only where several statements are one transaction of this package's (``Destination.replaces``): in
a warehouse rows cost little, and statements money.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from ..bookkeeping.row_counts import MICROSECONDS, ROW_COUNTS
from ..destinations import destination_of
from ..extract.reload_intent import INTENT
from ..ledger import DAYS_APART_MS, loaded_schema
from ..schema import LOAD_WINDOWS
from ..tables.in_sql import column_in_sql, path_in_sql
from ..tables.naming import filled, name_of
from ..views.base_tables import REFRESHES
from ..windows import DAY, to_datetime, to_ms

logger = logging.getLogger(__name__)

PURPOSE = "joined"
"""The purpose of a joined row."""

IDS_AT_ONCE = 200
"""Ids whose rows of a day are looked at together."""

_ADD_UP = ("event_count", "byte_count", "duration_ms", "outside_count", "new_count")
_COUNTS = ("type_counts", "unmapped_paths", "table_counts")
_IN_COMMON = ("resource", "scope_id", "classification", "key_digest", "policy")

TRow = Mapping[str, Any]
"""A row of the ledger; columns that the destination does not have are left out."""


@dataclass(frozen=True)
class Join:
    """Rows of the ledger, and the one that takes their place.

    Attributes:
        rows: The rows.
        joined: The one.
    """

    rows: tuple[TRow, ...]
    joined: TRow


def joins(chain: Iterable[TRow], horizon: datetime) -> Iterator[Join]:
    """What can be joined of one resource, id, class of robots and key. Pure.

    Args:
        chain: All rows of theirs in complete packages that lie in a UTC day, or overlap it.
        horizon: Only what was requested before it, and lies before it, is joined.

    Yields:
        Rows of one day whose windows are one span without a gap, which no other row overlaps: of
        windows that overlap ``row_counts`` counts the first.
    """
    together: list[TRow] = []
    for rows in _overlapping(chain):
        first = together[0] if together else rows[0]
        touches = bool(together) and rows[0]["window_start"] == _end_of(together)
        if touches and all(_fit_together(first, row, horizon) for row in rows):
            together += rows
            continue
        yield from _join_of(together)
        fits = all(_fit_together(rows[0], row, horizon) for row in rows)
        together = rows if fits else []
    yield from _join_of(together)


def _overlapping(chain: Iterable[TRow]) -> Iterator[list[TRow]]:
    """The rows in order, those together whose windows overlap; touching is no overlap."""
    together: list[TRow] = []
    for row in sorted(chain, key=_by_window):
        if together and row["window_start"] >= _end_of(together):
            yield together
            together = []
        together.append(row)
    if together:
        yield together


def _end_of(rows: Sequence[TRow]) -> datetime:
    end: datetime = max(row["window_end"] for row in rows)
    return end


def _by_window(row: TRow) -> tuple[Any, ...]:
    return row["window_start"], -to_ms(row["window_end"]), row["requested_at"]


def _join_of(rows: Sequence[TRow]) -> Iterator[Join]:
    if len(rows) > 1:
        yield Join(tuple(rows), _joined(rows))


def _fit_together(one: TRow, other: TRow, horizon: datetime) -> bool:
    return (
        max(one["requested_at"], other["requested_at"]) < horizon
        and max(one["window_end"], other["window_end"]) <= horizon
        and _day_of(one) == _day_of(other) is not None
        and all(one.get(name) == other.get(name) for name in _IN_COMMON)
    )


def _day_of(row: TRow) -> int | None:
    """The UTC day that a row's window lies in; None: in several."""
    first, last = to_ms(row["window_start"]) // DAY, (to_ms(row["window_end"]) - 1) // DAY
    return first if first == last else None


def _joined(rows: Sequence[TRow]) -> TRow:
    """One row in place of several; see ``Join``."""
    found = dict(rows[0])
    found |= {
        "window_end": _end_of(rows),
        "requested_at": max(row["requested_at"] for row in rows),
        # The first package: nothing that is read again later counts as read again because of it.
        "_dlt_load_id": min(row["_dlt_load_id"] for row in rows),
    }
    for name in found.keys() & set(_ADD_UP):
        values = [row[name] for row in rows if row[name] is not None]
        found[name] = sum(values) if values else None
    for name in found.keys() & set(_COUNTS):
        texts = [row[name] for row in rows if row[name]]
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(json.loads(text))
        found[name] = (
            json.dumps(dict(sorted(counts.items())), ensure_ascii=False, separators=(",", ":"))
            if texts
            else None
        )
    if "distinct_count" in found:
        found["distinct_count"] = _distinct(rows)
    if "request_id" in found:
        found["request_id"] = None
    if "purpose" in found:
        found["purpose"] = PURPOSE
    return found


def _distinct(rows: Sequence[TRow]) -> int | None:
    """Different ids that at least are in the span, as ``row_counts`` adds them up."""
    most: dict[tuple[datetime, datetime], int | None] = {}
    for row in rows:
        window = row["window_start"], row["window_end"]
        known = [n for n in (row["distinct_count"], most.get(window)) if n is not None]
        most[window] = max(known, default=None)
    end, counts = None, []
    for start, its_end in sorted(most, key=lambda window: (window[0], -to_ms(window[1]))):
        count = most[start, its_end]
        if (end is None or start >= end) and count is not None:
            counts.append(count)
        end = its_end if end is None else max(end, its_end)
    return sum(counts) if counts else None


def compact_once_a_day(
    pipeline: dlt.Pipeline, schema_name: str, recheck_days: int = 0, packages: int = 1
) -> int:
    """``compact``, where the packages just loaded are the first of a UTC day.

    Args:
        pipeline: As for ``compact``.
        schema_name: Likewise.
        recheck_days: Likewise.
        packages: How many packages were just loaded.

    Returns:
        By how many rows the ledger is shorter.
    """
    if destination_of(pipeline).replaces != "versions" or schema_name not in pipeline.schemas:
        return 0
    schema = pipeline.schemas[schema_name]
    with pipeline.sql_client(schema_name) as client:
        loads, column = _loads(client, schema)
        ((newest,),) = client.execute_sql(f"SELECT MAX({column['inserted_at']}) FROM {loads}") or []
        midnight = to_datetime(to_ms(newest) // DAY * DAY)
        query = f"SELECT COUNT(*) FROM {loads} WHERE {column['inserted_at']} >= %s"
        ((today,),) = client.execute_sql(query, midnight) or []
    return compact(pipeline, schema_name, recheck_days) if today <= packages else 0


def compact(pipeline: dlt.Pipeline, schema_name: str | None = None, recheck_days: int = 0) -> int:
    """Joins the ledger's rows of days long past.

    Nothing is joined of the last 35 days before a resource's newest request, nor of twice the span
    of its rechecks; nor while rows are missing from the tables, as it counts then what was read
    again since, or while the table ``messages`` lacks packages.

    Args:
        pipeline: A pipeline into the dataset, in sync with it. The caller has the dataset's lock.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.
        recheck_days: Up to which age days are read again.

    Returns:
        By how many rows the ledger is shorter.

    Raises:
        SettingError: Several sources have loaded, and none was named.
    """
    loaded, schema = loaded_schema(pipeline, schema_name)
    if (
        destination_of(pipeline).replaces != "versions"
        or not loaded
        or name_of(LOAD_WINDOWS, schema) not in filled(schema)
    ):
        return 0
    state = pipeline.state.get("sources", {}).get(schema.name, {})
    if INTENT in state or state.get(ROW_COUNTS, {}).get("missing"):
        return 0
    with pipeline.destination_client(*loaded) as destination:
        assert isinstance(destination, SqlJobClientBase)
        normalized = schema.naming.normalize_path
        _, stored = destination.get_storage_table(name_of(LOAD_WINDOWS, schema))
        known = {normalized(name).lower(): name for name in LOAD_WINDOWS.arrow_schema.names}
        if not stored or not {name.lower() for name in stored} <= known.keys():
            return 0  # A project of somebody's has columns of its own in it.
        client = destination.sql_client
        if _messages_wait(client, schema):
            return 0
        ledger = _Ledger(client, schema, tuple(known[name.lower()] for name in stored))
        removed = sum(ledger.compact_day(*day) for day in ledger.days(recheck_days))
    if removed:
        logger.info("load_windows: %d rows of days long past were joined into others.", removed)
    return removed


def _loads(client: SqlClientBase[Any], schema: Schema) -> tuple[str, dict[str, str]]:
    names = ("load_id", "status", "schema_name", "inserted_at")
    return client.make_qualified_table_name(schema.loads_table_name), {
        name: column_in_sql(name, client, schema) for name in names
    }


def _messages_wait(client: SqlClientBase[Any], schema: Schema) -> bool:
    """Whether ``messages`` is a table that lacks packages: their windows say what they brought."""
    loads, column = _loads(client, schema)
    refreshes = client.make_qualified_table_name(schema.naming.normalize_tables_path(REFRESHES))
    query = (
        f"SELECT COUNT(*) FROM {loads} p LEFT JOIN {refreshes} r ON r.{column['load_id']}"
        f" = p.{column['load_id']} WHERE p.{column['status']} = 0 AND r.{column['load_id']} IS NULL"
    )
    try:
        ((waiting,),) = client.execute_sql(query) or []
    except DatabaseUndefinedRelation:
        return False
    return bool(waiting)


TDay = tuple[str, int, tuple[str, ...], datetime]
"""Resource, UTC day since the epoch, ids, and the moment before which rows are joined."""


class _Ledger:
    """The table in the destination."""

    def __init__(
        self, client: SqlClientBase[Any], schema: Schema, columns: tuple[str, ...]
    ) -> None:
        self._client = client
        self._schema_name = schema.name
        self._columns = columns
        self._table = path_in_sql(LOAD_WINDOWS, client, schema)
        self._name = {name: column_in_sql(name, client, schema) for name in columns}
        self._loads, self._of_load = _loads(client, schema)
        microseconds = MICROSECONDS[client.capabilities.sqlglot_dialect or ""]
        start = microseconds.format(t=self._name["window_start"])
        end = microseconds.format(t=self._name["window_end"])
        self._first = f"FLOOR({start} / {DAY * 1000})"
        self._last = f"FLOOR(({end} - 1) / {DAY * 1000})"

    @property
    def _complete(self) -> str:
        load_id, status, schema = (self._of_load[n] for n in ("load_id", "status", "schema_name"))
        return (
            f"{self._name['_dlt_load_id']} IN (SELECT {load_id} FROM {self._loads}"
            f" WHERE {status} = 0 AND {schema} = %s)"
        )

    def days(self, recheck_days: int) -> list[TDay]:
        """The days of which rows may be joined."""
        resource, scope, at = (self._name[n] for n in ("resource", "scope_id", "requested_at"))
        newest = self._client.execute_sql(
            f"SELECT {resource}, MAX({at}) FROM {self._table} WHERE {self._complete} GROUP BY 1",
            self._schema_name,
        )
        kept = max(DAYS_APART_MS, 2 * recheck_days * DAY)
        found: list[TDay] = []
        for name, latest in newest or []:
            horizon = to_datetime(to_ms(latest) - kept)
            rows = self._client.execute_sql(
                f"SELECT {self._first}, {scope} FROM {self._table} WHERE {self._complete}"
                f" AND {resource} = %s AND {at} < %s AND {self._name['window_end']} <= %s"
                f" AND {self._first} = {self._last} GROUP BY 1, 2 HAVING COUNT(*) > 1"
                " ORDER BY 1, 2",
                self._schema_name,
                name,
                horizon,
                horizon,
            )
            scopes: dict[int, list[str]] = {}
            for day, scope_id in rows or []:
                scopes.setdefault(int(day), []).append(scope_id)
            found += [
                (name, day, tuple(ids[first : first + IDS_AT_ONCE]), horizon)
                for day, ids in scopes.items()
                for first in range(0, len(ids), IDS_AT_ONCE)
            ]
        return found

    def compact_day(
        self, resource: str, day: int, scope_ids: tuple[str, ...], horizon: datetime
    ) -> int:
        """Joins rows of a day, in one transaction; by how many rows the table is shorter."""
        chains: dict[tuple[Any, ...], list[TRow]] = {}
        for row in self._rows(resource, day, scope_ids):
            chain = row["scope_id"], row.get("classification") or "", row.get("key_digest") or ""
            chains.setdefault(chain, []).append(row)
        planned = [one for chain in chains.values() for one in joins(chain, horizon)]
        planned = [one for one in planned if _day_of(one.joined) == day]
        if not planned:
            return 0
        with self._client.begin_transaction():
            return sum(self._replace(one, horizon) for one in planned)

    def _rows(self, resource: str, day: int, scope_ids: tuple[str, ...]) -> Iterator[TRow]:
        given = ", ".join(["%s"] * len(scope_ids))
        rows = self._client.execute_sql(
            f"SELECT {', '.join(self._name.values())} FROM {self._table} WHERE {self._complete}"
            f" AND {self._name['resource']} = %s AND {self._name['scope_id']} IN ({given})"
            f" AND {self._name['window_start']} < %s AND {self._name['window_end']} > %s",
            self._schema_name,
            resource,
            *scope_ids,
            to_datetime((day + 1) * DAY),
            to_datetime(day * DAY),
        )
        for row in rows or []:
            yield dict(zip(self._columns, row, strict=True))

    def _replace(self, one: Join, horizon: datetime) -> int:
        joined = one.joined
        same = [name for name in _IN_COMMON if name in self._name]
        where = " AND ".join(f"{self._name[name]} IS NOT DISTINCT FROM %s" for name in same)
        condition = (
            f"WHERE {self._complete} AND {where} AND {self._name['window_start']} >= %s"
            f" AND {self._name['window_end']} <= %s AND {self._name['requested_at']} < %s"
        )
        given = (
            self._schema_name,
            *(joined[name] for name in same),
            *(joined["window_start"], joined["window_end"], horizon),
        )
        ((there,),) = (
            self._client.execute_sql(f"SELECT COUNT(*) FROM {self._table} {condition}", *given)
            or []
        )
        if there != len(one.rows):
            return 0  # Somebody else has written meanwhile: another day.
        self._client.execute_sql(f"DELETE FROM {self._table} {condition}", *given)
        columns = ", ".join(self._name.values())
        placeholders = ", ".join(["%s"] * len(self._columns))
        self._client.execute_sql(
            f"INSERT INTO {self._table} ({columns}) VALUES ({placeholders})",
            *(joined[name] for name in self._columns),
        )
        return len(one.rows) - 1
