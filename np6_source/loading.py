"""One load from start to end: what ``np6-source load`` and ``gaps --fill`` do around dlt.

dlt's ``pipeline.run`` loads a pending package and then returns without extracting; resumes a job
that a kill interrupted, which may duplicate rows; and commits everything at the very end (dlt
1.31). ``load`` deals with pending packages first, then runs, checkpoint by checkpoint, until it
has caught up.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dlt
from dlt.extract import DltSource
from dlt.pipeline.exceptions import PipelineStepFailed
from filelock import Timeout

from .bookkeeping.erasures import ErasedMeanwhile, ExtractedBefore, refuse_older
from .dataset_lock import DatasetBusy, TTurn, in_database_or_file, lock_file, patience, to_read
from .dimensions import dimension_tables
from .dlt_internals.packages import (
    forget_package,
    put_away_loaded,
    ran_out_of_memory,
    windows_of_pending,
)
from .dlt_internals.pipelines import keeping_rows_out_of_errors
from .duck import is_begun_without_staging
from .errors import (
    RUN_ENDING,
    AlreadyRunning,
    TableMissing,
    TypeChanged,
    failure_metrics,
    listed,
    scope_name,
)
from .extract.selection import session_of
from .ledger import note_not_loaded
from .parameters import TMoment
from .persons.erasing import finish_erasures, finish_on_files
from .recheck import RecheckReport, recheck_when_due
from .redaction import keep_rows_out_of_logs
from .runs.isolation import has_given_lock, keep_apart, private_files
from .runs.last_run import failures, raise_if_incomplete, resource_metrics
from .runs.older_lake import OLDER, is_lake_older
from .tables.naming import name_of, names
from .upkeep.changed_tables import check_tables, saying_what_changed
from .upkeep.ledger_compaction import compact_once_a_day
from .upkeep.moved_events import warn_of_moved
from .upkeep.reloading import (
    ask_first,
    begin_reload,
    can_delete,
    finish_reload,
    from_its_start,
    intent_of,
    is_backfill,
    plan_reload,
)
from .upkeep.removals import remove
from .upkeep.upgrading import fill_noted_columns, note_new_columns
from .views import TMessageKey, TMode, after_load
from .windows import Window, iso

__all__ = [
    "AlreadyRunning",
    "LoadReport",
    "TableMissing",
    "TypeChanged",
    "failures",
    "load",
    "raise_if_incomplete",
    "settle_pending",
]

logger = logging.getLogger(__name__)

KEPT_PACKAGES = 0
"""Loaded packages whose files stay in the pipeline's folder; dlt itself keeps all. They
hold addresses."""


@dataclass
class LoadReport:
    """What an invocation did.

    Attributes:
        rows: Rows written per table; an event read again in the overlap counts again.
        windows: Completed windows per resource.
        cursors: Up to where each resource is complete, milliseconds since the epoch. Backfills
            have none.
        failures: What could not be loaded, see ``errors.failure_metrics``.
        packages: Load packages committed.
        seconds: How long it took.
        stopped: Whether it was asked to stop before it had caught up.
        removed: Rows removed by retention, by table.
        recheck: What was read again after that, see ``np6_source.recheck``; None: nothing.
    """

    rows: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    cursors: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    packages: int = 0
    seconds: float = 0.0
    stopped: bool = False
    removed: dict[str, int] = field(default_factory=dict)
    recheck: RecheckReport | None = None


def load(
    pipeline: dlt.Pipeline,
    make_source: Callable[..., DltSource],
    stop_when: Callable[[], object] = lambda: False,
    reload: bool = False,
    turn: TTurn | None = None,
    views: TMode = "auto",
    materialize: bool | None = None,
    reload_start: TMoment | None = None,
    message_key: TMessageKey | None = None,
) -> LoadReport:
    """Loads until everything that the source covers is loaded.

    Args:
        pipeline: Where to. One that was made with ``refresh=`` is reloaded.
        make_source: Gives the source, with ``on_error="keep"``; called before each checkpoint.
            Where it takes ``largest_load`` and ``window``, it gets smaller ones once the
            destination runs out of memory.
        stop_when: Asked between checkpoints, and while another process has the dataset; anything
            true ends the invocation there.
        reload: Read everything again from the earliest start that is known, then remove the rows
            that were not read again, see ``reloading``. A reload that was interrupted goes on with
            the next call by itself.
        turn: Waits until this process may load into the dataset. None: the lock that the pipeline
            has been given, or the dataset's, see ``dataset_lock``.
        views: Whether to make the views for analysts after the load, see ``views.after_load``.
        materialize: Whether ``messages`` is a table, see ``views.make``.
        reload_start: From when to reload, where not from the earliest start.
        message_key: What makes events one message for analysts, see ``views.make``.

    Raises:
        AlreadyRunning: Another process holds the pipeline or its dataset.
        Incomplete: The API refuses a reload; nothing was changed.
        SettingError: A reload would leave out resources that have loaded into the tables.
        TableMissing: The destination has lost a table, or a column of one.
        TypeChanged: A column of the destination's has another type, and the load fails by it.
        PipelineStepFailed: A step of dlt's failed; what was committed before stays, and the next
            call goes on from there.
    """
    report = LoadReport()
    started, began = time.monotonic(), time.time()
    # Dropping the tables with each checkpoint would never end.
    reload, pipeline.refresh = reload or pipeline.refresh is not None, None
    keep_rows_out_of_logs()
    with keeping_rows_out_of_errors(pipeline), only_one(pipeline), saying_what_changed(pipeline):
        in_turn = partial(in_database_or_file, wait=patience(stop_when))
        put_away_loaded(pipeline)
        keep_apart(pipeline, turn or (None if has_given_lock(pipeline) else in_turn))
        try:
            finish_erasures(pipeline, in_turn)
            with to_read(pipeline, in_turn):
                if pipeline.has_pending_data and is_lake_older(pipeline):
                    abandon(pipeline, OLDER)
                if pipeline.config.restore_from_destination:
                    # dlt 1.31 drops the local state where the dataset is gone, see known_starts.
                    pipeline.sync_destination()
                note_new_columns(pipeline)
                _give_up_what_has_erased(pipeline)
                settle_pending(pipeline, or_abandon=reload)
                if reload:
                    _plan_and_begin_reload(pipeline, make_source, reload_start)
                else:
                    check_tables(pipeline)
            source = _load_all(pipeline, make_source, stop_when, report, in_turn, reload)
            settings = session_of(source).settings
            # Also for a contact who was erased while this loaded.
            finish_on_files(pipeline, settings.privacy.key)
            if report.packages:
                with (turn or in_turn)(pipeline):
                    fill_noted_columns(pipeline)
                    report.failures.extend(after_load(pipeline, views, materialize, message_key))
                    _compact(pipeline, source, report.packages)
                    if settings.timestamps_are_final:
                        warn_of_moved(pipeline, began)
            if settings.cutoff is not None and report.packages:
                _remove_by_age(pipeline, settings.cutoff, report, turn or in_turn)
        except (DatasetBusy, PipelineStepFailed) as error:
            if not (stop_when() and _is_busy(error)):
                raise
            report.stopped = True
    # Out here: the next load may begin meanwhile.
    ended = {failure["kind"] for failure in report.failures} & {c.__name__ for c in RUN_ENDING}
    if not (report.stopped or reload or ended or settings.recheck is None):
        make_views = partial(
            after_load, pipeline, views, materialize=materialize, message_key=message_key
        )
        _recheck(pipeline, make_source, stop_when, report, turn, make_views)
    report.seconds = time.monotonic() - started
    return report


def _is_busy(error: BaseException | None) -> bool:
    """Whether a wait for the dataset is the cause: extraction reads the ledger as well."""
    while error is not None and not isinstance(error, DatasetBusy):
        error = error.__cause__ or error.__context__
    return error is not None


def _recheck(
    pipeline: dlt.Pipeline,
    make_source: Callable[..., DltSource],
    stop_when: Callable[[], object],
    report: LoadReport,
    turn: TTurn | None,
    make_views: Callable[[], list[dict[str, Any]]],
) -> None:
    """Reads days again that are due, where the source asks for it."""
    report.recheck = recheck_when_due(pipeline, make_source, turn=turn, stop_when=stop_when)
    if report.recheck is None:
        return
    report.failures.extend(report.recheck.failures)
    report.stopped = report.recheck.stopped
    if report.recheck.loaded:
        with (turn or partial(in_database_or_file, wait=patience(stop_when)))(pipeline):
            report.failures.extend(make_views())


def _plan_and_begin_reload(
    pipeline: dlt.Pipeline, make_source: Callable[..., DltSource], start: TMoment | None
) -> None:
    source = make_source()
    planned = plan_reload(pipeline, source, start, session_of(source).settings.cutoff)
    ask_first(pipeline, make_source(), planned)
    begin_reload(pipeline, source, planned)


def _load_all(
    pipeline: dlt.Pipeline,
    make_source: Callable[..., DltSource],
    stop_when: Callable[[], object],
    report: LoadReport,
    in_turn: TTurn,
    reloads: bool,
) -> DltSource:
    """Loads checkpoint by checkpoint until nothing is left, and ends a reload.

    Returns:
        The source of the last checkpoint.

    Raises:
        AlreadyRunning: The state forgot the reload meanwhile.
    """
    smaller: dict[str, Any] = {}
    done: set[str] = set()
    while True:
        source = make_source(**smaller)
        if is_backfill(source):
            # One that has been read to its end would be read again, whole, with every checkpoint.
            source = source.with_resources(*(set(source.selected_resources) - done))
        intent = intent_of(pipeline, source)
        if intent is not None:
            reloads = True
            source = from_its_start(source, intent)
        with private_files():
            pipeline.extract(source)
            pipeline.normalize()
        try:
            info = pipeline.load(raise_on_failed_jobs=True)
        except PipelineStepFailed as error:
            smaller = _smaller(pipeline, error, make_source, smaller)
            continue
        report.packages += len(info.loads_ids) if info else 0
        full = _take_note(report, pipeline)
        done |= {name for name, found in resource_metrics(pipeline) if not found.get("full")}
        _forget_packages(pipeline)
        report.stopped = bool(stop_when())
        if report.stopped or not full or report.failures:
            break
    if reloads and intent_of(pipeline, source) is None:
        # dlt's own run takes no lock of the pipeline, and writes the state whole (dlt 1.31).
        raise AlreadyRunning(
            f"Another process has run pipeline {pipeline.pipeline_name!r} meanwhile, and its state"
            " does not know of the reload any more: there may be events that were not read again."
            " No row was removed, and what was read is in the tables. Reload again when no other"
            " process runs the pipeline."
        )
    if not (report.stopped or any(f["kind"] != "NotFound" for f in report.failures)):
        fewer = finish_reload(pipeline, source, in_turn)
        report.failures.extend(map(failure_metrics, fewer))
    return source


def _compact(pipeline: dlt.Pipeline, source: DltSource, packages: int) -> None:
    """Keeps the ledger short; the load is complete whether or not that works."""
    recheck = session_of(source).settings.recheck
    try:
        compact_once_a_day(pipeline, source.name, recheck.days if recheck else 0, packages)
    except Exception as error:  # Each driver has its own.
        logger.warning(
            "Rows of load_windows of days long past could not be joined (%s); nothing is lost, and"
            " the first load of another day does it.",
            type(error).__name__,
        )


def _remove_by_age(pipeline: dlt.Pipeline, cutoff: int, report: LoadReport, turn: TTurn) -> None:
    """Removes what retention does not keep, once a day."""
    if not can_delete(pipeline):
        logger.warning(
            "retention: no rows can be removed from files; nothing older than %s is requested.",
            iso(cutoff),
        )
        return
    report.removed = dict(remove(pipeline, cutoff, turn, once_a_day=True).rows)


def _smaller(
    pipeline: dlt.Pipeline,
    error: PipelineStepFailed,
    make_source: Callable[..., DltSource],
    tried: dict[str, Any],
) -> dict[str, Any]:
    """Settings that cut a package smaller which the destination had no memory for.

    The package is given up: as it is it would never be loaded, nor anything after it.

    Raises:
        PipelineStepFailed: It was something else, or no smaller package can be made.
    """
    if not ran_out_of_memory(error):
        raise error
    events = sum(metrics.get("events", 0) for _, metrics in resource_metrics(pipeline))
    abandon(pipeline, "The destination has no memory for a package of the last run")
    takes = inspect.signature(make_source).parameters
    is_open = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    if tried.get("largest_load") == 1 or not (is_open or {"largest_load", "window"} <= set(takes)):
        raise error
    before = min(tried.get("largest_load", events), max(events, 1))
    smaller = {
        "largest_load": max(1, before // 4),
        "window": max(1.0, tried.get("window", 86_400.0) / 4),
    }
    logger.warning(
        "The destination ran out of memory with %d events in a package: they are extracted again"
        " in packages of about %d.",
        events,
        smaller["largest_load"],
    )
    return smaller


def _forget_packages(pipeline: dlt.Pipeline) -> None:
    """Removes the files of packages loaded long ago: every run leaves one (dlt 1.31)."""
    loaded = sorted(pipeline.list_completed_load_packages(), key=float)
    for load_id in loaded[: len(loaded) - KEPT_PACKAGES]:
        forget_package(pipeline, load_id)


def settle_pending(pipeline: dlt.Pipeline, or_abandon: bool = False) -> None:
    """Loads packages that an earlier process left pending, or gives them up.

    A package with a job that was interrupted is aborted, with the state it would have committed:
    its events are extracted again. Resuming it could write rows twice (dlt 1.31, after a kill
    between a job's commit and dlt's note of it).

    Args:
        pipeline: The pipeline, in sync with its destination.
        or_abandon: Whether to give up a package that the destination refuses: a reload reads its
            events again.
    """
    plan = pipeline.abort_packages(dry_run=True)
    if plan is None:
        return
    package = plan["package_to_abort"]
    if package is not None and (package["interrupted_jobs"] or is_begun_without_staging(pipeline)):
        abandon(pipeline, "The last run was interrupted while loading")
        return
    logger.warning("The last run left a package behind; it is loaded now.")
    try:
        with private_files():
            pipeline.normalize()
        pipeline.load(raise_on_failed_jobs=True)
    except PipelineStepFailed as error:
        if ran_out_of_memory(error):
            why = "The destination has no memory for the package that the last run left"
        elif or_abandon:
            why = "The destination refuses the package that the last run left"
        else:
            raise
        abandon(pipeline, why)


def _give_up_what_has_erased(pipeline: dlt.Pipeline) -> None:
    """Gives pending packages up that were extracted before somebody was erased, or rows masked."""
    try:
        refuse_older(pipeline, windows_of_pending(pipeline))
    except ExtractedBefore as error:
        what = "A contact was erased" if isinstance(error, ErasedMeanwhile) else "Rows were masked"
        abandon(pipeline, f"{what} since the last run extracted")


def abandon(pipeline: dlt.Pipeline, why: str) -> None:
    """Gives pending packages up, with the state that they would have committed.

    Progress is where it was before them, so that a run of the same kind extracts them again. What
    they were for is noted in the ledger as not loaded, for those that had no progress: a backfill,
    ids that were given once.

    Args:
        pipeline: The pipeline.
        why: What happened, for the log.
    """
    packages = windows_of_pending(pipeline)
    pipeline.abort_packages()
    for load_id, windows in packages.items():
        spans = [
            f"{scope_name(resource, scope)} {Window(start, end)}"
            for resource, scope, start, end in windows
        ]
        logger.warning(
            "%s; its package %s is extracted again, or counts as not loaded: %s",
            why,
            load_id,
            listed(spans, separator="; ") or "no window",
        )
        note_not_loaded(pipeline, load_id, windows)


@contextmanager
def only_one(pipeline: dlt.Pipeline) -> Iterator[None]:
    """Keeps other processes from running the pipeline.

    Raises:
        AlreadyRunning: Another is running it.
    """
    lock = lock_file(Path(pipeline.pipelines_dir) / f"{pipeline.pipeline_name}.np6.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise AlreadyRunning(
            f"Another process is running pipeline {pipeline.pipeline_name!r}; this one changed"
            " nothing. Run it again when the other has ended."
        ) from None


def _take_note(report: LoadReport, pipeline: dlt.Pipeline) -> bool:
    """Adds a run to the report; tells whether the run stopped because it was full."""
    trace = pipeline.last_trace
    normalize_info = trace.last_normalize_info if trace else None
    schema = pipeline.default_schema
    ours = {*names(schema), *(name_of(table, schema) for table in dimension_tables())}
    if normalize_info is not None:
        for table, rows in normalize_info.row_counts.items():
            if table in ours:
                report.rows[table] += rows
    full = False
    for name, metrics in resource_metrics(pipeline):
        report.windows[name] += metrics.get("windows", 0)
        report.failures.extend(metrics.get("failures", ()))
        if metrics.get("until") is not None:
            report.cursors[name] = metrics["until"]
        full = full or metrics.get("full", False)
    return full
