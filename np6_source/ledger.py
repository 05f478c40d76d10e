"""What ``load_windows`` proves: which spans of event time have been loaded, and which have not."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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

from .destinations import destination_of
from .errors import SettingError
from .schema import EVENT_TABLES, EVENTS, LOAD_WINDOWS, ROBOTS, Table
from .tables.naming import filled, name_of
from .windows import Window, gaps, merged, to_datetime, to_ms

logger = logging.getLogger(__name__)


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
) -> dict[tuple[str, str], list[Window]]:
    """Reads the ledger: what all pipelines together have loaded into the dataset.

    Args:
        pipeline: A pipeline into the dataset, which need not have run; its destination must speak
            SQL.
        schema_name: Name of the source, where several of the pipeline have loaded NP6 events.
        packages: Count only the windows of these load packages. None: of all.

    Returns:
        The covered windows. A resource and scope of which packages were given up, and none was
        loaded, has none.

    Raises:
        SettingError: Several have, and none was named.
    """
    loaded, schema = loaded_schema(pipeline, schema_name)
    with _ledger_of(pipeline, schema, *loaded) as (client, has_classes):
        covered = _covered(client, schema, has_classes, packages=packages) or {}
        for scope in _given_up(client, schema, has_classes):
            covered.setdefault(scope, [])
        return covered


def recent_windows(
    pipeline: dlt.Pipeline, span_ms: int, schema_name: str | None = None
) -> pa.Table:
    """The ledger's rows of complete packages, as far back as asked for.

    Args:
        pipeline: As for ``coverage``.
        span_ms: Milliseconds before the newest request.
        schema_name: As for ``coverage``.

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
        assert isinstance(destination, SqlJobClientBase)
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
        windows = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
        packages = client.make_qualified_table_name(schema.loads_table_name)
        complete = (
            f"FROM {windows} w JOIN {packages} p ON p.{column['load_id']} ="
            f" w.{column['_dlt_load_id']} WHERE p.{column['status']} = 0"
            f" AND p.{column['schema_name']} = %s"
        )
        at = f"w.{column['requested_at']}"
        try:
            ((newest,),) = client.execute_sql(f"SELECT MAX({at}) {complete}", schema.name) or []
            if newest is None:
                return arrow.empty_table()
            since = to_datetime(to_ms(newest) - span_ms)
            values = ", ".join(f"w.{column[name]}" for name in names)
            query = f"SELECT {values} {complete} AND {at} >= %s"
            rows = client.execute_sql(query, schema.name, since) or []
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


@contextmanager
def _ledger_of(
    pipeline: dlt.Pipeline, schema: Schema, *names: str
) -> Iterator[tuple[SqlClientBase[Any], bool]]:
    """A connection, and whether the ledger in the destination tells classes of robots apart.

    The destination is asked: what dlt's schema has may not be there yet, or not any more.
    """
    with pipeline.destination_client(*names) as client:
        assert isinstance(client, SqlJobClientBase)
        _, columns = client.get_storage_table(name_of(LOAD_WINDOWS, schema))
        name = schema.naming.normalize_path("classification")
        yield client.sql_client, name.lower() in map(str.lower, columns)


def proven(pipeline: dlt.Pipeline, schema: Schema, cutoff: int | None = None) -> TCoverage | None:
    """What the destination proves to be loaded, for a run that goes on from earlier ones.

    One query, which returns a row per stretch without a gap. Where the ledger has events and the
    events' table has none, or a table beside it has none of the rows that its events must have,
    nothing is proven. Neither is it where no event was ever seen: empty arrays are also what an
    outage, or a key without rights, may answer.

    Args:
        pipeline: The pipeline that is about to load.
        schema: The source's schema.
        cutoff: Events published before it were removed by age, milliseconds since the epoch; None:
            none were.

    Returns:
        The coverage; no window for a scope of which the ledger has no event. None where there is
        nothing to compare with: no load has written the ledger, or the destination does not speak
        SQL (files).
    """
    if name_of(LOAD_WINDOWS, schema) not in filled(schema) or not speaks_sql(pipeline, schema):
        return None
    with _ledger_of(pipeline, schema, schema.name) as (client, has_classes):
        holds = _holds_its_rows(client, schema)
        found = _covered(client, schema, has_classes, holds, cutoff=cutoff or 0)
        if found is None and _is_empty(client, schema, EVENTS):
            _forget(client, schema)
        return found or {}


def _is_empty(client: SqlClientBase[Any], schema: Schema, table: Table) -> bool:
    name = client.make_qualified_table_name(name_of(table, schema))
    return not client.execute_sql(f"SELECT 1 FROM {name} LIMIT 1")


def _forget(client: SqlClientBase[Any], schema: Schema) -> None:
    """Removes what the emptied table of events no longer proves.

    For good, and before anything is loaded: once another call has put some rows into the table it
    no longer shows that it was emptied. Without the ledger's rows everything is read again, by
    whichever call comes next.
    """
    windows = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
    packages = client.make_qualified_table_name(schema.loads_table_name)
    package, load_id, schema_name = (
        client.escape_column_name(schema.naming.normalize_path(name))
        for name in ("_dlt_load_id", "load_id", "schema_name")
    )
    logger.warning(
        "The table of events was emptied since it was loaded, load_windows proves nothing any more:"
        " its rows are removed, and everything is read again."
    )
    client.execute_sql(
        f"DELETE FROM {windows} WHERE {package} IN"
        f" (SELECT {load_id} FROM {packages} WHERE {schema_name} = %s)",
        schema.name,
    )


def _holds_its_rows(client: SqlClientBase[Any], schema: Schema) -> str:
    """An SQL condition: no table of events was emptied.

    Each event of some types has a row in a table of its own (``schema.Table.row_types``).
    """
    there = set(filled(schema))
    if name_of(EVENTS, schema) not in there:
        return "1 = 1"

    def rows_of(table: Table) -> str:
        return f"SELECT 1 FROM {client.make_qualified_table_name(name_of(table, schema))}"

    kind = client.escape_column_name(schema.naming.normalize_path("type"))
    conditions = [f"EXISTS ({rows_of(EVENTS)})"]
    for table in EVENT_TABLES:
        # A hit has a row in the robots' table only where a request named a class.
        if table.row_types and table is not ROBOTS and name_of(table, schema) in there:
            types = ", ".join(f"'{name}'" for name in table.row_types)
            conditions.append(
                f"(EXISTS ({rows_of(table)})"
                f" OR NOT EXISTS ({rows_of(EVENTS)} WHERE {kind} IN ({types})))"
            )
    return " AND ".join(conditions)


def _covered(
    client: SqlClientBase[Any],
    schema: Schema,
    has_classes: bool,
    is_there: str | None = None,
    packages: Sequence[str] | None = None,
    cutoff: int = 0,
) -> dict[tuple[str, str], list[Window]] | None:
    """The windows of complete packages, joined where they touch; None where a table was emptied.

    A package that was killed half-way may have left windows whose events never arrived; two
    accounts in one dataset have a ledger in common, but packages of their own.
    """
    tables = {
        "windows": client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema)),
        "packages": client.make_qualified_table_name(schema.loads_table_name),
    }
    names = ("resource", "scope_id", "window_start", "window_end", "event_count", "_dlt_load_id")
    columns = {
        name: client.escape_column_name(schema.naming.normalize_path(name))
        for name in (*names, "load_id", "status", "schema_name", "classification")
    }
    robots, by_robots = "''", ""
    if has_classes:
        robots = f"COALESCE(w.{columns['classification']}, '')"
        by_robots = f", w.{columns['classification']}"
    of_packages = ""
    if packages is not None:
        given = ", ".join(["%s"] * len(packages)) or "NULL"
        of_packages = f"AND w.{columns['_dlt_load_id']} IN ({given})"
    is_whole = "1" if is_there is None else f"CASE WHEN {is_there} THEN 1 ELSE 0 END"
    query = _ISLANDS.format(
        **tables,
        **columns,
        is_there=is_whole,
        of_packages=of_packages,
        robots=robots,
        by_robots=by_robots,
    )
    try:
        rows = client.execute_sql(query, schema.name, *(packages or ())) or []
    except DatabaseUndefinedRelation:
        return {}
    # Only windows that are kept whole say that there must be events.
    kept = any(int(row[5] or 0) and to_ms(row[7]) >= cutoff for row in rows)
    if kept and not all(row[6] for row in rows):
        return None
    covered: dict[tuple[str, str], list[Window]] = {}
    events: Counter[tuple[str, str]] = Counter()
    of_robots: set[tuple[str, str]] = set()
    for resource, scope_id, classification, start, end, count, *_ in rows:
        scope = (resource, scope_key(scope_id, classification))
        covered.setdefault(scope, []).append(Window(to_ms(start), to_ms(end)))
        events[scope] += int(count or 0)
        if classification:
            of_robots.add(scope)  # Most have none for long.
    if is_there is not None:
        covered = {
            scope: found if events[scope] or scope in of_robots else []
            for scope, found in covered.items()
        }
    return {scope: merged(windows) for scope, windows in covered.items()}


_ISLANDS = """
SELECT r, s, c, MIN(b), MAX(e), SUM(n), {is_there}, MAX(CASE WHEN n > 0 THEN b ELSE NULL END) FROM (
  SELECT r, s, c, b, e, n, SUM(begins) OVER (
    PARTITION BY r, s, c ORDER BY b, e ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
  FROM (
    SELECT r, s, c, b, e, n, CASE WHEN b <= MAX(e) OVER (
      PARTITION BY r, s, c ORDER BY b, e ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
      THEN 0 ELSE 1 END AS begins
    FROM (
      SELECT w.{resource} AS r, w.{scope_id} AS s, {robots} AS c, w.{window_start} AS b,
        w.{window_end} AS e, MAX(w.{event_count}) AS n
      FROM {windows} w JOIN {packages} p ON p.{load_id} = w.{_dlt_load_id}
      WHERE p.{status} = 0 AND p.{schema_name} = %s {of_packages}
      GROUP BY w.{resource}, w.{scope_id}, w.{window_start}, w.{window_end}{by_robots}
    ) each_once
  ) marked
) counted GROUP BY r, s, c, island
"""
"""A row per stretch of touching windows, so that years of runs give as many rows as one."""


def _given_up(
    client: SqlClientBase[Any], schema: Schema, has_classes: bool
) -> list[tuple[str, str]]:
    """Resources and scopes of packages that were never completed."""
    windows = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
    loads = client.make_qualified_table_name(schema.loads_table_name)
    resource, scope_id, package, load_id, classification = (
        client.escape_column_name(schema.naming.normalize_path(name))
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
    with _ledger_of(pipeline, schema, loaded[0]) as (client, has_classes):
        table = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
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
            if has_classes:
                row["classification"] = classification
            columns = ", ".join(
                client.escape_column_name(schema.naming.normalize_path(name)) for name in row
            )
            places = ", ".join(["%s"] * len(row))
            try:
                client.execute_sql(
                    f"INSERT INTO {table} ({columns}) VALUES ({places})", *row.values()
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
            if not isinstance(pipeline.destination_client(*names), SqlJobClientBase):
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
        return frozenset(_policies(client, schema))


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


def _policies(client: SqlClientBase[Any], schema: Schema) -> Iterator[str]:
    table = client.make_qualified_table_name(name_of(LOAD_WINDOWS, schema))
    column = schema.naming.normalize_path("policy")
    try:
        with client.execute_query(f"SELECT * FROM {table} WHERE 1 = 0") as cursor:
            there = {str(name).lower() for name, *_ in cursor.description or ()}
        # Ledgers from before there were policies have no such column, and kept everything.
        value = client.escape_column_name(column) if column.lower() in there else "NULL"
        for (policy,) in client.execute_sql(f"SELECT DISTINCT {value} FROM {table}") or []:
            yield str(policy or "")
    except DatabaseUndefinedRelation:
        return


def speaks_sql(pipeline: dlt.Pipeline, schema: Schema) -> bool:
    """Whether the destination keeps tables in a database; files have none to ask."""
    if pipeline.destination is None or schema.name not in pipeline.schemas:
        return False
    # Not opened: that takes a connection.
    return isinstance(pipeline.destination_client(schema.name), SqlJobClientBase)


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
