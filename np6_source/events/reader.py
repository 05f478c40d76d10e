"""An answer's file becomes Arrow tables: events, their child tables, and what nobody expected.

DuckDB parses and projects the file in one streaming pass; Python handles batches, and touches
single events only where something in them is unknown. The SQL is derived from ``schema``.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..api.body import LARGEST
from ..schema import (
    CAMPAIGNS,
    EVENT_ID,
    EVENT_TABLES,
    EVENTS,
    EXECUTION_DATA_TABLE,
    TIMESTAMP,
    Column,
    Table,
)
from ..windows import Window
from .drift import leftover
from .json_file import AnswerTooLarge, UnreadableAnswer, check_brackets, is_empty_array
from .proof import Marks, account_of, accounted_for, marks_in_file
from .queries import (
    DATA,
    RAW,
    REPEATS,
    SHAPE,
    alias,
    examined,
    known_fields,
    select_events,
    select_examined,
    select_execution_data,
    select_known,
)

BATCH_ROWS = 4_096
"""Events parsed and handed on at a time."""
COUNTED_TOGETHER = 2 * LARGEST
"""Bytes of a file up to which all of its events are kept until they are counted."""
EXAMINED_TOGETHER = 512
"""Events that are examined together where one of them is not accounted for."""
LARGEST_EVENT = 32 * 1024 * 1024
"""Bytes that one event of an answer may have."""
PARSES_AT_ONCE = max(2, min(4, os.cpu_count() or 2))
"""Files to parse at once: each takes a core, and memory for a piece of an answer."""
MOST_SHAPES = 2_000
"""How many clean shapes are remembered; further ones are looked at again each time."""


@dataclass
class AnswerContents:
    """What was found while an answer was read.

    Attributes:
        event_count: Events inside the window.
        outside: Events the answer holds beside the window; they are left to their own window.
        unmapped: How many events hold a value without a column, by payload path.
        buckets: Events per bucket of time in the spans to be counted, see ``lateness``.
    """

    event_count: int = 0
    outside: int = 0
    unmapped: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)

    def add(self, other: AnswerContents) -> None:
        """Adds what was found in another part of the answer."""
        self.event_count += other.event_count
        self.outside += other.outside
        self.unmapped.update(other.unmapped)
        self.buckets.update(other.buckets)


@dataclass(frozen=True)
class Counting:
    """Which events of an answer are counted per bucket of time.

    Attributes:
        spans: Spans of time to count in.
        width: Milliseconds per bucket.
    """

    spans: tuple[Window, ...]
    width: int


class EventReader:
    """Reads answers. Remembers the event shapes it has seen to be clean. Safe for threads."""

    def __init__(self, spool: Path, memory_limit: str = "512MB") -> None:
        """Opens an in-memory DuckDB.

        Args:
            spool: Folder for temporary files.
            memory_limit: DuckDB's memory limit for parsing.
        """
        # An array of events is parsed by one thread whatever their number; more only take memory.
        self._connection = duckdb.connect(
            config={
                "memory_limit": memory_limit,
                "temp_directory": str(spool / "duckdb"),
                "threads": 1,
            }
        )
        self._clean_shapes: frozenset[int] = frozenset()
        self._expects_known = True

    def close(self) -> None:
        """Closes the DuckDB connection."""
        self._connection.close()

    def read(
        self,
        file: Path,
        window: Window,
        requested_at: int,
        contents: AnswerContents,
        event_type: str | None = None,
        campaign_id: str | None = None,
        counting: Counting | None = None,
    ) -> Iterator[dict[str, pa.Table]]:
        """Reads an answer's file, batch by batch.

        Args:
            file: The answer's body, uncompressed.
            window: The window that was asked for; events outside are left out and counted.
            requested_at: When the request was sent, milliseconds since the epoch.
            contents: Filled while reading; complete once the last batch was taken.
            event_type: Type of events that do not say theirs.
            campaign_id: The campaign the answer was asked for, if any.
            counting: What to count in ``contents.buckets``.

        Yields:
            Tables by name, as ``schema`` describes them; tables without rows are left out.

        Raises:
            UnreadableAnswer: The file is not a complete JSON array of events, or an event has no
                ``id`` or ``timestamp``.
            AnswerTooLarge: Parsing it takes too much memory.
        """
        check_brackets(file)
        if is_empty_array(file):
            return
        position = 0
        for wide in self._parsed(file):
            unmapped, wide = self._unmapped(wide, contents.unmapped)
            _require(wide, position)
            position += wide.num_rows
            if event_type is not None:
                wide = _set(wide, _TYPE, pc.fill_null(wide[_TYPE], event_type))
            inside = _inside(wide[_TIMESTAMP], window)
            outside = wide.num_rows - pc.sum(inside).as_py()
            if outside:
                contents.outside += outside
                wide, unmapped = wide.filter(inside), unmapped.filter(inside)
            contents.event_count += wide.num_rows
            if counting is not None:
                _count(wide[_TIMESTAMP], counting, contents.buckets)
            if wide.num_rows:
                yield self._tables(wide, unmapped, requested_at, campaign_id)

    def _parsed(self, file: Path) -> Iterator[pa.Table]:
        """The events, with ``SHAPE`` and ``RAW`` where it is not proven that nothing is left."""
        if self._expects_known and file.stat().st_size <= COUNTED_TOGETHER:
            wides = self._all_known(file)
            if wides is not None:
                yield from wides
                return
        all_known = True
        for batch in self._batches(file, select_events):
            wide = accounted_for(batch)
            if wide is not None:
                yield wide
            else:
                all_known = False
                yield from self._by_part(batch)
        self._expects_known = all_known

    def _all_known(self, file: Path) -> list[pa.Table] | None:
        """The events of a file in which nothing is unknown; None: that is not proven."""
        seen = marks_in_file(file)
        if seen is None:
            return None
        wides, marks = [], Marks()
        try:
            with closing(self._batches(file, select_known)) as batches:
                for batch in batches:
                    account = account_of(known_fields(batch), batch[REPEATS])
                    if account is None:
                        return None
                    wides.append(account.wide)
                    marks += account.marks
        except (UnreadableAnswer, AnswerTooLarge, OSError):
            return None  # Reading it event by event says what is wrong, or finds nothing wrong.
        return wides if marks == seen else None

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

    def _by_part(self, batch: pa.RecordBatch) -> Iterator[pa.Table]:
        """Examines the parts of a batch that are not accounted for."""
        if len(batch) <= EXAMINED_TOGETHER:
            yield self._examined(batch)
            return
        first = 0
        for start in range(0, len(batch), EXAMINED_TOGETHER):
            wide = accounted_for(batch.slice(start, EXAMINED_TOGETHER))
            if wide is not None:
                if first < start:
                    yield self._examined(batch.slice(first, start - first))
                yield wide
                first = start + wide.num_rows
        if first < len(batch):
            yield self._examined(batch.slice(first))

    def _examined(self, batch: pa.RecordBatch) -> pa.Table:
        # DuckDB does not take structs out of the middle of others (seen with 2.0).
        rows = pa.table(batch.take(pa.array(range(len(batch)))))
        query = select_examined("suspicious", self._clean_shapes)
        with closing(self._connection.cursor()) as cursor:
            try:
                cursor.register("suspicious", rows)
                found = cursor.sql(query).to_arrow_table()
            except duckdb.Error as error:
                raise _understood(error) from None
        return pa.concat_tables(examined(part) for part in found.to_batches())

    def _unmapped(self, wide: pa.Table, paths: Counter[str]) -> tuple[pa.Array, pa.Table]:
        """The ``unmapped`` column, and the batch without values that columns cannot take."""
        unmapped = pa.nulls(wide.num_rows, pa.string())
        if RAW not in wide.column_names:
            return unmapped, wide
        is_suspicious = pc.is_valid(wide[RAW])
        suspicious = wide.filter(is_suspicious)
        if not suspicious.num_rows:
            return unmapped, wide
        texts: dict[int, str | None] = {}
        rejected: dict[Column, list[int]] = {}
        rows = pc.indices_nonzero(is_suspicious)
        for shape in suspicious[SHAPE].unique().to_pylist():
            of_shape = pc.equal(suspicious[SHAPE], pa.scalar(shape, pa.uint64()))
            first = leftover(suspicious[RAW][pc.index(of_shape, True).as_py()].as_py())
            if first.unmapped is None and not first.rejected:
                if len(self._clean_shapes) < MOST_SHAPES:
                    self._clean_shapes |= {shape}
                continue
            for row, raw in zip(
                rows.filter(of_shape).to_pylist(),
                suspicious[RAW].filter(of_shape).to_pylist(),
                strict=True,
            ):
                rest = leftover(raw)
                texts[row] = rest.unmapped
                paths.update(rest.paths)
                for column in rest.rejected:
                    rejected.setdefault(column, []).append(row)
        if texts:
            unmapped = pa.array([texts.get(row) for row in range(wide.num_rows)], pa.string())
        for column, bad_rows in rejected.items():
            wide = _blank(wide, alias(column), bad_rows)
        return unmapped, wide

    def _tables(
        self,
        wide: pa.Table,
        unmapped: pa.Array,
        requested_at: int,
        campaign_id: str | None,
    ) -> dict[str, pa.Table]:
        constants = {"requested_at": requested_at, "campaign_id": campaign_id}
        tables = {}
        for table in EVENT_TABLES:
            if table is EXECUTION_DATA_TABLE:
                rows = self._execution_data(wide)
            elif table is CAMPAIGNS and campaign_id is None:
                continue
            elif table.row_types:
                rows = wide.filter(_has_row(wide, table))
            else:
                rows = wide
            if rows is not None and rows.num_rows:
                if table is EVENTS:
                    rows = rows.append_column("unmapped", unmapped)
                tables[table.name] = _project(rows, table, constants)
        return tables

    def _execution_data(self, wide: pa.Table) -> pa.Table | None:
        with_data = wide.filter(pc.is_valid(wide[DATA]))
        if not with_data.num_rows:
            return None
        cursor = self._connection.cursor()
        try:
            cursor.register("executions", with_data)
            return cursor.sql(select_execution_data("executions")).to_arrow_table()
        finally:
            cursor.close()


def _understood(error: Exception) -> Exception:
    """DuckDB's complaint without the file's name and without quoting the body.

    Where that quotes half a character there is only a ``UnicodeDecodeError``. Behind the first
    batch it comes through Arrow, as an ``OSError`` that only its text tells from one of the disk
    (DuckDB 1.4 to 2.0).
    """
    text = str(error)
    if "Out of Memory" in text or isinstance(error, duckdb.OutOfMemoryException):
        return AnswerTooLarge("parsing the answer ran out of memory")
    if "IO Error" in text or isinstance(error, duckdb.IOException):
        return OSError(errno.EIO, "DuckDB could not read or write a temporary file")
    if isinstance(error, OSError) and error.errno is not None:
        return error
    if "maximum_object_size" in text:
        return UnreadableAnswer(f"an event is larger than {LARGEST_EVENT // 1024 // 1024} MB")
    return UnreadableAnswer("the body is not valid JSON")


_ID, _TIMESTAMP = alias(EVENT_ID), alias(TIMESTAMP)
_TYPE = next(alias(column) for column in EVENTS.columns if column.name == "type")


def _require(wide: pa.Table, position: int) -> None:
    """Every event has an id and a timestamp.

    Args:
        wide: A batch.
        position: How many events of the answer came before it.
    """
    for field_alias, name in ((_ID, "id"), (_TIMESTAMP, "timestamp")):
        missing = pc.is_null(wide[field_alias])
        if name == "id":
            missing = pc.or_(missing, pc.equal(pc.fill_null(wide[field_alias], ""), ""))
        count = pc.sum(missing).as_py()
        if count:
            first = position + pc.index(missing, True).as_py() + 1
            raise UnreadableAnswer(f"event {first} of the answer has no usable {name!r}")


def _inside(timestamps: pa.ChunkedArray, window: Window) -> pa.ChunkedArray:
    return pc.and_(pc.greater_equal(timestamps, window.start), pc.less(timestamps, window.end))


def _count(timestamps: pa.ChunkedArray, counting: Counting, buckets: Counter[int]) -> None:
    for span in counting.spans:
        counted = pc.divide(timestamps.filter(_inside(timestamps, span)), counting.width)
        for entry in counted.value_counts().to_pylist():
            buckets[entry["values"]] += entry["counts"]


def _has_row(wide: pa.Table, table: Table) -> pa.ChunkedArray:
    """Which events have a row in a table with at most one row per event."""
    has_row = pc.fill_null(pc.is_in(wide[_TYPE], pa.array(table.row_types)), False)
    for column in table.columns:
        if column.paths and column not in (EVENT_ID, TIMESTAMP):
            has_row = pc.or_(has_row, pc.is_valid(wide[alias(column)]))
    return has_row


def _project(rows: pa.Table, table: Table, constants: Mapping[str, object]) -> pa.Table:
    """A table's columns, in its types, from a batch's."""
    arrays = []
    for column in table.columns:
        if column.name in constants:
            array = pa.repeat(pa.scalar(constants[column.name]), rows.num_rows)
        else:
            array = rows[alias(column)]
        if column.data_type == "timestamp":
            array = array.cast(pa.timestamp("ms", tz="UTC"))
        arrays.append(array.cast(column.arrow_type))
    return pa.table(arrays, schema=table.arrow_schema)


def _set(wide: pa.Table, alias: str, values: pa.ChunkedArray) -> pa.Table:
    return wide.set_column(wide.schema.get_field_index(alias), alias, values)


def _blank(wide: pa.Table, alias: str, rows: list[int]) -> pa.Table:
    bad = pc.is_in(pa.array(range(wide.num_rows)), pa.array(rows))
    return _set(wide, alias, pc.if_else(bad, None, wide[alias]))
