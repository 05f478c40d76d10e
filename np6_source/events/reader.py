"""A response's file becomes Arrow tables: events, their child tables, and what nobody expected.

DuckDB parses and projects the file in one streaming pass; Python handles batches, and touches
single events only where something in them is unknown. A batch goes one way: ``queries``,
``columns``, ``proof``, ``drift`` where the proof fails, ``rows``.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import REJECTED_EVENTS, TABLES
from ..windows import SECOND, Window
from . import columns, proof, rows
from .contract import ID_ALIAS, TIMESTAMP_ALIAS, TYPE_ALIAS
from .drift import Shapes, count_paths
from .json_file import (
    ResponseTooLarge,
    UnreadableResponse,
    check_brackets,
    is_empty_array,
    take_out_large,
)
from .lateness import Histogram, inside_of
from .privacy import KEEP_ALL, Privacy
from .queries import KNOWN, RAW, REPEATS, select_events, select_examined, select_known
from .rows import Origin
from .spans import SpanCounts, count_by_span, paths_by_span
from .suppression import NOBODY, Suppression

BATCH_ROWS = 4_096
"""Events parsed and handed on at a time."""
COUNTED_TOGETHER = 32 * 1024 * 1024
"""Bytes of a file up to which all of its events are kept until they are counted."""
EXAMINED_TOGETHER = 512
"""Events that are counted together, and examined, in a file of which not all is known."""
EXAMINED_BYTES = 2 * 1024 * 1024
"""Bytes of such events, about. DuckDB keeps the parsed text once for each of the many expressions
on it: events of 100 KB took a gigabyte by number alone (DuckDB 1.5)."""
LARGEST_EVENT = 32 * 1024 * 1024
"""Bytes that one event of a response may have."""
PARSES_AT_ONCE = max(2, min(4, os.cpu_count() or 2))
"""Files to parse at once: each takes a core, and memory for a piece of a response."""


_BY_NAME = {table.name: table for table in TABLES}


@dataclass
class ResponseContents:
    """What was found while a response was read.

    Attributes:
        event_count: Events inside the window.
        early: Events inside the requested span, but after the part of it that is complete.
        outside: Events outside the requested span, which are kept all the same.
        astray: Those of them that are further off than a second, which a rounded bound explains.
        rejected: Events that could not be taken, and are in ``rejected_events``.
        repaired: Characters that were no Unicode text, and are written visibly.
        unmapped: How many events hold a value without a column, by payload path.
        buckets: Events per bucket of time, where a histogram was requested.
        known: Those of the events that were not read, as an earlier run has loaded them.
        by_span: What each of ``Origin.spans`` has, by its number; those without events are left
            out.
    """

    event_count: int = 0
    early: int = 0
    outside: int = 0
    astray: int = 0
    rejected: int = 0
    repaired: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    known: int = 0
    by_span: dict[int, SpanCounts] = field(default_factory=dict)

    @property
    def row_count(self) -> int:
        """Elements of the response's array."""
        return self.event_count + self.early + self.outside + self.rejected

    @property
    def is_of_another_time(self) -> bool:
        """Whether there are events, and none of them lies in the requested span or beside it."""
        return 0 < self.astray == self.event_count + self.early + self.outside

    def add(self, other: ResponseContents) -> None:
        """Adds what was found in another part of the response."""
        self.event_count += other.event_count
        self.early += other.early
        self.outside += other.outside
        self.astray += other.astray
        self.rejected += other.rejected
        self.repaired += other.repaired
        count_paths(self.unmapped, other.unmapped)
        self.buckets.update(other.buckets)
        self.known += other.known
        for number, found in other.by_span.items():
            self.of_span(number).add(found)

    def of_span(self, number: int) -> SpanCounts:
        """What a span has so far."""
        return self.by_span.setdefault(number, SpanCounts())

    def count_paths(self, number: int, paths: Counter[str]) -> None:
        """Adds payload paths without a column, of events of a span."""
        count_paths(self.unmapped, paths)
        count_paths(self.of_span(number).unmapped, paths)


class EventReader:
    """Reads responses. Remembers the event shapes it has seen to be clean. Safe for threads."""

    def __init__(
        self,
        spool: Path,
        memory_limit: str = "512MB",
        tombstones: bool = False,
        privacy: Privacy = KEEP_ALL,
        suppression: Suppression = NOBODY,
    ) -> None:
        """Opens an in-memory DuckDB.

        Args:
            spool: Folder for temporary files.
            memory_limit: DuckDB's memory limit for parsing.
            tombstones: An execution without data has a row that says so.
            privacy: What becomes of values about persons.
            suppression: The persons of whom nothing is stored.
        """
        # An array of events is parsed by one thread whatever their number; more only take memory.
        self._connection = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(spool / "duckdb"),
                "threads": 1,
            }
        )
        self._shapes = Shapes()
        self._tombstones = tombstones
        self._privacy = privacy
        self._suppression = suppression
        self._expects_known = True

    def close(self) -> None:
        """Closes the DuckDB connection."""
        self._connection.close()

    def read(
        self,
        file: Path,
        origin: Origin,
        contents: ResponseContents,
        histogram: Histogram | None = None,
        keep_bad_events: bool = False,
    ) -> Iterator[dict[str, pa.Table]]:
        """Reads a response's file, batch by batch.

        Args:
            file: The response's body, uncompressed.
            origin: What the response was requested for. Events outside its window are handed on
                as well, and counted.
            contents: Filled while reading; complete once the last batch was taken.
            histogram: What to count in ``contents.buckets``.
            keep_bad_events: Put events without an id or a usable timestamp, and such as are too
                large, into ``rejected_events``, in place of refusing the response. The file
                changes where one is too large.

        Yields:
            Tables by name, as ``schema`` describes them; tables without rows are left out.

        Raises:
            UnreadableResponse: The file is not a complete JSON array of events, or an event has no
                ``id`` or ``timestamp``.
            ResponseTooLarge: Parsing it takes too much memory.
        """
        check_brackets(file)
        if is_empty_array(file):
            return
        if keep_bad_events and file.stat().st_size > LARGEST_EVENT:
            large = take_out_large(file, LARGEST_EVENT)
            if large:
                contents.rejected += len(large)
                reasons = [f"{_too_large()}: {event.size} bytes" for event in large]
                texts = [event.beginning for event in large]
                yield self._masked({REJECTED_EVENTS.name: rows.rejected(texts, reasons, origin)})
        position = 0
        spans = origin.spans or (origin.window,)
        for wide, texts in self._parsed(file):
            if RAW in wide.column_names:
                paths: dict[int, tuple[str, ...]] = {}
                unmapped, wide = self._shapes.unmapped(wide, paths, self._privacy.name_shown)
                for number, of_span in paths_by_span(spans, wide[TIMESTAMP_ALIAS], paths):
                    contents.count_paths(number, of_span)
            else:
                unmapped = pa.nulls(wide.num_rows, pa.string())
            wide = wide.append_column("unmapped", unmapped)
            tables = {}
            bad = _bad(wide)
            if bad and not keep_bad_events:
                row, reason = next(iter(bad.items()))
                raise UnreadableResponse(f"event {position + row + 1} of the response has {reason}")
            position += wide.num_rows
            if bad:
                contents.rejected += len(bad)
                kept = [texts[row].as_py() for row in bad]
                tables[REJECTED_EVENTS.name] = rows.rejected(kept, list(bad.values()), origin)
                is_bad = pc.is_in(pa.array(range(wide.num_rows)), pa.array(list(bad)))
                wide = wide.filter(pc.invert(is_bad))
            _count(wide[TIMESTAMP_ALIAS], origin, histogram, contents)
            if origin.event_type is not None:
                types = pc.fill_null(wide[TYPE_ALIAS], origin.event_type)
                wide = columns.with_column(wide, TYPE_ALIAS, types)
            for number, counted in count_by_span(
                spans, wide[TIMESTAMP_ALIAS], wide[ID_ALIAS], wide[TYPE_ALIAS]
            ):
                contents.of_span(number).add(counted)
            tables |= rows.by_table(wide, self._connection, origin, self._tombstones)
            if tables:
                yield self._masked(tables)

    def _masked(self, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
        stored = self._suppression.of_events(tables)
        return {name: self._privacy.applied(_BY_NAME[name], rows) for name, rows in stored.items()}

    def _parsed(self, file: Path) -> Iterator[tuple[pa.Table, pa.Array]]:
        """The events, and the JSON of each; NULL where nothing about them can be amiss.

        The events have ``SHAPE`` and ``RAW`` where it is not proven that nothing is left.
        """
        # A file of which not all is known has to be read once more: not worth it where that is
        # the rule (measured: a quarter of the time where one event of a thousand is unknown).
        if self._expects_known and file.stat().st_size <= COUNTED_TOGETHER:
            known = self._all_known(file)
            if known is not None:
                yield from ((wide, pa.nulls(wide.num_rows, pa.string())) for wide in known)
                return
        all_known = True
        for batch in self._batches(file, select_events):
            by_bytes = EXAMINED_BYTES * len(batch) // max(1, batch[RAW].nbytes)
            together = max(1, min(EXAMINED_TOGETHER, by_bytes))
            for start in range(0, len(batch), together):
                part = batch.slice(start, together)
                wide = proven_columns(part)
                if wide is None:
                    all_known = False
                    wide = self._examined(part)
                yield wide, part[RAW]
        self._expects_known = all_known

    def _all_known(self, file: Path) -> list[pa.Table] | None:
        """The events of a file in which nothing is unknown; None: that is not proven."""
        seen = proof.counts_in_file(file)
        if seen is None:
            return None
        wides, total = [], proof.Counts()
        try:
            with closing(self._batches(file, select_known)) as batches:
                for batch in batches:
                    values = columns.plain_values(columns.known_fields(batch), batch[REPEATS])
                    if values is None:
                        return None
                    wide = columns.from_values(values, len(batch))
                    held = proof.held(values, wide)
                    if held is None or _bad(wide):
                        return None
                    wides.append(wide)
                    total += held
        except (UnreadableResponse, ResponseTooLarge, OSError):
            return None  # Reading it event by event says what is wrong, or finds nothing wrong.
        return wides if total == seen else None

    def _batches(
        self, file: Path, select: Callable[[str, int], str]
    ) -> Generator[pa.RecordBatch, None, None]:
        query = select(str(file), min(LARGEST_EVENT, file.stat().st_size + 1))
        with closing(self._connection.cursor()) as cursor:
            try:
                relation = cursor.sql(query)
                # DuckDB 1.4 has it under its former name.
                read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
                yield from read(BATCH_ROWS)
            except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise _understood(error) from None

    def _examined(self, batch: pa.RecordBatch) -> pa.Table:
        # DuckDB does not take structs out of the middle of others (seen with 2.0).
        rows = pa.table(batch.take(pa.array(range(len(batch)))))
        query = select_examined("suspicious", self._shapes.clean)
        with closing(self._connection.cursor()) as cursor:
            try:
                cursor.register("suspicious", rows)
                found = cursor.sql(query).to_arrow_table()
            except duckdb.Error as error:
                raise _understood(error) from None
        return pa.concat_tables(columns.of_examined(part) for part in found.to_batches())


def proven_columns(batch: pa.RecordBatch) -> pa.Table | None:
    """The columns of events of which every part has its column.

    Args:
        batch: Rows of ``queries.select_events``.

    Returns:
        As ``columns.from_values``. None: that is not proven of all of them.
    """
    values = columns.plain_values(batch[KNOWN], batch[REPEATS])
    if values is None:
        return None
    wide = columns.from_values(values, len(batch))
    held = proof.held(values, wide)
    return wide if held is not None and held == proof.counts_in_texts(batch[RAW]) else None


def _understood(error: Exception) -> Exception:
    """DuckDB's complaint without the file's name and without quoting the body.

    Where that quotes half a character there is only a ``UnicodeDecodeError``. After the first
    batch it comes through Arrow, as an ``OSError`` that only its text tells from one of the disk
    (DuckDB 1.4 to 2.0).
    """
    text = str(error)
    if "Out of Memory" in text or isinstance(error, duckdb.OutOfMemoryException):
        return ResponseTooLarge("parsing the response ran out of memory")
    if "IO Error" in text or isinstance(error, duckdb.IOException):
        return OSError(errno.EIO, "DuckDB could not read or write a temporary file")
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if "maximum_object_size" in text:
        return UnreadableResponse(f"an event is {_too_large()}")
    return UnreadableResponse("the body is not valid JSON")


def _too_large() -> str:
    return f"larger than {LARGEST_EVENT // 1024 // 1024} MB"


def _bad(wide: pa.Table) -> dict[int, str]:
    """The events without an id or a usable timestamp: row, and what it has."""
    no_id = pc.equal(pc.fill_null(wide[ID_ALIAS], ""), "")
    no_timestamp = pc.is_null(wide[TIMESTAMP_ALIAS])
    if not pc.any(pc.or_(no_id, no_timestamp)).as_py():
        return {}
    found = dict.fromkeys(pc.indices_nonzero(no_timestamp).to_pylist(), "no usable 'timestamp'")
    found |= dict.fromkeys(pc.indices_nonzero(no_id).to_pylist(), "no usable 'id'")
    return dict(sorted(found.items()))


def _count(
    timestamps: pa.ChunkedArray,
    origin: Origin,
    histogram: Histogram | None,
    contents: ResponseContents,
) -> None:
    """Counts events by where they lie."""
    window, requested = origin.window, origin.requested or origin.window
    inside = inside_of(timestamps, window)
    count = pc.sum(inside).as_py() or 0
    contents.event_count += count
    if histogram is not None:
        contents.buckets.update(histogram.counts(timestamps.filter(inside)))
    if count == len(timestamps):
        return
    near = Window(requested.start - SECOND, requested.end + SECOND)
    in_requested = pc.sum(inside_of(timestamps, requested)).as_py()
    contents.early += in_requested - count
    contents.outside += len(timestamps) - in_requested
    contents.astray += len(timestamps) - pc.sum(inside_of(timestamps, near)).as_py()
