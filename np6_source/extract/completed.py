"""What is handed on of a span that is complete: its tables, with the rows of the ledger."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..endpoints import Endpoint
from ..ledger import scope_key
from ..open_tables.merge import without_tombstones
from ..schema import EXECUTION_DATA_TABLE, LOAD_WINDOWS, ROBOTS, TOMBSTONE
from .ledger_row import ledger_rows
from .metrics import RunMetrics
from .progress import ScopeRun
from .robots import sure_marks, unsure_hits
from .session import ExtractSession
from .span_loader import TProbes
from .spool import TableFile
from .times import RunTimes
from .unknown_ids import note_known
from .window import LoadableSpan, LoadableWindow
from .witness import AccountWitness

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompletedSpans:
    """Hands on the complete spans of one run, and takes note of them.

    Attributes:
        endpoint: The operation.
        session: What the resources of the source share.
        times: The moments of the run.
        state: dlt's state of the resource.
        metrics: Counts what is handed on.
        witness: Learns whose events they are.
        probes: Count late events, by ``ledger.scope_key``.
        load_id: The load package.
        takes_tombstones: Whether the destination removes rows that a merge marks as deleted.
    """

    endpoint: Endpoint
    session: ExtractSession
    times: RunTimes
    state: MutableMapping[str, Any]
    metrics: RunMetrics
    witness: AccountWitness
    probes: TProbes
    load_id: str
    takes_tombstones: bool

    def tables(
        self, run: ScopeRun, span: LoadableSpan
    ) -> Iterator[tuple[str, pa.Table | TableFile]]:
        """Yields the span's rows by table, and moves the run to the span's end.

        Those in a file are there until the next is asked for.

        Args:
            run: The scope's run.
            span: What was loaded of it; its temporary files are used up.

        Raises:
            SettingError: The events are another account's.
        """
        unsure = unsure_hits(span)
        for classification, part in span.parts.items():
            by_table: Counter[str] = Counter()
            for name, table in part.stash.tables():
                rows = table if self.takes_tombstones else without_tombstones(table)
                if name == ROBOTS.name:
                    rows = self._sure_marks(rows, unsure, classification)
                by_table[name] += without_tombstones(table).num_rows
                yield name, rows
            for file in part.stash.files():
                by_table[file.table] += _rows_kept(file)
                yield file.table, file
            part.stash.discard()
            yield LOAD_WINDOWS.name, self._note_response(run, part, classification, by_table)
        if run.progress is None or span.window.end > run.progress.complete_until:
            # The overlap does not count: a run that stops within it would never get on.
            self.session.loaded_events += span.event_count
        self.session.failed_in_a_row = 0
        note_known(self.state, run.scope.label)
        run.complete_until = span.window.end
        run.read_at = min(part.response.requested_at for part in span.parts.values())
        if not self.times.is_backfill:
            run.scope.end = max(run.scope.end, self.times.horizon())
        self.metrics.add_span(span)
        logger.debug(
            "%s%s: window %s is complete, %d events.",
            self.endpoint.name,
            f" id {run.scope.label}" if run.scope.label else "",
            span.window,
            span.event_count,
        )

    def _note_response(
        self,
        run: ScopeRun,
        part: LoadableWindow,
        classification: str,
        by_table: Mapping[str, int],
    ) -> pa.Table:
        """Takes note of one response of a span that is complete, and returns its ledger rows."""
        label, contents, facts = run.scope.label, part.contents, part.facts
        self.witness.see(facts)
        if not self.times.is_backfill:
            self.witness.remember(label, facts, classification)
        self.probes[scope_key(label, classification)].add(
            contents.buckets, part.counted, part.pieces
        )
        self.metrics.add_response(contents)
        return ledger_rows(
            self.endpoint.name,
            label,
            part,
            self.session.purpose if self.times.is_backfill else "load",
            self.load_id,
            classification,
            self.session.settings.privacy.recorded,
            self.session.key,
            {name: rows for name, rows in by_table.items() if rows},
        )

    def _sure_marks(self, marks: pa.Table, unsure: pa.Array, classification: str) -> pa.Table:
        sure = sure_marks(marks, unsure)
        if left_out := marks.num_rows - sure.num_rows:
            self.metrics.add_unsure_robots(left_out)
            self.session.say_once(
                f"{self.endpoint.name}: {classification} returns hits that NP6 returns without a"
                " classification too, or for every class; those are not marked as robots'. Ask NP6"
                " what the parameter means, and whether classification_parameter names it."
            )
        return sure


def _rows_kept(file: TableFile) -> int:
    """Rows of a file that a table keeps: all but those that say that an event has none."""
    if file.table != EXECUTION_DATA_TABLE.name:
        return file.row_count
    marks = pq.read_table(file.file, columns=[TOMBSTONE.column])[TOMBSTONE.column]
    return file.row_count - int(pc.sum(pc.equal(marks, TOMBSTONE.value)).as_py() or 0)
