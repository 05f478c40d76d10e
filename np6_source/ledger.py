"""What ``load_windows`` proves: which spans of event time have been loaded, and which have not."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.exceptions import MissingDependencyException
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase

from .bookkeeping.row_counts import (
    NEVER_READ_AGAIN,
    ROW_COUNTS,
    Missing,
    examine,
    microseconds,
    missing_rows,
    note_read_again,
    removed_before,
)
from .destinations import destination_of
from .dlt_internals.destinations import configuration_of, has_sql
from .errors import SettingError
from .schema import LOAD_WINDOWS
from .tables.in_sql import column_in_sql, path_in_sql
from .tables.naming import filled, name_of
from .windows import DAY, SECOND, Window, gaps, merged, to_datetime, to_ms


@dataclass(frozen=True, order=True)
class Gap:
    """A span that no load has covered.

    Attributes:
        resource: The resource.
        scope_id: The id as the ledger stores it, empty for the account; with the class of robots,
            see ``scope_key``.
        window: The span.
    """

    resource: str
    scope_id: str
    window: Window


DAYS_APART_MS = 35 * DAY
"""How far back from a request its rows are cut at UTC midnights: alarms and rechecks look at days,
and years of history are as many rows as requests. See ``extract.session`` for who needs them."""

TCoverage = Mapping[tuple[str, str], list[Window]]
"""Covered windows by resource and ``scope_key``, as few as possible and in order."""

_CLASS = " robots="


def scope_key(scope_id: str, classification: str | None = "") -> str:
    """An id together with the class of robots that was requested: each pair has its own progress.

    Args:
        scope_id: The id as the ledger stores it, empty for the account.
        classification: The class; empty or None for requests without.

    >>> scope_key("000PE4"), scope_key("000PE4", "mpp")
    ('000PE4', '000PE4 robots=mpp')
    """
    return f"{scope_id}{_CLASS}{classification}" if classification else scope_id


def of_scope_key(key: str) -> tuple[str, str]:
    """The id and the class of robots of a ``scope_key``.

    >>> of_scope_key("000PE4 robots=mpp"), of_scope_key("000PE4")
    (('000PE4', 'mpp'), ('000PE4', ''))
    """
    scope_id, mark, classification = key.rpartition(_CLASS)
    return (scope_id, classification) if mark else (key, "")


def coverage(
    pipeline: dlt.Pipeline,
    schema_name: str | None = None,
    packages: Sequence[str] | None = None,
    still_there: bool = True,
) -> dict[tuple[str, str], list[Window]]:
    """Reads the ledger: what all pipelines together have loaded into the dataset.

    Args:
        pipeline: A pipeline into the dataset, which need not have run; its destination must speak
            SQL.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.
        packages: Count only the windows of these load packages. None: of all.
        still_there: Leave out the days that lack rows now, see ``row_counts``.

    Returns:
        The covered windows. A resource and scope whose packages were all given up has none.

    Raises:
        SettingError: Several have, and none was named; or the destination has files.
    """
    loaded, schema = loaded_schema(pipeline, schema_name)
    with _ledger_of(pipeline, schema, *loaded) as (client, columns):
        covered = _covered(client, schema, columns, packages)
        if still_there and packages is None:
            state = pipeline.state.get("sources", {}).get(schema.name, {})
            noted = {ROW_COUNTS: deepcopy(state[ROW_COUNTS])} if ROW_COUNTS in state else {}
            covered = _still_there(
                client, schema, columns, covered, noted, NEVER_READ_AGAIN, 0, is_whole=True
            )
        for scope in _given_up(client, schema, "classification" in columns):
            covered.setdefault(scope, [])
        return covered


def kept_since(
    pipeline: dlt.Pipeline, configured: int | None, schema_name: str | None = None
) -> int | None:
    """From when a dataset has its events: what is older was, or will be, removed by age.

    A longer span than that by which rows were removed brings nothing back.

    Args:
        pipeline: As for ``coverage``.
        configured: The cutoff of the retention that is configured, milliseconds since the epoch;
            None: there is none.
        schema_name: As for ``coverage``.

    Returns:
        Milliseconds since the epoch; None: nothing was, or will be.
    """
    loaded, schema = loaded_schema(pipeline, schema_name)
    with pipeline.sql_client(*loaded) as client:
        return max(configured or 0, removed_before(client, schema)) or None


def covered_since(covered: TCoverage, cutoff: int | None) -> dict[tuple[str, str], list[Window]]:
    """The coverage without what was removed by age.

    Args:
        covered: The coverage.
        cutoff: As ``kept_since`` returns it.
    """
    return {
        scope: [
            Window(max(window.start, cutoff or 0), window.end)
            for window in windows
            if cutoff is None or window.end > cutoff
        ]
        for scope, windows in covered.items()
    }


def recent_windows(
    pipeline: dlt.Pipeline,
    span_ms: int,
    schema_name: str | None = None,
    resources: Sequence[str] | None = None,
) -> pa.Table:
    """The ledger's rows of complete packages, as far back as requested.

    Args:
        pipeline: As for ``coverage``.
        span_ms: Milliseconds before the newest request.
        schema_name: As for ``coverage``.
        resources: Only rows of these; None: of all.

    Returns:
        The columns of ``load_windows``. Those that the destination does not have yet are NULL.

    Raises:
        SettingError: As for ``coverage``.
    """
    loaded, schema = loaded_schema(pipeline, schema_name)
    arrow = LOAD_WINDOWS.arrow_schema
    if not loaded:
        return arrow.empty_table()
    normalized = schema.naming.normalize_path
    with pipeline.destination_client(*loaded) as destination:
        if not isinstance(destination, SqlJobClientBase):
            raise _is_of_files()
        client = destination.sql_client
        _, columns = destination.get_storage_table(name_of(LOAD_WINDOWS, schema))
        there = {name.lower() for name in columns}
        names = [name for name in arrow.names if normalized(name).lower() in there]
        if not names:
            return arrow.empty_table()
        column = {
            name: client.escape_column_name(normalized(name))
            for name in (*names, "load_id", "status", "schema_name")
        }
        windows = path_in_sql(LOAD_WINDOWS, client, schema)
        packages = client.make_qualified_table_name(schema.loads_table_name)
        complete = (
            f"FROM {windows} w JOIN {packages} p ON p.{column['load_id']} ="
            f" w.{column['_dlt_load_id']} WHERE p.{column['status']} = 0"
            f" AND p.{column['schema_name']} = %s"
        )
        given: list[Any] = [schema.name]
        if {"window_start", "window_end"} <= column.keys():
            # A row that was changed by hand to no span proves nothing.
            complete += f" AND w.{column['window_start']} < w.{column['window_end']}"
        if resources is not None:
            placeholders = ", ".join(["%s"] * len(resources)) or "NULL"
            complete += f" AND w.{column['resource']} IN ({placeholders})"
            given += resources
        at = f"w.{column['requested_at']}"
        try:
            ((newest,),) = client.execute_sql(f"SELECT MAX({at}) {complete}", *given) or []
            if newest is None:
                return arrow.empty_table()
            since = to_datetime(to_ms(newest) - span_ms)
            values = ", ".join(f"w.{column[name]}" for name in names)
            query = f"SELECT {values} {complete} AND {at} >= %s"
            rows = client.execute_sql(query, *given, since) or []
        except DatabaseUndefinedRelation:
            return arrow.empty_table()
    found = dict(zip(names, zip(*rows, strict=True), strict=True))
    return pa.table(
        {
            field.name: pa.array(found[field.name], field.type)
            if field.name in found
            else pa.nulls(len(rows), field.type)
            for field in arrow
        }
    )


def _is_of_files() -> SettingError:
    return SettingError(
        "load_windows is read in a database, and the destination has files: read them with"
        " np6_source.deduplication.parquet_views"
    )


@contextmanager
def _ledger_of(
    pipeline: dlt.Pipeline, schema: Schema, *names: str
) -> Iterator[tuple[SqlClientBase[Any], frozenset[str]]]:
    """A connection, and which columns the ledger in the destination has.

    The destination is asked: what dlt's schema has may not be there yet, or not any more.
    """
    with pipeline.destination_client(*names) as client:
        if not isinstance(client, SqlJobClientBase):
            raise _is_of_files()
        _, columns = client.get_storage_table(name_of(LOAD_WINDOWS, schema))
        there = {name.lower() for name in columns}
        yield (
            client.sql_client,
            frozenset(
                name
                for name in LOAD_WINDOWS.arrow_schema.names
                if schema.naming.normalize_path(name).lower() in there
            ),
        )


def proven(
    pipeline: dlt.Pipeline,
    schema: Schema,
    state: dict[str, Any],
    load_id: str,
    keys: Iterable[str] = (),
    cutoff: int | None = None,
) -> TCoverage | None:
    """What the destination proves to be loaded, for a run that goes on from earlier ones.

    A few queries that each return little: a row per stretch without a gap, a row per day.
    What the tables do not hold any more, see ``row_counts``, is not proven. Where no event was ever
    seen, only what was read an hour after the first reading or later is: empty arrays are also what
    an outage, or a key without rights, may return.

    Args:
        pipeline: The pipeline that is about to load.
        schema: The source's schema.
        state: The source's state, which keeps what was found missing.
        load_id: The load package that is being extracted.
        keys: Digests of the account's keys: windows that another account loaded into the same
            dataset prove nothing. None: whoever loaded them.
        cutoff: Events published before it were removed by age, milliseconds since the epoch; None:
            none were.

    Returns:
        The coverage; no window for a scope of which the ledger has no event. None where there is
        nothing to compare with: no load has written the ledger, or the destination does not speak
        SQL (files).
    """
    if name_of(LOAD_WINDOWS, schema) not in filled(schema) or not speaks_sql(pipeline, schema):
        return None
    with _ledger_of(pipeline, schema, schema.name) as (client, columns):
        covered = _covered(client, schema, columns, only_with_events=True, keys=tuple(keys))
        today = int(time.time()) // (DAY // SECOND)
        return _still_there(
            client, schema, columns, covered, state, load_id, today, cutoff=cutoff or 0
        )


def _still_there(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: frozenset[str],
    covered: dict[tuple[str, str], list[Window]],
    state: dict[str, Any],
    load_id: str,
    today: int,
    is_whole: bool = False,
    cutoff: int = 0,
) -> dict[tuple[str, str], list[Window]]:
    """The coverage without the days that lack rows, unless they were read again."""
    newest = max((windows[-1].end for windows in covered.values() if windows), default=None)
    if newest is None:
        return covered
    found, lacking = examine(
        client, schema, columns, newest, state, load_id, today, is_whole, cutoff
    )
    kept, read_again = _without(client, schema, columns, covered, found)
    if found and note_read_again(state, read_again, lacking, load_id):
        kept, _ = _without(client, schema, columns, covered, missing_rows(state))
    return kept


def _without(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: frozenset[str],
    covered: dict[tuple[str, str], list[Window]],
    found: Sequence[Missing],
) -> tuple[dict[tuple[str, str], list[Window]], set[Missing]]:
    """The coverage without what is missing, and what of that all scopes have read again."""
    again_since = {
        since: _covered(client, schema, columns, since=since)
        for since in {missing.since for missing in found}
    }
    kept: dict[tuple[str, str], list[Window]] = {}
    waits: set[Missing] = set()
    for scope, windows in covered.items():
        left = windows
        # What was missed last counts last: an earlier reading does not prove it.
        for one in sorted(found, key=lambda missing: missing.since):
            if not one.concerns(scope[0], of_scope_key(scope[1])[1]):
                continue
            again = _inside(again_since[one.since].get(scope, []), one.window)
            left = [piece for window in left for piece in gaps(window, [one.window])] + again
            if any(gaps(part, again) for part in _inside(windows, one.window)):
                waits.add(one)
        kept[scope] = merged(left)
    return kept, set(found) - waits


def _inside(windows: Iterable[Window], bounds: Window) -> list[Window]:
    return [
        Window(max(window.start, bounds.start), min(window.end, bounds.end))
        for window in windows
        if window.start < bounds.end and bounds.start < window.end
    ]


def _covered(
    client: SqlClientBase[Any],
    schema: Schema,
    columns: frozenset[str],
    packages: Sequence[str] | None = None,
    since: str | None = None,
    only_with_events: bool = False,
    keys: Sequence[str] = (),
) -> dict[tuple[str, str], list[Window]]:
    """The windows of complete packages, joined where they touch.

    A package that was killed half-way may have left windows whose events never arrived; two
    accounts in one dataset have a ledger in common, but packages and keys of their own.
    """
    tables = {
        "windows": path_in_sql(LOAD_WINDOWS, client, schema),
        "packages": client.make_qualified_table_name(schema.loads_table_name),
    }
    names = ("resource", "scope_id", "window_start", "window_end", "event_count", "requested_at")
    quoted = {
        name: column_in_sql(name, client, schema)
        for name in (
            *names,
            "_dlt_load_id",
            "load_id",
            "status",
            "schema_name",
            "classification",
            "key_digest",
        )
    }
    robots, by_robots = "''", ""
    if "classification" in columns:
        robots = f"COALESCE(w.{quoted['classification']}, '')"
        by_robots = f", w.{quoted['classification']}"
    # A row that was changed by hand to no span proves nothing.
    conditions = f" AND w.{quoted['window_start']} < w.{quoted['window_end']}"
    arguments = [schema.name]
    if packages is not None:
        given = ", ".join(["%s"] * len(packages)) or "NULL"
        conditions += f" AND w.{quoted['_dlt_load_id']} IN ({given})"
        arguments += packages
    if since is not None:
        conditions += f" AND w.{quoted['_dlt_load_id']} >= %s"
        arguments.append(since)
    if keys and "key_digest" in columns:
        key = f"w.{quoted['key_digest']}"
        conditions += f" AND ({key} IS NULL OR {key} IN ({', '.join(['%s'] * len(keys))}))"
        arguments += keys
    said = {**tables, **quoted, "conditions": conditions, "robots": robots, "by_robots": by_robots}
    query = _ISLANDS.format(rows=_EACH_ONCE.format(**said))
    try:
        rows = client.execute_sql(query, *arguments) or []
    except DatabaseUndefinedRelation:
        return {}
    covered: dict[tuple[str, str], list[Window]] = {}
    events: Counter[tuple[str, str]] = Counter()
    of_robots: set[tuple[str, str]] = set()
    for resource, scope_id, classification, start, end, count in rows:
        scope = (resource, scope_key(scope_id, classification))
        covered.setdefault(scope, []).append(Window(to_ms(start), to_ms(end)))
        events[scope] += int(count or 0)
        if classification:
            of_robots.add(scope)  # Most have none for long.
    if only_with_events:
        empty = {scope for scope in covered if not events[scope] and scope not in of_robots}
        at = microseconds(client, f"w.{quoted['requested_at']}")
        again: dict[tuple[str, str], list[Window]] = defaultdict(list)
        if empty and at is not None:
            query = _ISLANDS.format(rows=_READ_EMPTY_AGAIN.format(**said, at=at))
            for resource, scope_id, classification, start, end, _ in (
                client.execute_sql(query, *arguments) or []
            ):
                window = Window(to_ms(start), to_ms(end))
                again[resource, scope_key(scope_id, classification)].append(window)
        covered |= {scope: again[scope] for scope in empty}
    return {scope: merged(windows) for scope, windows in covered.items()}


_ISLANDS = """
SELECT r, s, c, MIN(b), MAX(e), SUM(n) FROM (
  SELECT r, s, c, b, e, n, SUM(begins) OVER (
    PARTITION BY r, s, c ORDER BY b, e ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
  FROM (
    SELECT r, s, c, b, e, n, CASE WHEN b <= MAX(e) OVER (
      PARTITION BY r, s, c ORDER BY b, e ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
      THEN 0 ELSE 1 END AS begins
    FROM ({rows}) each_once
  ) marked
) counted GROUP BY r, s, c, island
"""
"""A row per stretch of touching windows, so that years of runs give as many rows as one."""

_EACH_ONCE = """
SELECT w.{resource} AS r, w.{scope_id} AS s, {robots} AS c, w.{window_start} AS b,
  w.{window_end} AS e, MAX(w.{event_count}) AS n
FROM {windows} w JOIN {packages} p ON p.{load_id} = w.{_dlt_load_id}
WHERE p.{status} = 0 AND p.{schema_name} = %s{conditions}
GROUP BY w.{resource}, w.{scope_id}, w.{window_start}, w.{window_end}{by_robots}
"""

EMPTY_AGAIN = 60 * 60 * 1_000_000
"""Microseconds after its first reading from which on an empty scope's windows prove something."""

_READ_EMPTY_AGAIN = f"""
SELECT r, s, c, b, e, 0 AS n FROM (
  SELECT r, s, c, b, e, t, MIN(t) OVER (PARTITION BY r, s, c) AS first_read,
    MAX(n) OVER (PARTITION BY r, s, c) AS most
  FROM (
    SELECT w.{{resource}} AS r, w.{{scope_id}} AS s, {{robots}} AS c, w.{{window_start}} AS b,
      w.{{window_end}} AS e, COALESCE(w.{{event_count}}, 0) AS n, {{at}} AS t
    FROM {{windows}} w JOIN {{packages}} p ON p.{{load_id}} = w.{{_dlt_load_id}}
    WHERE p.{{status}} = 0 AND p.{{schema_name}} = %s{{conditions}}
  ) readings
) compared WHERE most = 0 AND t >= first_read + {EMPTY_AGAIN}
"""
"""The windows of scopes without any event, as far as they were read an hour after the first."""


def _given_up(
    client: SqlClientBase[Any], schema: Schema, has_classes: bool
) -> list[tuple[str, str]]:
    """Resources and scopes of packages that were never completed."""
    windows = path_in_sql(LOAD_WINDOWS, client, schema)
    loads = client.make_qualified_table_name(schema.loads_table_name)
    resource, scope_id, package, load_id, classification = (
        column_in_sql(name, client, schema)
        for name in ("resource", "scope_id", "_dlt_load_id", "load_id", "classification")
    )
    robots = f"w.{classification}" if has_classes else "''"
    query = (
        f"SELECT DISTINCT w.{resource}, w.{scope_id}, {robots} FROM {windows} w"
        f" LEFT JOIN {loads} p ON p.{load_id} = w.{package} WHERE p.{load_id} IS NULL"
    )
    try:
        return [(row[0], scope_key(row[1], row[2])) for row in client.execute_sql(query) or []]
    except DatabaseUndefinedRelation:
        return []


def note_not_loaded(
    pipeline: dlt.Pipeline, load_id: str, windows: Sequence[tuple[str, str, int, int]]
) -> None:
    """Writes windows of a package that was given up into the ledger, where they prove nothing.

    ``coverage`` then knows of their resources and ids, and ``gaps`` says that they are missing.

    Args:
        pipeline: A pipeline into the dataset.
        load_id: The package.
        windows: Resource, ``scope_key``, start and end in milliseconds since the epoch.
    """
    loaded = [name for name in pipeline.schema_names if _has_loaded_windows(pipeline.schemas[name])]
    if not loaded or not windows or destination_of(pipeline).replaces == "by itself":
        return
    schema = pipeline.schemas[loaded[0]]
    with _ledger_of(pipeline, schema, loaded[0]) as (client, there):
        table = path_in_sql(LOAD_WINDOWS, client, schema)
        now = datetime.now(timezone.utc)
        for resource, scope, start, end in windows:
            scope_id, classification = of_scope_key(scope)
            row = {
                "resource": resource,
                "scope_id": scope_id,
                "window_start": to_datetime(start),
                "window_end": to_datetime(end),
                "requested_at": now,
                "_dlt_load_id": load_id,
            }
            if "classification" in there:
                row["classification"] = classification
            columns = ", ".join(column_in_sql(name, client, schema) for name in row)
            placeholders = ", ".join(["%s"] * len(row))
            try:
                client.execute_sql(
                    f"INSERT INTO {table} ({columns}) VALUES ({placeholders})", *row.values()
                )
            except DatabaseUndefinedRelation:
                return


def policies(pipeline: dlt.Pipeline, schema: Schema, must_be_known: bool) -> frozenset[str]:
    """The policies for personal data under which the dataset was loaded, by whatever pipeline.

    Args:
        pipeline: A pipeline into the dataset, which need not have run.
        schema: The source's schema.
        must_be_known: A destination that cannot be reached is an error, its driver's; else it has
            no policies.

    Returns:
        As ``Privacy.recorded``: empty text where everything was kept. None at all where nothing was
        loaded, the destination does not speak SQL (files), or nothing can be loaded into it from
        here: its package or its credentials are missing.
    """
    names = [schema.name] if schema.name in pipeline.schemas else []
    with ExitStack() as stack:
        try:
            if not has_sql(pipeline.destination):
                return frozenset()
            client = pipeline.sql_client(*names)
            client.open_connection()
            stack.callback(client.close_connection)
        except (MissingDependencyException, ConfigurationException):
            return frozenset()
        except Exception:  # Each driver has its own.
            if must_be_known:
                raise
            return frozenset()
        return frozenset(policies_in(client, schema))


def recorded_policies(pipeline: dlt.Pipeline, schema_name: str | None = None) -> frozenset[str]:
    """The policies for personal data under which a dataset was loaded.

    Args:
        pipeline: As for ``coverage``.
        schema_name: As for ``coverage``.

    Returns:
        As ``policies``.

    Raises:
        SettingError: As for ``coverage``.
    """
    _, schema = loaded_schema(pipeline, schema_name)
    return policies(pipeline, schema, must_be_known=True)


def policies_in(client: SqlClientBase[Any], schema: Schema) -> Iterator[str]:
    """The policies for personal data that the ledger records, as ``policies``.

    Args:
        client: A connection to the dataset, open.
        schema: The source's schema.
    """
    table = path_in_sql(LOAD_WINDOWS, client, schema)
    column = schema.naming.normalize_path("policy")
    try:
        with client.execute_query(f"SELECT * FROM {table} WHERE 1 = 0") as cursor:
            there = {str(name).lower() for name, *_ in cursor.description or ()}
        # Ledgers from before there were policies have no such column, and kept everything.
        value = client.escape_column_name(column) if column.lower() in there else "NULL"
        # Rows of packages that were given up are under none: nothing of them was loaded.
        count = column_in_sql("event_count", client, schema)
        query = f"SELECT DISTINCT {value} FROM {table} WHERE {count} IS NOT NULL"
        for (policy,) in client.execute_sql(query) or []:
            yield str(policy or "")
    except DatabaseUndefinedRelation:
        return


def speaks_sql(pipeline: dlt.Pipeline, schema: Schema) -> bool:
    """Whether the destination keeps tables in a database that can be asked from here.

    Files have none to ask. Extraction alone needs neither the destination's package nor its
    credentials; without them nothing can be loaded from here either.
    """
    if pipeline.destination is None or schema.name not in pipeline.schemas:
        return False
    # Not opened: that takes a connection.
    try:
        if not has_sql(pipeline.destination):
            return False
        configuration_of(pipeline)
        return True
    except (MissingDependencyException, ConfigurationException):
        return False


def loaded_schema(pipeline: dlt.Pipeline, schema_name: str | None) -> tuple[list[str], Schema]:
    """The source that has loaded NP6 events: its name, if any, and its schema."""
    loaded = [name for name in pipeline.schema_names if _has_loaded_windows(pipeline.schemas[name])]
    if schema_name is not None:
        loaded = [name for name in loaded if name == schema_name]
    if len(loaded) > 1:
        raise SettingError(f"schema_name: name one of the sources {', '.join(sorted(loaded))}")
    return loaded, pipeline.schemas[loaded[0]] if loaded else Schema(schema_name or "np6")


def _has_loaded_windows(schema: Schema) -> bool:
    return name_of(LOAD_WINDOWS, schema) in schema.tables


def missing(asked: Window, covered: TCoverage) -> list[Gap]:
    """What of a span is missing, for every resource and scope of the coverage."""
    return sorted(
        Gap(resource, scope_id, gap)
        for (resource, scope_id), windows in covered.items()
        for gap in gaps(asked, windows)
    )
