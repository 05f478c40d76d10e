"""An operation of the API as a dlt resource, and one run of it.

A run goes from its progress through its windows to tables for dlt. Nothing of a window is handed on
before its whole response was read, and progress moves only after the tables of its windows: dlt
commits both in one load package.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, MutableMapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource

from ..bookkeeping.source_state import has_progress
from ..destinations import destination_of
from ..dlt_internals.files import ImportedTable, imported
from ..dlt_internals.packages import current_load_id, note_windows
from ..dlt_internals.resources import HandedOn, hands_items_on_at_once, is_limit_reached
from ..endpoints import Endpoint
from ..lake import KEEPS_COPIES, keeps_copies
from ..ledger import scope_key
from ..tables.declaration import declare_tables, format_by_driver
from ..windows import SECOND, Pace, to_datetime
from .batches import GatheredTables, tables_not_yet_there
from .chosen_actions import TScopeIds
from .completed import CompletedSpans
from .failures import RunFailures
from .file_import import importing
from .guards import (
    check_catalog,
    check_cursor,
    check_failed_jobs,
    check_refresh,
    check_tables,
    check_transformers,
)
from .metrics import RunMetrics
from .progress import Scope, ScopeRun
from .reload_intent import note_package
from .saved_progress import Reached, SavedProgress, reached
from .scopes import ScopePlan, TRunKey, new_coverage, run_key, take_over_labels
from .session import ExtractSession, Tools
from .span_loader import SpanLoader, TProbes
from .spool import TableFile, large_rows_in_file
from .times import RunTimes
from .window import LoadableSpan
from .window_queue import Completed, Failed, windows_in_order
from .witness import AccountWitness


def make_cursor(session: ExtractSession) -> dlt.sources.incremental[datetime]:
    """The cursor that the resources of a source begin with; each gets a copy from dlt.

    Args:
        session: What the resources of the source share.
    """
    settings = session.settings
    return dlt.sources.incremental[datetime](
        "timestamp",
        initial_value=session.default_start,
        end_value=to_datetime(settings.end) if settings.is_backfill and settings.end else None,
        primary_key=(),
    )


def make_resource(
    endpoint: Endpoint,
    scope_ids: TScopeIds,
    session: ExtractSession,
    cursor: dlt.sources.incremental[datetime],
    is_selected: bool,
) -> DltResource:
    """The dlt resource of one operation.

    Args:
        endpoint: The operation.
        scope_ids: The ids to load, or which actions; empty for an operation over the whole account.
        session: What the resources of the source share.
        cursor: See ``make_cursor``: one for all resources, as dlt takes 2 ms to make one.
        is_selected: Whether it is loaded without being named.

    Returns:
        A resource that yields Arrow tables for ``schema.TABLES``, incremental on ``timestamp``.
    """

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
        self._resource = dlt.current.resource()
        self._thread = threading.get_ident()
        self._state: MutableMapping[str, Any] = dlt.current.resource_state()
        self._times = RunTimes(endpoint.name, session, cursor, int(time.time() * SECOND))
        metrics: dict[str, Any] = dlt.current.resource_metrics()
        self._failures = RunFailures(session, self._times, metrics)
        self._metrics = RunMetrics(endpoint.name, metrics)
        self._loader = SpanLoader(endpoint, session, tools, self._times)
        self._gathered = GatheredTables()
        self._is_direct = False
        self._file_format: str | None = None
        self._runs: dict[TRunKey, ScopeRun] = {}
        self._probes: TProbes = {}
        self._saved: SavedProgress | None = None

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
            is_limited = is_limit_reached(self._resource)
            is_whole = self._saved is not None and self._saved.is_whole
            if is_limited and self._times.is_backfill and not is_whole:
                self._failures.note_incomplete("add_limit")
            raise

    def _run(self) -> Iterator[Any]:
        self._prepare()
        steps = windows_in_order(
            [] if self._must_stop() else [run.scope for run in self._runs.values()],
            Pace(self._settings.window),
            lambda scope, window: self._loader.load(scope, window, self._probes),
            self._tools.executor,
            self._settings.concurrency,
        )
        with closing(steps):
            for step in steps:
                if isinstance(step, Completed):
                    self._failures.note_clocks()
                    yield from self._complete(self._runs[run_key(step.scope)], step.loadable)
                elif isinstance(step, Failed):
                    self._failures.note_scope(step, self._state)
                else:
                    self._finish(step.scope)
                if self._must_stop():
                    break
        if self._session.clock.is_known and self._session.ended_by is None:
            self._failures.note_clocks()
        yield from self._hand_on()
        # A limit or a step of the host's may have dropped what was handed on.
        filled_now = self._session.filled_tables if self._is_direct else ()
        yield from tables_not_yet_there(filled_now, needs_rows=self._file_format is not None)
        self._end()

    def _prepare(self) -> None:
        """Checks what the host project does, and finds out what to read."""
        name, is_backfill = self._endpoint.name, self._times.is_backfill
        check_catalog(name)
        check_cursor(name, self._cursor)
        check_transformers(name)
        check_failed_jobs(name)
        # A step of the host's may leave a table without rows, which the driver cannot load.
        self._is_direct = hands_items_on_at_once(self._resource, HandedOn)
        if self._is_direct:
            self._file_format = format_by_driver(self._resource)
        table_format = declare_tables(
            self._resource,
            self._settings.timestamps_are_final,
            self._settings.table_format,
            self._file_format,
            self._settings.privacy.masked,
        )
        pipeline = dlt.current.pipeline()
        takes_tombstones = destination_of(pipeline).takes_tombstones
        if self._file_format is None:
            # The driver takes no file without rows, which another resource's table may be: in one
            # file with the rows it does no harm.
            files = importing(self._resource, takes_tombstones)
            self._loader = replace(self._loader, importing=files)
        if keeps_copies(pipeline.destination, table_format) and not has_progress(
            dlt.current.source_state()
        ):
            self._session.say_once(KEEPS_COPIES)
        self._witness = AccountWitness(self._endpoint, self._session)
        start, end = self._times.span()
        former = take_over_labels(self._endpoint, self._scope_ids, self._session, self._state)
        if not is_backfill:
            note_package(dlt.current.source_state(), current_load_id())
        self._saved = SavedProgress(self._state, (start, end) if is_backfill else None)
        if self._saved and not is_backfill:
            check_tables(name)
        starts_over = False
        if self._saved and not self._witness.key_is_known:
            # Where nothing was ever loaded by which the key could be known, it may be another
            # account's: its whole history is read as well.
            starts_over = not self._witness.is_shown(
                self._state,
                self._scope_ids,
                lambda scope, window, robots: self._loader.look(scope, window, robots).facts,
            )
        plan = ScopePlan(
            self._endpoint,
            self._scope_ids,
            self._session,
            self._tools,
            self._times,
            self._state,
            self._saved,
            starts_over,
            self._failures,
            former,
        )
        self._runs, self._probes = plan.runs(start, end), plan.probes
        self._completed = CompletedSpans(
            self._endpoint,
            self._session,
            self._times,
            self._state,
            self._metrics,
            self._witness,
            self._probes,
            # There is none where somebody looks at the source's rows without loading them.
            current_load_id() or "not loaded",
            takes_tombstones,
        )
        starts = {
            scope_key(run.scope.label, robots): run.scope.start
            for run in self._runs.values()
            for robots in run.scope.classes
        }
        check_refresh(name, starts, self._settings.end is not None)
        # The requests are bounded by the cursor; filtering once more would drop the overlap.
        self._cursor.advance(to_datetime(self._times.moment(self._cursor.last_value)))
        self._metrics.will_read(sum(run.scope.end - run.scope.start for run in self._runs.values()))

    def _must_stop(self) -> bool:
        return (
            self._session.ended_by is not None
            or self._session.is_full()
            or bool(self._settings.stop_when())
        )

    def _complete(self, run: ScopeRun, span: LoadableSpan) -> Iterator[Any]:
        """Hands on a span that is complete."""
        for name, rows in self._completed.tables(run, span):
            if isinstance(rows, TableFile):
                yield from self._import(rows)
            else:
                yield from self._gather(name, rows)

    def _gather(self, name: str, rows: pa.Table) -> Iterator[Any]:
        """Hands rows on once enough have come together."""
        self._gathered.add(name, rows)
        if rows.num_rows:
            self._session.filled_tables.add(name)
        if self._gathered.is_enough:
            yield from self._hand_on()

    def _hand_on(self) -> Iterator[Any]:
        """Hands on what was gathered."""
        importing = self._loader.importing
        if importing is not None:
            for name, rows in self._gathered.take_large():
                file = large_rows_in_file(rows, name, self._tools.spool, importing.parquet)
                if not (yield from self._offer(file)):
                    yield dlt.mark.with_table_name(rows, name)
                file.file.unlink()
        yield from self._gathered.flush(self._if_limited())

    def _import(self, file: TableFile) -> Iterator[Any]:
        """Hands a file on, or its rows where it does not go into a load package of dlt's."""
        if not (yield from self._offer(file)):
            for rows in file.rows():
                yield from self._gather(file.table, rows)

    def _offer(self, file: TableFile) -> Generator[Any, None, bool]:
        """Offers a file to dlt; returns whether it has taken it."""
        limits = self._loader.importing
        largest = limits.parquet.largest_file if limits else None
        if largest is not None and file.file.stat().st_size > largest:
            return False
        mark = ImportedTable(file.table, file.file, file.row_count)
        yield imported(mark, file.schema)
        if mark.is_taken:
            self._session.filled_tables.add(file.table)
        return mark.is_taken

    def _finish(self, scope: Scope) -> None:
        """Takes note of a scope that was read up to its end."""
        for name in scope.classes:
            self._metrics.add_lateness(self._probes[scope_key(scope.label, name)].measured())

    def _end(self) -> None:
        """Moves the progress, and says what somebody should know.

        Raises:
            Incomplete: A given span was not read to its end though nothing failed, and the settings
                say that this ends the run.
        """
        after = self._reached()
        is_full = self._session.is_full() and not after.is_done
        self._metrics.note_full(is_full)
        if self._times.is_backfill and not after.is_done and not self._failures.are_known:
            self._failures.note_incomplete("largest_load" if is_full else "stop_when or a signal")
        note_windows(new_coverage(self._endpoint, self._runs, self._times.is_backfill))
        if self._resource.limit is None:
            self._move(after)
        self._metrics.report(self._settings.overlap)

    def _reached(self) -> Reached:
        return reached(self._runs.values(), self._probes)

    def _move(self, after: Reached) -> None:
        """Moves the progress to the end of what was handed on; dlt commits it with that."""
        assert self._saved is not None
        until = self._saved.move(after, self._runs.values(), self._endpoint)
        if not self._times.is_backfill:
            self._witness.save(self._state)
        if until is not None:
            self._cursor.advance(to_datetime(until))
            self._metrics.note_complete_until(until)

    def _if_limited(self) -> Callable[[], None] | None:
        """What moves the progress where the host limits the resource with ``add_limit``.

        dlt then drops batches without a word, so that progress may only follow what passed the
        limit. Where the resource is parallelized as well, batches may overtake each other on the
        way (dlt 1.31): nothing moves, and the next run reads the same again.
        """
        if self._resource.limit is None:
            return None
        after = self._reached()

        def handed_on() -> None:
            if threading.get_ident() == self._thread:
                self._move(after)

        return handed_on
