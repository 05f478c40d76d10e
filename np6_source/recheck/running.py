"""Reads the days of a plan again, and loads what the tables lack."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dlt
from dlt.extract import DltSource
from filelock import FileLock, Timeout

from ..dataset_lock import TTurn, in_database_or_file, to_read
from ..dlt_internals.pipelines import keeping_rows_out_of_errors
from ..errors import AlreadyRunning
from ..extract.account_check import check_account
from ..extract.comparison import stored_rows
from ..extract.recheck_days import make_recheck
from ..extract.selection import operations, session_of
from ..ledger import recent_windows, speaks_sql
from ..redaction import keep_rows_out_of_logs
from ..runs.isolation import beside, private_files
from ..runs.last_run import resource_metrics
from ..upkeep.reloading import is_backfill
from ..windows import to_ms
from . import ladder
from .lateness import Summary, summary
from .measurements import measured
from .planning import RecheckPlan, plan_recheck, rechecked_operations

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecheckReport:
    """What a recheck did.

    Attributes:
        planned: Days that were due, or asked for.
        days: Days that were read whole.
        requests: Responses that were read.
        byte_count: Their size, uncompressed.
        events: Events of these days.
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
    source_stops = session.settings.stop_when
    session.settings = replace(
        session.settings, stop_when=lambda: bool(stop_when()) or bool(source_stops())
    )
    schema = pipeline.schemas[source.name]
    # The pipeline that extracts knows of no schema before it is through (dlt 1.31).
    stored = partial(stored_rows, pipeline, schema)
    resource = make_recheck(plan.scopes, session, stored, identities, accept_fewer, plan.days)
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
    configured = session_of(source).settings.recheck
    if configured is None:
        return None
    if not speaks_sql(pipeline, source.schema):
        logger.warning(
            "recheck: which days are due follows from load_windows in a database; files have none"
            " to ask, and no day is read again. Load days again with start and end, or take recheck"
            " from the configuration."
        )
        return None
    with to_read(pipeline, turn or in_database_or_file):
        names = [
            operation.row.name for operation in rechecked_operations(source, configured.resources)
        ]
        rows = recent_windows(pipeline, configured.every, source.name, names).to_pylist()
        if not rows:
            return None
        # The server's time, as the load that has just ended knows it.
        now = max(to_ms(row["requested_at"]) for row in rows)
        again = [to_ms(row["requested_at"]) for row in rows if row["purpose"] == "recheck"]
        if not ladder.is_time(max(again, default=None), now, configured.every):
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
