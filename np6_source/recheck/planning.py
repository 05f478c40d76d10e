"""Which days a recheck reads, from the ledger alone; nothing is changed and nothing requested."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import dlt
from dlt.extract import DltSource

from ..endpoints import Endpoint
from ..errors import SettingError
from ..extract.policy import other_labels
from ..extract.recheck_days import ScopeToRead
from ..extract.selection import SelectedOperation, operations, session_of
from ..ledger import (
    TCoverage,
    coverage,
    covered_since,
    kept_since,
    of_scope_key,
    recent_windows,
    scope_key,
    speaks_sql,
)
from ..settings import Recheck, check_days_are_kept
from ..windows import DAY, SECOND, Window, iso, to_ms
from . import ladder
from .ladder import DayAgain, Reading, TReadings

DEFAULT_DAYS = 14
"""Up to which age days are read again by hand where nothing is configured."""


@dataclass(frozen=True)
class RecheckPlan:
    """What a recheck would read.

    Attributes:
        days: Up to which age days are read again.
        scopes: What to read, by resource and id.
        left_out: Resource and id of what is loaded, and cannot be requested: its id is not known.
    """

    days: int
    scopes: tuple[ScopeToRead, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def planned(self) -> list[tuple[str, str, DayAgain]]:
        """Resource, ``ledger.scope_key`` and day of everything that is read."""
        return [
            (scope.endpoint.name, scope_key(scope.label, scope.classification), day)
            for scope in self.scopes
            for day in scope.days
            if isinstance(day, DayAgain)
        ]

    @property
    def requests(self) -> int:
        """Requests, at most: more only where NP6 refuses a window for its size."""
        return sum(len(day.windows) for _, _, day in self.planned)

    @property
    def byte_count(self) -> int:
        """Size of the responses, uncompressed, as the ledger knows it."""
        return sum(day.byte_count for _, _, day in self.planned)


def plan_recheck(
    pipeline: dlt.Pipeline,
    source: DltSource,
    *,
    days: int | None = None,
    resources: Sequence[str] | None = None,
    all_days: bool = False,
    span: Window | None = None,
    now: int | None = None,
) -> RecheckPlan:
    """What is due, from the ledger alone; changes nothing and requests nothing.

    Args:
        pipeline: A pipeline into the dataset, in sync with it.
        source: The source as it is loaded.
        days: Up to which age; None: as ``recheck`` of the source, or ``DEFAULT_DAYS``.
        resources: Names; None: as ``recheck_resources``, or the selected ones over the account.
        all_days: Every day of the last N, not just those that are due.
        span: Just this span, whatever is due.
        now: Milliseconds since the epoch; None: this machine's time.

    Raises:
        SettingError: There is no such resource; the destination has no ledger to ask; or what is
            asked for is older than retention keeps events.
    """
    if not speaks_sql(pipeline, source.schema):
        raise SettingError("A recheck reads load_windows in a database: files have none to ask")
    moment = int(time.time() * SECOND) if now is None else now
    configured = session_of(source).settings.recheck or Recheck(DEFAULT_DAYS)
    upto = configured.days if days is None else days
    if all_days:
        span = Window(moment // DAY * DAY - upto * DAY, moment // DAY * DAY)
    looks_back = ladder.looks_back(upto)
    if span is not None:
        looks_back = max(looks_back, moment - span.start + DAY)
    # Days whose rows somebody removed are compared as well: that is where they are found missing.
    loaded = coverage(pipeline, source.name, still_there=False)
    cutoff = kept_since(pipeline, session_of(source).settings.cutoff, source.name)
    if days is not None or all_days:
        check_days_are_kept(upto, cutoff, moment, f"{upto} days")
    if span is not None and cutoff is not None and span.end <= cutoff:
        raise SettingError(
            f"All of it, up to {iso(span.end)}, lies before {iso(cutoff)}, and was or will be"
            " removed by retention: nothing is read again."
        )
    covered = covered_since(loaded, cutoff)
    rechecked = rechecked_operations(source, resources or configured.resources)
    names = [operation.row.name for operation in rechecked]
    readings = _readings(pipeline, source.name, looks_back, names)
    scopes, left_out = [], []
    for operation in rechecked:
        assert isinstance(operation.row, Endpoint)
        for key in sorted(key for name, key in covered if name == operation.row.name):
            found = _days_of(operation.row.name, key, covered, readings, moment, upto, span)
            if not found:
                continue
            label, classification = of_scope_key(key)
            scope_id = _id_of(operation, label)
            if scope_id is None:
                left_out.append((operation.row.name, label))
                continue
            scopes.append(ScopeToRead(operation.row, scope_id, label, classification, found))
    return RecheckPlan(upto, tuple(scopes), tuple(left_out))


def _days_of(
    resource: str,
    key: str,
    covered: TCoverage,
    readings: TReadings,
    now: int,
    days: int,
    span: Window | None,
) -> list[DayAgain]:
    windows, rows = covered[resource, key], readings.get((resource, key), ())
    if span is not None:
        return ladder.asked_for(span, windows, rows, now)
    found = ladder.due(windows, rows, now, days)
    spot = ladder.spot_check(f"{resource} {key}", windows, rows, now, days)
    if spot is not None and spot.day not in [one.day for one in found]:
        found.append(spot)
    return found


def rechecked_operations(source: DltSource, names: Sequence[str] | None) -> list[SelectedOperation]:
    """The operations whose days are read again.

    Args:
        source: The source as it is loaded.
        names: Names of resources; None: the selected ones over the account.

    Raises:
        SettingError: There is no such resource.
    """
    known = {
        name: operation
        for name, operation in operations(source).items()
        if isinstance(operation.row, Endpoint)
    }
    if names is None:
        selected = [known[name] for name in source.selected_resources if name in known]
        return [operation for operation in selected if not operation.takes_ids]
    for name in names:
        if name not in known:
            raise SettingError(
                f"recheck_resources: there is no resource {name}; there are {', '.join(known)}"
            )
    return [known[name] for name in dict.fromkeys(names)]


def _id_of(operation: SelectedOperation, label: str) -> str | None:
    """The id as it is sent; None: the ledger has only a digest of it, and it was not given."""
    if not operation.takes_ids:
        return ""
    given = operation.scope_ids if isinstance(operation.scope_ids, tuple) else ()
    session, row = operation.session, operation.row
    privacy = session.settings.privacy
    return next(
        (
            one
            for one in (*given, label)
            if label in {session.label_of(one, row), *other_labels(one, row, privacy)}
        ),
        None,
    )


def _readings(
    pipeline: dlt.Pipeline, source: str, span_ms: int, resources: Sequence[str]
) -> TReadings:
    rows = recent_windows(pipeline, span_ms, source, resources)
    found: dict[tuple[str, str], list[Reading]] = {}
    for row in rows.to_pylist():
        scope = row["resource"], scope_key(row["scope_id"], row["classification"])
        found.setdefault(scope, []).append(
            Reading(
                Window(to_ms(row["window_start"]), to_ms(row["window_end"])),
                to_ms(row["requested_at"]),
                int(row["event_count"] or 0),
                row["distinct_count"],
                int(row["byte_count"] or 0),
            )
        )
    return found
