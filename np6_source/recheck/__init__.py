"""Reads days again for events that became visible late, and loads what the tables lack.

Nothing here knows of a cursor: a recheck is a stateless run beside the schedule, and only its rows
stay. Which days are due follows from ``load_windows`` alone, see ``ladder``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.extract import DltSource
from filelock import FileLock, Timeout

from ..dataset_lock import TTurn, in_database_or_file, to_read
from ..dlt_internals.pipelines import keeping_rows_out_of_errors
from ..endpoints import Endpoint
from ..errors import AlreadyRunning, SettingError
from ..extract.comparison import stored_rows
from ..extract.policy import other_labels
from ..extract.reread import ScopeToRead, make_reread
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
from ..redaction import keep_rows_out_of_logs
from ..runs.isolation import beside, private_files
from ..runs.last_run import resource_metrics
from ..schema import LATENESS
from ..settings import Recheck, check_days_are_kept
from ..tables.naming import name_of
from ..upkeep.reloading import is_backfill
from ..windows import DAY, SECOND, Window, iso, to_ms
from . import ladder
from .account import check_account
from .ladder import DayAgain, Reading, TReadings
from .lateness import Measurement, Summary, summary

__all__ = [
    "DEFAULT_DAYS",
    "DayAgain",
    "RecheckPlan",
    "RecheckReport",
    "measured",
    "plan_recheck",
    "recheck",
    "recheck_when_due",
]

logger = logging.getLogger(__name__)

DEFAULT_DAYS = 14
"""Up to which age days are read again by hand where nothing is configured."""

REMEMBERED_DAYS = 90
"""Days whose measurements the statements about lateness rest on."""


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


@dataclass(frozen=True)
class RecheckReport:
    """What a recheck did.

    Attributes:
        planned: Days that were due, or asked for.
        days: Days that were read whole.
        requests: Responses that were read.
        byte_count: Their size, uncompressed.
        events: Their events.
        new: Events that the tables lacked, now loaded.
        changed: Events of which the tables had other values, now loaded.
        fewer: Events that days lack which were refused for it.
        lost: Events that were loaded once and were not in the tables any more.
        late_at_the_end: Of the new ones, those found at the last step or by a spot check.
        failures: What could not be read, see ``errors.failure_metrics``.
        lateness: What all measurements say.
        seconds: How long it took.
        stopped: Whether it was asked to stop before it was through.
    """

    planned: int = 0
    days: int = 0
    requests: int = 0
    byte_count: int = 0
    events: int = 0
    new: int = 0
    changed: int = 0
    fewer: int = 0
    lost: int = 0
    late_at_the_end: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    lateness: Summary = field(default_factory=lambda: summary((), 1))
    seconds: float = 0.0
    stopped: bool = False

    @property
    def loaded(self) -> int:
        """Events that were loaded."""
        return self.new + self.changed


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
    rechecked = _rechecked(source, resources or configured.resources)
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


def _rechecked(source: DltSource, names: Sequence[str] | None) -> list[SelectedOperation]:
    """The operations whose days are read again."""
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


def recheck(
    pipeline: dlt.Pipeline,
    make_source: Callable[..., DltSource],
    plan: RecheckPlan | None = None,
    *,
    accept_fewer: bool = False,
    turn: TTurn | None = None,
    stop_when: Callable[[], object] = lambda: False,
    lock_in: Path | None = None,
) -> RecheckReport:
    """Reads days again, and loads of them what the tables lack or hold with other values.

    One load package has all of it, with the rows of ``load_windows`` that prove the readings. A day
    that failed, or has fewer events than before, leaves nothing and stays due.

    Args:
        pipeline: A pipeline into the dataset, in sync with it. Neither its folder nor its state
            change.
        make_source: Gives the source, with ``on_error="keep"``.
        plan: What to read; None: what is due.
        accept_fewer: Take days that have fewer events than before.
        turn: Waits until this process may load. None: the dataset's lock, see ``dataset_lock``.
        stop_when: Anything true ends the recheck between two windows.
        lock_in: Folder of the lock that keeps a second recheck away; None: the pipeline's.

    Raises:
        AlreadyRunning: Another process rechecks this pipeline.
        SettingError: The key is another account's.
        PipelineStepFailed: A step of dlt's failed; nothing was loaded.
    """
    started = time.monotonic()
    keep_rows_out_of_logs()
    with _only_one_recheck(pipeline, lock_in or Path(pipeline.pipelines_dir)):
        if plan is None:
            plan = plan_recheck(pipeline, make_source())
        for name, label in plan.left_out:
            logger.warning("%s: %s is only a digest: give the id to read it again.", name, label)
        found: dict[str, Any] = {}
        if plan.scopes:
            found = _run(pipeline, make_source(), plan, accept_fewer, turn, stop_when)
        with to_read(pipeline, turn or in_database_or_file):
            lateness = measured(pipeline, pipeline.default_schema_name or "np6", plan.days)
    return RecheckReport(
        planned=len(plan.planned),
        days=found.get("days", 0),
        requests=found.get("windows", 0),
        byte_count=found.get("bytes", 0),
        events=found.get("events", 0),
        new=found.get("new", 0),
        changed=found.get("changed", 0),
        fewer=found.get("fewer", 0),
        lost=found.get("lost", 0),
        late_at_the_end=found.get("late_at_the_end", 0),
        failures=list(found.get("failures", ())),
        lateness=lateness,
        seconds=time.monotonic() - started,
        stopped=bool(stop_when()),
    )


def _run(
    pipeline: dlt.Pipeline,
    source: DltSource,
    plan: RecheckPlan,
    accept_fewer: bool,
    turn: TTurn | None,
    stop_when: Callable[[], object],
) -> dict[str, Any]:
    """Extracts and loads in a pipeline of its own; returns the metrics."""
    session = session_of(source)
    identities = check_account(pipeline, source, "recheck")
    asked_before = session.settings.stop_when
    session.settings = replace(
        session.settings, stop_when=lambda: bool(stop_when()) or bool(asked_before())
    )
    schema = pipeline.schemas[source.name]
    # The pipeline that extracts knows of no schema before it is through (dlt 1.31).
    stored = partial(stored_rows, pipeline, schema)
    resource = make_reread(plan.scopes, session, stored, identities, accept_fewer, plan.days)
    # With the dataset's schema: what a load has made stays known to those who restore it.
    again = DltSource(schema.clone(), source.section, [resource])
    with beside(pipeline, turn) as own, keeping_rows_out_of_errors(own):
        with private_files():
            own.extract(again)
            own.normalize()
        own.load(raise_on_failed_jobs=True)
        return next(metrics for _, metrics in resource_metrics(own))


def recheck_when_due(
    pipeline: dlt.Pipeline,
    make_source: Callable[..., DltSource],
    *,
    turn: TTurn | None = None,
    stop_when: Callable[[], object] = lambda: False,
) -> RecheckReport | None:
    """What a load does once it has caught up: a recheck where the source asks for it, in time.

    Args:
        pipeline: As for ``recheck``.
        make_source: Likewise.
        turn: Likewise.
        stop_when: Likewise.

    Returns:
        None: the source asks for none, it is not time, nothing is due, or another process is at it.
    """
    source = make_source()
    if not operations(source) or is_backfill(source):
        return None
    asked = session_of(source).settings.recheck
    if asked is None or not speaks_sql(pipeline, source.schema):
        return None
    with to_read(pipeline, turn or in_database_or_file):
        names = [operation.row.name for operation in _rechecked(source, asked.resources)]
        rows = recent_windows(pipeline, asked.every, source.name, names).to_pylist()
        if not rows:
            return None
        # The server's time, as the load that has just ended knows it.
        now = max(to_ms(row["requested_at"]) for row in rows)
        again = [to_ms(row["requested_at"]) for row in rows if row["purpose"] == "recheck"]
        if not ladder.is_time(max(again, default=None), now, asked.every):
            return None
        plan = plan_recheck(pipeline, source, now=now)
    if not plan.scopes:
        return None
    try:
        return recheck(pipeline, make_source, plan, turn=turn, stop_when=stop_when)
    except AlreadyRunning as busy:
        logger.warning("Days are not read again now: %s", busy)
        return None


@contextmanager
def _only_one_recheck(pipeline: dlt.Pipeline, folder: Path) -> Iterator[None]:
    """A lock of its own: a schedule goes on loading while days are read again."""
    lock = folder / f"{pipeline.pipeline_name}.np6-recheck.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise AlreadyRunning(
            f"Another process reads days of pipeline {pipeline.pipeline_name!r} again; this one"
            " changed nothing. Run it again when the other has ended."
        ) from None


def measured(pipeline: dlt.Pipeline, schema_name: str, days: int) -> Summary:
    """What the table ``lateness`` says, of the last ``REMEMBERED_DAYS``.

    Args:
        pipeline: A pipeline into the dataset.
        schema_name: Name of the source.
        days: Up to which age days are read again.
    """
    schema = pipeline.schemas[schema_name]
    normalized = schema.naming.normalize_path
    with pipeline.sql_client(schema_name) as client:
        table = client.make_qualified_table_name(name_of(LATENESS, schema))
        packages = client.make_qualified_table_name(schema.loads_table_name)
        names = ("resource", "scope_id", "day", "age_days", "bucket", "late_events", "measured_at")
        column = {
            name: client.escape_column_name(normalized(name))
            for name in (*names, "_dlt_load_id", "load_id", "status")
        }
        values = ", ".join(f"t.{column[name]}" for name in names)
        query = (
            f"SELECT {values} FROM {table} t JOIN {packages} p"
            f" ON p.{column['load_id']} = t.{column['_dlt_load_id']} WHERE p.{column['status']} = 0"
        )
        try:
            rows = client.execute_sql(query) or []
        except DatabaseUndefinedRelation:
            rows = []
    newest = max((to_ms(row[6]) for row in rows), default=0)
    return summary(
        (
            Measurement((row[0], row[1]), to_ms(row[2]), int(row[3] or 0), row[4], int(row[5] or 0))
            for row in rows
            if newest - to_ms(row[6]) <= REMEMBERED_DAYS * DAY
        ),
        days,
    )
