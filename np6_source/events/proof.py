"""Proves of most events, by counting, that nothing in them is unknown.

Drift is looked for in every event, and looking at every key and type costs more than reading the
event. Counting is cheap: what stands in the columns must add up to what stands in the text, for a
whole file at first. What does not is counted in smaller and smaller parts, and then examined (see
``projection.select_examined``): counting never decides that something is unknown, only that
nothing is.

The argument. In JSON every quotation mark that is not escaped opens or closes a key or a text, so
there are ``quotes = 2 * (keys + texts)``. ``":`` can only stand behind a key, and ``":"`` or
``": "`` only between a key and a text: as many are seen as there are keys and texts, or fewer. If
now as many keys are seen as known fields and objects have a value, as many texts as known fields
have one that is text, and ``quotes`` is twice their sum, then there are no other keys and no other
texts. All keys are known ones, none stands twice, none is null. A text column that got something
else would leave a text too many, and the only place for it is a date: dates are looked at one by
one. The same counts of the free data object, whose keys are nobody's, are taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import EXECUTION_DATA, EXPECTED_VALUES
from .drift import CONTAINERS, EARLIEST_MS, LATEST_MS, LEAVES, MAPPED_COLUMNS
from .queries import (
    DATES,
    KNOWN,
    RAW,
    REPEATS,
    alias,
    alternative_values,
    columns,
    known_values,
)

_QUOTE, _COLON, _SPACE, _BACKSLASH = (pa.scalar(ord(mark), pa.uint8()) for mark in '": \\')

_AT_ONCE = 1024 * 1024
"""Bytes to count in at a time: as many as stay in a processor's cache."""

_TEXTS = frozenset(leaf for leaf, data_type in LEAVES.items() if data_type == "text")
_TEXTS_OR_OBJECTS = tuple(leaf for leaf in LEAVES if leaf in CONTAINERS)
_EXPECTED = {path.path: value for path, value in EXPECTED_VALUES}

_FIELDS = {
    container: [path for path in (*LEAVES, *CONTAINERS) if path.rpartition(".")[0] == container]
    for container in CONTAINERS
    if container not in LEAVES
}


@dataclass(frozen=True)
class Marks:
    """What was counted in JSON.

    Attributes:
        keys: Keys of objects.
        texts: Texts that stand behind a key.
        quotes: Quotation marks that are not escaped.
    """

    keys: int = 0
    texts: int = 0
    quotes: int = 0

    def __add__(self, other: Marks) -> Marks:
        return Marks(self.keys + other.keys, self.texts + other.texts, self.quotes + other.quotes)


@dataclass(frozen=True)
class Account:
    """What the columns hold of some events.

    Attributes:
        wide: As ``projection.columns`` gives them.
        marks: What their JSON has if it has nothing else.
    """

    wide: pa.Table
    marks: Marks


def accounted_for(batch: pa.RecordBatch) -> pa.Table | None:
    """The columns of events of which every part has its column.

    Args:
        batch: Rows of ``projection.select_events``.

    Returns:
        As ``projection.columns``. None: that is not proven, be it for one event.
    """
    account = account_of(batch[KNOWN], batch[REPEATS])
    if account is None or marks_in_texts(batch[RAW]) != account.marks:
        return None
    return account.wide


def account_of(known: pa.StructArray, repeats: pa.Array) -> Account | None:
    """What the columns hold of some events; None where that says nothing about the rest.

    Args:
        known: The known fields, ``projection.KNOWN``.
        repeats: ``projection.REPEATS``.
    """
    values = _plain_values(known, repeats)
    if values is None:
        return None
    data = marks_in_texts(values[EXECUTION_DATA]) if EXECUTION_DATA in values else Marks()
    counts = {path: _filled(array) for path, array in values.items()}
    if data is None or not _are_objects(values, counts):
        return None
    wide = columns(values, len(known))
    if not _all_held(values, counts, wide):
        return None
    keys = sum(counts.values()) + data.keys
    texts = sum(count for path, count in counts.items() if path in _TEXTS) + data.texts
    return Account(wide, Marks(keys, texts, 2 * (keys + texts)))


def marks_in_file(file: Path) -> Marks | None:
    """Counts over a file; None where a backslash is escaped, and may itself not escape.

    Raises:
        OSError: It cannot be read.
    """
    with pa.memory_map(str(file)) as source:
        return _marks(source.read_buffer())


def marks_in_texts(texts: pa.Array) -> Marks | None:
    """Counts over texts, each an object; None as for ``marks_in_file``."""
    texts = pc.fill_null(texts, "")
    _, offsets, content = texts.buffers()
    ends = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    first, last = ends[0].as_py(), ends[-1].as_py()
    return _marks(content.slice(first, last - first)) if last > first else Marks()


def _marks(content: pa.Buffer) -> Marks | None:
    total = Marks()
    for start in range(0, content.size, _AT_ONCE):
        part = content.slice(start, min(_AT_ONCE, content.size - start))
        before = content.slice(start - 1, 1) if start else b" "
        behind = content.slice(start + part.size, min(3, content.size - start - part.size))
        found = _marks_in_part(b"".join((before, part, behind, b"   "[behind.size :])), part.size)
        if found is None:
            return None
        total += found
    return total


def _marks_in_part(content: bytes, size: int) -> Marks | None:
    """What begins in a part, which comes with the mark before and three behind it."""
    found = pa.Array.from_buffers(pa.uint8(), len(content), [None, pa.py_buffer(content)])
    quotes = pc.equal(found, _QUOTE)[1:]
    backslashes = pc.equal(found, _BACKSLASH)
    if backslashes.true_count:
        if pc.and_(backslashes[:-1], backslashes[1:]).true_count:
            return None
        quotes = pc.and_not(quotes, backslashes[:-1])
    keys = pc.and_(quotes[:size], pc.equal(found[2 : size + 2], _COLON))
    texts = pc.and_(keys, quotes[2 : size + 2]).true_count
    spaced = pc.and_(keys, pc.equal(found[3 : size + 3], _SPACE))
    if spaced.true_count:
        texts += pc.and_(spaced, quotes[3 : size + 3]).true_count
    return Marks(keys.true_count, texts, quotes[:size].true_count)


def _plain_values(known: pa.StructArray, repeats: pa.Array) -> dict[str, pa.Array] | None:
    """The known values, dates as numbers; None where one is not of the usual kind."""
    values = known_values(known)
    for path in DATES:
        if path in values:
            dates = _dates(values[path])
            if dates is None:
                return None
            values[path] = dates
    for path in _TEXTS_OR_OBJECTS:
        if path in values:
            texts = values[path]
            has_escapes = pc.match_substring(texts, "\\")
            if not _all(pc.and_not(pc.starts_with(texts, '"'), has_escapes)):
                return None
            values[path] = pc.utf8_slice_codeunits(texts, 1, -1)
    for path, expected in _EXPECTED.items():
        if path in values and not _all(pc.equal(values[path], expected)):
            return None
    if EXECUTION_DATA in values:
        is_object = pc.starts_with(values[EXECUTION_DATA], "{")
        if not _all(is_object) or pc.any(repeats).as_py():
            return None
    return values


def _dates(texts: pa.Array) -> pa.Array | None:
    """Whole numbers within the calendar."""
    try:
        dates = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    extremes = pc.min_max(dates)
    in_calendar = extremes["min"].as_py() >= EARLIEST_MS and extremes["max"].as_py() <= LATEST_MS
    return dates if in_calendar else None


def _are_objects(values: dict[str, pa.Array], counts: dict[str, int]) -> bool:
    """Whether something stands in every object: of what is no object DuckDB makes an empty one."""
    for container, fields in _FIELDS.items():
        filled = [path for path in fields if path in values]
        if container not in values or counts[container] in map(counts.get, filled):
            continue
        has_field = [pc.is_valid(values[path]) for path in filled]
        if not filled or reduce(pc.or_, has_field).true_count < counts[container]:
            return False
    return True


def _all_held(values: dict[str, pa.Array], counts: dict[str, int], wide: pa.Table) -> bool:
    """Whether every value of a known field came to a column, and none had to give way."""
    left = {path: counts[path] for path in LEAVES if path in values}
    for accounted in (*_EXPECTED, EXECUTION_DATA):
        left.pop(accounted, None)
    for column in MAPPED_COLUMNS:
        alternatives = alternative_values(values, column)
        total = 0
        for path, array in alternatives:
            count = _filled(array)
            left[path.path] -= count
            total += count
        if len(alternatives) > 1 and total != _filled(wide[alias(column)]):
            return False
    return not any(left.values())


def _filled(values: pa.Array | pa.ChunkedArray) -> int:
    return len(values) - int(values.null_count)


def _all(conditions: pa.Array) -> bool:
    return bool(pc.all(conditions).as_py())
