"""Days that are read again, as a dlt resource: only what the destination lacks is loaded.

A day counts when all of its windows were read. One that has fewer events than before is refused:
nothing of it is loaded, the ledger gets no row, and it stays due.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from typing import Any, Protocol

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from ..destinations import destination_of
from ..dlt_internals.packages import current_load_id
from ..endpoints import Endpoint
from ..errors import (
    RUN_ENDING,
    FewerEvents,
    RequestContext,
    RequestFailed,
    RowsMissing,
    Stopped,
    WindowTooLarge,
    failure_metrics,
)
from ..events.lateness import NONE, delay_bucket
from ..ledger import scope_key
from ..open_tables.merge import without_tombstones
from ..schema import EVENT_TABLES, EVENTS, LATENESS, LOAD_WINDOWS, REJECTED_EVENTS, TIMESTAMP
from ..tables.declaration import declare_tables
from ..windows import DAY, Pace, Window, to_datetime
from .account import check_known
from .batches import GatheredTables, tables_not_yet_there
from .comparison import Difference, StoredRows, difference, only
from .facts import may_be_a_limit
from .failures import FAILURES_IN_A_ROW
from .lateness import LatenessProbe
from .ledger_row import ledger_rows
from .progress import Scope
from .request import window_request
from .session import ExtractSession, Tools
from .window import LoadableSpan, LoadableWindow, ReadingOptions, load_window
from .window_queue import Completed, Failed, windows_in_order

logger = logging.getLogger(__name__)

TStored = Callable[[], AbstractContextManager[StoredRows]]

NAME = "recheck"
"""Name of the resource."""

FEWER_EVENTS, FEWER_SHARE = 10, 0.01
"""A day that has fewer events than before, by more than both, is refused."""


def is_too_few(fewer: int, before: int) -> bool:
    """Whether that many events less than before are refused.

    >>> is_too_few(10, 10), is_too_few(11, 100), is_too_few(11, 1100)
    (False, True, False)
    """
    return fewer > max(FEWER_EVENTS, FEWER_SHARE * before)


class DayToRead(Protocol):
    """What is known of a day before it is read again, see ``recheck.ladder.DayAgain``."""

    @property
    def day(self) -> Window:
        """The span that counts as a whole."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows to request."""

    @property
    def age(self) -> int:
        """Whole days since it ended."""

    @property
    def before(self) -> int | None:
        """Its events at the last reading, where that is known."""

    @property
    def distinct_before(self) -> int | None:
        """Different ids among them, likewise."""

    @property
    def date(self) -> str:
        """Its date."""

    @property
    def was_read_in_time(self) -> bool:
        """Whether each moment of it was read within a day."""


@dataclass(frozen=True)
class ScopeToRead:
    """What is read again of one resource and id.

    Attributes:
        endpoint: The operation.
        scope_id: The id as it is sent, empty for the account.
        label: The id as the ledger stores it.
        classification: The class of robots to request; empty: none.
        days: The days.
    """

    endpoint: Endpoint
    scope_id: str
    label: str
    classification: str
    days: Sequence[DayToRead]


@dataclass
class _Day:
    """A day while it is read."""

    scope: ScopeToRead
    plan: DayToRead
    left: int
    is_refused: bool = False
    parts: list[tuple[LoadableWindow, Difference]] = field(default_factory=list)
    rows: list[tuple[str, pa.Table]] = field(default_factory=list)
    late: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        return sum(part.contents.event_count for part, _ in self.parts)

    @property
    def context(self) -> RequestContext:
        label = scope_key(self.scope.label, self.scope.classification)
        return RequestContext(self.scope.endpoint.name, label, str(self.plan.day))


def make_recheck(
    scopes: Sequence[ScopeToRead],
    session: ExtractSession,
    stored: TStored,
    identities: frozenset[tuple[str, str]] = frozenset(),
    accept_fewer: bool = False,
    last_step: int = 1,
) -> DltResource:
    """The dlt resource that reads days again.

    Args:
        scopes: What to read.
        session: The session of the source that loads the resources.
        stored: Opens the destination's rows, for as long as they are compared with a response.
        identities: Agency and customer of the account's events, as far as they are known.
        accept_fewer: Take days that have fewer events than before.
        last_step: The age in days at which a day is read for the last time.
    """

    def read() -> Iterator[Any]:
        with session.tools() as tools:
            yield from _RecheckRun(
                scopes, session, tools, stored, identities, accept_fewer, last_step
            ).run()

    resource: DltResource = dlt.resource(read, name=NAME, write_disposition="merge")
    return resource


class _RecheckRun:
    """One run of the resource, inside dlt's extraction."""

    def __init__(
        self,
        scopes: Sequence[ScopeToRead],
        session: ExtractSession,
        tools: Tools,
        stored: TStored,
        identities: frozenset[tuple[str, str]],
        accept_fewer: bool,
        last_step: int,
    ) -> None:
        self._scopes = scopes
        self._session = session
        self._tools = tools
        self._stored = stored
        self._identities = identities
        self._accept_fewer = accept_fewer
        self._last_step = last_step
        self._gathered = GatheredTables()
        self._days: dict[int, _Day] = {}
        self._failed_in_a_row = 0
        self._new: set[str] = set()
        self._changed: set[str] = set()
        self._late_at_the_end: set[str] = set()
        self._load_id = current_load_id() or "not loaded"
        self._metrics: dict[str, Any] = dlt.current.resource_metrics()

    def run(self) -> Iterator[Any]:
        """Yields what the destination lacks, and the ledger's rows of the days that were read."""
        self._metrics.update(
            windows=0,
            events=0,
            bytes=0,
            days=0,
            new=0,
            changed=0,
            fewer=0,
            lost=0,
            late_at_the_end=0,
            failures=[],
        )
        declare_tables(
            dlt.current.resource(),
            self._session.settings.timestamps_are_final,
            self._session.settings.table_format,
            masked=self._session.settings.privacy.masked,
        )
        self._takes_tombstones = destination_of(dlt.current.pipeline()).takes_tombstones
        steps = windows_in_order(
            self._windows(),
            # Windows are as wide as they were planned, so that no more is asked than was said.
            Pace(DAY, target_bytes=1 << 62, widest=DAY),
            self._load,
            self._tools.executor,
            self._session.settings.concurrency,
        )
        with closing(steps):
            for step in steps:
                day = self._days[id(step.scope)]
                if isinstance(step, Completed):
                    self._take(day, step.loadable)
                elif isinstance(step, Failed):
                    self._fail(day, step.failure)
                else:
                    day.left -= 1
                    if not day.left and not day.is_refused:
                        self._judge(day)
                        if self._gathered.is_enough:
                            yield from self._gathered.flush()
                if self._session.ended_by is not None or self._session.settings.stop_when():
                    break
        yield from self._gathered.flush()
        yield from tables_not_yet_there()

    def _windows(self) -> list[Scope]:
        """A scope for each planned window: its own width, its own failure."""
        found = []
        for scope in self._scopes:
            scope_id, endpoint = scope.scope_id, scope.endpoint
            if scope_id and not self._session.without_erased((scope_id,), endpoint):
                continue
            for plan in scope.days:
                day = _Day(scope, plan, len(plan.windows))
                for window in plan.windows:
                    label = scope_key(scope.label, scope.classification)
                    found.append(Scope(scope_id, label, window.start, window.end))
                    self._days[id(found[-1])] = day
        self._all = found  # Their identities stay theirs.
        return found

    # --- One window (in a worker thread) ---

    def _load(self, scope: Scope, window: Window) -> LoadableSpan:
        day = self._days[id(scope)]
        classification, settings = day.scope.classification, self._session.settings
        part = load_window(
            self._session,
            self._tools,
            window_request(
                day.scope.endpoint, window, scope.id, scope.label, settings, classification
            ),
            LatenessProbe.counting_nothing(),
            ReadingOptions(
                must_be_whole=True,
                keep_bad_events=settings.bad_events == "keep",
                robot_class=classification or None,
            ),
        )
        count, before = part.contents.row_count, day.plan.before
        is_whole_day = window == day.plan.day
        looks_cut = is_whole_day and before is not None and count < before and may_be_a_limit(count)
        if looks_cut or self._session.limits.is_proven(count):
            part.discard()
            raise WindowTooLarge(
                part.context,
                f"the response has {count} events, at which the API seems to cut responses",
                "Nothing of the window was loaded.",
            )
        return LoadableSpan({classification: part})

    # --- What comes of it ---

    def _take(self, day: _Day, span: LoadableSpan) -> None:
        """Compares a response with the destination; keeps what is to be loaded."""
        (part,) = span.parts.values()
        if day.is_refused:
            span.discard()
            return
        check_known(self._identities, part.facts.accounts, day.scope.endpoint.name)
        found = _joined(part.stash.tables())
        if not self._takes_tombstones:
            found = {name: without_tombstones(rows) for name, rows in found.items()}
        with self._stored() as stored:
            compared = difference(found, part.window, stored)
            if REJECTED_EVENTS.name in found:
                rejected = stored.not_rejected_before(found[REJECTED_EVENTS.name])
                day.rows.append((REJECTED_EVENTS.name, rejected))
        day.parts.append((part, compared))
        self._metrics["windows"] += 1
        self._metrics["bytes"] += part.byte_count
        to_load = compared.new | compared.changed
        if not to_load:
            return
        for table in EVENT_TABLES:
            if table.name in found:
                day.rows.append((table.name, only(found[table.name], table, to_load)))
        new = only(found[EVENTS.name], EVENTS, compared.new)
        requested_at = part.response.requested_at
        times = new[TIMESTAMP.name].cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
        day.late.update(delay_bucket(requested_at - moment) for moment in times.to_pylist())

    def _judge(self, day: _Day) -> None:
        """Takes a day that was read whole, or refuses it."""
        before, now = day.plan.before, day.events
        fewer = 0 if before is None else max(0, before - now)
        is_refused = before is not None and is_too_few(fewer, before)
        if is_refused and not self._accept_fewer:
            self._metrics["fewer"] += fewer
            self._note(
                FewerEvents(
                    day.context,
                    f"NP6 returns {now:,} events of the day, and {before:,} before",
                    "Nothing of the day was loaded, and what is there stays; every recheck reads it"
                    " again. If NP6 has removed events for good: np6-source recheck --accept-fewer",
                )
            )
            return
        if fewer:
            logger.warning(
                "%s: %s has %d events fewer than before (%d of %d): they were removed, or have"
                " another timestamp now. The tables keep what they have.",
                day.scope.endpoint.name,
                day.plan.date,
                fewer,
                now,
                before,
            )
        lost = self._lost(day)
        if lost:
            self._metrics["lost"] += lost
            self._note(
                RowsMissing(
                    day.context,
                    f"the tables have {lost:,} events fewer than were loaded",
                    "What NP6 still returns of the day is loaded again. Find other days with"
                    " np6-source reconcile, and load them with reconcile --fill or gaps --fill.",
                )
            )
        self._failed_in_a_row = 0
        for name, rows in day.rows:
            self._gathered.add(name, rows)
        for part, compared in day.parts:
            # A planned window lies inside a day: it has one span.
            self._gathered.add(
                LOAD_WINDOWS.name,
                ledger_rows(
                    day.scope.endpoint.name,
                    day.scope.label,
                    part,
                    "recheck",
                    self._load_id,
                    day.scope.classification,
                    self._session.settings.privacy.recorded,
                    self._session.key,
                    new=len(compared.new),
                ),
            )
        self._metrics["days"] += 1
        self._metrics["events"] += day.events
        for _, compared in day.parts:
            self._new |= compared.new
            self._changed |= compared.changed
        # Several operations return the same event.
        self._metrics["new"] = len(self._new)
        self._metrics["changed"] = len(self._changed - self._new)
        if lost or self._came_before(day):
            return  # What was lost here came in time.
        if day.plan.age >= self._last_step:
            for _, compared in day.parts:
                self._late_at_the_end |= compared.new
            self._metrics["late_at_the_end"] = len(self._late_at_the_end)
        is_whole = day.plan.day.width == DAY
        if (day.plan.was_read_in_time and is_whole) or day.late:
            self._gathered.add(LATENESS.name, self._lateness(day))

    def _lost(self, day: _Day) -> int:
        """Events that earlier loads wrote, and that NP6 returns and the destination lacks.

        What both lack may have got another timestamp, with which the destination has it.
        """
        known = day.plan.distinct_before
        if known is None or day.scope.label or day.scope.classification:
            return 0
        less = known - sum(one.there for _, one in day.parts)
        return max(0, min(less, sum(len(one.new) for _, one in day.parts)))

    def _came_before(self, day: _Day) -> bool:
        """Whether events that the destination lacks were in an earlier response: it lost them.

        Of an operation that returns a part of the events the rows in the destination cannot be
        counted: they may be another's.
        """
        known = day.plan.distinct_before
        if known is None:
            return False
        counts = (one for part, _ in day.parts for one in part.contents.by_span.values())
        arrived = max(0, sum(one.distinct for one in counts) - known)
        return sum(len(one.new) for _, one in day.parts) > arrived

    def _lateness(self, day: _Day) -> pa.Table:
        found: Mapping[str, int] = day.late or {NONE: 0}
        measured_at = max(part.response.requested_at for part, _ in day.parts)
        rows = [
            {
                "resource": day.scope.endpoint.name,
                "scope_id": day.scope.label,
                "classification": day.scope.classification,
                "measured_at": to_datetime(measured_at),
                "day": to_datetime(day.plan.day.start),
                "age_days": day.plan.age,
                "bucket": bucket,
                "late_events": count,
                "events_read_again": day.events,
                "_dlt_load_id": self._load_id,
            }
            for bucket, count in found.items()
        ]
        return pa.Table.from_pylist(rows, schema=LATENESS.arrow_schema)

    def _fail(self, day: _Day, failure: RequestFailed) -> None:
        if day.is_refused:
            return
        day.is_refused = True
        day.rows.clear()
        if isinstance(failure, Stopped):
            logger.warning("%s", failure)
            self._session.ended_by = failure
            return
        self._failed_in_a_row += 1
        if isinstance(failure, RUN_ENDING) or self._failed_in_a_row >= FAILURES_IN_A_ROW:
            self._session.ended_by = failure
        self._note(failure)

    def _note(self, failure: RequestFailed) -> None:
        logger.error("%s", failure, extra={"in_metrics": True})
        self._metrics["failures"].append(failure_metrics(failure))


def _joined(tables: Iterator[tuple[str, pa.Table]]) -> dict[str, pa.Table]:
    found: dict[str, list[pa.Table]] = {}
    for name, rows in tables:
        found.setdefault(name, []).append(rows)
    return {name: pa.concat_tables(rows) for name, rows in found.items()}
