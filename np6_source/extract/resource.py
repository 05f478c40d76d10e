"""An operation of the API as a dlt resource, and one run of it.

A run goes from its progress through its windows to tables for dlt. Nothing of a window is handed on
before its whole response was read, and progress moves only after the tables of its windows: dlt
commits both in one load package.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.extract import DltResource

from ..api.client import WindowRequest
from ..api.waits import pause
from ..destinations import destination_of
from ..dlt_internals import note_windows
from ..endpoints import Endpoint
from ..errors import (
    RUN_ENDING,
    EarlierStart,
    FewerEvents,
    Incomplete,
    NotFound,
    NotSettled,
    RequestContext,
    RequestFailed,
    SettingError,
    Stopped,
    WindowTooLarge,
    failure_metrics,
)
from ..events import lateness
from ..events.drift import count_paths
from ..events.lateness import Lateness
from ..lake import KEEPS_COPIES, keeps_copies, without_tombstones
from ..ledger import WindowCounts, ledger_row, of_scope_key, scope_key
from ..reloading import note_package, rename_scopes
from ..schema import LOAD_WINDOWS, ROBOTS
from ..settings import Settings, moment_ms
from ..tables.declaration import declare_tables
from ..windows import DAY, SECOND, Pace, Window, gaps, iso, to_datetime
from .account import (
    ACCOUNT,
    WITNESS,
    Account,
    check_base_url,
    check_identities,
    refuse_unproven_key,
)
from .action_list import ids_of
from .batches import GatheredTables, HandedOn, tables_not_yet_there
from .chosen_actions import ChosenActions, TScopeIds
from .facts import FEWEST, EventFacts, is_most_likely_a_limit, may_be_a_limit
from .guards import (
    check_cursor,
    check_failed_jobs,
    check_refresh,
    check_tables,
    check_transformers,
)
from .lateness import LatenessProbe
from .policy import KEYED, other_labels
from .progress import (
    BACKFILLS,
    PLACES,
    Progress,
    Scope,
    ScopeRun,
    as_proven,
    has_progress,
    least,
    least_advanced_first,
    of_cursor,
    read_together,
    stretch_of_backfill,
    stretch_of_run,
)
from .session import ExtractSession, Tools, load_id
from .window import LoadableSpan, LoadableWindow, load_window
from .window_queue import Completed, Failed, windows_in_order

logger = logging.getLogger(__name__)

FAILURES_IN_A_ROW = 3
"""Scopes that fail one after the other, even by the second, before the run ends."""

IN_METRICS = {"in_metrics": True}
"""Marks the log records of failures, which the resource's metrics have too."""

UNKNOWN_IDS = "unknown_ids"
"""Key of the state: ids that NP6 does not know (404), in how many runs in a row and when last."""

RUNS_UNKNOWN = 3
"""Runs on end after which an unknown id is asked once a day only."""

UNMAPPED_SHOWN = 10
"""Unknown fields that a warning names."""


def make_resource(
    endpoint: Endpoint, scope_ids: TScopeIds, session: ExtractSession, is_selected: bool
) -> DltResource:
    """The dlt resource of one operation.

    Args:
        endpoint: The operation.
        scope_ids: The ids to load, or which actions; empty for an operation over the whole account.
        session: What the resources of the source share.
        is_selected: Whether it is loaded without being named.

    Returns:
        A resource that yields Arrow tables for ``schema.TABLES``, incremental on ``timestamp``.
    """
    settings = session.settings
    cursor = dlt.sources.incremental[datetime](
        "timestamp",
        initial_value=to_datetime(settings.beginning(int(time.time() * SECOND))),
        end_value=to_datetime(settings.end) if settings.is_backfill and settings.end else None,
        primary_key=(),
    )

    def read(timestamp: dlt.sources.incremental[datetime] = cursor) -> Iterator[Any]:
        with session.tools() as tools:
            yield from ResourceRun(endpoint, scope_ids, session, tools, timestamp).run()

    # The tables are declared when the resource starts, see ``declaration``.
    resource: DltResource = dlt.resource(
        read,
        name=endpoint.name,
        write_disposition="merge",
        selected=is_selected,
    )
    return resource.add_step(HandedOn())


TRunKey = tuple[str, tuple[str, ...]]
"""A scope's label and the classes of robots that are read together."""


def _run_key(scope: Scope) -> TRunKey:
    return scope.label, scope.classes


def window_request(
    endpoint: Endpoint,
    window: Window,
    scope_id: str,
    label: str,
    settings: Settings,
    classification: str = "",
) -> WindowRequest:
    """The request for a window, as the settings ask for it.

    Args:
        endpoint: The operation.
        window: The span of event time.
        scope_id: The id as it is sent, empty for the account.
        label: The id as it may be shown.
        settings: What the source was asked to do.
        classification: The class of robots to request; empty: none.
    """
    query: tuple[tuple[str, str], ...] = ()
    if classification:
        query = ((settings.classification_parameter, classification),)
    body = {"itemsEvents": settings.items_events} if endpoint.sends_items_events else None
    return WindowRequest(endpoint, window, scope_id, label, query, body)


@dataclass(frozen=True)
class _Reached:
    """How far a run has got.

    Attributes:
        progress: The progress of the scopes that have got on, by label.
        is_done: Whether all scopes are complete up to their end.
    """

    progress: Mapping[str, Progress]
    is_done: bool


class ResourceRun:
    """One run of one resource, inside dlt's extraction."""

    def __init__(
        self,
        endpoint: Endpoint,
        scope_ids: TScopeIds,
        session: ExtractSession,
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
        self._lateness = Lateness()
        self._unmapped: Counter[str] = Counter()
        self._gathered = GatheredTables()
        self._runs: dict[TRunKey, ScopeRun] = {}
        self._probes: dict[str, LatenessProbe] = {}
        self._key_is_known = False
        self._starts_over = False
        self._is_whole = False
        self._witness: dict[str, Any] | None = None
        self._resource = dlt.current.resource()
        self._thread = threading.get_ident()
        # There is none where somebody looks at the source's rows without loading them.
        self._load_id = load_id() or "not loaded"
        self._metrics: dict[str, Any] = dlt.current.resource_metrics()
        self._state: dict[str, Any] = dlt.current.resource_state()

    def run(self) -> Iterator[Any]:
        """Yields the tables of every window that is complete, and moves the progress.

        Raises:
            SettingError: The range or the ids cannot be loaded.
            RequestFailed: A window failed and the settings say that this ends the run.
            Incomplete: A given span was not read to its end, and the settings say the same.
        """
        try:
            yield from self._run()
        except GeneratorExit:
            # dlt closes the generator where a limit is reached, and where the run has failed.
            limit = self._resource.limit
            if limit is not None and limit.exhausted and self._is_backfill and not self._is_whole:
                self._note_incomplete("add_limit")
            raise

    def _run(self) -> Iterator[Any]:
        self._metrics.update(
            windows=0,
            events=0,
            bytes=0,
            outside=0,
            rejected=0,
            repaired=0,
            unsure_robots=0,
            failures=[],
            incomplete=[],
            full=False,
            until=None,
        )
        # How far the run has got, for whoever looks while it is under way.
        self._metrics.update(asked_ms=0, done_ms=0, date_ms=None)
        check_cursor(self._endpoint.name, self._cursor)
        check_transformers(self._endpoint.name)
        check_failed_jobs(self._endpoint.name)
        table_format = declare_tables(
            self._resource, self._settings.timestamps_are_final, self._settings.table_format
        )
        self._takes_tombstones = destination_of(dlt.current.pipeline()).takes_tombstones
        if keeps_copies(dlt.current.pipeline().destination, table_format):
            self._session.say_once(KEEPS_COPIES)
        self._check_account()
        # Every run asks, also one without progress: its rows would hide that a table was emptied.
        # Extraction alone needs no destination: one that cannot be asked fails in the load step.
        with suppress(Exception):
            self._session.ledger()
        start, end = self._range()
        if self._is_backfill:
            backfills = self._state.setdefault(BACKFILLS, {})
            self._places: dict[str, Any] = backfills.setdefault(f"{start}-{end}", {})
        else:
            note_package(dlt.current.source_state(), load_id())
            self._rename_reloaded()
            self._places = self._state.setdefault(PLACES, {})
        if self._places and not self._is_backfill:
            check_tables(self._endpoint.name)
        if self._places and not self._key_is_known:
            # Where nothing was ever loaded by which the key could be known, it may be another
            # account's: its whole history is read as well.
            self._starts_over = not self._shows_the_witness()
        runs = self._runs = self._scope_runs(start, end)
        starts = {
            scope_key(run.scope.label, name): run.scope.start
            for run in runs.values()
            for name in run.scope.classes
        }
        check_refresh(self._endpoint.name, starts, self._settings.end is not None)
        # The requests are bounded by the cursor; filtering once more would drop the overlap.
        self._cursor.advance(to_datetime(self._moment(self._cursor.last_value)))
        steps = windows_in_order(
            [] if self._must_stop() else [run.scope for run in runs.values()],
            Pace(self._settings.window),
            lambda scope, window: self._load(runs[_run_key(scope)], window),
            self._tools.executor,
            self._settings.concurrency,
        )
        self._metrics["asked_ms"] = sum(run.scope.end - run.scope.start for run in runs.values())
        with closing(steps):
            for step in steps:
                if isinstance(step, Completed):
                    self._check_clocks()
                    yield from self._complete(runs[_run_key(step.scope)], step.loadable)
                elif isinstance(step, Failed):
                    self._fail(step)
                else:
                    self._finish(step.scope)
                if self._must_stop():
                    break
        if self._session.clock.is_known and self._session.ended_by is None:
            self._check_clocks()
        yield from self._gathered.flush(self._if_limited())
        yield from tables_not_yet_there()
        reached = self._reached()
        self._metrics["full"] = self._session.is_full() and not reached.is_done
        self._check_whole(reached)
        note_windows(
            [
                (
                    self._endpoint.name,
                    scope_key(run.scope.label, name),
                    run.scope.start,
                    run.complete_until,
                )
                for run in runs.values()
                for name in run.scope.classes
                if run.complete_until is not None and (self._is_backfill or run.progress is None)
            ]
        )
        if self._resource.limit is None:
            self._move(reached)
        self._report()

    # --- Whose events ---

    def _check_account(self) -> None:
        """Refuses another account's address; learns whether the key is known to be the account's.

        Raises:
            SettingError: The address is another's.
        """
        state = dlt.current.source_state()
        base_url, key = self._session.base_url, self._session.key
        if ACCOUNT in state and not (state[ACCOUNT]["identities"] or has_progress(state)):
            # No response was ever taken under that address: it may have been a slip of the pen.
            del state[ACCOUNT]
        if ACCOUNT not in state or self._settings.same_account:
            known = Account.from_state(state[ACCOUNT]) if ACCOUNT in state else None
            self._account = Account(
                base_url,
                frozenset({key}) | (known.keys if known else frozenset()),
                known.identities if known else frozenset(),
            )
            state[ACCOUNT] = self._account.to_state()
        self._account = Account.from_state(state[ACCOUNT])
        check_base_url(self._account, base_url, dlt.current.source_schema().name)
        self._key_is_known = key in self._account.keys

    def _shows_the_witness(self) -> bool:
        """Whether an unknown key shows an event that an earlier run has seen; False: there is none.

        Raises:
            SettingError: It does not, or shows another account's.
            RequestFailed: It could not be asked.
        """
        witness = self._state.get(WITNESS)
        if witness is None or not self._account.identities:
            return False
        label, begin = witness["scope"], witness["at"] // SECOND * SECOND
        scope_id = label
        if self._endpoint.ids_are_personal or label.startswith(KEYED):
            given = () if isinstance(self._scope_ids, ChosenActions) else self._scope_ids
            ids = {self._label(known): known for known in given}
            if label not in ids:
                return False
            scope_id = ids[label]
        scope = Scope(scope_id, label, begin, begin + SECOND)
        classification = witness.get("classification", "")
        found = self._load_window(
            scope, Window(begin, begin + SECOND), self._no_probe(), classification, True
        )
        found.discard()
        self._see(found.facts)
        if not self._key_is_known:
            refuse_unproven_key(self._account, self._endpoint.name)
        return True

    def _see(self, facts: EventFacts) -> None:
        """Learns from events whose account they are of.

        Raises:
            SettingError: The key is not known, and they are of another.
        """
        if not facts.accounts:
            return
        state = dlt.current.source_state()
        known = Account.from_state(state[ACCOUNT])
        if not self._key_is_known:
            check_identities(known, facts.accounts, self._endpoint.name)
            known = known.with_key(self._session.key)
            self._key_is_known = True
        if (account := known.seen(facts.accounts)) != Account.from_state(state[ACCOUNT]):
            state[ACCOUNT] = account.to_state()

    # --- Where to read ---

    def _scope_runs(self, start: int, end: int) -> dict[TRunKey, ScopeRun]:
        if self._endpoint.ids is not None and not self._scope_ids:
            raise SettingError(
                f"{self._endpoint.name} loads by id: give {self._endpoint.ids} to np6_source"
            )
        runs = [run for one in self._scopes() for run in self._runs_of(one, start, end)]
        return {
            _run_key(run.scope): run
            for run in least_advanced_first(runs)
            if run.scope.start < run.scope.end
        }

    def _scopes(self) -> tuple[str, ...]:
        """The ids to ask for; one that is empty for the account."""
        if not isinstance(self._scope_ids, ChosenActions):
            return self._asked_for_today(self._scope_ids or ("",))
        known = tuple(dict.fromkeys(of_scope_key(key)[0] for key in self._state.get(PLACES, ())))
        try:
            found = ids_of(self._scope_ids, self._session, self._tools, known)
        except RequestFailed as failure:
            if isinstance(failure, (*RUN_ENDING, Stopped)):
                self._session.ended_by = failure
            self._note(failure)
            return known  # What was loaded before goes on.
        return self._asked_for_today(found)

    def _asked_for_today(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """The ids without those that NP6 does not know for long: these are asked once a day."""
        unknown = self._state.get(UNKNOWN_IDS, {})
        if self._is_backfill or not unknown:
            return ids
        labels = {one: self._label(one) for one in ids}
        left_out = {
            label
            for label in labels.values()
            if label in unknown
            and unknown[label]["runs"] >= RUNS_UNKNOWN
            and self._began_at - unknown[label]["asked_at"] < DAY
        }
        for label in sorted(left_out):
            # Not asked for, and not loaded either: no run that leaves an id out is complete.
            failure = NotFound(
                RequestContext(self._endpoint.name, label, "all"),
                f"NP6 did not know this id in {RUNS_UNKNOWN} runs in a row; it is requested once"
                " a day",
                "Check the id, or give it no more; its place is kept.",
            )
            self._note(failure, may_raise=False)
        return tuple(one for one, label in labels.items() if label not in left_out)

    def _range(self) -> tuple[int, int]:
        """The span that is read of a scope without progress."""
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
        now = min(self._session.clock.now(), int(time.time() * SECOND))
        missing = end + self._settings.settle - now
        if missing > self._settings.settle + SECOND:
            raise SettingError(
                f"{self._endpoint.name}: end={iso(end)} lies in the future. Leave end out to load"
                " up to now, or ask again once it has passed."
            )
        if missing > 0:
            logger.info("%s: waits until the range has settled.", self._endpoint.name)
        if not pause(missing / SECOND, self._session.should_stop) and missing > 0:
            raise Stopped(
                RequestContext(self._endpoint.name, "", str(Window(start, end))),
                "the run was asked to stop before the range had settled",
                "Nothing of it was loaded; ask for it again.",
            )
        return start, end

    def _moment(self, value: Any) -> int:
        """Milliseconds of one of the cursor's values, which the host may have given in any type."""
        if value is None:
            return self._settings.beginning(self._began_at)
        return moment_ms(value, f"{self._endpoint.name}: the incremental's value")

    def _horizon(self) -> int:
        """Up to where windows are settled: the run's beginning, by the earlier of both clocks."""
        horizon = self._session.settled(self._began_at + self._session.clock.offset_ms)
        return horizon if self._settings.end is None else min(horizon, self._settings.end)

    def _rename_reloaded(self) -> None:
        """A reload may be under another policy, by which ids have other labels."""
        if isinstance(self._scope_ids, ChosenActions) or not self._endpoint.ids_are_of_contacts:
            return
        names = {
            self._label(one): other_labels(one, self._endpoint, self._settings.privacy)
            for one in self._scope_ids
        }
        rename_scopes(dlt.current.source_state(), self._endpoint.name, names)

    def _label(self, scope_id: str) -> str:
        return self._session.label_of(scope_id, self._endpoint)

    def _runs_of(self, scope_id: str, start: int, end: int) -> Iterator[ScopeRun]:
        """What to read of an id: together where all classes of robots are as far as each other."""
        label = self._label(scope_id)
        # dlt's cursor is of requests without a class, unless there were only others.
        has_cursor = not scope_id and ("" in self._places or not self._places)
        progress_of = {
            name: self._progress(scope_key(label, name), has_cursor and not name, start)
            for name in self._classes(label)
        }
        overlap = 0 if self._is_backfill else self._settings.overlap
        for group in read_together(progress_of, overlap):
            if self._is_backfill:
                stretch = stretch_of_backfill(least(group.values()), start, end)
            else:
                cap = self._settings.end
                stretch = stretch_of_run(least(group.values()), start, end, overlap, cap)
            for name, progress in group.items():
                read_again = None
                if progress is not None and stretch.start < progress.complete_until:
                    read_again = Window(stretch.start, progress.complete_until)
                self._probes[scope_key(label, name)] = LatenessProbe(
                    overlap, self._horizon, progress, read_again
                )
            yield ScopeRun(Scope(scope_id, label, stretch.start, stretch.end, tuple(group)), group)

    def _classes(self, label: str) -> tuple[str, ...]:
        """The classes of robots to request; ``""``: a request without.

        Where an operation is loaded without as well, that goes on: robots' hits are asked for
        beside those of people, not in their place.
        """
        asked = self._settings.classification
        if not self._endpoint.takes_classification:
            return ("",)
        if "" in asked or not self._is_loaded_without(label):
            return asked
        return ("", *asked)

    def _is_loaded_without(self, label: str) -> bool:
        if label in self._state.get(PLACES, {}):
            return True
        return bool((self._session.ledger() or {}).get((self._endpoint.name, label)))

    def _progress(self, key: str, has_cursor: bool, start: int) -> Progress | None:
        """How far earlier runs have got.

        Args:
            key: The id and class of robots, see ``ledger.scope_key``.
            has_cursor: dlt's cursor is about it.
            start: The cursor's value before any run.

        Raises:
            SettingError: There is none yet, and the run would end before it begins.
        """
        state = self._places.get(key)
        progress = Progress.from_state(state) if state else None
        if self._is_backfill:
            return self._as_proven(progress, key)
        if has_cursor:
            progress = of_cursor(progress, self._moment(self._cursor.start_value), start)
        progress = self._as_proven(progress, key)
        if progress is not None and self._starts_over:
            progress = Progress(progress.start, progress.start)
        if progress is not None:
            self._check_earlier_start(progress, key)
            return progress
        last = self._settings.end
        if last is not None and last <= start:
            raise SettingError(
                f"{self._endpoint.name}: end={iso(last)} lies before {iso(start)}, the first moment"
                " to load, so nothing would be loaded. Give start as well; it is 30 days ago where"
                " nothing says otherwise."
            )
        return None

    def _as_proven(self, progress: Progress | None, label: str) -> Progress | None:
        """The progress as far as the destination proves it: its ledger is the truth.

        The state runs ahead of the tables where a database was restored from a backup, a table was
        emptied, or a load package was thrown away. Reading again is harmless.
        """
        if progress is None:
            return None
        ledger = self._session.ledger()
        if ledger is None:
            return progress
        windows = ledger.get((self._endpoint.name, label))
        if windows == []:
            # No event was ever seen: its history costs a few empty responses, and an outage, or a
            # key without rights, would have answered the same.
            return Progress(progress.start, progress.start)
        kept = as_proven(progress, windows or ())
        if kept != progress:
            logger.warning(
                "%s%s: the state says complete up to %s, the destination proves it up to %s only"
                " (load_windows): what came after is read again.",
                self._endpoint.name,
                f" id {label}" if label else "",
                iso(progress.complete_until),
                iso(kept.complete_until),
            )
        return kept

    def _check_earlier_start(self, progress: Progress, label: str) -> None:
        """Takes note where a start is set that lies before the first load's, and was never loaded.

        The settings of a schedule may keep their start, so what the ledger proves is no failure.
        A run that raises goes on: it would never load anything again.
        """
        asked = self._settings.start
        if asked is None or asked >= progress.start:
            return
        missing = Window(asked, progress.start)
        ledger = self._session.ledger()
        if ledger is not None and not gaps(missing, ledger.get((self._endpoint.name, label), ())):
            return
        failure = EarlierStart(
            RequestContext(self._endpoint.name, label, str(missing)),
            f"start={iso(asked)} lies before the first load's start, and a run continues where the"
            " last one ended",
            f"Load it with start={iso(asked)} and end={iso(progress.start)}.",
        )
        if self._settings.on_error == "raise":
            logger.warning("%s", failure)
        else:
            self._note(failure)

    # --- One window (in a worker thread) ---

    def _load(self, run: ScopeRun, asked: Window) -> LoadableSpan:
        """All responses of a window, or none."""
        parts: dict[str, LoadableWindow] = {}
        span = LoadableSpan(parts)
        try:
            for name in run.scope.classes:
                key = scope_key(run.scope.label, name)
                # The first response says how much of the window has settled.
                window = span.window if parts else asked
                part = self._load_window(run.scope, window, self._probes[key], name, bool(parts))
                parts[name] = part
                self._check_fewer(key, part)
                self._check_limit(run.scope, part, name)
        except BaseException:
            span.discard()
            raise
        return span

    def _load_window(
        self,
        scope: Scope,
        asked: Window,
        probe: LatenessProbe,
        classification: str,
        must_be_whole: bool = False,
    ) -> LoadableWindow:
        return load_window(
            self._session,
            self._tools,
            self._request(scope, asked, classification),
            self._is_backfill or must_be_whole,
            probe,
            keep_bad_events=self._settings.bad_events == "keep",
            robot_class=classification or None,
            keep_ids=not classification and len(scope.classes) > 1,
        )

    def _check_fewer(self, key: str, loadable: LoadableWindow) -> None:
        """Refuses a window that lacks events which the run before has seen in it.

        Raises:
            FewerEvents: It does.
        """
        probe = self._probes[key]
        fewer = probe.fewer(loadable.contents.buckets, loadable.counted)
        if fewer and not self._settings.accept_fewer_events:
            raise FewerEvents(
                loadable.context,
                f"the response lacks {fewer} events that the run before saw in the overlap",
                "Nothing of the window was loaded, and its progress stays: run again. If NP6 has"
                " removed events for good, run once with accept_fewer_events=True.",
            )

    def _check_limit(self, scope: Scope, loadable: LoadableWindow, classification: str) -> None:
        """Compares a window with two parts of it where the server may have cut the response.

        Raises:
            WindowTooLarge: It has: the parts hold more. Its halves are requested in its place.
        """
        # A server cuts rows, whatever becomes of them here; what the parts hold are events.
        count, events = loadable.contents.row_count, loadable.contents.event_count
        facts, limits = loadable.facts, self._session.limits
        is_largest = limits.is_largest(count, self._endpoint.name)
        if limits.is_proven(count):
            raise self._cut_at(count, loadable)
        if facts.earliest is None:
            return
        has_empty_end = facts.leaves_an_end_empty(loadable.window, events)
        if may_be_a_limit(count):
            key = scope_key(scope.label, classification)
            is_suspect = limits.is_new_or_equal_to_the_last(count, key)
            looks_cut = is_most_likely_a_limit(count) or has_empty_end
            if not is_suspect or not (looks_cut or limits.is_known(count)):
                return
            parts, have_its_events = facts.parts(loadable.window)
        elif count >= FEWEST and is_largest and has_empty_end:
            parts, have_its_events = facts.empty_ends(loadable.window, events), False
        else:
            return
        found = 0 if have_its_events else events
        for window in parts:
            part = self._load_window(scope, window, self._no_probe(), classification, True)
            found += part.contents.event_count
            part.discard()
        if found > events:
            limits.prove(count)
            raise self._cut_at(count, loadable)
        limits.disprove(count)

    def _no_probe(self) -> LatenessProbe:
        return LatenessProbe(0, self._horizon, None, None)

    def _cut_at(self, count: int, loadable: LoadableWindow) -> WindowTooLarge:
        self._session.say_once(
            f"{self._endpoint.name}: the API returns {count} events at most and does not say so;"
            " windows are halved until they hold fewer."
        )
        return WindowTooLarge(
            loadable.context,
            f"the response has {count} events, at which the API cuts responses",
            "Nothing of the window was loaded.",
        )

    def _request(self, scope: Scope, window: Window, classification: str) -> WindowRequest:
        key = scope_key(scope.label, classification)
        settings = self._settings
        return window_request(self._endpoint, window, scope.id, key, settings, classification)

    # --- What comes of it ---

    def _complete(self, run: ScopeRun, span: LoadableSpan) -> Iterator[Any]:
        plain = span.parts[""].facts.ids if len(span.parts) > 1 and "" in span.parts else []
        of_people = pa.chunked_array(plain, pa.string())
        for classification, part in span.parts.items():
            for name, table in part.stash.tables():
                rows = table if self._takes_tombstones else without_tombstones(table)
                if name == ROBOTS.name:
                    rows = self._sure_marks(rows, of_people, classification)
                self._gathered.add(name, rows)
                if self._gathered.is_enough:
                    yield from self._gathered.flush(self._if_limited())
            self._complete_part(run, part, classification)
        if run.progress is None or span.window.end > run.progress.complete_until:
            # The overlap does not count: a run that stops within it would never get on.
            self._session.loaded_events += span.event_count
        self._session.failed_in_a_row = 0
        self._state.get(UNKNOWN_IDS, {}).pop(run.scope.label, None)
        run.complete_until = span.window.end
        run.read_at = min(part.response.requested_at for part in span.parts.values())
        if not self._is_backfill:
            run.scope.end = max(run.scope.end, self._horizon())
        self._metrics["done_ms"] += span.window.end - span.window.start
        self._metrics["date_ms"] = span.window.end
        self._metrics["windows"] += 1
        self._metrics["events"] += span.event_count
        self._metrics["bytes"] += span.byte_count

    def _complete_part(self, run: ScopeRun, part: LoadableWindow, classification: str) -> None:
        """Takes note of one response of a span that is complete."""
        self._see(part.facts)
        label, contents, facts = run.scope.label, part.contents, part.facts
        if facts.latest is not None and not self._is_backfill:
            self._witness = {"scope": label, "at": facts.latest}
            if classification:
                self._witness["classification"] = classification
        row = ledger_row(
            self._endpoint.name,
            label,
            part.window,
            part.response,
            WindowCounts(
                contents.event_count,
                facts.distinct_count,
                contents.outside,
                facts.type_counts,
                contents.unmapped,
            ),
            "backfill" if self._is_backfill else "load",
            self._load_id,
            classification,
            self._settings.privacy.recorded,
        )
        self._gathered.add(LOAD_WINDOWS.name, row)
        self._probes[scope_key(label, classification)].add(contents.buckets, part.counted)
        count_paths(self._unmapped, contents.unmapped)
        self._metrics["outside"] += contents.outside
        self._metrics["rejected"] += contents.rejected
        self._metrics["repaired"] += contents.repaired

    def _sure_marks(
        self, marks: pa.Table, of_people: pa.ChunkedArray, classification: str
    ) -> pa.Table:
        """Robots' marks, without those of hits that the request without a class returns as well.

        The parameter may mean "these too" where it is taken to mean "only these".
        """
        sure = marks.filter(pc.invert(pc.is_in(marks["event_id"], value_set=of_people)))
        if unsure := marks.num_rows - sure.num_rows:
            self._metrics["unsure_robots"] += unsure
            self._session.say_once(
                f"{self._endpoint.name}: {classification} returns hits that NP6 returns without a"
                " classification too; those are not marked as robots'. Ask NP6 what the parameter"
                " means, and whether classification_parameter names it."
            )
        return sure

    def _check_whole(self, reached: _Reached) -> None:
        """Takes note where a run that was given its span ends before it, though nothing failed.

        A scheduler that names a span never asks for its rest.

        Raises:
            Incomplete: It does, and the settings say that this ends the run.
        """
        is_explained = self._session.ended_by is not None or self._metrics["failures"]
        if not self._is_backfill or reached.is_done or is_explained:
            return
        self._note_incomplete("largest_load" if self._metrics["full"] else "stop_when or a signal")

    def _note_incomplete(self, cause: str) -> None:
        """Takes note of what ended a run before the end of the span that it was given.

        Raises:
            Incomplete: The settings say that this ends the run.
        """
        end = iso(self._moment(self._cursor.end_value))
        left_out = {
            "kind": "Incomplete",
            "message": f"{self._endpoint.name}: {cause} ended the run before {end}, up to which it"
            " was asked to load. Run it again, or without the limit.",
            "resume_at": None,
        }
        if self._settings.on_error == "raise":
            raise Incomplete([left_out])
        self._metrics["incomplete"].append(left_out)

    def _must_stop(self) -> bool:
        return (
            self._session.ended_by is not None
            or self._session.is_full()
            or bool(self._settings.stop_when())
        )

    def _finish(self, scope: Scope) -> None:
        for name in scope.classes:
            probe = self._probes[scope_key(scope.label, name)]
            self._lateness = self._lateness.joined(probe.measured())

    def _fail(self, step: Failed) -> None:
        failure = step.failure
        if isinstance(failure, NotSettled) and not self._is_backfill:
            # Nothing has settled since the run before, or the clocks differ, which is said.
            logger.info("%s", failure)
            return
        if isinstance(failure, Stopped):
            logger.warning("%s", failure)
            self._session.ended_by = failure
            return
        if isinstance(failure, WindowTooLarge):
            self._session.failed_in_a_row += 1
        too_many = self._session.failed_in_a_row >= FAILURES_IN_A_ROW
        if isinstance(failure, RUN_ENDING) or too_many:
            self._session.ended_by = failure
        is_unknown_id = isinstance(failure, NotFound) and bool(step.scope.id)
        if is_unknown_id and not self._is_backfill:
            before = self._state.get(UNKNOWN_IDS, {}).get(step.scope.label, {})
            if before.get("asked_at") != self._began_at:
                entry = {"runs": before.get("runs", 0) + 1, "asked_at": self._began_at}
                self._state.setdefault(UNKNOWN_IDS, {})[step.scope.label] = entry
        self._note(failure, may_raise=not is_unknown_id)

    def _note(self, failure: RequestFailed, may_raise: bool = True) -> None:
        """Takes note of what could not be loaded.

        Raises:
            RequestFailed: The settings say that it ends the run.
        """
        if self._settings.on_error == "raise" and may_raise:
            raise failure
        logger.error("%s", failure, extra=IN_METRICS)
        self._metrics["failures"].append(failure_metrics(failure))

    def _check_clocks(self) -> None:
        """Takes note, once in a run, where the clocks leave open up to where it is complete."""
        if self._is_backfill and self._session.clock.is_known:
            return  # Complete by both clocks, or refused.
        problem = self._session.clocks_differ()
        if problem is None or not self._session.is_first_to_say("the clocks differ"):
            return
        context = RequestContext(self._endpoint.name, "", f"up to {iso(self._horizon())}")
        self._note(
            NotSettled(
                context,
                problem,
                "Set this machine's clock, or ask NP6 about theirs. Where a greater difference is"
                " expected, set clock_tolerance to its seconds.",
            )
        )

    def _reached(self) -> _Reached:
        """The progress after the windows that are complete."""
        progress = {
            key: self._probes[key].with_tail(reached)
            for run in self._runs.values()
            for name in run.scope.classes
            if (reached := run.reached(name)) is not None
            for key in [scope_key(run.scope.label, name)]
        }
        return _Reached(progress, all(run.is_done for run in self._runs.values()))

    def _move(self, reached: _Reached) -> None:
        """Moves the progress to the end of what was handed on; dlt commits it with that."""
        for label, progress in reached.progress.items():
            self._places[label] = progress.to_state()
        self._is_whole = reached.is_done
        if self._is_backfill:
            if reached.is_done:
                self._forget_backfill()
            return
        if self._witness is not None:
            self._state[WITNESS] = self._witness
        known = [
            self._places.get(scope_key(run.scope.label, name))
            for run in self._runs.values()
            for name in run.scope.classes
        ]
        if self._endpoint.ids is None and "" in self._places:
            known = [self._places[""]]
        if known and all(known):
            until = min(place["until"] for place in known if place)
            self._cursor.advance(to_datetime(until))
            self._metrics["until"] = until

    def _if_limited(self) -> Callable[[], None] | None:
        """What moves the progress where the host limits the resource with ``add_limit``.

        dlt then drops batches without a word, so that progress may only follow what passed the
        limit. Where the resource is parallelized as well, batches may overtake each other on the
        way (dlt 1.31): nothing moves, and the next run reads the same again.
        """
        if self._resource.limit is None:
            return None
        reached = self._reached()

        def handed_on() -> None:
            if threading.get_ident() == self._thread:
                self._move(reached)

        return handed_on

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
