"""Proves of most events, by counting, that nothing in them is unknown.

Drift is looked for in every event, and looking at every key and type costs more than reading the
event. Counting is cheap, and what it cannot prove is examined (``projection.select_examined``), so
that it never decides that something is unknown, only that nothing is.

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

import pyarrow as pa
import pyarrow.compute as pc

from np6_source.drift import CONTAINERS, EARLIEST_MS, LATEST_MS, LEAVES, MAPPED_COLUMNS
from np6_source.projection import (
    DATES,
    KNOWN,
    RAW,
    REPEATS,
    alias,
    alternative_values,
    columns,
    known_values,
)
from np6_source.schema import EXECUTION_DATA, EXPECTED_VALUES

_QUOTE, _COLON, _SPACE, _BACKSLASH = (pa.scalar(ord(mark), pa.uint8()) for mark in '": \\')

_TEXTS = frozenset(leaf for leaf, data_type in LEAVES.items() if data_type == "text")
_TEXTS_OR_OBJECTS = tuple(leaf for leaf in LEAVES if leaf in CONTAINERS)
_EXPECTED = {path.path: value for path, value in EXPECTED_VALUES}

_FIELDS = {
    container: [path for path in (*LEAVES, *CONTAINERS) if path.rpartition(".")[0] == container]
    for container in CONTAINERS
    if container not in LEAVES
}


@dataclass(frozen=True)
class _Marks:
    """What was counted in texts of JSON."""

    keys: int = 0
    texts: int = 0
    quotes: int = 0


def accounted_for(batch: pa.RecordBatch) -> pa.Table | None:
    """The columns of events of which every part has its column.

    Args:
        batch: Rows of ``projection.select_events``.

    Returns:
        As ``projection.columns``. None: that is not proven, be it for one event.
    """
    values = _plain_values(batch)
    if values is None:
        return None
    data = _marks(values[EXECUTION_DATA]) if EXECUTION_DATA in values else _Marks()
    seen = _marks(batch[RAW])
    if data is None or seen is None:
        return None
    counts = {path: len(array) - array.null_count for path, array in values.items()}
    keys = sum(counts.values())
    texts = sum(count for path, count in counts.items() if path in _TEXTS)
    if (
        seen.keys != keys + data.keys
        or seen.texts != texts + data.texts
        or seen.quotes != 2 * (seen.keys + seen.texts)
        or not _are_objects(values, counts)
    ):
        return None
    wide = columns(values, len(batch))
    return wide if _all_held(values, counts, wide) else None


def _plain_values(batch: pa.RecordBatch) -> dict[str, pa.Array] | None:
    """The known values, dates as numbers; None where one is not of the usual kind."""
    values = known_values(batch[KNOWN])
    for path in DATES:
        if path in values and (dates := _dates(values[path])) is not None:
            values[path] = dates
        elif path in values:
            return None
    for path in _TEXTS_OR_OBJECTS:
        if path in values:
            texts = values[path]
            is_plain = pc.and_(pc.starts_with(texts, '"'), pc.invert(_contains(texts, "\\")))
            if not _all(is_plain):
                return None
            values[path] = pc.utf8_slice_codeunits(texts, 1, -1)
    for path, expected in _EXPECTED.items():
        if path in values and not _all(pc.equal(values[path], expected)):
            return None
    if EXECUTION_DATA in values:
        is_object = pc.starts_with(values[EXECUTION_DATA], "{")
        if not _all(is_object) or pc.any(batch[REPEATS]).as_py():
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
            count = len(array) - array.null_count
            left[path.path] -= count
            total += count
        held = wide[alias(column)]
        if len(alternatives) > 1 and total != len(held) - held.null_count:
            return False
    return not any(left.values())


def _marks(texts: pa.Array) -> _Marks | None:
    """Counts over all texts of an array; None where a backslash is escaped, and may not escape."""
    texts = pc.fill_null(texts, "")
    _, offsets, content = texts.buffers()
    ends = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    first, last = ends[0].as_py(), ends[-1].as_py()
    if last - first < 4:
        return _Marks()
    found = pa.Array.from_buffers(pa.uint8(), last - first, [None, content], offset=first)
    quotes = pc.equal(found, _QUOTE)
    backslashes = pc.equal(found, _BACKSLASH)
    if backslashes.true_count:
        if pc.and_(backslashes[:-1], backslashes[1:]).true_count:
            return None
        # The first mark is the brace that an event, or its data, opens with.
        quotes = pa.concat_arrays([quotes[:1], pc.and_not(quotes[1:], backslashes[:-1])])
    keys = pc.and_(quotes[:-1], pc.equal(found[1:], _COLON))
    texts_behind = pc.and_(keys[:-1], quotes[2:]).true_count
    spaced = pc.and_(keys[:-2], pc.equal(found[2:-1], _SPACE))
    if spaced.true_count:
        texts_behind += pc.and_(spaced, quotes[3:]).true_count
    return _Marks(keys.true_count, texts_behind, quotes.true_count)


def _contains(texts: pa.Array, mark: str) -> pa.Array:
    return pc.match_substring(texts, mark)


def _all(conditions: pa.Array) -> bool:
    return bool(pc.all(conditions).as_py())
