"""Which ids a run reads, with which classes of robots, and from where."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import dlt

from ..bookkeeping.source_state import PROGRESS
from ..dlt_internals.packages import current_load_id
from ..endpoints import Endpoint
from ..errors import RUN_ENDING, RequestFailed, SettingError, Stopped
from ..ledger import of_scope_key, scope_key
from ..schema import TABLES
from ..settings import check_end
from ..windows import Window, merged
from .action_list import ids_of
from .chosen_actions import ChosenActions, TScopeIds
from .failures import RunFailures
from .lateness import LatenessProbe
from .ledger_check import earlier_start, proven_progress
from .policy import other_labels, rename_labels
from .progress import (
    Progress,
    Scope,
    ScopeRun,
    kept,
    least,
    least_advanced_first,
    of_cursor,
    read_together,
    stretch_of_backfill,
    stretch_of_run,
)
from .reload_intent import rename_scopes
from .saved_progress import SavedProgress
from .session import ExtractSession, Tools
from .times import RunTimes
from .unknown_ids import UNKNOWN_IDS, not_due, not_requested

TRunKey = tuple[str, tuple[str, ...]]
"""A scope's label and the classes of robots that are read together."""


def run_key(scope: Scope) -> TRunKey:
    """What a scope is known by within its run."""
    return scope.label, scope.classes


TLabels = Mapping[str, frozenset[str]]
"""Former labels of each id, by its present label."""


def take_over_labels(
    endpoint: Endpoint,
    scope_ids: TScopeIds,
    session: ExtractSession,
    state: MutableMapping[str, Any],
) -> TLabels:
    """Keeps the progress of contacts that had other labels before there was a key.

    Args:
        endpoint: The operation.
        scope_ids: The ids that were given.
        session: What the resources of the source share.
        state: dlt's state of the resource; labels in it are renamed, as in a reload's intent.

    Returns:
        What the ledger may call each id.
    """
    if isinstance(scope_ids, ChosenActions) or not endpoint.ids_are_of_contacts:
        return {}
    names = {
        session.label_of(one, endpoint): other_labels(one, endpoint, session.settings.privacy)
        for one in scope_ids
    }
    rename_labels(state, names)
    rename_scopes(dlt.current.source_state(), endpoint.name, names)
    return names


@dataclass(frozen=True)
class ScopePlan:
    """Finds the scopes of one run of one resource.

    Attributes:
        endpoint: The operation.
        scope_ids: The ids to load, or which actions; empty for an operation over the account.
        session: What the resources of the source share.
        tools: The session's tools, open.
        times: The moments of the run.
        state: dlt's state of the resource.
        saved: How far earlier runs have got.
        starts_over: Read every scope from its beginning.
        failures: Takes note of what is not read.
        former_labels: What the ledger calls the ids besides.
        probes: What counts late events, by ``ledger.scope_key``; filled by ``runs``.
    """

    endpoint: Endpoint
    scope_ids: TScopeIds
    session: ExtractSession
    tools: Tools
    times: RunTimes
    state: MutableMapping[str, Any]
    saved: SavedProgress
    starts_over: bool
    failures: RunFailures
    former_labels: TLabels = field(default_factory=dict)
    probes: dict[str, LatenessProbe] = field(default_factory=dict)

    def runs(self, start: int, end: int) -> dict[TRunKey, ScopeRun]:
        """What to read, in the order in which to read it.

        Args:
            start: Where a scope without progress begins, milliseconds since the epoch.
            end: Where the run stops.

        Raises:
            SettingError: There is no id, or the run would end before it begins.
            RequestFailed: A failure that the settings do not let pass.
        """
        if self.endpoint.ids is not None and not self.scope_ids:
            ids = self.endpoint.id_argument or "ids"
            raise SettingError(
                f"{self.endpoint.name} loads by id: give {ids} (--{ids.replace('_', '-')})"
            )
        runs = [run for one in self._scopes() for run in self._runs_of(one, start, end)]
        return {
            run_key(run.scope): run
            for run in least_advanced_first(runs)
            if run.scope.start < run.scope.end
        }

    def _scopes(self) -> tuple[str, ...]:
        """The ids to request; one that is empty for the account."""
        if not isinstance(self.scope_ids, ChosenActions):
            given = self.session.without_erased(self.scope_ids, self.endpoint)
            return self._due(given or (() if self.scope_ids else ("",)))
        known = tuple(dict.fromkeys(of_scope_key(key)[0] for key in self.state.get(PROGRESS, ())))
        try:
            found = ids_of(self.scope_ids, self.session, self.tools, known)
        except RequestFailed as failure:
            if isinstance(failure, (*RUN_ENDING, Stopped)):
                self.session.ended_by = failure
            self.failures.note(failure)
            return known  # What was loaded before goes on.
        if found.failure is not None:
            self.failures.note(found.failure)
        return self._due(found.ids)

    def _due(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        """The ids, without those that stay unknown to NP6: these are requested once a day."""
        if self.times.is_backfill or not self.state.get(UNKNOWN_IDS):
            return ids
        labels = {one: self._label(one) for one in ids}
        left_out = not_due(self.state, labels.values(), self.times.began_at)
        for label in sorted(left_out):
            self.failures.note(not_requested(self.endpoint.name, label), may_raise=False)
        return tuple(one for one, label in labels.items() if label not in left_out)

    def _label(self, scope_id: str) -> str:
        return self.session.label_of(scope_id, self.endpoint)

    def _runs_of(self, scope_id: str, start: int, end: int) -> Iterator[ScopeRun]:
        """What to read of an id: classes of robots that are equally far are read together."""
        label = self._label(scope_id)
        # dlt's cursor is of requests without a class, unless there were only others.
        has_cursor = not scope_id and ("" in self.saved or not self.saved)
        progress_of = {
            name: self._progress(scope_key(label, name), has_cursor and not name, start)
            for name in self._classes(label)
        }
        settings = self.session.settings
        overlap = 0 if self.times.is_backfill else settings.overlap
        made_by = self._made_by()
        for group in read_together(progress_of, overlap):
            if self.times.is_backfill:
                stretch = stretch_of_backfill(least(group.values()), start, end)
            else:
                stretch = stretch_of_run(least(group.values()), start, end, overlap, settings.end)
            for name, progress in group.items():
                read_again = None
                if progress is not None and stretch.start < progress.complete_until:
                    read_again = Window(stretch.start, progress.complete_until)
                self.probes[scope_key(label, name)] = LatenessProbe(
                    overlap,
                    self.times.horizon,
                    progress,
                    read_again,
                    made_by,
                    is_proven=progress is not None and self.session.ledger() is not None,
                )
            yield ScopeRun(Scope(scope_id, label, stretch.start, stretch.end, tuple(group)), group)

    def _made_by(self) -> str:
        """What the rows of an event depend on beside its JSON; empty: every event is wanted."""
        if current_load_id() is None:
            return ""  # Somebody looks at the source's rows without loading them.
        names = [column.name for table in TABLES for column in table.columns]
        rest = (names, self.session.settings.privacy.recorded, self.session.settings.bad_events)
        return f"{zlib.crc32(repr(rest).encode()):08x}"

    def _classes(self, label: str) -> tuple[str, ...]:
        """The classes of robots to request; ``""``: a request without.

        Where an operation was loaded without a class, that goes on: robots' hits are requested
        beside those of people, not in place of them.
        """
        classes = self.session.settings.classification
        if not self.endpoint.takes_classification:
            return ("",)
        if "" in classes or not self._is_loaded_without(label):
            return classes
        return ("", *classes)

    def _is_loaded_without(self, label: str) -> bool:
        if label in self.state.get(PROGRESS, {}):
            return True
        return bool(self._windows(label))

    def _progress(self, key: str, has_cursor: bool, start: int) -> Progress | None:
        """How far earlier runs have got.

        Args:
            key: The id and class of robots, see ``ledger.scope_key``.
            has_cursor: dlt's cursor is about it.
            start: The cursor's value before any run.

        Raises:
            SettingError: The run would end before its first moment.
        """
        cutoff = self.session.settings.cutoff
        progress = kept(self.saved.of(key), cutoff)
        if self.times.is_backfill:
            return self._proven(progress, key)
        is_again = progress is None and self.times.begins_again_at is not None
        if has_cursor and not is_again:
            cursor = self.times.moment(self.times.cursor.start_value)
            progress = kept(of_cursor(progress, cursor, start), cutoff)
        progress = self._proven(progress, key)
        if progress is not None and self.starts_over:
            progress = Progress(progress.start, progress.start)
        begins = start if progress is None else progress.start
        check_end(self.session.settings.end, begins, self.endpoint.name)
        if progress is not None:
            self._check_earlier_start(progress, key)
        return progress

    def _proven(self, progress: Progress | None, key: str) -> Progress | None:
        """The progress as far as the ledger proves it, where the destination has one."""
        if progress is None:
            return None
        if self.session.ledger() is None:
            return progress
        return proven_progress(progress, self._windows(key), self.endpoint.name, key)

    def _windows(self, key: str) -> list[Window] | None:
        """What the ledger proves of a scope, whatever it calls it; None: it does not know it."""
        ledger = self.session.ledger() or {}
        label, classification = of_scope_key(key)
        found = [
            windows
            for one in (label, *self.former_labels.get(label, ()))
            if (windows := ledger.get((self.endpoint.name, scope_key(one, classification))))
            is not None
        ]
        return merged(window for windows in found for window in windows) if found else None

    def _check_earlier_start(self, progress: Progress, key: str) -> None:
        start = self.times.given_start
        if start is None or start >= progress.start:
            return  # The ledger costs a query.
        is_there = self.session.ledger() is not None
        windows = (self._windows(key) or []) if is_there else None
        failure = earlier_start(start, progress, windows, self.endpoint.name, key)
        if failure is not None:
            self.failures.note_earlier_start(failure, is_repairable=is_there)


def new_coverage(
    endpoint: Endpoint, runs: Mapping[TRunKey, ScopeRun], is_backfill: bool
) -> list[tuple[str, str, int, int]]:
    """Spans that a run has loaded without going on from a progress. Pure.

    Args:
        endpoint: The operation.
        runs: The scopes of the run.
        is_backfill: Whether the run was given the end of its span.

    Returns:
        Resource, ``ledger.scope_key``, start and end, milliseconds since the epoch.
    """
    return [
        (endpoint.name, scope_key(run.scope.label, name), run.scope.start, run.complete_until)
        for run in runs.values()
        for name in run.scope.classes
        if run.complete_until is not None and (is_backfill or run.progress is None)
    ]
