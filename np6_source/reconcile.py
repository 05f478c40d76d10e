"""Compares what NP6 returns with what the tables have, id by id.

Two operations over the account and the destination are counted by day, action and type. The API is
read first: an event that is loaded in between is not missing. What differs is read once more before
it is reported. Nothing is loaded and no state changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import dlt
import duckdb
import pyarrow as pa
from dlt.extract import DltSource

from .endpoints import Endpoint
from .errors import SettingError, Stopped, WindowTooLarge
from .extract.account import check_known
from .extract.account_check import check_account
from .extract.comparison import StoredRows, stored_rows
from .extract.lateness import LatenessProbe
from .extract.progress import Scope
from .extract.request import window_request
from .extract.selection import operations, session_of
from .extract.session import ExtractSession, Tools
from .extract.window import LoadableSpan, ReadingOptions, load_window
from .extract.window_queue import Completed, Failed, windows_in_order
from .ledger import speaks_sql
from .schema import EVENTS, ROBOTS
from .temporary_folder import temporary_folder
from .windows import DAY, Pace, Window, iso

EVENTS_OPERATION, REACTIONS_OPERATION = "actions_events", "actions_reactivities"
"""The operations that are compared: everything, and reactions alone."""

SENDS = ("execution", "activation", "cancellation")
"""Types that only the first of them returns: what precedes a reaction."""
CHANNELS = ("email", "sms")
"""Channels of the actions that the operations are over; others are loaded by others."""

TKind = Literal["missing", "only_events", "only_reactivities", "gone", "differs"]
KINDS: Mapping[TKind, str] = {
    "missing": "NP6 returns them, the tables lack them",
    "only_events": f"{EVENTS_OPERATION} returns them, {REACTIONS_OPERATION} does not",
    "only_reactivities": f"{REACTIONS_OPERATION} returns them, {EVENTS_OPERATION} does not",
    "gone": "the tables have them, NP6 does not return them any more",
    "differs": "the tables have them with another type, action or day",
}
"""What can differ, in words."""


@dataclass(frozen=True, order=True)
class Difference:
    """Events of one day, action and type that differ in one way.

    Attributes:
        day: The day, ISO 8601.
        action_id: The action; empty where the events have none.
        type: Their type.
        kind: How they differ, see ``KINDS``.
        events: Events of the day, action and type that ``actions_events`` returns.
        reactivities: The same of ``actions_reactivities``; None where it was not read.
        destination: The same in the tables.
        ids: The events that differ.
    """

    day: str
    action_id: str
    type: str
    kind: TKind
    events: int
    reactivities: int | None
    destination: int
    ids: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many differ."""
        return len(self.ids)


@dataclass(frozen=True)
class Reconciliation:
    """What was compared.

    Attributes:
        span: The span.
        differences: What differs, by day, action and type.
        equal_cells: Combinations of day, action and type in which nothing does.
        equal_events: Events of these that ``actions_events`` returns.
        equal_reactivities: The same of ``actions_reactivities``.
        of_robots: Events in the tables that NP6 returns only to requests for robots.
        requests: Responses that were read.
        byte_count: Their size, uncompressed.
    """

    span: Window
    differences: tuple[Difference, ...]
    equal_cells: int
    equal_events: int
    equal_reactivities: int
    of_robots: int
    requests: int
    byte_count: int

    @property
    def missing_days(self) -> tuple[Window, ...]:
        """The days whose events the tables lack."""
        found = {one.day for one in self.differences if one.kind in ("missing", "differs")}
        starts = range(self.span.start // DAY * DAY, self.span.end, DAY)
        return tuple(
            Window(max(start, self.span.start), min(start + DAY, self.span.end))
            for start in starts
            if _date(start) in found
        )


def reconcile(
    pipeline: dlt.Pipeline,
    source: DltSource,
    span: Window,
    *,
    with_reactivities: bool = True,
    stop_when: Callable[[], object] = lambda: False,
) -> Reconciliation:
    """Compares a span of time.

    Args:
        pipeline: A pipeline into the dataset, in sync with it.
        source: The source as it is loaded.
        span: What to compare; it should have ended a day ago, so that events are there.
        with_reactivities: Compare the reactions' operation as well; a key may not be permitted to
            call it.
        stop_when: Anything true ends it with ``Stopped``.

    Raises:
        SettingError: The key is another account's, or the destination cannot be asked.
        RequestFailed: Something could not be read; nothing is known then.
    """
    if not speaks_sql(pipeline, source.schema):
        raise SettingError("reconcile compares with tables in a database: files cannot be asked")
    identities = check_account(pipeline, source, "reconcile")
    session = session_of(source)
    known = operations(source)
    rows = [known[EVENTS_OPERATION].row]
    if with_reactivities:
        rows.append(known[REACTIONS_OPERATION].row)
    with _comparison() as comparison, ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("reconcile"))
        tools = session.open_tools(stack, folder)
        api = _Api(session, tools, identities, comparison, stop_when)
        for row in rows:
            assert isinstance(row, Endpoint)
            api.read(row, [span])
        comparison.read_tables(pipeline, source, [span], again=False)
        suspicious = comparison.days_that_differ(span)
        if suspicious:
            for row in rows:
                assert isinstance(row, Endpoint)
                api.read(row, suspicious, again=True)
            comparison.read_tables(pipeline, source, suspicious, again=True)
        return comparison.result(span, with_reactivities, api.requests, api.byte_count)


class _Api:
    """Reads the operations, window by window, into the comparison."""

    def __init__(
        self,
        session: ExtractSession,
        tools: Tools,
        identities: frozenset[tuple[str, str]],
        comparison: _Comparison,
        stop_when: Callable[[], object],
    ) -> None:
        self._session = session
        self._tools = tools
        self._identities = identities
        self._comparison = comparison
        self._stop_when = stop_when
        self.requests = 0
        self.byte_count = 0

    def read(self, endpoint: Endpoint, spans: Iterable[Window], again: bool = False) -> None:
        settings = self._session.settings

        def load(scope: Scope, window: Window) -> LoadableSpan:
            request = window_request(endpoint, window, "", "", settings)
            part = load_window(
                self._session,
                self._tools,
                request,
                LatenessProbe.counting_nothing(),
                ReadingOptions(must_be_whole=True, keep_bad_events=settings.bad_events == "keep"),
            )
            count = part.contents.row_count
            if self._session.limits.is_proven(count):
                part.discard()
                raise WindowTooLarge(
                    part.context,
                    f"the response has {count} events, at which the API cuts responses",
                    "Nothing was compared.",
                )
            return LoadableSpan({"": part})

        steps = windows_in_order(
            [Scope("", "", span.start, span.end) for span in spans],
            Pace(settings.window),
            load,
            self._tools.executor,
            settings.concurrency,
        )
        with closing(steps):
            for step in steps:
                if isinstance(step, Failed):
                    raise step.failure
                if not isinstance(step, Completed):
                    continue
                (part,) = step.loadable.parts.values()
                check_known(self._identities, part.facts.accounts, endpoint.name)
                for name, rows in part.stash.tables():
                    if name == EVENTS.name:
                        self._comparison.add(endpoint.name, rows, again)
                self.requests += 1
                self.byte_count += part.byte_count
                if self._stop_when():
                    raise Stopped(part.context, "reconcile was asked to stop", "Run it again.")


_COLUMNS = ("id", "timestamp", "type", "action_id", "channel")


class _Comparison:
    """Ids of both sides, in a DuckDB file: an account's days need not fit into memory."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        connection.execute(
            "CREATE TABLE seen (side VARCHAR, again BOOLEAN, id VARCHAR, day DATE, type VARCHAR,"
            " action_id VARCHAR, channel VARCHAR, robot BOOLEAN)"
        )

    def add(self, side: str, rows: pa.Table, again: bool, robots: Sequence[str] = ()) -> None:
        """Takes events of one side: an operation, or the tables."""
        self._connection.register("rows", rows.select(_COLUMNS))
        self._connection.register("robots", pa.table({"id": pa.array(robots, pa.string())}))
        self._connection.execute(
            "INSERT INTO seen SELECT $side, $again, id, (timestamp AT TIME ZONE 'UTC')::DATE,"
            " coalesce(type, ''), coalesce(action_id, ''), coalesce(channel, ''),"
            " id IN (SELECT id FROM robots) FROM rows",
            {"side": side, "again": again},
        )

    def read_tables(
        self, pipeline: dlt.Pipeline, source: DltSource, spans: Iterable[Window], again: bool
    ) -> None:
        """Takes what the destination has, day by day."""
        for span in spans:
            for start in range(span.start // DAY * DAY, span.end, DAY):
                day = Window(max(start, span.start), min(start + DAY, span.end))
                with stored_rows(pipeline, pipeline.schemas[source.name]) as stored:
                    self._add_stored(stored, day, again)

    def _add_stored(self, stored: StoredRows, day: Window, again: bool) -> None:
        robots = stored.of_span(ROBOTS, day)["event_id"].to_pylist()
        self.add("tables", stored.of_span(EVENTS, day), again, robots)

    def days_that_differ(self, span: Window) -> list[Window]:
        """The days of the span in which something differs at first sight."""
        days = {row[0].isoformat() for row in self._connection.execute(_DIFFERING_DAYS).fetchall()}
        return [
            Window(max(start, span.start), min(start + DAY, span.end))
            for start in range(span.start // DAY * DAY, span.end, DAY)
            if _date(start) in days
        ]

    def result(
        self, span: Window, with_reactivities: bool, requests: int, byte_count: int
    ) -> Reconciliation:
        """What differs after the second reading."""
        self._connection.execute("CREATE TABLE judged AS " + _JUDGED, {"both": with_reactivities})
        cells = self._connection.execute(_CELLS).fetchall()
        differences = [
            Difference(
                day.isoformat(),
                action_id,
                type_,
                kind,
                events,
                reactions if with_reactivities else None,
                tables,
                tuple(ids),
            )
            for day, action_id, type_, kind, events, reactions, tables, ids in cells
            if kind is not None
        ]
        equal = [row for row in cells if row[3] is None]
        found = self._connection.execute("SELECT count(*) FROM judged WHERE of_robots").fetchone()
        return Reconciliation(
            span,
            tuple(sorted(differences)),
            len(equal),
            sum(row[4] for row in equal),
            sum(row[5] for row in equal),
            found[0] if found else 0,
            requests,
            byte_count,
        )


_SEEN = f"""
WITH ids AS (
  SELECT id,
    bool_or(side = '{EVENTS_OPERATION}') AS in_events,
    bool_or(side = '{REACTIONS_OPERATION}') AS in_reactions,
    bool_or(side = 'tables') AS in_tables,
    bool_or(side <> 'tables' AND again) AS in_api_again,
    bool_or(robot) AS robot,
    any_value(cell ORDER BY again DESC) FILTER (side <> 'tables') AS api,
    any_value(cell ORDER BY again DESC) FILTER (side = 'tables') AS stored,
    any_value(channel) AS channel
  FROM (SELECT *, {{'day': day, 'type': type, 'action_id': action_id}} AS cell FROM seen)
  GROUP BY id
)
"""

_CHANNELS = ", ".join(f"'{name}'" for name in CHANNELS)
_SENDS = ", ".join(f"'{name}'" for name in SENDS)

_DIFFERING_DAYS = (
    _SEEN
    + f"""
SELECT DISTINCT coalesce(api.day, stored.day) FROM ids
WHERE NOT in_tables OR NOT in_events AND channel IN ({_CHANNELS}) OR api <> stored
  OR NOT in_reactions AND coalesce(api.type, stored.type) NOT IN ({_SENDS})
"""
)

_JUDGED = (
    _SEEN
    + f"""
SELECT *, coalesce(api, stored) AS cell,
  robot AND NOT (in_events OR in_reactions) AS of_robots,
  -- What was seen once and not again may be a response that was not whole.
  CASE WHEN NOT in_tables AND in_api_again THEN 'missing'
    WHEN in_tables AND (in_events OR in_reactions) AND api <> stored THEN 'differs'
    WHEN in_tables AND NOT (in_events OR in_reactions) AND NOT robot AND channel IN ({_CHANNELS})
      THEN 'gone'
    WHEN $both AND in_events AND NOT in_reactions AND api.type NOT IN ({_SENDS}) THEN 'only_events'
    WHEN $both AND in_reactions AND NOT in_events THEN 'only_reactivities'
  END AS kind
FROM ids
"""
)

_CELLS = """
WITH counted AS (
  SELECT cell, count(*) FILTER (in_events) AS e, count(*) FILTER (in_reactions) AS r,
    count(*) FILTER (in_tables AND NOT of_robots) AS t, count(kind) AS k FROM judged GROUP BY cell
)
SELECT cell.day, cell.action_id, cell.type, NULL, e, r, t, [] FROM counted WHERE k = 0
UNION ALL
SELECT cell.day, cell.action_id, cell.type, j.kind, any_value(e), any_value(r), any_value(t),
  list(j.id ORDER BY j.id)
FROM counted JOIN judged j USING (cell) WHERE j.kind IS NOT NULL GROUP BY cell, j.kind
"""


@contextmanager
def _comparison() -> Iterator[_Comparison]:
    with temporary_folder("reconcile") as folder:
        config: dict[str, Any] = {"memory_limit": "512MB", "threads": 1}
        with duckdb.connect(str(folder / "ids.duckdb"), config=config) as connection:
            yield _Comparison(connection)


def _date(moment: int) -> str:
    return iso(moment)[:10]
