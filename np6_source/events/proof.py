"""Proves of most events, by counting, that nothing in them is unknown.

Drift is looked for in every event, and looking at every key and type costs more than reading the
event. Counting is cheap: what the columns hold must add up to what the text holds, for a whole file
at first, and for a part of it where that fails. Counting never decides that something is unknown,
only that nothing is; what is not proven is examined (see ``queries.select_examined``).

The argument. In JSON every quotation mark that is not escaped opens or closes a key or a text, so
``quotes = 2 * (keys + texts)``. ``":`` only occurs after a key, and ``":"`` or ``": "`` only
between a key and a text: the counts of both are exact or too small. If now

- as many keys are seen as known fields and objects have a value,
- as many texts as known fields have a value that is a text, and
- ``quotes`` is twice their sum,

then there are no other keys and no other texts. All keys are known ones, none occurs twice, none is
null. A text column that received something else would leave a text too many, and the only place for
it is a date: dates are looked at one by one. The same counts of the free data object, whose keys
are nobody's, are subtracted.

An example, ``{"id":"1","timestamp":5,"new":"x"}``: the columns hold two keys (``id``,
``timestamp``) and one text, so the file must have 2 keys, 1 text and 6 quotation marks. It has 3, 2
and 10: not proven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import EXECUTION_DATA
from .columns import EXPECTED, alternative_values
from .contract import CONTAINERS, LEAVES, MAPPED_COLUMNS, alias

_QUOTE, _COLON, _SPACE, _BACKSLASH = (pa.scalar(ord(mark), pa.uint8()) for mark in '": \\')

_AT_ONCE = 1024 * 1024
"""Bytes to count in at a time: as many as stay in a processor's cache."""

_BEGINNING = 64 * 1024
"""Bytes that show whether a space follows a colon."""

_TEXTS = frozenset(leaf for leaf, data_type in LEAVES.items() if data_type == "text")

_FIELDS = {
    container: [path for path in (*LEAVES, *CONTAINERS) if path.rpartition(".")[0] == container]
    for container in CONTAINERS
    if container not in LEAVES
}


@dataclass(frozen=True)
class Counts:
    """What was counted in JSON.

    Attributes:
        keys: Keys of objects.
        texts: Texts that follow a key.
        quotes: Quotation marks that are not escaped.
    """

    keys: int = 0
    texts: int = 0
    quotes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.keys + other.keys, self.texts + other.texts, self.quotes + other.quotes)


def held(values: Mapping[str, pa.Array], wide: pa.Table) -> Counts | None:
    """What the JSON of some events has if it has nothing beside what the columns hold.

    Args:
        values: From ``columns.plain_values``.
        wide: From ``columns.from_values``.

    Returns:
        None: counting says nothing about these events.
    """
    data = counts_in_texts(values[EXECUTION_DATA]) if EXECUTION_DATA in values else Counts()
    filled = {path: _filled(array) for path, array in values.items()}
    if data is None or not _are_objects(values, filled) or not _all_held(values, filled, wide):
        return None
    keys = sum(filled.values()) + data.keys
    texts = sum(count for path, count in filled.items() if path in _TEXTS) + data.texts
    return Counts(keys, texts, 2 * (keys + texts))


def counts_in_file(file: Path) -> Counts | None:
    """Counts over a file; None where a backslash is escaped, and may itself not escape.

    Raises:
        OSError: It cannot be read.
    """
    with pa.memory_map(str(file)) as source:
        return _counts(source.read_buffer())


def counts_in_texts(texts: pa.Array) -> Counts | None:
    """Counts over texts, each an object; None as for ``counts_in_file``."""
    texts = pc.fill_null(texts, "")
    _, offsets, content = texts.buffers()
    ends = pa.Array.from_buffers(pa.int32(), len(texts) + 1, [None, offsets], offset=texts.offset)
    first, last = ends[0].as_py(), ends[-1].as_py()
    return _counts(content.slice(first, last - first)) if last > first else Counts()


def _counts(content: pa.Buffer) -> Counts | None:
    total = Counts()
    # Whoever writes JSON with a space after a colon does it from the beginning. Where it begins
    # later, fewer texts are counted than there are, and nothing is proven.
    is_spaced = b'": "' in content.slice(0, min(_BEGINNING, content.size)).to_pybytes()
    for start in range(0, content.size, _AT_ONCE):
        part = content.slice(start, min(_AT_ONCE, content.size - start))
        before = content.slice(start - 1, 1) if start else b" "
        after = content.slice(start + part.size, min(3, content.size - start - part.size))
        text = b"".join((before, part, after, b"   "[after.size :]))
        found = _counts_in_part(text, part.size, is_spaced)
        if found is None:
            return None
        total += found
    return total


def _counts_in_part(content: bytes, size: int, is_spaced: bool) -> Counts | None:
    """What begins in a part, which comes with the byte before it and the three after."""
    found = pa.Array.from_buffers(pa.uint8(), len(content), [None, pa.py_buffer(content)])
    quotes = pc.equal(found, _QUOTE)[1:]
    if b"\\" in content:
        backslashes = pc.equal(found, _BACKSLASH)
        if pc.and_(backslashes[:-1], backslashes[1:]).true_count:
            return None
        quotes = pc.and_not(quotes, backslashes[:-1])
    keys = pc.and_(quotes[:size], pc.equal(found[2 : size + 2], _COLON))
    texts = pc.and_(keys, quotes[2 : size + 2]).true_count
    if is_spaced:
        spaced = pc.and_(keys, pc.equal(found[3 : size + 3], _SPACE))
        texts += pc.and_(spaced, quotes[3 : size + 3]).true_count
    return Counts(keys.true_count, texts, quotes[:size].true_count)


def _are_objects(values: Mapping[str, pa.Array], filled: Mapping[str, int]) -> bool:
    """Whether every object has a field; DuckDB turns what is no object into an empty one."""
    for container, fields in _FIELDS.items():
        present = [path for path in fields if path in values]
        if container not in values or filled[container] in map(filled.get, present):
            continue
        has_field = [pc.is_valid(values[path]) for path in present]
        if not present or reduce(pc.or_, has_field).true_count < filled[container]:
            return False
    return True


def _all_held(values: Mapping[str, pa.Array], filled: Mapping[str, int], wide: pa.Table) -> bool:
    """Whether every value of a known field came to a column, and none had to give way."""
    left = {path: filled[path] for path in LEAVES if path in values}
    for accounted in (*EXPECTED, EXECUTION_DATA):
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
