"""Finds what an event holds beyond the contract.

``leftover`` decides it for one event, in Python. It is only called where counting does not prove
that there is nothing (see ``proof``), and only for events whose *shape* was not seen to be clean
before: two events have the same shape when the known objects have the same keys, the known fields
the same JSON types and the discriminators the same values, so that nothing is left of either or
something is left of both. ``queries`` has the shapes in SQL; ``Shapes`` remembers the clean ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..schema import EXECUTION_DATA, EXPECTED_VALUES, Column, Path
from .columns import with_column
from .contract import CONTAINERS, EARLIEST_MS, LATEST_MS, LEAVES, MAPPED_COLUMNS, alias
from .privacy import KEEP_ALL
from .queries import RAW, SHAPE

MOST_SHAPES = 2_000
"""How many clean shapes are remembered; further ones are looked at again each time."""

MOST_PATHS = 1_000
"""How many unknown paths are counted each; keys of objects can be anything."""
OTHER_PATHS = "(other fields)"
"""What further paths are counted under."""


@dataclass(frozen=True)
class Leftover:
    """What ``leftover`` found.

    Attributes:
        unmapped: JSON text of what no column holds. None: every value has its column.
        paths: Where the unmapped values are, for messages. Keys only, no values.
        rejected: Columns whose field holds something the column cannot take (an object
            in place of a text, a date beyond the calendar): they stay NULL.
    """

    unmapped: str | None
    paths: tuple[str, ...] = ()
    rejected: frozenset[Column] = frozenset()


def count_paths(counts: Counter[str], found: Mapping[str, int]) -> None:
    """Adds to the counts of unknown paths, up to a bound; what comes after it is summed up.

    Args:
        counts: The counts so far.
        found: Events by path.
    """
    for path, count in found.items():
        if path not in counts and len(counts) >= MOST_PATHS:
            path = OTHER_PATHS
        counts[path] += count


class Shapes:
    """The shapes of events that were seen to be clean. Safe for threads.

    Attributes:
        clean: Their hashes.
    """

    def __init__(self) -> None:
        """Knows none."""
        self.clean: frozenset[int] = frozenset()

    def unmapped(
        self, wide: pa.Table, paths: dict[int, tuple[str, ...]], name_shown: Callable[[str], str]
    ) -> tuple[pa.Array, pa.Table]:
        """Takes what no column holds out of a batch.

        Args:
            wide: From ``columns.of_examined``.
            paths: Filled with the payload paths of what is left, by row.
            name_shown: How the name of an unknown field may be shown.

        Returns:
            The values of ``events.unmapped``, and the batch without values that columns cannot
            take.
        """
        texts: dict[int, str | None] = {}
        rejected: dict[Column, list[int]] = {}
        rows = pc.indices_nonzero(pc.is_valid(wide[RAW]))
        suspicious = wide.select([SHAPE, RAW]).take(rows)
        for shape in suspicious[SHAPE].unique().to_pylist():
            of_shape = pc.equal(suspicious[SHAPE], pa.scalar(shape, pa.uint64()))
            first = leftover(suspicious[RAW][pc.index(of_shape, True).as_py()].as_py())
            if first.unmapped is None and not first.rejected:
                if len(self.clean) < MOST_SHAPES:
                    self.clean |= {shape}
                continue
            for row, raw in zip(
                rows.filter(of_shape).to_pylist(),
                suspicious[RAW].filter(of_shape).to_pylist(),
                strict=True,
            ):
                rest = leftover(raw, name_shown)
                texts[row] = rest.unmapped
                if rest.paths:
                    paths[row] = rest.paths
                for column in rest.rejected:
                    rejected.setdefault(column, []).append(row)
        for column, bad_rows in rejected.items():
            wide = _blank(wide, alias(column), bad_rows)
        return pa.array(map(texts.get, range(wide.num_rows)), pa.string()), wide


def _blank(wide: pa.Table, name: str, rows: list[int]) -> pa.Table:
    bad = pc.is_in(pa.array(range(wide.num_rows)), pa.array(rows))
    return with_column(wide, name, pc.if_else(bad, None, wide[name]))


class _RepeatedKeys(dict[str, Any]):
    """An object in which a key occurs more than once.

    The first value counts; the others follow under ``key~2``, ``key~3`` … so that they are left
    over.
    """


def leftover(event_json: str, name_shown: Callable[[str], str] = KEEP_ALL.name_shown) -> Leftover:
    """Finds what of an event no column holds.

    Numbers that do not fit 64 bits or a double, ``NaN`` and ``Infinity`` become text in
    ``unmapped``, so that every destination can take them.

    Args:
        event_json: One event as the API sent it.
        name_shown: How the name of an unknown field may be shown.
    """
    try:
        event = json.loads(
            event_json,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_Number,
        )
    except RecursionError:
        return Leftover(_dump({"unparsed": event_json}), ("(too deeply nested)",))
    except ValueError:  # DuckDB takes ``nan`` and ``inf``, which are no JSON.
        return Leftover(_dump({"unparsed": event_json}), ("(not JSON)",))
    if not isinstance(event, dict):
        return Leftover(_dump({"value": event}), ("(not an object)",))
    consumed, rejected = _consumed(event)
    rest = _without(event, consumed, prefix="")
    if rest is _NOTHING:
        return Leftover(None, (), rejected)
    paths = tuple(_paths(rest, "", name_shown))
    try:
        return Leftover(_dump(rest), paths, rejected)
    except RecursionError:
        return Leftover(_dump({"unparsed": event_json}), paths, rejected)


def _consumed(event: dict[str, Any]) -> tuple[set[str], frozenset[Column]]:
    """The paths whose value is wholly held by a column, and the columns that cannot take theirs."""
    consumed: set[str] = set()
    rejected: set[Column] = set()
    for column in MAPPED_COLUMNS:
        for path in column.paths:
            value = value_at(event, path)
            if value is None:
                continue
            kept, whole = _fits(column, value)
            if not kept:
                rejected.add(column)
            elif whole:
                consumed.add(path.path)
            break
    for path, expected in EXPECTED_VALUES:
        if value_at(event, path) in expected:
            consumed.add(path.path)
    data = value_at(event, Path(EXECUTION_DATA))
    if isinstance(data, dict) and not isinstance(data, _RepeatedKeys):
        consumed.add(EXECUTION_DATA)
    return consumed, frozenset(rejected)


def _fits(column: Column, value: Any) -> tuple[bool, bool]:
    """Whether a column takes the value at all, and whether nothing of it is lost.

    Both depend on the value's JSON type (for dates also on the range, for lists on the types in
    them) alone, as does the shape of the event.
    """
    if column.takes_list and isinstance(value, list):
        is_known = bool(value) and all(type(entry) is str for entry in value)
        return is_known, is_known
    if isinstance(value, (dict, list)):
        return False, False
    if column.data_type == "text":
        return True, not isinstance(value, (float, _Number)) or _is_unsigned(value)
    if isinstance(value, bool):
        return False, False
    if isinstance(value, int):
        in_calendar = EARLIEST_MS <= value <= LATEST_MS
        return in_calendar, in_calendar
    return True, False


def value_at(event: Any, path: Path) -> Any:
    """What an event has at a path; None: nothing, or not what the path's condition asks for."""
    if path.when is not None:
        other, expected = path.when
        if value_at(event, Path(other)) != expected:
            return None
    node = event
    for key in path.path.split("."):
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node


_NOTHING = object()


def _without(node: Any, consumed: set[str], prefix: str) -> Any:
    """The node without what is consumed; unknown parts stay whole, known but empty ones go."""
    if not isinstance(node, dict):
        return _NOTHING if node is None else node
    rest = {}
    for key, value in node.items():
        path = f"{prefix}{key}"
        is_known = "." not in key and path in _KNOWN
        if is_known and path in consumed:
            continue
        if is_known:
            value = _without(value, consumed, f"{path}.") if path in _CONTAINERS else value
            if value is None or value is _NOTHING:
                continue
        rest[key] = value
    return rest or _NOTHING


_CONTAINERS = frozenset(CONTAINERS)
_KNOWN = frozenset(LEAVES) | _CONTAINERS


def _paths(rest: Any, prefix: str, name_shown: Callable[[str], str]) -> Iterator[str]:
    for key, value in rest.items():
        path = f"{prefix}{key}"
        if "." not in key and path in _CONTAINERS and isinstance(value, dict):
            yield from _paths(value, f"{path}.", name_shown)
        else:
            yield path if path in _KNOWN else f"{prefix}{name_shown(key)}"


class _Number(str):
    """A number that neither 64 bits nor a double can hold, as it was written."""


def _is_unsigned(value: Any) -> bool:
    """Whether it is an integer that fits 64 bits without a sign; a text column has it exactly."""
    is_short = isinstance(value, _Number) and value.isdigit() and len(value) <= 20
    return is_short and int(value) < 2**64


def _integer(digits: str) -> int | _Number:
    if len(digits) <= 20:
        value = int(digits)
        if -(2**63) <= value < 2**63:
            return value
    return _Number(digits)


def _float(digits: str) -> float | _Number:
    value = float(digits)
    try:
        exact = value - value == 0 and Decimal(repr(value)) == Decimal(digits)
    except InvalidOperation:
        exact = False
    return value if exact else _Number(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(reversed(pairs))
    if len(result) == len(pairs):
        return dict(pairs)
    repeated = _RepeatedKeys()
    for key, value in pairs:
        name, count = key, 1
        while name in repeated:
            count += 1
            name = f"{key}~{count}"
        repeated[name] = value
    return repeated


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
