"""One invocation that leaves nothing behind: what the script, and ``gaps --fill``, do around dlt.

dlt's ``pipeline.run`` loads a pending package and then returns without extracting; resumes a job
that a kill interrupted, which may duplicate rows; and commits everything at the very end (dlt
1.31). ``load`` deals with pending packages first, then runs, checkpoint by checkpoint, until it
has caught up.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dlt
from dlt.common.pipeline import LoadInfo
from dlt.common.typing import DictStrAny
from dlt.destinations.exceptions import DestinationConnectionError
from dlt.destinations.impl.filesystem.filesystem import FilesystemClient
from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.extract import DltSource
from filelock import FileLock, Timeout

from .dataset_lock import TTurn, in_database
from .destinations import destination_of
from .dimensions import dimension_tables
from .duck import is_begun_without_staging
from .errors import Np6Error
from .tables.naming import filled, name_of, names
from .views import TMode, after_load, make_way

logger = logging.getLogger(__name__)

KEPT_PACKAGES = 10
"""Loaded packages of which dlt's files stay in the pipeline's folder; dlt itself keeps all."""


class AlreadyRunning(Np6Error):
    """Another process is running the pipeline; this one changed nothing."""


class TableMissing(Np6Error):
    """A table that earlier loads filled is gone from the destination."""


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
    """

    rows: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    cursors: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    packages: int = 0
    seconds: float = 0.0
    stopped: bool = False


def load(
    pipeline: dlt.Pipeline,
    make_source: Callable[[], DltSource],
    stop_when: Callable[[], object] = lambda: False,
    reload: bool = False,
    turn: TTurn = in_database,
    views: TMode = "auto",
    materialize: bool | None = None,
) -> LoadReport:
    """Loads until everything asked for is loaded.

    Args:
        pipeline: Where to.
        make_source: Gives the source, with ``on_error="keep"``; called before each checkpoint.
        stop_when: Asked between checkpoints; anything true ends the invocation there.
        reload: Drop the tables first, and with them every cursor and place of the source: other
            resources have loaded into the same tables.
        turn: Waits until this process may load into the dataset, see ``turns``.
        views: Whether to make the views for analysts after the load, see ``views.after_load``.
        materialize: Whether ``messages`` is a table, see ``views.make``.

    Raises:
        ViewsFailed: The views of others are in the way of a reload; nothing was changed.
        AlreadyRunning: Another process holds the pipeline.
        TableMissing: The destination has lost a table.
        PipelineStepFailed: A step of dlt's failed; what was committed before stays, and the next
            call goes on from there.
    """
    report = LoadReport()
    started = time.monotonic()
    with _only_one(pipeline):
        if pipeline.config.restore_from_destination:
            pipeline.sync_destination()
        settle_pending(pipeline, turn)
        if not reload:
            _check_tables(pipeline)
        if reload:
            make_way(pipeline)
        once: DictStrAny = {"refresh": "drop_sources"} if reload else {}
        while True:
            source = make_source()
            pipeline.extract(source, **once)
            once = {}
            pipeline.normalize()
            info = _load_step(pipeline, turn)
            report.packages += len(info.loads_ids) if info else 0
            full = _take_note(report, pipeline, source)
            _forget_packages(pipeline)
            report.stopped = bool(stop_when())
            if report.stopped or not full or report.failures:
                break
        if report.packages:
            with turn(pipeline):
                report.failures.extend(after_load(pipeline, views, materialize))
    report.seconds = time.monotonic() - started
    return report


def _load_step(pipeline: dlt.Pipeline, turn: TTurn) -> LoadInfo | None:
    """The load step of dlt, in turn, with a DuckDB file kept open for all of it.

    dlt opens a connection per job (1.31), and DuckDB writes everything down whenever the last one
    closes: the staging tables too, which are emptied next.
    """
    with turn(pipeline), ExitStack() as stack:
        if destination_of(pipeline).lock == "file":
            client = pipeline.sql_client()
            # That it cannot be opened is for the load step to say.
            with suppress(DestinationConnectionError):
                client.open_connection()
                stack.callback(client.close_connection)
        return pipeline.load()


def _forget_packages(pipeline: dlt.Pipeline) -> None:
    """Removes the files of packages loaded long ago: every run leaves one (dlt 1.31)."""
    loaded = sorted(pipeline.list_completed_load_packages(), key=float)
    storage = pipeline._get_load_storage()  # dlt 1.31 has no public way to remove a package.
    for load_id in loaded[:-KEPT_PACKAGES]:
        storage.delete_loaded_package(load_id)


def settle_pending(pipeline: dlt.Pipeline, turn: TTurn = in_database) -> None:
    """Loads packages that an earlier process left behind, or aborts them.

    A package of which a job was interrupted is aborted, with the state it would have committed:
    its events are extracted again. Resuming it could write rows twice (dlt 1.31, after a kill
    between a job's commit and dlt's note of it).
    """
    plan = pipeline.abort_packages(dry_run=True)
    if plan is None:
        return
    package = plan["package_to_abort"]
    if package is not None and (package["interrupted_jobs"] or is_begun_without_staging(pipeline)):
        logger.warning(
            "The last run was interrupted while loading; its package %s is extracted again.",
            package["load_id"],
        )
        pipeline.abort_packages()
        return
    logger.warning("The last run left a package behind; it is loaded now.")
    pipeline.normalize()
    _load_step(pipeline, turn)


@contextmanager
def _only_one(pipeline: dlt.Pipeline) -> Iterator[None]:
    lock = Path(pipeline.pipelines_dir) / f"{pipeline.pipeline_name}.np6.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise AlreadyRunning(
            f"Another process is running pipeline {pipeline.pipeline_name!r}; this one changed"
            " nothing. Run it again when the other has ended."
        ) from None


def _check_tables(pipeline: dlt.Pipeline) -> None:
    """Compares the tables that hold data by dlt's schemas with the destination's."""
    for schema_name in pipeline.schema_names:
        schema = pipeline.schemas[schema_name]
        expected = filled(schema)
        if not expected:
            continue
        with pipeline.destination_client(schema_name) as client:
            if not isinstance(client, (SqlJobClientBase, FilesystemClient)):
                return
            gone = [name for name, columns in client.get_storage_tables(expected) if not columns]
        if gone:
            raise TableMissing(
                f"{', '.join(gone)} is gone from dataset {pipeline.dataset_name!r}, but earlier"
                " runs loaded it: going on from their cursor would leave a hole. Either put the"
                " table back, or drop what is left and load everything again with --reload."
            )


def _take_note(report: LoadReport, pipeline: dlt.Pipeline, source: DltSource) -> bool:
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
    for name, resource in source.selected_resources.items():
        metrics = resource.custom_metrics
        report.windows[name] += metrics.get("windows", 0)
        report.failures.extend(metrics.get("failures", ()))
        if metrics.get("until") is not None:
            report.cursors[name] = metrics["until"]
        full = full or metrics.get("full", False)
    return full
