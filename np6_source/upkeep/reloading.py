"""Reading everything again without ever having less than before.

Nothing is dropped. A reload forgets how far each resource got, reads all of it again by merging,
and only when the ledger proves that everything is there again removes the rows that were not read
again. Its intent is kept in the pipeline's state: a reload that was killed goes on as a reload with
the next call, whatever that is, and until it is through the tables hold all that they held.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.destinations.sql_client import SqlClientBase
from dlt.extract import DltResource, DltSource

from ..bookkeeping.known_starts import BEGINS_AT
from ..bookkeeping.source_state import PROGRESS, has_loaded
from ..dataset_lock import TTurn, in_database_or_file
from ..destinations import CLOCK_NOISE_SECONDS, destination_of
from ..dlt_internals.pipelines import do_not_restore
from ..dlt_internals.resources import cursor_of
from ..endpoints import ENDPOINTS
from ..errors import (
    FewerEvents,
    Incomplete,
    RequestContext,
    SettingError,
    listed,
    scope_name,
)
from ..extract.policy import POLICY
from ..extract.progress import Progress
from ..extract.recheck_days import is_too_few
from ..extract.reload_intent import INTENT
from ..extract.selection import session_of
from ..extract.unknown_ids import UNKNOWN_IDS
from ..ledger import coverage, of_scope_key, recorded_policies, speaks_sql
from ..parameters import TMoment, moment_ms
from ..robots import is_of_marks
from ..runs.last_run import failures
from ..schema import (
    CAMPAIGNS,
    EVENT_TABLES,
    EVENTS,
    LOAD_WINDOWS,
    REQUESTED_AT,
    TABLES,
    TIMESTAMP,
    Table,
)
from ..tables.in_sql import column_in_sql, in_one_transaction, path_in_sql
from ..tables.naming import filled, name_of
from ..temporary_folder import temporary_folder
from ..views import forget_messages
from ..windows import SECOND, Window, gaps, iso, merged, to_datetime, to_ms
from .changed_tables import missing_columns, missing_tables
from .reloaded_lake import not_read_again

logger = logging.getLogger(__name__)

_ASKED_FIRST = 60 * SECOND
"""Length of the stretch that the API is asked for before anything changes, milliseconds."""

_COLUMNS_OF_IDS = {
    "action_ids": "action_id",
    "notification_ids": "action_id",
    "target_ids": "contact_id",
    "target_unicities": "contact_unicity",
    "target_hashes": "contact_hash",
}
"""The column of ``events`` that has the ids of an argument of ``np6_source``."""

TSpans = Mapping[str, Mapping[str, tuple[int, int]]]
"""Start and end of what was loaded, milliseconds since the epoch, by resource and scope."""


@dataclass(frozen=True)
class Reload:
    """What a reload reads again, and what may go in the end.

    Attributes:
        start: From when, milliseconds since the epoch; None: nothing was loaded before.
        resources: The resources that are read again.
        spans: What was loaded before.
        rows: Rows now, by table.
    """

    start: int | None
    resources: tuple[str, ...]
    spans: TSpans
    rows: Mapping[str, int]

    def __str__(self) -> str:
        since = "the start of a first load" if self.start is None else iso(self.start)
        tables = ", ".join(f"{name} ({count:,} rows)" for name, count in self.rows.items() if count)
        lines = [
            f"Reads {', '.join(self.resources)} again, all of it from {since}.",
            "Until that is through, the tables keep all that they hold. Then rows that NP6 did not"
            f" return again go from: {tables or 'no table, there are no rows'}.",
        ]
        firsts = [first for scopes in self.spans.values() for first, _ in scopes.values()]
        if self.start is not None and any(first < self.start for first in firsts):
            lines.append(
                f"Everything from before {since} goes: the history begins at {iso(min(firsts))}."
            )
        return "\n".join(lines)


def plan_reload(
    pipeline: dlt.Pipeline,
    source: DltSource,
    start: TMoment | None = None,
    cutoff: int | None = None,
) -> Reload:
    """What ``load(reload=True)`` would do; changes nothing.

    Args:
        pipeline: The pipeline.
        source: The source as it would be loaded.
        start: From when. None: the earliest that the ledger or the pipeline's state knows, or the
            source's own where that is earlier: a backfill alone has no beginning.
        cutoff: From when events are kept, milliseconds since the epoch; None: for ever.

    Raises:
        SettingError: Resources that are not selected have loaded into the same tables, or the
            source is a backfill.
    """
    selected = tuple(_incremental(source))
    if is_backfill(source):
        raise SettingError("A reload reads everything up to now: leave end out")
    spans, firsts = _loaded(pipeline, source.name)
    if others := sorted(set(spans) - set(selected)):
        raise SettingError(
            f"{', '.join(others)} loaded into the same tables, and would not be read again by a"
            f" reload of {', '.join(selected)}. Nothing was changed. Reload all of them at once:"
            " name them too, with their ids. To read one range again without a reload, give start"
            " and end."
        )
    asked = session_of(source).settings.start
    if firsts and asked is not None:
        firsts.append(asked)
    first = moment_ms(start, "start") if start is not None else min(firsts, default=None)
    if first is not None:
        first = max(first, cutoff or first)
    return Reload(first, selected, spans, _rows(pipeline, source.name))


def _loaded(pipeline: dlt.Pipeline, source: str) -> tuple[TSpans, list[int]]:
    """What the ledger and the state know: spans, and where histories begin. Of files the state."""
    spans: dict[str, dict[str, tuple[int, int]]] = {}
    if source in pipeline.schema_names and _has_whole_ledger(pipeline, pipeline.schemas[source]):
        for (resource, scope), windows in coverage(pipeline, source, still_there=False).items():
            # Marks of robots go with the rows, and come back with np6-source robots.
            if windows and not is_of_marks(pipeline, resource, scope):
                bounds = min(w.start for w in windows), max(w.end for w in windows)
                spans.setdefault(resource, {})[scope] = bounds
    firsts = [first for scopes in spans.values() for first, _ in scopes.values()]
    section = pipeline.state.get("sources", {}).get(source, {})
    for resource, state in section.get("resources", {}).items():
        begun = [one["start"] for one in state.get(PROGRESS, {}).values()]
        cursor = state.get("incremental", {}).get("timestamp", {})
        if not begun and has_loaded(state):
            begun = [moment_ms(cursor["initial_value"], "initial_value")]
        if begun:
            spans.setdefault(resource, {})
            firsts += begun
    return spans, firsts


def _has_whole_ledger(pipeline: dlt.Pipeline, schema: Schema) -> bool:
    """Whether the ledger can be asked; without a column it has lost, the state alone counts."""
    if not speaks_sql(pipeline, schema):
        return False
    with pipeline.destination_client(schema.name) as client:
        ledger = [name_of(LOAD_WINDOWS, schema)]
        return not isinstance(client, SqlJobClientBase) or not missing_columns(
            client, schema, ledger
        )


def _rows(pipeline: dlt.Pipeline, source: str) -> dict[str, int]:
    if source not in pipeline.schema_names or not can_delete(pipeline):
        return {}
    counts: dict[str, int] = {}
    with pipeline.sql_client(source) as client:
        for name in filled(pipeline.schemas[source]):
            try:
                table = client.make_qualified_table_name(name)
                ((counts[name],),) = client.execute_sql(f"SELECT count(*) FROM {table}") or []
            except DatabaseUndefinedRelation:
                continue
    return counts


def _incremental(source: DltSource) -> dict[str, DltResource]:
    """The selected resources that go on from where they were; catalogues of names do not."""
    return {
        name: resource
        for name, resource in source.selected_resources.items()
        if cursor_of(resource) is not None
    }


def is_backfill(source: DltSource) -> bool:
    """Whether a source reads a given range and keeps no cursor."""
    cursors = [cursor_of(resource) for resource in source.selected_resources.values()]
    return any(cursor is not None and cursor.end_value is not None for cursor in cursors)


def can_delete(pipeline: dlt.Pipeline) -> bool:
    """Whether rows can be removed from the destination's tables: not from files."""
    return destination_of(pipeline).replaces != "by itself"


def ask_first(pipeline: dlt.Pipeline, source: DltSource, reload: Reload) -> None:
    """Asks the API for a minute of each resource and id, and loads nothing of it.

    Args:
        pipeline: The pipeline that will load.
        source: A source of the same kind; it is used up.
        reload: What will be read again.

    Raises:
        Incomplete: Something could not be requested; nothing was changed. An id that NP6 does
            not know is no reason.
    """
    if reload.start is None:
        return
    bounds = to_datetime(reload.start), to_datetime(reload.start + _ASKED_FIRST)
    source = source.with_resources(*_incremental(source))
    for resource in source.selected_resources.values():
        resource.apply_hints(
            incremental=dlt.sources.incremental(
                "timestamp", initial_value=bounds[0], end_value=bounds[1], primary_key=()
            )
        )
    with temporary_folder("reload") as folder:
        database = dlt.destinations.duckdb(str(folder / "nothing.duckdb"))
        scratch = dlt.pipeline(
            "np6_reload", destination=database, dataset_name="np6", pipelines_dir=str(folder)
        )
        do_not_restore(scratch)
        try:
            scratch.extract(source)
            found = failures(scratch)
        finally:
            pipeline.activate()
    if refused := [failure for failure in found if failure["kind"] != "NotFound"]:
        raise Incomplete(refused, "The reload has not begun and nothing was changed")


def begin_reload(pipeline: dlt.Pipeline, source: DltSource, reload: Reload) -> None:
    """Notes the intent, and forgets how far the resources got.

    Tables and columns that are gone are made again, empty. The ledger then proves nothing any more:
    what it says of their rows is no longer true.

    Args:
        pipeline: The pipeline.
        source: The source.
        reload: What is read again.
    """
    with pipeline.managed_state() as state:
        section: dict[str, Any] = state.setdefault("sources", {}).setdefault(source.name, {})
        section[INTENT] = {
            "began": time.time_ns() // 1_000_000,
            "packages": [],
            "start": reload.start,
            "resources": list(reload.resources),
            "spans": {
                resource: {scope: list(span) for scope, span in scopes.items()}
                for resource, scopes in reload.spans.items()
            },
        }
        for resource in reload.resources:
            section.get("resources", {}).pop(resource, None)
        section.pop(BEGINS_AT, None)
    if source.name not in pipeline.schema_names or not can_delete(pipeline):
        return
    schema = pipeline.schemas[source.name]
    ledger = name_of(LOAD_WINDOWS, schema)
    with pipeline.destination_client(source.name) as client:
        if not isinstance(client, SqlJobClientBase):
            return
        gone = missing_tables(client, filled(schema))
        lacking = missing_columns(client, schema, filled(schema))
        if not gone and not lacking:
            return
        if ledger not in gone:
            table = client.sql_client.make_qualified_table_name(ledger)
            client.sql_client.execute_sql(f"DELETE FROM {table}")
        client.update_stored_schema(only_tables=[*gone, *lacking], force=True)


def intent_of(pipeline: dlt.Pipeline, source: DltSource) -> Mapping[str, Any] | None:
    """A reload of the source that has begun and is not through."""
    section = pipeline.state.get("sources", {}).get(source.name, {})
    found: Mapping[str, Any] | None = section.get(INTENT)
    return None if is_backfill(source) else found


def from_its_start(source: DltSource, intent: Mapping[str, Any]) -> DltSource:
    """The source, whose resources begin where the reload does."""
    if intent["start"] is not None:
        for name, resource in _incremental(source).items():
            if name in intent["resources"]:
                first = to_datetime(intent["start"])
                cursor = dlt.sources.incremental("timestamp", initial_value=first, primary_key=())
                resource.apply_hints(incremental=cursor)
    return source


def finish_reload(
    pipeline: dlt.Pipeline, source: DltSource, turn: TTurn = in_database_or_file
) -> list[FewerEvents]:
    """Ends a reload that has read everything: removes what was not read again, and the intent.

    Nothing is removed unless the rows of the ledger that stay prove all that was proven before.

    Args:
        pipeline: The pipeline, after a run that has caught up.
        source: The source that was loaded.
        turn: Waits until this process may change the dataset.

    Returns:
        Why nothing was removed, where NP6 did not return too many events again.
    """
    intent = intent_of(pipeline, source)
    if intent is None or not set(intent["resources"]) <= set(source.selected_resources):
        return []
    fewer: FewerEvents | None = None
    takes_fewer = session_of(source).settings.accept_fewer_events
    if can_delete(pipeline):
        with turn(pipeline):
            forget_messages(pipeline)
            fewer = _remove_not_read_again(pipeline, source.name, intent, takes_fewer)
    else:
        if not takes_fewer:
            days = not_read_again(pipeline, source.name, intent)
            lacking = {day: count for day, (count, _) in days.items() if count}
            there = {day: count for day, (_, count) in days.items()}
            fewer = _too_few(lacking, there, intent, _KEPT_ON_FILES)
        if fewer is None:
            logger.warning(
                "Everything was read again. Nothing can be removed from files: rows that NP6 no"
                " longer returns stay, and so do older files and versions; after a change of pii"
                " both are as they were before it. To begin with empty tables, remove the dataset's"
                " folder and load."
            )
    with pipeline.managed_state() as state:
        state["sources"][source.name].pop(INTENT, None)
    return [] if fewer is None else [fewer]


@dataclass(frozen=True)
class _Outcome:
    """What a reload has read again, of what was loaded before.

    Attributes:
        unproven: Spans of scopes that were read in part, and resources that were not read.
        left: The scopes that were not read and keep their rows: ids that NP6 does not know any
            more, or that were not given; by resource and ``ledger.scope_key``, with their spans.
        gone: The scopes that were not read and lose their rows, likewise.
    """

    unproven: Sequence[str]
    left: Mapping[tuple[str, str], tuple[int, int]]
    gone: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)


def _outcome(
    intent: Mapping[str, Any],
    proven: Mapping[tuple[str, str], list[Window]],
    unknown: Mapping[str, Collection[str]],
    changes_policy: bool = False,
) -> _Outcome:
    """Compares what was to be read again with what was. Pure.

    Args:
        intent: What ``begin_reload`` has noted.
        proven: What the ledger's rows of the reload prove.
        unknown: The ids that NP6 does not know, by resource.
        changes_policy: Rows that are not read again would stay under another policy for personal
            data: they go, unless the id was not given.
    """
    unproven: list[str] = []
    gone: dict[tuple[str, str], tuple[int, int]] = {}
    left: dict[tuple[str, str], tuple[int, int]] = {}
    for resource, scopes in intent["spans"].items():
        for scope, (first, last) in scopes.items():
            found = proven.get((resource, scope), [])
            missing = _unproven(first, last, intent["start"], found)
            label, _ = of_scope_key(scope)
            is_unknown = label in unknown.get(resource, ())
            if missing and is_unknown and changes_policy:
                gone[resource, scope] = (first, last)
            elif missing and label and (is_unknown or not (found or changes_policy)):
                left[resource, scope] = (first, last)
            else:
                unproven += [f"{scope_name(resource, scope)} {gap}" for gap in missing]
    were_read = {resource for (resource, _), windows in proven.items() if windows}
    were_read |= {resource for resource, _ in left} | {name for name in unknown if unknown[name]}
    unproven += [name for name in intent["resources"] if name not in were_read]
    return _Outcome(unproven, left, gone)


def _remove_not_read_again(
    pipeline: dlt.Pipeline, source: str, intent: Mapping[str, Any], takes_fewer: bool
) -> FewerEvents | None:
    """Removes rows that were requested before the reload, and by none of its requests.

    A row has the moment of its request to the millisecond, as has the row of the ledger that proves
    the window. Rows that other pipelines have loaded meanwhile stay, and so do those of ids that
    were not read again. So do rows that were requested after the reload's first request, by a clock
    that is ahead of the reload's: the merge keeps them, or the moment of their request. Rows that
    were requested within ``CLOCK_NOISE`` of it are taken for those of a load beside it.

    Args:
        pipeline: The pipeline.
        source: Name of the source.
        intent: What ``begin_reload`` has noted.
        takes_fewer: Remove them however many they are.

    Returns:
        Why nothing was removed, where that would be so many events that NP6 has rather failed.
    """
    state = pipeline.state["sources"][source]
    unknown = {
        name: set(one.get(UNKNOWN_IDS, ())) for name, one in state.get("resources", {}).items()
    }
    proven = coverage(pipeline, source, packages=intent["packages"])
    policies = recorded_policies(pipeline, source)
    changes_policy = not policies <= {state.get(POLICY, "")}
    outcome = _outcome(intent, proven, unknown, changes_policy)
    if outcome.unproven:
        logger.warning(
            "The reload is through, but did not read %s again: no row was removed. Reload again,"
            " or leave it: what was read again is in the tables.",
            listed(outcome.unproven, separator="; "),
        )
        return None
    schema = pipeline.schemas[source]
    with pipeline.sql_client(source) as client:
        quoted = column_in_sql(REQUESTED_AT.name, client, schema)
        load_id = column_in_sql("_dlt_load_id", client, schema)
        ledger = path_in_sql(LOAD_WINDOWS, client, schema)
        given = ", ".join(["%s"] * len(intent["packages"]))
        read_again = f"SELECT {quoted} FROM {ledger} WHERE {load_id} IN ({given})"
        old = f"{quoted} < %s AND {quoted} NOT IN ({read_again})"
        before: int = intent["began"]
        if not changes_policy:  # Then all of them must go.
            earliest = f"SELECT min({quoted}) FROM {ledger} WHERE {load_id} IN ({given})"
            ((first,),) = client.execute_sql(earliest, *intent["packages"]) or []
            before = before if first is None else min(before, to_ms(first))
            # Rows of a load beside it that were requested so little earlier, and merged later, are
            # in place of the reload's.
            before -= CLOCK_NOISE_SECONDS * SECOND
        removed = _Condition((old,), (to_datetime(before), *intent["packages"]))
        fewer = None if takes_fewer else _fewer_events(removed, outcome, intent, client, schema)
        if fewer is None:
            _delete(removed, outcome.left, client, schema)
    if outcome.gone and fewer is None:
        logger.warning(
            "The policy for personal data has changed: what could not be read again under it is"
            " gone: %s.",
            listed([scope_name(*key) for key in outcome.gone], separator="; "),
        )
    if outcome.left:
        _keep_progress(pipeline, source, outcome.left)
        gone = [key for key in outcome.left if of_scope_key(key[1])[0] in unknown.get(key[0], ())]
        logger.warning(
            "The reload is through. What was not read again keeps its rows of before: %s.",
            listed(_kept(outcome.left, gone), separator="; "),
        )
    return fewer


@dataclass(frozen=True)
class _Condition:
    """Which rows of a table are meant, in SQL.

    Attributes:
        parts: Conditions that all must hold.
        values: Of their parameters, in order.
    """

    parts: tuple[str, ...]
    values: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return " AND ".join(self.parts)

    def without(
        self,
        scopes: Mapping[tuple[str, str], Any],
        table: Table,
        client: SqlClientBase[Any],
        schema: Schema,
    ) -> _Condition:
        """The same but for the rows of scopes, see ``_not_of``."""
        parts, values = list(self.parts), list(self.values)
        for part, its_values in _not_of(scopes, table, client, schema):
            parts.append(part)
            values += its_values
        return _Condition(tuple(parts), tuple(values))


def _delete(
    removed: _Condition,
    left: Mapping[tuple[str, str], Any],
    client: SqlClientBase[Any],
    schema: Schema,
) -> None:
    """Removes rows from every table, but those of scopes."""
    with in_one_transaction(client):
        # The ledger last: without a transaction, what is proven is there.
        for table in TABLES:
            if REQUESTED_AT.name in {column.name for column in table.columns}:
                name = path_in_sql(table, client, schema)
                of_table = removed.without(left, table, client, schema)
                client.execute_sql(f"DELETE FROM {name} WHERE {of_table}", *of_table.values)


def _fewer_events(
    removed: _Condition,
    outcome: _Outcome,
    intent: Mapping[str, Any],
    client: SqlClientBase[Any],
    schema: Schema,
) -> FewerEvents | None:
    """The failure of a reload that would remove many of the events that it was to read again.

    An outage in which the API returns empty arrays, or too few events, looks as if NP6 had removed
    them. What a recheck does not take of a day is not taken here: of a day, nor of all days.

    Args:
        removed: The rows that would go.
        outcome: What was not read and keeps or loses its rows knowingly.
        intent: What ``begin_reload`` has noted.
        client: A connection to the destination.
        schema: The source's schema.
    """
    known = {**outcome.left, **outcome.gone}
    removed = removed.without(known, EVENTS, client, schema)
    time = column_in_sql(TIMESTAMP.name, client, schema)
    read: tuple[Any, ...] = ()
    since = ""
    if intent["start"] is not None:
        since, read = f"{time} >= %s", (to_datetime(intent["start"]),)

    def by_day(condition: str, values: Sequence[Any]) -> dict[Any, int]:
        day = f"CAST({time} AS DATE)"
        where = " AND ".join(part for part in (since, condition) if part)
        rows = client.execute_sql(
            f"SELECT {day}, COUNT(*) FROM {path_in_sql(EVENTS, client, schema)}"
            f"{f' WHERE {where}' if where else ''} GROUP BY {day}",
            *read,
            *values,
        )
        return {first: int(count) for first, count in rows or []}

    lacking = by_day(str(removed), removed.values)
    return _too_few(lacking, by_day("", ()), intent, _KEPT_IN_TABLES) if lacking else None


_KEPT_IN_TABLES = (
    "leave it, and the tables keep them, or reload with accept_fewer_events=True (in the"
    " environment: SOURCES__NP6__ACCEPT_FEWER_EVENTS=true), and they go."
)
_KEPT_ON_FILES = (
    "leave it, the tables keep them; accept_fewer_events=True (in the environment:"
    " SOURCES__NP6__ACCEPT_FEWER_EVENTS=true) makes that no failure."
)


def _too_few(
    lacking: Mapping[Any, int], there: Mapping[Any, int], intent: Mapping[str, Any], advice: str
) -> FewerEvents | None:
    """The failure of a reload to which NP6 did not return many events again. Pure.

    Args:
        lacking: How many, by day.
        there: How many events the tables have, by day.
        intent: What ``begin_reload`` has noted.
        advice: What to do where NP6 has removed them for good.
    """
    days = sorted(str(day) for day, count in lacking.items() if is_too_few(count, there[day]))
    gone, before = sum(lacking.values()), sum(there.values())
    if not days and not is_too_few(gone, before):
        return None
    where = f" ({listed(days, most=3)})" if days else ""
    return FewerEvents(
        RequestContext(
            listed(intent["resources"]),
            "",
            "the reload" if intent["start"] is None else f"from {iso(intent['start'])} on",
        ),
        f"NP6 did not return {gone:,} of {before:,} events again that are in the tables{where}",
        "No row was removed, and what was read again is in the tables. Where NP6 was at fault,"
        f" reload again. If it has removed events for good: {advice}",
    )


def _kept(left: Iterable[tuple[str, str]], gone: Container[tuple[str, str]]) -> list[str]:
    """Scopes for a message: an id of several resources once.

    >>> _kept([("action_events_bounces", "000PE4")], [])
    ['action_events_bounces id 000PE4']
    >>> _kept([("b", "000PE4"), ("a", "000PE4")], [("a", "000PE4")])
    ['id 000PE4 (NP6 does not know it) in 2 resources (a, b)']
    """
    resources: dict[str, list[tuple[str, str]]] = {}
    for key in sorted(left):
        resources.setdefault(key[1] or key[0], []).append(key)
    shown = []
    for keys in resources.values():
        unknown = " (NP6 does not know it)" if any(key in gone for key in keys) else ""
        names = listed([resource for resource, _ in keys])
        shown.append(
            f"{scope_name(*keys[0])}{unknown}"
            if len(keys) == 1
            else f"id {keys[0][1]}{unknown} in {len(keys):,} resources ({names})"
        )
    return shown


def _not_of(
    left: Mapping[tuple[str, str], Any], table: Table, client: SqlClientBase[Any], schema: Schema
) -> Iterator[tuple[str, list[Any]]]:
    """Conditions, with their values, that leave out the rows of scopes.

    Rows of a scope are those that its requests brought, and whatever was requested in the same
    millisecond: rather too much is kept. An event that an operation over the account
    has returned later as well is known by its id of the action, the contact or the campaign.

    Args:
        left: The scopes.
        table: The table whose rows are meant.
        client: A connection to the destination.
        schema: The source's schema.
    """

    def column(name: str) -> str:
        return column_in_sql(name, client, schema)

    def qualified(other: Table) -> str:
        return path_in_sql(other, client, schema)

    labels: dict[str, set[str]] = {}
    for resource, scope in left:
        labels.setdefault(resource, set()).add(of_scope_key(scope)[0])
    arguments = {row.name: row.id_argument for row in ENDPOINTS}
    for resource, found in labels.items():
        ids = sorted(found)
        given = ", ".join(["%s"] * len(ids))
        requested = column(REQUESTED_AT.name)
        yield (
            f"{requested} NOT IN (SELECT {requested} FROM {qualified(LOAD_WINDOWS)}"
            f" WHERE {column('resource')} = %s AND {column('scope_id')} IN ({given}))",
            [resource, *ids],
        )
        if table not in EVENT_TABLES:
            continue
        event_id = column("id" if table is EVENTS else "event_id")
        argument = arguments.get(resource)
        if argument in _COLUMNS_OF_IDS:
            own = column(_COLUMNS_OF_IDS[argument])
            yield (
                f"{event_id} NOT IN (SELECT {column('id')} FROM {qualified(EVENTS)}"
                f" WHERE {own} IN ({given}))",
                ids,
            )
        elif argument == "campaign_ids":
            yield (
                f"{event_id} NOT IN (SELECT {column('event_id')} FROM {qualified(CAMPAIGNS)}"
                f" WHERE {column('campaign_id')} IN ({given}))",
                ids,
            )


def _keep_progress(
    pipeline: dlt.Pipeline, source: str, left: Mapping[tuple[str, str], tuple[int, int]]
) -> None:
    """Lets scopes that were not read again go on from where they were; the ledger checks it."""
    with pipeline.managed_state() as state:
        resources = state["sources"][source].setdefault("resources", {})
        for (resource, scope), (first, last) in left.items():
            saved = resources.setdefault(resource, {}).setdefault(PROGRESS, {})
            saved.setdefault(scope, Progress(first, last).to_state())


def _unproven(first: int, last: int, start: int | None, proven: list[Window]) -> list[Window]:
    first = first if start is None else max(first, start)
    return gaps(Window(first, last), merged(proven)) if first < last else []
