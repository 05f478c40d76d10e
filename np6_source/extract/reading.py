"""One resource's run: from its places through its windows to tables for dlt.

Nothing of a window is handed on before its whole answer was read, and a place moves only behind
the tables of its windows: dlt commits both in one load package.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.storages.exceptions import CurrentLoadPackageStateNotAvailable

from ..api.client import WindowRequest
from ..endpoints import Endpoint
from ..errors import (
    RUN_ENDING,
    NotSettled,
    SettingError,
    WindowTooLarge,
    failure_metrics,
)
from ..events import lateness
from ..events.lateness import Lateness
from ..events.reader import Counting
from ..lake import KEEPS_COPIES, keeps_copies
from ..schema import LOAD_WINDOWS
from ..settings import moment_ms
from ..tables.declaration import declare_tables
from ..windows import SECOND, Pace, Window, gaps, iso, merged, to_datetime
from .batches import GatheredTables, tables_not_yet_there
from .guards import check_cursor, check_refresh, check_tables, check_transformers
from .progress import BACKFILLS, PLACES, Place, scope_label
from .session import Session, Tools
from .window import LoadableWindow, load_window
from .window_queue import Completed, Failed, Scope, windows_in_order

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Scopes that the API fails to answer, even by the second, before the run ends."""

UNMAPPED_SHOWN = 10
"""Unknown fields that a warning names."""


@dataclass
class _ScopeRun:
    """What a run knows of one scope.

    Attributes:
        scope: The scope as it is fetched.
        place: Its place before the run, None on its first.
        read_again: The stretch before the place that is read again.
        until: Up to where its windows are complete; None before the first.
        read_at: When the last of them was asked for.
        buckets: Events counted in the overlaps.
        counted: The spans in which they were counted.
    """

    scope: Scope
    place: Place | None
    read_again: Window | None = None
    until: int | None = None
    read_at: int = 0
    buckets: Counter[int] = field(default_factory=Counter)
    counted: list[Window] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether everything up to the scope's end is complete."""
        return self.until is not None and self.until >= self.scope.end

    def has_counted(self, span: Window) -> bool:
        """Whether all events of a span were counted."""
        return not gaps(span, self.counted)


@dataclass(frozen=True)
class _Reached:
    """How far a run has got.

    Attributes:
        places: The places of the scopes that have got on, by label.
        is_done: Whether all scopes are complete up to their end.
    """

    places: Mapping[str, Place]
    is_done: bool


class Reading:
    """One run of one resource, inside dlt's extraction."""

    def __init__(
        self,
        endpoint: Endpoint,
        scope_ids: tuple[str, ...],
        session: Session,
        tools: Tools,
        cursor: dlt.sources.incremental[datetime],
    ) -> None:
        """Takes what the resource is about.

        Args:
            endpoint: The operation.
            scope_ids: The ids to load; empty for an operation over the whole account.
            session: What the resources of the source share.
            tools: The session's tools, open.
            cursor: dlt's incremental, bound to the resource.
        """
        self._endpoint = endpoint
        self._scope_ids = scope_ids
        self._session = session
        self._tools = tools
        self._settings = session.settings
        self._cursor = cursor
        self._is_backfill = cursor.end_value is not None
        self._began_at = int(time.time() * SECOND)
        self._bucket = lateness.bucket_width(self._settings.overlap)
        self._lateness = Lateness()
        self._failures_in_a_row = 0
        self._unmapped: Counter[str] = Counter()
        self._gathered = GatheredTables()
        self._runs: dict[str, _ScopeRun] = {}
        self._resource = dlt.current.resource()
        self._thread = threading.get_ident()
        self._metrics: dict[str, Any] = dlt.current.resource_metrics()
        self._state: dict[str, Any] = dlt.current.resource_state()

    def run(self) -> Iterator[Any]:
        """Yields the tables of every window that is complete, and moves the places.

        Raises:
            SettingError: The range or the ids cannot be loaded.
            RequestFailed: A window failed and the settings say that this ends the run.
        """
        self._metrics.update(
            windows=0, events=0, bytes=0, outside=0, failures=[], full=False, until=None
        )
        check_cursor(self._endpoint.name, self._cursor)
        check_transformers(self._endpoint.name)
        check_refresh(self._endpoint.name)
        table_format = declare_tables(
            self._resource, self._settings.timestamps_are_final, self._settings.table_format
        )
        if keeps_copies(dlt.current.pipeline().destination, table_format):
            self._session.say_once(KEEPS_COPIES)
        start, end = self._range()
        if self._is_backfill:
            backfills = self._state.setdefault(BACKFILLS, {})
            self._places: dict[str, Any] = backfills.setdefault(f"{start}-{end}", {})
        else:
            self._places = self._state.setdefault(PLACES, {})
        runs = self._runs = self._scope_runs(start, end)
        if any(run.place for run in runs.values()) and not self._is_backfill:
            check_tables(self._endpoint.name)
        # The requests are bounded by the cursor; filtering once more would drop the overlap.
        self._cursor.advance(to_datetime(self._moment(self._cursor.last_value)))
        steps = windows_in_order(
            [run.scope for run in runs.values()],
            Pace(self._settings.window),
            lambda scope, window: self._load(runs[scope.label], window),
            self._tools.executor,
            self._settings.concurrency,
        )
        with closing(steps):
            for step in steps:
                if isinstance(step, Completed):
                    loadable = step.loadable
                    assert isinstance(loadable, LoadableWindow)
                    yield from self._complete(runs[step.scope.label], loadable)
                elif isinstance(step, Failed):
                    self._fail(step)
                else:
                    self._finish(runs[step.scope.label])
                if self._must_stop():
                    break
        yield from self._gathered.flush(self._if_limited())
        yield from tables_not_yet_there()
        reached = self._reached()
        self._metrics["full"] = self._session.is_full() and not reached.is_done
        if self._resource.limit is None:
            self._move(reached)
        self._report()

    # --- Where to read ---

    def _scope_runs(self, start: int, end: int) -> dict[str, _ScopeRun]:
        if self._endpoint.ids is not None and not self._scope_ids:
            raise SettingError(
                f"{self._endpoint.name} loads by id: give {self._endpoint.ids} to np6_source"
            )
        runs = [self._scope_run(scope_id, start, end) for scope_id in (self._scope_ids or ("",))]
        # The least advanced first, so that runs that stop early get to every id in turn.
        runs.sort(key=lambda run: run.place.until if run.place else -1)
        return {run.scope.label: run for run in runs if run.scope.start < run.scope.end}

    def _range(self) -> tuple[int, int]:
        """The span of a scope without a place."""
        start = self._moment(self._cursor.initial_value)
        if not self._is_backfill:
            return start, self._horizon()
        end = self._moment(self._cursor.end_value)
        if start >= end:
            raise SettingError(
                f"{self._endpoint.name}: the range [{iso(start)}, {iso(end)}) is empty. A scheduler"
                " that gives an interval of no length would load nothing and call it a success;"
                " in Airflow 3 use CronDataIntervalTimetable."
            )
        missing = end + self._settings.settle - self._session.clock.now()
        if missing > self._settings.settle + SECOND:
            raise SettingError(
                f"{self._endpoint.name}: end={iso(end)} lies in the future. Leave end out to load"
                " up to now, or ask again once it has passed."
            )
        if missing > 0:
            time.sleep(missing / SECOND)
        return start, end

    def _moment(self, value: Any) -> int:
        """Milliseconds of one of the cursor's values, which the host may have given in any type."""
        if value is None:
            return self._settings.beginning(self._began_at)
        return moment_ms(value, f"{self._endpoint.name}: the incremental's value")

    def _horizon(self) -> int:
        """Up to where windows are settled: the run's beginning, by the server's clock."""
        settled = self._began_at + self._session.clock.offset_ms - self._settings.settle
        horizon = settled // SECOND * SECOND
        return horizon if self._settings.end is None else min(horizon, self._settings.end)

    def _scope_run(self, scope_id: str, start: int, end: int) -> _ScopeRun:
        label = scope_label(scope_id, self._endpoint.ids_are_personal)
        state = self._places.get(label)
        place = Place.from_state(state) if state else None
        if self._is_backfill:
            return _ScopeRun(Scope(scope_id, label, place.until if place else start, end), place)
        if not scope_id:
            place = self._place_of_cursor(place, start)
        read_again = None
        if place is not None:
            self._warn_of_earlier_start(place, label)
            start = max(place.start, place.until - self._settings.overlap)
            if start < place.until:
                read_again = Window(start, place.until)
        if place is not None and place.until >= end:
            # Read the overlap all the same: its answer tells whether this machine's clock is slow.
            is_capped = self._settings.end is not None and place.until >= self._settings.end
            end = start if is_capped else place.until
        return _ScopeRun(Scope(scope_id, label, start, end), place, read_again)

    def _place_of_cursor(self, place: Place | None, start: int) -> Place | None:
        """The account's place; dlt's cursor has the last word about it."""
        until = self._moment(self._cursor.start_value)
        if place is None:
            return None if until == start else Place(until, until)
        return place if place.until == until else Place(min(place.start, until), until)

    def _warn_of_earlier_start(self, place: Place, label: str) -> None:
        asked = self._settings.start
        if asked is not None and asked < place.start:
            logger.warning(
                "%s%s: start=%s is before the first load's start %s. A run continues where the last"
                " one ended; load what came before with start=%s and end=%s.",
                self._endpoint.name,
                f" id {label}" if label else "",
                iso(asked),
                iso(place.start),
                iso(asked),
                iso(place.start),
            )

    # --- One window (in a worker thread) ---

    def _load(self, run: _ScopeRun, asked: Window) -> LoadableWindow:
        return load_window(
            self._tools,
            self._request(run.scope, asked),
            self._settings.settle,
            self._is_backfill,
            lambda: self._counting(run),
        )

    def _counting(self, run: _ScopeRun) -> Counting | None:
        if self._is_backfill or not self._settings.overlap:
            return None
        tail = Window(self._horizon() - self._settings.overlap - self._bucket, self._horizon())
        spans = [tail] if run.read_again is None else [run.read_again, tail]
        return Counting(tuple(merged(spans)), self._bucket)

    def _request(self, scope: Scope, window: Window) -> WindowRequest:
        endpoint, settings = self._endpoint, self._settings
        query: tuple[tuple[str, str], ...] = ()
        if endpoint.takes_classification and settings.classification is not None:
            query = ((settings.classification_parameter, settings.classification),)
        body = {"itemsEvents": settings.items_events} if endpoint.sends_items_events else None
        return WindowRequest(endpoint, window, scope.id, scope.label, query, body)

    # --- What comes of it ---

    def _complete(self, run: _ScopeRun, loadable: LoadableWindow) -> Iterator[Any]:
        for name, table in loadable.stash.tables():
            self._gathered.add(name, table)
            if self._gathered.is_enough:
                yield from self._gathered.flush(self._if_limited())
        row = _ledger_row(self._endpoint.name, run.scope.label, loadable)
        self._gathered.add(LOAD_WINDOWS.name, row)
        contents = loadable.contents
        if run.place is None or loadable.window.end > run.place.until:
            # The overlap does not count: a run that stops within it would never get on.
            self._session.loaded_events += contents.event_count
        self._failures_in_a_row = 0
        run.until = loadable.window.end
        run.read_at = loadable.answer.requested_at
        run.buckets.update(contents.buckets)
        run.counted.extend(loadable.counted)
        if not self._is_backfill:
            run.scope.end = max(run.scope.end, self._horizon())
        self._unmapped.update(contents.unmapped)
        self._metrics["windows"] += 1
        self._metrics["events"] += contents.event_count
        self._metrics["bytes"] += loadable.byte_count
        self._metrics["outside"] += contents.outside

    def _must_stop(self) -> bool:
        return (
            self._session.ended_by is not None
            or self._session.is_full()
            or bool(self._settings.stop_when())
        )

    def _finish(self, run: _ScopeRun) -> None:
        place, read_again = run.place, run.read_again
        if place is None or read_again is None or place.bucket != self._bucket:
            return
        if not run.has_counted(read_again):
            return
        self._lateness = self._lateness.joined(
            lateness.measured(place.tail, run.buckets, self._bucket, read_again, place.read_at)
        )

    def _fail(self, step: Failed) -> None:
        failure = step.failure
        if isinstance(failure, NotSettled) and not self._is_backfill:
            logger.warning("%s", failure)
            return
        if isinstance(failure, WindowTooLarge):
            self._failures_in_a_row += 1
        ends_run = isinstance(failure, RUN_ENDING) or self._failures_in_a_row >= FAILURES_IN_A_ROW
        if self._settings.on_error == "raise" and (ends_run or not step.scope.id):
            raise failure
        if ends_run:
            self._session.ended_by = failure
        logger.error("%s", failure)
        self._metrics["failures"].append(failure_metrics(failure))

    def _reached(self) -> _Reached:
        """The places behind the windows that are complete."""
        places: dict[str, Place] = {}
        for label, run in self._runs.items():
            if run.until is None:
                continue
            until = run.until if run.place is None else max(run.until, run.place.until)
            start = run.scope.start if run.place is None else run.place.start
            places[label] = self._with_tail(Place(start, until, run.read_at), run)
        return _Reached(places, all(run.is_done for run in self._runs.values()))

    def _move(self, reached: _Reached) -> None:
        """Moves the places to the end of what was handed on; dlt commits them with it."""
        for label, place in reached.places.items():
            self._places[label] = place.to_state()
        if self._is_backfill:
            if reached.is_done:
                self._forget_backfill()
            return
        known = [self._places.get(run.scope.label) for run in self._runs.values()]
        if known and all(known):
            until = min(place["until"] for place in known if place)
            self._cursor.advance(to_datetime(until))
            self._metrics["until"] = until

    def _if_limited(self) -> Callable[[], None] | None:
        """What moves the places where the host limits the resource with ``add_limit``.

        dlt then drops batches without a word, so that a place may only follow what passed the
        limit. Where the resource is parallelized as well, batches may overtake each other on the
        way (dlt 1.31): no place moves, and the next run reads the same again.
        """
        if self._resource.limit is None:
            return None
        reached = self._reached()

        def handed_on() -> None:
            if threading.get_ident() == self._thread:
                self._move(reached)

        return handed_on

    def _with_tail(self, place: Place, run: _ScopeRun) -> Place:
        """The place with the counts that the next run compares with, where they are whole."""
        tail_start = max(place.until - self._settings.overlap, place.start)
        if tail_start >= place.until or not run.has_counted(Window(tail_start, place.until)):
            return place
        tail = {b: n for b, n in run.buckets.items() if (b + 1) * self._bucket > tail_start}
        return replace(place, tail=tail, bucket=self._bucket)

    def _forget_backfill(self) -> None:
        """A backfill that is complete leaves no trace in the state."""
        backfills = self._state[BACKFILLS]
        for key in [key for key, places in backfills.items() if places is self._places]:
            del backfills[key]
        if not backfills:
            del self._state[BACKFILLS]

    def _report(self) -> None:
        self._metrics["late_events"] = self._lateness.late_events
        self._metrics["latest_seconds"] = self._lateness.latest_ms // SECOND
        self._metrics["unmapped"] = dict(self._unmapped.most_common(UNMAPPED_SHOWN))
        warning = lateness.advice(self._lateness, self._settings.overlap)
        if warning:
            logger.warning("%s: %s", self._endpoint.name, warning)
        if self._unmapped:
            fields = ", ".join(
                f"{path} ({count})" for path, count in self._metrics["unmapped"].items()
            )
            logger.warning(
                "%s: fields without a column went to events.unmapped: %s",
                self._endpoint.name,
                fields,
            )


def _ledger_row(resource: str, scope_label: str, loadable: LoadableWindow) -> pa.Table:
    answer, window = loadable.answer, loadable.window
    row = {
        "resource": resource,
        "scope_id": scope_label,
        "window_start": to_datetime(window.start),
        "window_end": to_datetime(window.end),
        "requested_at": to_datetime(answer.requested_at),
        "event_count": loadable.contents.event_count,
        "byte_count": answer.byte_count,
        "duration_ms": answer.duration_ms,
        "request_id": answer.request_id,
        "_dlt_load_id": _load_id(),
    }
    return pa.Table.from_pylist([row], schema=LOAD_WINDOWS.arrow_schema)


def _load_id() -> str:
    try:
        return dlt.current.load_package_state()["load_id"]
    except CurrentLoadPackageStateNotAvailable:
        return "not loaded"  # Somebody looks at the source's rows without loading them.
